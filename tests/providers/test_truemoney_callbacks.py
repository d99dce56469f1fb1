"""TrueMoney's notifications: whose they are, which payment is to be asked about, and our signed word back."""

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from msgspec.structs import replace

from gateway.foundation.clock import real_now
from gateway.providers.base import Callback, CallbackRejected
from gateway.providers.http import ProviderHttp
from gateway.providers.truemoney import TrueMoney
from gateway.sandbox.truemoney_wire import SIGNING_KEY
from tests.providers.stub import account_at
from tests.truemoney_keys import MERCHANT_PRIVATE_KEY, MERCHANT_PUBLIC_KEY

SIGNED_AT = 1767232800
PREFIX = "digest-alg=RSA-SHA; key-id=KEY:RSA:rsf.org; data="
NOTIFICATION = {
    "notify_id": "700000000000000001",
    "payment_id": "900000000000000001",
    "isv_payment_ref": "QK2026000001",
    "merchant": "000000000000000000001",
    "amount": 12050,
    "currency": "THB",
    "status": "succeeded",
}
BODY = msgspec.json.encode(NOTIFICATION)
ACCOUNT = account_at("http://127.0.0.1:1", "truemoney")


def _signature(body: bytes, *, at: int = SIGNED_AT, key: str = SIGNING_KEY) -> str:
    signature = load_pem_private_key(key.encode(), None).sign(f"{at}".encode() + body, PKCS1v15(), SHA256())
    return PREFIX + base64.b64encode(signature).decode()


def _callback(body: bytes = BODY, signature: str | None = None, *, seconds_later: int = 0, **headers: str) -> Callback:
    return Callback(
        headers={
            "Timestamp": str(SIGNED_AT),
            "Content-Signature": _signature(body) if signature is None else signature,
            **headers,
        },
        body=body,
        received_at=datetime.fromtimestamp(SIGNED_AT + seconds_later, UTC),
    )


def _truemoney() -> TrueMoney:
    return TrueMoney(ProviderHttp(timeout_seconds=10))


def _rejected(callback: Callback, account=ACCOUNT) -> str:
    with pytest.raises(CallbackRejected) as caught:
        _truemoney().parse_callback(account, callback)
    assert _truemoney().callback_reply(account, callback, "in_1").headers == {} or caught.value.code == "malformed"
    return caught.value.code


def test_signed_notification_names_the_payment_to_ask_about():
    parsed = _truemoney().parse_callback(ACCOUNT, _callback())
    assert (parsed.event_id, parsed.inquire, parsed.facts) == ("700000000000000001", ("900000000000000001",), ())
    bare = msgspec.json.encode({"notify_id": "7", "payment_id": "9"})
    assert _truemoney().parse_callback(ACCOUNT, _callback(bare)).inquire == ("9",)


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (BODY.replace(b"12050", b"12051"), _signature(BODY)),
        (BODY, _signature(BODY, at=SIGNED_AT + 1)),
        (BODY, _signature(BODY, key=MERCHANT_PRIVATE_KEY)),
        (BODY, _signature(BODY).removeprefix(PREFIX)),
        (BODY, PREFIX),
        (BODY, PREFIX + "!!!"),
        (BODY, PREFIX + "AAAA"),
        (BODY, ""),
        (BODY, "ก"),
    ],
)
def test_forged_notification_is_rejected(body: bytes, signature: str):
    assert _rejected(_callback(body, signature)) == "signature_invalid"


@pytest.mark.parametrize("timestamp", ["", "x", "-1767232800", "1767232800.0", "١٧٦٧٢٣٢٨٠٠", "9" * 400])
def test_notification_without_a_time_is_rejected(timestamp: str):
    assert _rejected(_callback(Timestamp=timestamp)) == "signature_invalid"


def test_account_whose_key_cannot_be_read_believes_nothing():
    broken = replace(ACCOUNT, credentials={**ACCOUNT.credentials, "provider_public_key": "x"})
    assert _rejected(_callback(), broken) == "signature_invalid"


@pytest.mark.parametrize(("seconds", "accepted"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_notification_is_accepted_for_five_minutes(seconds: int, accepted: bool):
    callback = _callback(seconds_later=seconds)
    if accepted:
        assert _truemoney().parse_callback(ACCOUNT, callback).event_id == "700000000000000001"
    else:
        assert _rejected(callback) == "timestamp_outside_tolerance"


@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        b"[]",
        msgspec.json.encode({**NOTIFICATION, "notify_id": ""}),
        msgspec.json.encode({**NOTIFICATION, "payment_id": "../settlements"}),
        msgspec.json.encode({**NOTIFICATION, "payment_id": "9\n"}),
        msgspec.json.encode({"notify_id": "7"}),
        msgspec.json.encode({**NOTIFICATION, "merchant": "000000000000000000002"}),
    ],
)
def test_signed_nonsense_is_rejected(body: bytes):
    assert _rejected(_callback(body)) == "malformed"


def test_reply_is_signed_by_the_merchant_over_its_very_bytes():
    reply = _truemoney().callback_reply(ACCOUNT, _callback(), "in_1")
    assert reply.body == (
        b'{"status":{"code":"11111","message":"success","description":""},"data":{"notify_id":"700000000000000001"}}'
    )
    assert reply.content_type == "application/json"
    timestamp, signature = reply.headers["timestamp"], reply.headers["content-signature"]
    assert abs(real_now().timestamp() - int(timestamp)) < 30
    assert signature.startswith(PREFIX)
    load_pem_public_key(MERCHANT_PUBLIC_KEY.encode()).verify(
        base64.b64decode(signature.removeprefix(PREFIX)), timestamp.encode() + reply.body, PKCS1v15(), SHA256()
    )


@pytest.mark.parametrize(
    "callback", [_callback(signature=""), _callback(b"garbage"), _callback(b'{"notify_id":7}'), _callback(b"\xff")]
)
def test_nothing_is_signed_for_what_proves_nothing(callback: Callback):
    reply = _truemoney().callback_reply(ACCOUNT, callback, "in_1")
    assert (reply.body, dict(reply.headers)) == (b"{}", {})
