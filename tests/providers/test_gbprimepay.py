"""Charges against a scripted GBPrimePay over real HTTP; the checksums by the published vectors."""

import asyncio
import base64
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
from msgspec.structs import replace

from gateway.providers import gbprimepay_wire
from gateway.providers.base import (
    Accepted,
    CaptureRequest,
    ChargeRequest,
    Declined,
    FactKind,
    FactSource,
    Method,
    NextAction,
    NotAttempted,
    RefundRule,
    Unknown,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.gbprimepay_wire import checksum, reference_of
from gateway.providers.http import ProviderHttp
from tests.providers.gbprimepay import (
    BASIC,
    CARD,
    CHARGED,
    KEY,
    MOBILE,
    NOON,
    PROMPTPAY,
    REFERENCE,
    REFUND,
    SECRET,
    STATUS,
    TXN,
    WALLET,
    found_txn,
    issued_qr,
    run,
)
from tests.providers.stub import CREDENTIALS, Raw, Reply, Request, account_at, serving


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


async def test_card_goes_to_its_bank_by_a_form():
    outcome, stub = await run({"/v2/tokens/charge": (200, CHARGED)}, "charge", CARD)
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
    outcome, stub = await run({"/v3/qrcode/text": (200, issued_qr())}, "charge", PROMPTPAY)
    assert isinstance(outcome, Accepted)
    assert outcome.next_action == NextAction(
        type="display_qr_code", qr_data=issued_qr()["qrcode"], expires_at=NOON + timedelta(minutes=15)
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
        issued_qr("1234.51"),
        {**issued_qr(), "referenceNo": "OTHER"},
        {**issued_qr(), "qrcode": "garbage"},
        {"resultCode": "00"},
    ],
)
async def test_qr_of_something_else_is_not_shown(reply: dict[str, str]):
    outcome, _ = await run({"/v3/qrcode/text": (200, reply)}, "charge", PROMPTPAY)
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
    outcome, stub = await run({}, "charge", request)
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
    outcome, stub = await run({}, "charge", request_)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, stub.requests) == (code, [])


@pytest.mark.parametrize(("code", "ours"), [*gbprimepay_wire.FAILURE_CODES.items(), ("02", "invalid_request")])
async def test_refused_card_keeps_their_code_beside_our_word(code: str, ours: str):
    reply = (200, {"resultCode": code, "resultMessage": "no"})
    outcome, stub = await run({"/v2/tokens/charge": reply}, "charge", CARD)
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
        ((400, CHARGED | issued_qr()), Unknown),
        ((404, b"no such page"), Unknown),
        ((302, b""), Unknown),
        ((200, b"OK"), Unknown),
        ((200, b"\xff"), Unknown),
        ((500, {"resultCode": "02"}), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_charge_is_declined_only_for_certain(request_: ChargeRequest, reply: Reply, kind: type):
    outcome, _ = await run({"/v2/tokens/charge": reply, "/v3/qrcode/text": reply}, "charge", request_)
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
    outcome, _ = await run({"/v2/tokens/charge": (200, {**CHARGED, **fields})}, "charge", CARD)
    assert isinstance(outcome, Unknown)


async def test_refused_connection_is_not_attempted():
    async with ProviderHttp(timeout_seconds=10) as http:
        account = account_at("http://127.0.0.1:1", "gbprimepay")
        assert isinstance(await Gbprimepay(http).charge(account, CARD), NotAttempted)
        assert isinstance(await Gbprimepay(http).inquire(account, KEY, NOON), Unknown)


@pytest.mark.parametrize("code", ["02", "54"])
async def test_card_that_was_charged_before_is_found(code: str):
    refused = (200, {"resultCode": code})
    replies = {"/v2/tokens/charge": refused, STATUS: found_txn({**TXN, "status": "G"})}
    outcome, stub = await run(replies, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.PENDING]
    assert outcome.next_action is not None
    assert (outcome.next_action.form_fields or {})["gbpReferenceNo"] == "gbp0000000001"
    assert stub.requests[1].json() == {"referenceNo": REFERENCE}
    assert stub.requests[1].headers["authorization"] == BASIC

    outcome, _ = await run({**replies, STATUS: found_txn(TXN)}, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert ([fact.kind for fact in outcome.facts], outcome.next_action) == ([FactKind.CAPTURED], None)

    failed = {**TXN, "status": "D", "resultCode": "51"}
    outcome, _ = await run({**replies, STATUS: found_txn(failed)}, "charge", CARD)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code) == ("insufficient_funds", "51")

    for unclear in ((500, b""), (200, {"resultCode": "99"}), found_txn({**TXN, "status": "?"})):
        outcome, _ = await run({**replies, STATUS: unclear}, "charge", CARD)
        assert isinstance(outcome, Unknown)


async def test_qr_that_was_issued_before_is_unknown_because_its_text_is_lost():
    waiting = {**TXN, "status": "G", "paymentType": "Q"}
    replies = {"/v3/qrcode/text": (200, {"resultCode": "02"}), STATUS: found_txn(waiting)}
    outcome, _ = await run(replies, "charge", PROMPTPAY)
    assert outcome == Unknown(reason="refused with 02, and the charge waits for its payer")
    outcome, _ = await run({**replies, STATUS: found_txn({**TXN, "paymentType": "Q"})}, "charge", PROMPTPAY)
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.CAPTURED]


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
    outcome, stub = await run({}, "cancel", KEY)
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
    outcome, stub = await run({}, "capture", request)
    assert (outcome.failure_code, stub.requests) == ("capture_not_supported", [])


def test_amounts_are_exact():
    for text, amount_minor in (("1234.50", 123450), ("0.01", 1), ("1E+2", 10000), ("99999999.99", 9999999999)):
        assert gbprimepay_wire.satang(Decimal(text)) == amount_minor
