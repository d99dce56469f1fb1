"""2C2P's notifications, and the seals under everything: published vectors, forgeries, words that nobody knows."""

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from gateway.providers import twoc2p_jose as jose
from gateway.providers.base import (
    Callback,
    CallbackRejected,
    CallbackReply,
    FactKind,
    FactSource,
    Method,
    ParsedCallback,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.twoc2p import SANDBOX_PUBLIC_KEY, TwoC2p
from gateway.providers.twoc2p_client import MAINTENANCE_HOSTS
from gateway.providers.twoc2p_maintenance import Keys
from gateway.sandbox import twoc2p_jose as sandbox_jose
from gateway.sandbox import twoc2p_keys
from gateway.sandbox.twoc2p import PROVIDER
from tests.providers.twoc2p_support import CREDENTIALS, INVOICE, KEY, NOON, account_at, envelope, jwt, sealed

# The payload of the published request, and the published notification; both under the invented key.
REQUEST_VECTOR = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJtZXJjaGFudElEIjoiUUswMSIsImludm9pY2VObyI6IlFLMjAyNjAwMDAwMSIsImRlc2NyaX"
    "B0aW9uIjoiUXVpY2tLdWIgb3JkZXIiLCJhbW91bnQiOjEyMzQuNSwiY3VycmVuY3lDb2RlIjoiVEhCIiwicGF5bWVudENoYW5uZWwiOlsiUVIiXS"
    "wibm9uY2VTdHIiOiIwMTIzNDU2Nzg5YWJjZGVmIiwiaWRlbXBvdGVuY3lJRCI6IlFLMjAyNjAwMDAwMS0xIiwiYmFja2VuZFJldHVyblVybCI6Im"
    "h0dHBzOi8vcXVpY2trdWIudGVzdC9ob29rLzJjMnAifQ.Vgg4mKPeZK6Q4kVgoNJN1N5QCpyxrRrYjWMQW64yRSg"
)
NOTIFICATION_VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJtZXJjaGFudElEIjoiUUswMSIsImludm9pY2VObyI6IlFLMjAyNjAwMDAwMSIsImFtb3VudC"
    "I6MTIzNC41LCJjdXJyZW5jeUNvZGUiOiJUSEIiLCJ0cmFuc2FjdGlvbkRhdGVUaW1lIjoiMjAyNjAxMDEwOTAwMDAiLCJjaGFubmVsQ29kZSI6Il"
    "BQUVIiLCJhZ2VudENvZGUiOiJLQkFOSyIsInJlZmVyZW5jZU5vIjoiMTAwMDAwMSIsInRyYW5SZWYiOiIxMDAwMDAxIiwicmVzcENvZGUiOiIwMD"
    "AwIiwicmVzcERlc2MiOiJTdWNjZXNzIn0.9AFjwuKihsnr_nZ4tEWNZc8OPS88dUgHSID_L0U3gmo"
)
CLAIMS = {
    "merchantID": "QK01",
    "invoiceNo": INVOICE,
    "amount": Decimal("1234.5"),
    "currencyCode": "THB",
    "transactionDateTime": "20260101090000",
    "channelCode": "PPQR",
    "agentCode": "KBANK",
    "referenceNo": "1000001",
    "tranRef": "1000001",
    "respCode": "0000",
    "respDesc": "Success",
}


def parse(body: bytes) -> ParsedCallback:
    callback = Callback(headers={}, body=body, received_at=NOON)
    return TwoC2p(ProviderHttp(timeout_seconds=10)).parse_callback(account_at("http://127.0.0.1:1"), callback)


def rejected(body: bytes) -> str:
    with pytest.raises(CallbackRejected) as error:
        parse(body)
    return error.value.code


def signed(**changed: Any) -> bytes:
    return envelope({**CLAIMS, **changed})


def test_published_vectors_are_proved_and_made():
    request = msgspec.json.decode(jose.verify_hs256(REQUEST_VECTOR, KEY))
    assert (request["invoiceNo"], request["amount"]) == (INVOICE, 1234.5)
    assert jose.sign_hs256(jose.verify_hs256(NOTIFICATION_VECTOR, KEY), KEY) == NOTIFICATION_VECTOR == jwt(CLAIMS)
    for token in (REQUEST_VECTOR, NOTIFICATION_VECTOR):
        with pytest.raises(jose.NotGenuine):
            jose.verify_hs256(token[:-3] + "AAA", KEY)
        with pytest.raises(jose.NotGenuine):
            jose.verify_hs256(token, KEY.lower())


def test_published_notification_is_a_payment():
    parsed = parse(msgspec.json.encode({"payload": NOTIFICATION_VECTOR}))
    assert parsed.event_id == "QK2026000001:1000001:0000"
    (fact,) = parsed.facts
    assert (fact.kind, fact.source, fact.amount_minor, fact.currency) == (
        FactKind.CAPTURED,
        FactSource.CALLBACK,
        1234_50,
        "THB",
    )
    assert (fact.provider_reference, fact.provider_transaction_id) == (INVOICE, "1000001")
    assert fact.occurred_at == datetime(2026, 1, 1, 2, tzinfo=UTC)


def test_failure_and_success_of_one_invoice_are_two_events():
    failed, paid = parse(signed(respCode="4051", tranRef="")), parse(signed())
    assert [failed.facts[0].kind, paid.facts[0].kind] == [FactKind.DECLINED, FactKind.CAPTURED]
    assert failed.event_id != paid.event_id
    assert parse(signed(respCode="0001", transactionDateTime=None, tranRef=None)).facts[0].occurred_at == NOON
    asked = parse(signed(respCode="0001", amount=None))
    assert (asked.facts, asked.inquire) == ((), (INVOICE,))


def _with_header(header: bytes) -> bytes:
    part = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    return msgspec.json.encode({"payload": ".".join([part, *NOTIFICATION_VECTOR.split(".")[1:]])})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed"),
        (b"{}", "malformed"),
        (b"[1]", "malformed"),
        (b"\xff", "malformed"),
        (b'{"payload": 1}', "malformed"),
        (b'{"payload": "a.b"}', "signature_invalid"),
        (b'{"payload": "a.b.c.d"}', "signature_invalid"),
        (b'{"payload": "a.b.+/"}', "signature_invalid"),
        (_with_header(b'{"alg":"none","typ":"JWT"}'), "signature_invalid"),
        (_with_header(b'{"alg":"HS512","typ":"JWT"}'), "signature_invalid"),
        (_with_header(b'{"alg":"HS256","crit":["x"]}'), "signature_invalid"),
        (_with_header(b"{}"), "signature_invalid"),
        (envelope(CLAIMS, "another key"), "signature_invalid"),
        (signed(merchantID="QK02"), "malformed"),
        (signed(invoiceNo="qk 1"), "malformed"),
        (signed(invoiceNo=None), "malformed"),
        (signed(amount="x"), "malformed"),
        (signed(amount=Decimal("1.005")), "malformed"),
        (signed(amount=-5), "malformed"),
        (signed(currencyCode="SGD"), "malformed"),
        (signed(tranRef=""), "malformed"),
        (signed(transactionDateTime="01/01/2026"), "malformed"),
        (signed(respCode="4130"), "unknown_status"),
        (signed(respCode="4200"), "unknown_status"),
        (signed(respCode="9999"), "unknown_status"),
        (signed(respCode="5015"), "malformed"),
    ],
)
def test_notification_is_rejected(body: bytes, code: str):
    assert rejected(body) == code


def test_an_unsigned_token_is_rejected():
    token = jwt(CLAIMS).rpartition(".")[0] + "."
    assert rejected(msgspec.json.encode({"payload": token})) == "signature_invalid"


def refund_notification(**changed: str) -> bytes:
    fields = {
        "timeStamp": "030126090000",
        "respCode": "00",
        "processType": "R",
        "invoiceNo": INVOICE,
        "amount": "25.00",
        "status": "RF",
        "refundReferenceNo": "2000001",
        **changed,
    }
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return _form(sealed(f"<PaymentProcessResponse>{inside}</PaymentProcessResponse>"))


def _form(token: bytes) -> bytes:
    return urlencode({"notifyResponse": token.decode()}).encode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("RF", FactKind.REFUND_SUCCEEDED),
        ("RP", FactKind.REFUND_PENDING),
        ("RFF", FactKind.REFUND_FAILED),
        ("RR", FactKind.REFUND_FAILED),
        ("RR3", FactKind.REFUND_FAILED),
    ],
)
def test_end_of_a_refund_is_known_by_its_reference(status: str, kind: FactKind):
    parsed = parse(refund_notification(status=status))
    assert parsed.event_id == f"QK2026000001:2000001:{status}"
    (fact,) = parsed.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (kind, "2000001", "2000001")
    assert (fact.amount_minor, fact.occurred_at) == (25_00, datetime(2026, 1, 3, 2, tzinfo=UTC))


def test_refund_notification_is_rejected():
    merchant = twoc2p_keys.private_key_of(CREDENTIALS["merchant_private_key"])
    forged = sandbox_jose.seal(b"<PaymentProcessResponse/>", merchant.public_key(), merchant)
    for body, code in (
        (_form(forged), "signature_invalid"),
        (_form(b"a.b.c"), "signature_invalid"),
        (_form(b"<PaymentProcessResponse/>"), "signature_invalid"),
        (b"notifyResponse=", "malformed"),
        (b"notifyResponse=a&notifyResponse=b", "malformed"),
        (b"notifyResponse=\xff", "malformed"),
        (refund_notification(status="word"), "unknown_status"),
        (refund_notification(processType="V"), "unknown_status"),
        (refund_notification(refundReferenceNo=""), "unknown_status"),
        (refund_notification(amount=""), "malformed"),
        (refund_notification(timeStamp=""), "malformed"),
    ):
        assert rejected(body) == code, body


def test_reply_is_any_200():
    adapter = TwoC2p(ProviderHttp(timeout_seconds=10))
    callback = Callback(headers={}, body=b"\xff", received_at=NOON)
    assert adapter.callback_reply(account_at("http://127.0.0.1:1"), callback, "1") == CallbackReply()


def test_both_sides_open_what_the_other_sealed_and_nothing_else():
    keys, theirs = Keys.of(CREDENTIALS), twoc2p_keys.private_key()
    ours = jose.sign_ps256(jose.encrypt(b"<xml/>", keys.provider).encode(), keys.private).encode()
    sandbox_jose.check_sender(ours, keys.private.public_key())
    assert sandbox_jose.unseal(ours, theirs) == b"<xml/>"
    inner = jose.verify_ps256(sealed("<xml/>").decode(), keys.provider)
    header = inner.split(b".")[0].decode()
    assert base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)) == b'{"alg":"RSA-OAEP","enc":"A256GCM"}'
    assert jose.decrypt(inner.decode(), keys.private) == b"<xml/>"
    with pytest.raises(jose.NotGenuine):
        jose.verify_ps256(ours.decode(), keys.provider)
    with pytest.raises(jose.NotGenuine):
        jose.decrypt(jose.encrypt(b"<xml/>", keys.provider), keys.private)
    token = jose.encrypt(b"<xml/>", keys.private.public_key())
    parts = token.split(".")
    for position, part in enumerate(parts):
        changed = ("B" if part[0] != "B" else "C") + part[1:]
        with pytest.raises(jose.NotGenuine):
            jose.decrypt(".".join([*parts[:position], changed, *parts[position + 1 :]]), keys.private)
    for broken in ("", ".".join(parts[:4]), ".".join([*parts[:4], "AA"]), token + "="):
        with pytest.raises(jose.NotGenuine):
            jose.decrypt(broken, keys.private)
    # One algorithm for each place: a JWT is no JWS and the other way round.
    with pytest.raises(jose.NotGenuine):
        jose.verify_ps256(jwt(CLAIMS), keys.provider)
    with pytest.raises(jose.NotGenuine):
        jose.verify_hs256(jose.sign_ps256(b"{}", keys.private), KEY)


def test_invented_credentials_are_those_of_the_sandbox():
    one, two = TwoC2p.invented_credentials(), TwoC2p.invented_credentials()
    assert one.keys() == PROVIDER.credentials
    # Test accounts of one process share the merchant's key: making one keeps everybody waiting.
    assert {name for name in one if one[name] == two[name]} == {"provider_public_key", "merchant_private_key"}
    public = Keys.of({**one, "provider_public_key": SANDBOX_PUBLIC_KEY}).provider
    assert public.public_numbers() == twoc2p_keys.private_key().public_key().public_numbers()
    assert isinstance(twoc2p_keys.public_key_of(one["merchant_private_key"]), rsa.RSAPublicKey)


def test_no_credential_is_in_the_account_s_words():
    account = replace(account_at("http://127.0.0.1:1"))
    assert KEY not in repr(account)
    assert "PRIVATE" not in repr(account)


def test_capabilities_are_those_of_the_document():
    table = {item.method: item for item in TwoC2p.capabilities}
    assert {method: item.rank for method, item in table.items()} == {
        Method.PROMPTPAY: 25,
        Method.CARD: 15,
        Method.TRUEMONEY: 20,
        Method.SHOPEEPAY: 20,
        Method.RABBIT_LINEPAY: 20,
    }
    assert {item.refunds for item in table.values()} == {"partial"}
    assert not any(item.capture_later for item in table.values())
    assert table[Method.TRUEMONEY].void_until is not None
    assert table[Method.TRUEMONEY].void_until.isoformat() == "23:59:00"
    assert MAINTENANCE_HOSTS["https://pgw.2c2p.com"] == "https://t.2c2p.com"
    assert timedelta(seconds=table[Method.CARD].expiry_seconds or 0) == timedelta(minutes=20)
