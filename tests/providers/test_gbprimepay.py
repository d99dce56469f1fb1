"""The adapter against a scripted GBPrimePay over real HTTP; the checksums by the published vectors."""

import asyncio
import base64
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK
from gateway.providers import gbprimepay_refunds, gbprimepay_wire
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    CaptureRequest,
    ChargeRequest,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NextAction,
    NotAttempted,
    RefundRequest,
    RefundRule,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.gbprimepay_wire import checksum, reference_of
from gateway.providers.http import ProviderHttp
from gateway.sandbox.emvco import bill_payment_qr
from tests.providers.stub import CREDENTIALS, Raw, Reply, Request, account_at, serving

SECRET = "invented-gbp-secret-key-0001"
BASIC = "Basic aW52ZW50ZWQtZ2JwLXNlY3JldC1rZXktMDAwMTo="
NOON = datetime(2026, 1, 1, 5, tzinfo=UTC)
KEY = "QK20260000000000ABCD"
REFERENCE = "F4KN7XMEOTZ6L64"
CARD = ChargeRequest(
    attempt_id="att_test_1",
    provider_key=KEY,
    method=Method.CARD,
    amount_minor=1234_50,
    currency="THB",
    created_at=NOON,
    card_token="token-1",
    return_url="https://quickkub.test/return",
    description="order 1",
)
PROMPTPAY = replace(
    CARD, method=Method.PROMPTPAY, card_token=None, return_url=None, expires_at=NOON + timedelta(minutes=15)
)
WALLET = replace(CARD, method=Method.TRUEMONEY, card_token=None)
MOBILE = replace(WALLET, method=Method.MOBILE_BANKING, bank="scb")
CHARGED = {"resultCode": "00", "amount": 1234.50, "referenceNo": REFERENCE, "gbpReferenceNo": "gbp0000000001"}
TXN = {
    "amount": 1234.50,
    "referenceNo": REFERENCE,
    "gbpReferenceNo": "gbp0000000001",
    "resultCode": "00",
    "status": "S",
    "paymentType": "C",
    "merchantDefined1": KEY,
    "date": "01012026",
    "time": "120001",
}
REFUND = RefundRequest(
    refund_id="re_test_1",
    provider_key="QKR1",
    provider_reference=REFERENCE,
    amount_minor=1234_50,
    currency="THB",
    created_at=NOON,
    charge_key=KEY,
    method=Method.CARD,
    captured_minor=1234_50,
    captured_at=NOON,
)
BACK = {
    "resultCode": "00",
    "amount": 1234.50,
    "referenceNo": "QKR1",
    "gbpReferenceNo": "gbp0000000009",
    "status": "S",
    "date": "01012026",
    "time": "130000",
}
NOTICE = {
    "amount": 1234.50,
    "retryFlag": "N",
    "referenceNo": REFERENCE,
    "gbpReferenceNo": "gbp0000000001",
    "currencyCode": "764",
    "resultCode": "00",
    "totalAmount": 1234.50,
    "fee": 0,
    "vat": 0,
    "thbAmount": 1234.50,
    "customerName": "TEST",
    "date": "01012026",
    "time": "090000",
    "paymentType": "Q",
    "detail": "QuickKub",
    "merchantDefined1": KEY,
}
NOT_FOUND = (200, {"resultCode": "02", "resultMessage": "Transaction not found"})
STATUS = "/v1/check_status_txn"


def _qr(amount: str = "1234.50") -> dict[str, str]:
    return {
        "referenceNo": REFERENCE,
        "qrcode": bill_payment_qr("099400000000415", "GBP0000000001", REFERENCE, "", amount),
        "resultCode": "00",
        "gbpReferenceNo": "gbp0000000001",
        "resultMessage": "Success",
    }


def _found(*transactions: dict[str, Any]) -> Reply:
    if len(transactions) == 1:
        return 200, {"resultCode": "00", "txn": transactions[0]}
    return 200, {"resultCode": "00", "txns": list(transactions)}


async def _run(replies: dict[str, Reply], operation: str, *arguments):
    """By path; what is not in the script is not found."""

    async def handler(request: Request) -> Reply:
        return replies.get(request.path, NOT_FOUND if request.path == STATUS else (404, b"no such page"))

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=1) as http:
        return await getattr(Gbprimepay(http), operation)(account_at(stub.url, "gbprimepay"), *arguments), stub


def test_published_vectors():
    parts = ("1234.50", "QK20260000001", "https://quickkub.test/return", "https://quickkub.test/hook/gbp")
    assert checksum(SECRET, *parts).hex() == "71c61c728df6a4bbb152c5d4a85c8fe48b62516ca384f125f9a62c21f960c568"
    assert checksum(SECRET, *parts, "014").hex() == "1f51b5d1f59fba2c2e25f54a098662236c43eaa49b2cb3b476eefc3653cc1838"
    assert (
        checksum(SECRET, *parts, "004", "6").hex() == "d29f5e7cd01b0ee8e11e2347e0309272204ba4b05531996b058bcb6f50ad231f"
    )
    wechat = base64.b64encode(checksum(SECRET, "1234.50", "QK20260000001", "QuickKub order")).decode()
    assert wechat == "lYJESzlE2sQWoNDOVK/0StVlESOULfQqDP+5fBd1Suo="


def test_reference_is_the_key_where_it_fits_and_its_digest_else():
    assert reference_of("QK20260000001") == "QK20260000001"
    assert reference_of(KEY) == REFERENCE == reference_of(REFERENCE)
    assert reference_of("QK20260000000000ABCE") != REFERENCE


def test_invented_credentials_have_the_shape_of_the_tests():
    invented = Gbprimepay.invented_credentials()
    assert invented.keys() == CREDENTIALS["gbprimepay"].keys()
    assert invented != Gbprimepay.invented_credentials()


def test_capabilities_follow_the_published_table():
    said = {entry.method: entry for entry in Gbprimepay.capabilities}
    assert {method: entry.refunds for method, entry in said.items()} == {
        Method.CARD: RefundRule.PARTIAL,
        Method.PROMPTPAY: RefundRule.NONE,
        Method.TRUEMONEY: RefundRule.PARTIAL,
        Method.RABBIT_LINEPAY: RefundRule.PARTIAL,
        Method.SHOPEEPAY: RefundRule.PARTIAL,
        Method.MOBILE_BANKING: RefundRule.NONE,
    }
    assert [entry.rank for entry in said.values()] == [30, 30, 30, 30, 30, 20]
    assert (said[Method.CARD].needs, said[Method.CARD].return_url) == ("card_token", True)
    assert (said[Method.PROMPTPAY].return_url, said[Method.PROMPTPAY].expiry_seconds) == (False, 900)
    assert said[Method.MOBILE_BANKING].banks == ("bbl", "kbank", "ktb", "scb", "bay")
    assert not any(entry.capture_later or entry.cancelable for entry in said.values())


def test_nothing_is_given_back_by_a_call_whose_flag_is_off(monkeypatch):
    monkeypatch.setattr(gbprimepay_refunds, "REFUND_BY_API", False)
    rules = [gbprimepay_refunds.rule_of(method) for method in (Method.CARD, Method.TRUEMONEY)]
    assert rules == [RefundRule.VOID_SAME_DAY, RefundRule.NONE]
    monkeypatch.setattr(gbprimepay_refunds, "VOID_BY_API", False)
    assert gbprimepay_refunds.rule_of(Method.CARD) is RefundRule.NONE


async def test_card_goes_to_its_bank_by_a_form():
    outcome, stub = await _run({"/v2/tokens/charge": (200, CHARGED)}, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == (KEY, REFERENCE)
    assert outcome.next_action == NextAction(
        type="submit_form",
        redirect_url=f"{stub.url}/v2/tokens/3d_secured",
        form_fields={"publicKey": "invented-gbp-public-key-0001", "gbpReferenceNo": "gbp0000000001"},
    )
    (fact,) = outcome.facts
    assert (fact.kind, fact.source, fact.amount_minor) == (FactKind.PENDING, FactSource.RESPONSE, 1234_50)
    assert (fact.provider_reference, fact.provider_transaction_id) == (KEY, KEY)
    (request,) = stub.requests
    assert (request.method, request.path) == ("POST", "/v2/tokens/charge")
    assert request.headers["authorization"] == BASIC
    assert request.headers["content-type"] == "application/json"
    assert b'"amount":1234.50,' in request.body
    assert request.json() == {
        "amount": 1234.50,
        "referenceNo": REFERENCE,
        "detail": "order 1",
        "merchantDefined1": KEY,
        "merchantDefined2": "att_test_1",
        "card": {"token": "token-1"},
        "otp": "Y",
        "responseUrl": "https://quickkub.test/return",
        "backgroundUrl": "http://127.0.0.1:1/v1/callbacks/x/y",
    }


async def test_promptpay_shows_the_qr_of_our_amount():
    outcome, stub = await _run({"/v3/qrcode/text": (200, _qr())}, "charge", PROMPTPAY)
    assert isinstance(outcome, Accepted)
    assert outcome.next_action == NextAction(
        type="display_qr_code", qr_data=_qr()["qrcode"], expires_at=NOON + timedelta(minutes=15)
    )
    (request,) = stub.requests
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in request.headers
    assert dict(parse_qsl(request.body.decode(), strict_parsing=True)) == {
        "token": "aW52ZW50ZWQvZ2JwK2N1c3RvbWVyIGtleT09",
        "amount": "1234.50",
        "referenceNo": REFERENCE,
        "backgroundUrl": "http://127.0.0.1:1/v1/callbacks/x/y",
        "detail": "order 1",
        "merchantDefined1": KEY,
        "merchantDefined2": "att_test_1",
        "payType": "F",
    }


@pytest.mark.parametrize(
    "reply",
    [
        _qr("1234.51"),
        {**_qr(), "referenceNo": "OTHER"},
        {**_qr(), "qrcode": "garbage"},
        {"resultCode": "00"},
    ],
)
async def test_qr_of_something_else_is_not_shown(reply: dict[str, str]):
    outcome, _ = await _run({"/v3/qrcode/text": (200, reply)}, "charge", PROMPTPAY)
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (Method.TRUEMONEY, "/v2/trueWallet"),
        (Method.RABBIT_LINEPAY, "/v2/linepay"),
        (Method.SHOPEEPAY, "/v1/shopeePay"),
        (Method.MOBILE_BANKING, "/v2/mobileBanking"),
    ],
)
async def test_redirect_is_a_signed_form_and_no_call(method: Method, path: str):
    request = replace(MOBILE if method is Method.MOBILE_BANKING else WALLET, method=method, expires_at=NOON)
    outcome, stub = await _run({}, "charge", request)
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.PENDING]
    assert outcome.provider_references == (KEY, REFERENCE)
    assert outcome.next_action is not None
    assert (outcome.next_action.type, outcome.next_action.expires_at) == ("submit_form", NOON)
    assert outcome.next_action.redirect_url == stub.url + path
    fields = dict(outcome.next_action.form_fields or {})
    signed = f"1234.50{REFERENCE}https://quickkub.test/returnhttp://127.0.0.1:1/v1/callbacks/x/y"
    bank = {"bankCode": "014"} if method is Method.MOBILE_BANKING else {}
    assert fields.pop("checksum") == checksum(SECRET, signed + bank.get("bankCode", "")).hex()
    assert fields == {
        "publicKey": "invented-gbp-public-key-0001",
        "amount": "1234.50",
        "referenceNo": REFERENCE,
        "detail": "order 1",
        "merchantDefined1": KEY,
        "merchantDefined2": "att_test_1",
        "responseUrl": "https://quickkub.test/return",
        "backgroundUrl": "http://127.0.0.1:1/v1/callbacks/x/y",
        **bank,
    }
    assert stub.requests == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (replace(CARD, card_token=None), "invalid_request"),
        (replace(CARD, return_url=None), "invalid_request"),
        (replace(WALLET, return_url=None), "invalid_request"),
        (replace(MOBILE, bank="ghb"), "invalid_request"),
        (replace(MOBILE, bank=None), "invalid_request"),
        (replace(CARD, currency="USD"), "method_not_supported"),
        (replace(CARD, capture_later=True), "capture_not_supported"),
    ],
)
async def test_what_cannot_be_asked_is_declined_without_a_call(request_: ChargeRequest, code: str):
    outcome, stub = await _run({}, "charge", request_)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, stub.requests) == (code, [])


@pytest.mark.parametrize(("code", "ours"), [*gbprimepay_wire.FAILURE_CODES.items(), ("02", "invalid_request")])
async def test_refused_card_keeps_their_code_beside_our_word(code: str, ours: str):
    reply = (200, {"resultCode": code, "resultMessage": "no"})
    outcome, stub = await _run({"/v2/tokens/charge": reply}, "charge", CARD)
    assert outcome == Declined(failure_code=ours, provider_code=code, message="no")
    # A taken reference and a used token may be this very attempt's, so GBPrimePay was asked first.
    assert stub.paths() == ["/v2/tokens/charge", *([STATUS] if code in {"02", "54"} else [])]


@pytest.mark.parametrize("request_", [CARD, PROMPTPAY])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((400, b"Incomplete information"), Declined),
        ((200, b"Incomplete information\n"), Declined),
        ((400, {"resultCode": "02"}), Declined),
        ((401, b"Unauthorized"), NotAttempted),
        ((403, {"resultCode": "02"}), NotAttempted),
        ((429, b""), NotAttempted),
        ((200, {"resultCode": "ZZ"}), Unknown),
        ((200, {"resultCode": ""}), Unknown),
        ((200, {"resultCode": 0}), Unknown),
        ((200, {}), Unknown),
        ((400, CHARGED | _qr()), Unknown),
        ((404, b"no such page"), Unknown),
        ((302, b""), Unknown),
        ((200, b"OK"), Unknown),
        ((200, b"\xff"), Unknown),
        ((500, {"resultCode": "02"}), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_charge_is_declined_only_for_certain(request_: ChargeRequest, reply: Reply, kind: type):
    outcome, _ = await _run({"/v2/tokens/charge": reply, "/v3/qrcode/text": reply}, "charge", request_)
    assert type(outcome) is kind


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 1234.51},
        {"amount": 1234.505},
        {"amount": None},
        {"referenceNo": "OTHER"},
        {"gbpReferenceNo": ""},
        {"gbpReferenceNo": "a b"},
    ],
)
async def test_charge_of_something_else_is_unknown(fields: dict[str, Any]):
    outcome, _ = await _run({"/v2/tokens/charge": (200, {**CHARGED, **fields})}, "charge", CARD)
    assert isinstance(outcome, Unknown)


async def test_refused_connection_is_not_attempted():
    async with ProviderHttp(timeout_seconds=1) as http:
        account = account_at("http://127.0.0.1:1", "gbprimepay")
        assert isinstance(await Gbprimepay(http).charge(account, CARD), NotAttempted)
        assert isinstance(await Gbprimepay(http).inquire(account, KEY, NOON), Unknown)


@pytest.mark.parametrize("code", ["02", "54"])
async def test_card_that_was_charged_before_is_found(code: str):
    refused = (200, {"resultCode": code})
    replies = {"/v2/tokens/charge": refused, STATUS: _found({**TXN, "status": "G"})}
    outcome, stub = await _run(replies, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.PENDING]
    assert outcome.next_action is not None
    assert (outcome.next_action.form_fields or {})["gbpReferenceNo"] == "gbp0000000001"
    assert stub.requests[1].json() == {"referenceNo": REFERENCE}
    assert stub.requests[1].headers["authorization"] == BASIC

    outcome, _ = await _run({**replies, STATUS: _found(TXN)}, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert ([fact.kind for fact in outcome.facts], outcome.next_action) == ([FactKind.CAPTURED], None)

    failed = {**TXN, "status": "D", "resultCode": "51"}
    outcome, _ = await _run({**replies, STATUS: _found(failed)}, "charge", CARD)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code) == ("insufficient_funds", "51")

    for unclear in ((500, b""), (200, {"resultCode": "99"}), _found({**TXN, "status": "?"})):
        outcome, _ = await _run({**replies, STATUS: unclear}, "charge", CARD)
        assert isinstance(outcome, Unknown)


async def test_qr_that_was_issued_before_is_unknown_because_its_text_is_lost():
    waiting = {**TXN, "status": "G", "paymentType": "Q"}
    replies = {"/v3/qrcode/text": (200, {"resultCode": "02"}), STATUS: _found(waiting)}
    outcome, _ = await _run(replies, "charge", PROMPTPAY)
    assert outcome == Unknown(reason="refused with 02, and the charge waits for its payer")
    outcome, _ = await _run({**replies, STATUS: _found({**TXN, "paymentType": "Q"})}, "charge", PROMPTPAY)
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.CAPTURED]


async def test_inquiry_says_the_payment_with_its_own_id():
    outcome, stub = await _run({STATUS: _found(TXN)}, "inquire", KEY, NOON)
    assert isinstance(outcome, Inquiry)
    (fact,) = outcome.facts
    assert (fact.kind, fact.source, fact.amount_minor, fact.currency) == (
        FactKind.CAPTURED,
        FactSource.INQUIRY,
        1234_50,
        "THB",
    )
    assert (fact.provider_reference, fact.provider_transaction_id) == (KEY, "gbp0000000001")
    assert fact.occurred_at == datetime(2026, 1, 1, 12, 0, 1, tzinfo=BANGKOK)
    assert stub.requests[0].json() == {"referenceNo": REFERENCE}
    # By its short reference too: the whole key is in merchantDefined1.
    outcome, stub = await _run({STATUS: _found(TXN)}, "inquire", REFERENCE, NOON)
    assert (outcome.facts, stub.requests[0].json()) == ((fact,), {"referenceNo": REFERENCE})
    # Where that does not come back, the key that we asked by names the charge; without a date, its own moment.
    bare = {name: TXN[name] for name in TXN if name not in {"merchantDefined1", "date", "time"}}
    outcome, _ = await _run({STATUS: _found({**bare, "amount": "1234.50"})}, "inquire", KEY, NOON)
    assert outcome.facts == (replace(fact, occurred_at=NOON),)


@pytest.mark.parametrize(
    ("status", "result_code", "kind"),
    [
        ("S", "00", FactKind.CAPTURED),
        ("V", "00", FactKind.CAPTURED),
        ("G", "", FactKind.PENDING),
        ("A", "00", FactKind.PENDING),
        ("", "", FactKind.PENDING),
        ("D", "51", FactKind.DECLINED),
        ("D", "ZZ", FactKind.DECLINED),
        ("X", "00", None),
        ("s", "00", None),
        ("S", "51", None),
    ],
)
async def test_status_is_read_by_the_map_alone(status: str, result_code: str, kind: FactKind | None):
    said = {**TXN, "status": status, "resultCode": result_code}
    outcome, _ = await _run({STATUS: _found(said)}, "inquire", KEY, NOON)
    if kind is None:
        assert isinstance(outcome, Unknown)
        return
    (fact,) = outcome.facts
    assert fact.kind is kind
    assert fact.provider_transaction_id == ("gbp0000000001" if kind is FactKind.CAPTURED else KEY)
    declined = kind is FactKind.DECLINED
    assert fact.provider_code == (result_code if declined else None)
    assert fact.failure_code == ({"51": "insufficient_funds"}.get(result_code, "declined") if declined else None)
    assert (outcome.next_action is not None) is (kind is FactKind.PENDING)


async def test_of_several_attempts_every_payment_counts_else_the_last():
    failed = {**TXN, "status": "D", "resultCode": "05", "gbpReferenceNo": "gbp0000000002"}
    again = {**TXN, "gbpReferenceNo": "gbp0000000003", "amount": 1000}
    outcome, _ = await _run({STATUS: _found(failed, TXN, again)}, "inquire", KEY, NOON)
    assert [(fact.provider_transaction_id, fact.amount_minor) for fact in outcome.facts] == [
        ("gbp0000000001", 1234_50),
        ("gbp0000000003", 1000_00),
    ]
    outcome, _ = await _run({STATUS: _found({**TXN, "status": "G"}, failed)}, "inquire", KEY, NOON)
    assert [fact.kind for fact in outcome.facts] == [FactKind.DECLINED]
    both = (200, {"resultCode": "00", "txn": TXN, "txns": [TXN]})
    outcome, _ = await _run({STATUS: both}, "inquire", KEY, NOON)
    assert len(outcome.facts) == 1


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (NOT_FOUND, Inquiry(found=False)),
        ((200, {"resultCode": "00"}), Inquiry(found=False)),
        ((200, {"resultCode": "99"}), Unknown),
        ((401, b"Unauthorized"), Unknown),
        ((200, b"Incomplete information"), Unknown),
        ((200, b'{"resultCode":"00","txn":'), Unknown),
        ((500, b""), Unknown),
        (_found({**TXN, "referenceNo": "OTHER"}), Unknown),
        (_found({**TXN, "merchantDefined1": "QK20260000000000ABCE"}), Unknown),
        (_found({**TXN, "amount": "NaN"}), Unknown),
        (_found({**TXN, "amount": 0}), Unknown),
        (_found({**TXN, "amount": -5}), Unknown),
        (_found({**TXN, "amount": 1.001}), Unknown),
        (_found({**TXN, "amount": "1e400"}), Unknown),
        (_found({**TXN, "amount": None}), Unknown),
        (_found({**TXN, "gbpReferenceNo": ""}), Unknown),
        (_found({**TXN, "date": "32012026"}), Unknown),
        (_found({**TXN, "date": "2026-01-01"}), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_inquiry_is_believed_only_when_understood(reply: Reply, expected: Any):
    outcome, _ = await _run({STATUS: reply}, "inquire", KEY, NOON)
    assert outcome == expected if isinstance(expected, Inquiry) else type(outcome) is expected


async def test_time_out_is_unknown():
    async def hang(request: Request) -> Reply:
        await asyncio.sleep(1)
        return 200, CHARGED

    async with serving(hang) as stub, ProviderHttp(timeout_seconds=0.2) as http:
        adapter, account = Gbprimepay(http), account_at(stub.url, "gbprimepay")
        assert isinstance(await adapter.charge(account, CARD), Unknown)
        assert isinstance(await adapter.inquire(account, KEY, NOON), Unknown)
        assert isinstance(await adapter.refund(account, REFUND), NotAttempted)


async def test_there_is_no_cancel_and_no_capture():
    outcome, stub = await _run({}, "cancel", KEY)
    assert (outcome.failure_code, stub.requests) == ("not_cancelable", [])
    request = CaptureRequest(
        capture_id="cap_1",
        provider_key="QKC1",
        provider_reference=REFERENCE,
        charge_key=KEY,
        method=Method.CARD,
        amount_minor=1,
        authorized_minor=1,
        currency="THB",
        created_at=NOON,
    )
    outcome, stub = await _run({}, "capture", request)
    assert (outcome.failure_code, stub.requests) == ("capture_not_supported", [])


async def test_void_on_the_day_and_refund_afterwards():
    outcome, stub = await _run({STATUS: _found(TXN), "/v1/void": (200, BACK)}, "refund", REFUND)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == ("QKR1",)
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.REFUND_SUCCEEDED,
        "QKR1",
        "gbp0000000009",
        1234_50,
    )
    assert fact.occurred_at == datetime(2026, 1, 1, 13, tzinfo=BANGKOK)
    assert stub.requests[1].headers["authorization"] == BASIC
    assert stub.requests[1].json() == {
        "gbpReferenceNo": "gbp0000000001",
        "referenceNo": "QKR1",
        "merchantDefined1": "QKR1",
    }
    # 23:59 and 00:00 in Bangkok are two days.
    late = replace(REFUND, captured_at=datetime(2026, 1, 1, 16, 59, tzinfo=UTC))
    late = replace(late, created_at=datetime(2026, 1, 1, 17, 0, tzinfo=UTC))
    outcome, stub = await _run({STATUS: _found(TXN), "/v1/refund": (200, BACK)}, "refund", late)
    assert isinstance(outcome, Accepted)
    assert stub.requests[1].json()["amount"] == 1234.50
    assert b'"amount":1234.50' in stub.requests[1].body
    # A part is never voided, and a wallet that knows no void is refunded at once.
    part = replace(REFUND, amount_minor=100_00)
    partly = {STATUS: _found(TXN), "/v1/refund": (200, {**BACK, "amount": 100})}
    for request in (part, replace(part, method=Method.TRUEMONEY)):
        outcome, stub = await _run(partly, "refund", request)
        assert isinstance(outcome, Accepted)
        assert stub.paths() == [STATUS, "/v1/refund"]


@pytest.mark.parametrize(
    ("void", "refund", "kind", "paths"),
    [
        ("21", "00", Accepted, ["/v1/void", "/v1/refund"]),
        ("21", "25", NotAttempted, ["/v1/void", "/v1/refund"]),
        ("21", "57", Declined, ["/v1/void", "/v1/refund"]),
        ("57", "00", Declined, ["/v1/void"]),
        ("ZZ", "00", Unknown, ["/v1/void"]),
    ],
)
async def test_refund_follows_only_a_void_that_came_too_late(void: str, refund: str, kind: type, paths: list[str]):
    def said(code: str) -> Reply:
        return 200, BACK if code == "00" else {"resultCode": code}

    replies = {STATUS: _found(TXN), "/v1/void": said(void), "/v1/refund": said(refund)}
    outcome, stub = await _run(replies, "refund", REFUND)
    assert type(outcome) is kind
    assert stub.paths() == [STATUS, *paths]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((200, {**BACK, "status": "G"}), Accepted),
        ((200, {**BACK, "status": "D", "resultCode": "00"}), Declined),
        ((200, {**BACK, "status": "X"}), Unknown),
        ((200, {**BACK, "status": ""}), Unknown),
        ((200, {**BACK, "amount": 1234.49}), Unknown),
        ((200, {**BACK, "referenceNo": "OTHER"}), Unknown),
        ((200, {**BACK, "gbpReferenceNo": ""}), Unknown),
        ((401, b""), NotAttempted),
        ((404, b"no such page"), Unknown),
        ((500, b""), Unknown),
        ((200, b"garbage"), Unknown),
        ((200, {"resultCode": "05"}), Declined),
        ((200, {"resultCode": "61"}), Declined),
        (Raw(), Unknown),
    ],
)
async def test_refund_is_believed_only_when_understood(reply: Reply, kind: type):
    outcome, stub = await _run({STATUS: _found(TXN), "/v1/void": reply}, "refund", REFUND)
    assert type(outcome) is kind
    assert stub.paths() == [STATUS, "/v1/void"]


async def test_refund_under_a_taken_reference_is_asked_about():
    async def handler(request: Request) -> Reply:
        if request.path == STATUS:
            return _found(TXN) if request.json()["referenceNo"] == REFERENCE else earlier
        return 200, {"resultCode": "02", "resultMessage": "Duplicate referenceNo"}

    for earlier, kind in (
        (_found({**BACK, "merchantDefined1": "QKR1"}), Accepted),
        (_found({**BACK, "status": "D", "resultCode": "05"}), Declined),
        (NOT_FOUND, Declined),
        ((500, b""), Unknown),
        (_found({**BACK, "merchantDefined1": "QKR2"}), Unknown),
        (_found(BACK, {**BACK, "gbpReferenceNo": "gbp0000000010"}), Unknown),
    ):
        async with serving(handler) as stub, ProviderHttp(timeout_seconds=1) as http:
            outcome = await Gbprimepay(http).refund(account_at(stub.url, "gbprimepay"), REFUND)
            assert type(outcome) is kind, earlier


@pytest.mark.parametrize(
    ("found", "request_", "kind"),
    [
        (NOT_FOUND, REFUND, NotAttempted),
        (_found({**TXN, "status": "G"}), REFUND, NotAttempted),
        (_found(TXN, {**TXN, "gbpReferenceNo": "gbp2"}), REFUND, NotAttempted),
        (_found({**TXN, "referenceNo": "OTHER"}), REFUND, NotAttempted),
        ((500, b""), REFUND, NotAttempted),
        (_found({**TXN, "paymentType": "Q"}), replace(REFUND, method=None), Declined),
        (_found({**TXN, "paymentType": "?"}), replace(REFUND, method=None), Declined),
        (_found(TXN), replace(REFUND, method=Method.PROMPTPAY), Declined),
    ],
)
async def test_nothing_is_given_back_without_one_payment_to_give_back(
    found: Reply, request_: RefundRequest, kind: type
):
    outcome, stub = await _run({STATUS: found}, "refund", request_)
    assert type(outcome) is kind
    assert set(stub.paths()) <= {STATUS}


async def test_inquiry_of_a_refund():
    outcome, stub = await _run({STATUS: _found(BACK)}, "inquire_refund", REFUND)
    assert [fact.provider_transaction_id for fact in outcome.facts] == ["gbp0000000009"]
    assert stub.requests[0].json() == {"referenceNo": "QKR1"}
    outcome, _ = await _run({}, "inquire_refund", REFUND)
    assert outcome == Inquiry(found=False)
    for unclear in (_found({**BACK, "status": "?"}), (500, b""), (401, b"")):
        outcome, _ = await _run({STATUS: unclear}, "inquire_refund", REFUND)
        assert isinstance(outcome, Unknown)


def _parse(body: bytes):
    adapter = Gbprimepay(ProviderHttp(timeout_seconds=1))
    callback = Callback(headers={}, body=body, received_at=NOON)
    assert adapter.callback_reply(account_at("", "gbprimepay"), callback, "in_1").body == b"{}"
    return adapter.parse_callback(account_at("", "gbprimepay"), callback)


def test_callback_is_read_as_json_and_as_a_form_and_believed_in_neither():
    bodies = [msgspec.json.encode(NOTICE), urlencode(NOTICE).encode()]
    bodies.append(urlencode({**NOTICE, "customerName": "ผู้จ่าย", "detail": ""}).encode())
    for body in bodies:
        parsed = _parse(body)
        assert (parsed.facts, parsed.inquire, parsed.ignored) == ((), (KEY,), False)
        assert parsed.inquire_about == datetime(2026, 1, 1, 9, tzinfo=BANGKOK)
        assert parsed.event_id.startswith("gbp0000000001:")
    # The same words are the same event; others about the same transaction are not, or a forger could use it up.
    assert _parse(bodies[0]).event_id == _parse(bodies[0]).event_id
    assert len({_parse(body).event_id for body in bodies}) == 3
    declined = _parse(msgspec.json.encode({**NOTICE, "resultCode": "51"}))
    assert (declined.inquire, declined.facts) == ((KEY,), ())
    bare = {name: NOTICE[name] for name in ("amount", "referenceNo", "gbpReferenceNo", "resultCode")}
    assert _parse(msgspec.json.encode(bare)).inquire == (REFERENCE,)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": "much"},
        {"amount": 0},
        {"amount": None},
        {"amount": 1.001},
        {"referenceNo": ""},
        {"referenceNo": "'; --"},
        {"referenceNo": "A" * 16},
        {"referenceNo": "OTHER"},
        {"merchantDefined1": "QK20260000000000ABCE"},
        {"gbpReferenceNo": ""},
        {"gbpReferenceNo": "../x"},
        {"currencyCode": "840"},
        {"resultCode": 0},
        {"date": "99999999"},
    ],
)
def test_callback_is_rejected_when_it_is_not_what_is_documented(fields: dict[str, Any]):
    with pytest.raises(CallbackRejected) as rejected:
        _parse(msgspec.json.encode({**NOTICE, **fields}))
    assert rejected.value.code == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"garbage",
        b"\xff\xfe",
        b"{" * 10_000,
        b"amount=%ff",
        b"amount=1.00&referenceNo=A&gbpReferenceNo=B",
        urlencode(NOTICE).encode() + b"&amount=9.99",
        b"&".join(b"x%d=1" % number for number in range(200)),
    ],
)
def test_callback_is_rejected_when_it_is_unreadable(body: bytes):
    with pytest.raises(CallbackRejected) as rejected:
        _parse(body)
    assert rejected.value.code == "malformed"


async def test_statement_is_the_file_of_a_day_or_not_there():
    (file,), stub = await _run({"/v1/settlement_report": (200, b"Settlement Date")}, "statements", date(2026, 1, 2))
    assert (file.source, file.name, file.content) == (
        "gbprimepay_settlement",
        "gbprimepay-settlement-20260102.csv",
        b"Settlement Date",
    )
    (request,) = stub.requests
    assert (request.method, request.query, request.headers["authorization"]) == ("GET", {"date": "02012026"}, BASIC)
    for reply in ((404, b""), (401, b""), (500, b""), Raw()):
        with pytest.raises(StatementUnavailable):
            await _run({"/v1/settlement_report": reply}, "statements", date(2026, 1, 2))


def test_amounts_are_exact():
    for text, amount_minor in (("1234.50", 123450), ("0.01", 1), ("1E+2", 10000), ("99999999.99", 9999999999)):
        assert gbprimepay_wire.satang(Decimal(text)) == amount_minor
