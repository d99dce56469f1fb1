"""Omise's callbacks: the signature by the published recipe's vector, and which charge is to be fetched."""

import hashlib
import hmac
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.providers.base import Callback, CallbackRejected
from gateway.providers.http import ProviderHttp
from gateway.providers.omise import Omise
from tests.providers.stub import account_at

SECRET_BODY = (
    b'{"object":"event","id":"evnt_test_qk0001","livemode":false,"key":"charge.complete","data":{"object":"charge",'
    b'"id":"chrg_test_qk0001","amount":123450,"currency":"THB","status":"successful"}}'
)
SIGNATURE = "43ae5bb41966803cde31be01dbe27cc7f63861de0e523df1dd94ac9a0f25c602"
SIGNED_AT = 1767232800


def _signature(body: bytes, timestamp: int = SIGNED_AT, secret: bytes = b"quickkub-invented-omise-secret!!") -> str:
    return hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def _parse(body: bytes, signatures: str | None = None, *, seconds_later: int = 0, **headers: str):
    callback = Callback(
        headers={
            "Omise-Signature": _signature(body) if signatures is None else signatures,
            "Omise-Signature-Timestamp": str(SIGNED_AT),
            **headers,
        },
        body=body,
        received_at=datetime.fromtimestamp(SIGNED_AT + seconds_later, UTC),
    )
    return Omise(ProviderHttp(timeout_seconds=10)).parse_callback(account_at("http://127.0.0.1:1", "omise"), callback)


def test_signed_event_of_the_vector_names_the_charge_to_fetch():
    parsed = _parse(SECRET_BODY, SIGNATURE)
    assert (parsed.event_id, parsed.inquire, parsed.facts) == ("evnt_test_qk0001", ("chrg_test_qk0001",), ())


@pytest.mark.parametrize("signatures", [f"{'0' * 64},{SIGNATURE}", f"{SIGNATURE}, {'0' * 64}"])
def test_either_signature_will_do_while_the_secret_rotates(signatures: str):
    assert _parse(SECRET_BODY, signatures).event_id == "evnt_test_qk0001"


@pytest.mark.parametrize(
    ("body", "signatures"),
    [
        (SECRET_BODY, "0" * 64),
        (SECRET_BODY, ""),
        (SECRET_BODY, "ก"),
        (SECRET_BODY.replace(b"123450", b"123451"), SIGNATURE),
        (SECRET_BODY, _signature(SECRET_BODY, SIGNED_AT + 1)),
        (SECRET_BODY, _signature(SECRET_BODY, secret=b"another")),
    ],
)
def test_forged_event_is_rejected(body: bytes, signatures: str):
    with pytest.raises(CallbackRejected) as caught:
        _parse(body, signatures)
    assert caught.value.code == "signature_invalid"


@pytest.mark.parametrize(("seconds", "accepted"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_event_is_accepted_for_five_minutes(seconds: int, accepted: bool):
    if accepted:
        assert _parse(SECRET_BODY, SIGNATURE, seconds_later=seconds).event_id == "evnt_test_qk0001"
        return
    with pytest.raises(CallbackRejected) as caught:
        _parse(SECRET_BODY, SIGNATURE, seconds_later=seconds)
    assert caught.value.code == "timestamp_outside_tolerance"


def _event(key: str, data: object, *, livemode: bool = False) -> bytes:
    return msgspec.json.encode({"object": "event", "id": "evnt_1", "livemode": livemode, "key": key, "data": data})


def test_refund_event_names_the_charge_of_the_refund():
    assert _parse(_event("refund.create", {"id": "rfnd_1", "charge": "chrg_test_1"})).inquire == ("chrg_test_1",)


def test_dispute_event_names_the_dispute():
    parsed = _parse(_event("dispute.close", {"id": "dspt_test_1", "charge": "chrg_test_1"}))
    assert (parsed.inquire, parsed.ignored) == (("dspt_test_1",), False)


@pytest.mark.parametrize("key", ["customer.create", "transfer.pay", "recipient.verify", "something.of.tomorrow"])
def test_event_of_another_object_is_ignored(key: str):
    parsed = _parse(_event(key, {"id": "x"}))
    assert parsed.ignored
    assert parsed.inquire == ()


@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        _event("charge.complete", {}),
        _event("charge.complete", {"id": "chrg_../../balance"}),
        _event("charge.complete", {"id": "trsf_1"}),
        _event("refund.create", {"id": "rfnd_1"}),
        _event("dispute.create", {"id": "dspt_../../balance", "charge": "chrg_1"}),
        _event("dispute.create", {"id": "chrg_1", "charge": "chrg_1"}),
        _event("charge.complete", {"id": "chrg_1"}, livemode=True),
    ],
)
def test_signed_nonsense_is_rejected(body: bytes):
    with pytest.raises(CallbackRejected) as caught:
        _parse(body)
    assert caught.value.code == "malformed"
