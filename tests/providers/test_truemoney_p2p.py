"""The P2P webhook: the published vector, and what is not believed."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.providers.base import CallbackRejected
from gateway.providers.truemoney_p2p import read_transfer

SECRET = "invented-webhook-secret"
VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJldmVudF90eXBlIjoiUDJQIiwicmVjZWl2ZWRfdGltZSI6IjIwMjYtMDEtMDFUMDk6MDA6MDAr"
    "MDcwMCIsImFtb3VudCI6MTIwNTAsInNlbmRlcl9tb2JpbGUiOiIwODAwMDAwMDAwIiwibWVzc2FnZSI6IlFLMjAyNjAwMDAwMSIsImxhdCI6MTc2Nz"
    "IzMjgwMH0.BHAs-hv7xV8Zbq1OCoQ91aU-9QLLkqZXCMUFUj_5Y4o"
)
CLAIMS = {
    "event_type": "P2P",
    "received_time": "2026-01-01T09:00:00+0700",
    "amount": 12050,
    "sender_mobile": "0800000000",
    "message": "QK2026000001",
    "lat": 1767232800,
}


def _body(token: str) -> bytes:
    return msgspec.json.encode({"message": token})


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


def _token(claims: object = CLAIMS, *, secret: str = SECRET, algorithm: str = "HS256") -> str:
    text = f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(claims)}"
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_transfer_of_the_published_vector_is_read():
    transfer = read_transfer(SECRET, _body(VECTOR))
    assert (transfer.event_type, transfer.amount_minor, transfer.message) == ("P2P", 12050, "QK2026000001")
    assert transfer.received_at == datetime(2026, 1, 1, 2, tzinfo=UTC)
    assert transfer.issued_at_seconds == 1767232800
    assert "0800000000" not in repr(transfer)
    assert _token() == VECTOR


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (_body(_token(secret="x")), "signature_invalid"),
        (_body(_token(algorithm="none")), "signature_invalid"),
        (_body(_token(algorithm="RS256")), "signature_invalid"),
        (_body(VECTOR[:-3]), "signature_invalid"),
        (_body(VECTOR.rpartition(".")[0] + "."), "signature_invalid"),
        (_body(VECTOR.replace(".", "", 1)), "malformed"),
        (_body(VECTOR + "ก"), "malformed"),
        (_body("a.b.c"), "malformed"),
        (b"garbage", "malformed"),
        (_body(_token({**CLAIMS, "amount": 120.5})), "malformed"),
        (_body(_token({**CLAIMS, "amount": 0})), "malformed"),
        (_body(_token({**CLAIMS, "received_time": "2026-01-01T09:00:00"})), "malformed"),
        (_body(_token({**CLAIMS, "event_type": "TOPUP"})), "unknown_status"),
    ],
)
def test_what_is_forged_or_unreadable_is_rejected(body: bytes, code: str):
    with pytest.raises(CallbackRejected) as caught:
        read_transfer(SECRET, body)
    assert caught.value.code == code
