"""The iPay side of the adapter against a scripted merchant API over real HTTP; hashes by the published vectors."""

from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
from msgspec.structs import replace

from gateway.providers import bbl_ipay_wire as wire
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    ChargeRequest,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NotAttempted,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.bbl import Bbl
from gateway.providers.http import ProviderHttp
from tests.providers.bbl_account import CREDENTIALS, account_at
from tests.providers.bbl_ipay_stub import (
    AUTHORISATION,
    CAPTURE,
    KEY,
    NINE,
    REFUND,
    SALE,
    FakeIpay,
    records_of,
    run,
)
from tests.providers.stub import Raw, Reply, Request, serving

CARD = ChargeRequest(
    attempt_id="att_test_1",
    provider_key=KEY,
    method=Method.CARD,
    amount_minor=1234_50,
    currency="THB",
    created_at=NINE,
    expires_at=NINE + timedelta(minutes=30),
    return_url="https://shop.invalid/back",
)


def test_hashes_are_those_of_the_published_vectors():
    order = ("9999", KEY, "764", "1234.50", "N")
    sha1 = {**CREDENTIALS, "secure_hash_algorithm": "sha1"}
    assert wire.secure_hash(sha1, *order) == "ebfb385b2ebe538f8b528f9416755ab381186653"
    assert wire.secure_hash(CREDENTIALS, *order) == (
        "7b467bd19820d875d5d194e15efc3430e3db88577b1d208d63eeda3b8953ab32"
        "d767b8957f154cb487959fa295481d3d3af21d3a3c37544351525686fff4e54c"
    )
    feed = ("0", "0", "0", KEY, "12345678", "764", "1234.50", "Y")
    assert wire.secure_hash(sha1, *feed) == "d5c013a371fca4b4f9bd40267e7a2cfc1e3a4026"
    with pytest.raises(ValueError, match="md5"):
        wire.secure_hash({**CREDENTIALS, "secure_hash_algorithm": "md5"}, *order)


async def test_charge_is_the_form_and_calls_nobody():
    async with ProviderHttp(timeout_seconds=10) as http:
        bbl, account = Bbl(http), account_at("http://127.0.0.1:9")
        outcome = await bbl.charge(account, CARD)
        assert isinstance(outcome, Accepted)
        assert outcome.provider_references == (KEY,)
        (fact,) = outcome.facts
        assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (FactKind.PENDING, KEY, KEY)
        action = outcome.next_action
        assert (action.type, action.redirect_url, action.expires_at) == (
            "submit_form",
            "http://127.0.0.1:9/ipay/payment/payForm.jsp",
            NINE + timedelta(minutes=30),
        )
        assert list(action.form_fields.items()) == [
            ("merchantId", "9999"),
            ("amount", "1234.50"),
            ("orderRef", KEY),
            ("currCode", "764"),
            ("lang", "E"),
            ("payType", "N"),
            ("successUrl", "https://shop.invalid/back"),
            ("failUrl", "https://shop.invalid/back"),
            ("cancelUrl", "https://shop.invalid/back"),
            ("payMethod", "CC"),
            ("remark", SALE),
            ("secureHash", wire.secure_hash(CREDENTIALS, "9999", KEY, "764", "1234.50", "N")),
        ]
        assert await bbl.charge(account, CARD) == outcome
        later = await bbl.charge(account, replace(CARD, capture_later=True))
        assert (later.next_action.form_fields["payType"], later.next_action.form_fields["remark"]) == (
            "H",
            AUTHORISATION,
        )
        own = account_at("http://127.0.0.1:9", ipay_base_url="https://ipay.invalid/b2c/eng/")
        shown = (await bbl.charge(own, CARD)).next_action.redirect_url
        assert shown == "https://ipay.invalid/b2c/eng/payment/payForm.jsp"
        nowhere = await bbl.charge(account, replace(CARD, return_url=None))
        assert (type(nowhere), nowhere.failure_code) == (Declined, "invalid_request")
        odd = account_at("", secure_hash_algorithm="md5")
        assert isinstance(await bbl.charge(odd, CARD), NotAttempted)


@pytest.mark.parametrize(
    ("status", "remark", "kind", "transaction_id"),
    [
        ("Accepted", SALE, FactKind.CAPTURED, "16461"),
        ("Authorized", AUTHORISATION, FactKind.AUTHORIZED, "16461"),
        ("Pending", SALE, FactKind.PENDING, KEY),
        ("Rejected", SALE, FactKind.DECLINED, KEY),
        ("Voided", SALE, FactKind.CAPTURED, "16461"),
        ("Cancelled", SALE, FactKind.CAPTURED, "16461"),
        ("Voided", AUTHORISATION, FactKind.VOIDED, "16461"),
        ("Cancelled", AUTHORISATION, FactKind.VOIDED, "16461"),
        ("RequestRefund", SALE, FactKind.CAPTURED, "16461"),
        ("Refunded", AUTHORISATION, FactKind.CAPTURED, "16461"),
        ("PartialRefunded", SALE, FactKind.CAPTURED, "16461"),
        ("RefundRejected", SALE, FactKind.CAPTURED, "16461"),
    ],
)
async def test_every_status_has_its_fact(status: str, remark: str, kind: FactKind, transaction_id: str):
    fake = FakeIpay(Query=records_of({"orderStatus": status, "remark": remark}))
    inquiry, stub = await run(fake, "inquire", KEY, NINE)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (kind, KEY, transaction_id)
    assert (fact.amount_minor, fact.currency, fact.source) == (1234_50, "THB", FactSource.INQUIRY)
    assert fact.occurred_at == datetime(2026, 1, 1, 2, 5, tzinfo=UTC)
    assert stub.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(stub.requests[0].body.decode())) == {
        "merchantId": "9999",
        "loginId": "quickkub",
        "password": "invented-password",
        "actionType": "Query",
        "orderRef": KEY,
    }


@pytest.mark.parametrize(
    ("primary", "secondary", "ours"),
    [
        ("1", "05", "do_not_honor"),
        ("1", "41", "lost_or_stolen_card"),
        ("1", "43", "lost_or_stolen_card"),
        ("1", "51", "insufficient_funds"),
        ("1", "54", "expired_card"),
        ("1", "99", "declined"),
        ("3", "0", "authentication_failed"),
        ("-1", "0", "invalid_request"),
        ("-2", "0", "processing_error"),
        ("-8", "0", "suspected_fraud"),
        ("-9", "0", "processing_error"),
        ("7", "0", "declined"),
    ],
)
async def test_refused_card_keeps_their_word_beside_ours(primary: str, secondary: str, ours: str):
    fake = FakeIpay(Query=records_of({"orderStatus": "Rejected", "prc": primary, "src": secondary}))
    (fact,) = (await run(fake, "inquire", KEY, NINE))[0].facts
    assert (fact.kind, fact.failure_code, fact.provider_code) == (FactKind.DECLINED, ours, f"{primary}/{secondary}")


async def test_refusal_counts_only_where_nothing_else_came_of_the_order():
    refused = {"orderStatus": "Rejected", "payRef": "1", "prc": "1", "src": "51"}
    fake = FakeIpay(Query=records_of(refused, {**refused, "payRef": "2", "src": "05"}))
    (fact,) = (await run(fake, "inquire", KEY, NINE))[0].facts
    assert (fact.kind, fact.provider_code) == (FactKind.DECLINED, "1/05")
    for order in ((refused, {}), ({}, refused)):
        (fact,) = (await run(FakeIpay(Query=records_of(*order)), "inquire", KEY, NINE))[0].facts
        assert (fact.kind, fact.provider_transaction_id) == (FactKind.CAPTURED, "16461")
    twice = (await run(FakeIpay(Query=records_of({}, {"payRef": "16462"})), "inquire", KEY, NINE))[0]
    assert [fact.provider_transaction_id for fact in twice.facts] == ["16461", "16462"]


async def test_order_without_a_record_is_not_found():
    assert (await run(FakeIpay(Query=records_of()), "inquire", KEY, NINE))[0] == Inquiry(found=False)


@pytest.mark.parametrize(
    "reply",
    [
        records_of({"orderStatus": "Sleeping"}),
        records_of({"orderStatus": None}),
        records_of({"ref": "QK2026000002"}),
        records_of({"cur": "840"}),
        records_of({"payRef": ""}),
        records_of({"amt": "0"}),
        records_of({"amt": "1234.505"}),
        records_of({"amt": "1,234.50"}),
        records_of({"txTime": "yesterday"}),
        records_of({"txTime": "2026-01-01T09:05:00+07:00"}),
        records_of({"orderStatus": "Voided", "remark": ""}),
        records_of({"orderStatus": "Voided", "remark": wire.mark(CREDENTIALS, "QK2026000002", "N")}),
        (200, b"resultCode=-1&errMsg=Authentication+failed"),
        (200, b"<records><record>"),
        (200, b"<html/>"),
        (200, b""),
        (200, b'<!DOCTYPE records [<!ENTITY e SYSTEM "file:///etc/hostname">]><records>&e;</records>'),
        (302, b""),
        (403, b""),
        (500, b""),
        Raw(),
    ],
)
async def test_records_that_are_not_understood_are_unknown_and_nothing_is_asked_for(reply: Reply):
    assert isinstance((await run(FakeIpay(Query=reply), "inquire", KEY, NINE))[0], Unknown)
    assert isinstance((await run(FakeIpay(Query=reply), "inquire_refund", REFUND))[0], Unknown)
    for operation, argument in (("cancel", KEY), ("capture", CAPTURE), ("refund", REFUND)):
        assert isinstance((await run(FakeIpay(Query=reply), operation, argument))[0], NotAttempted)


def _feed(**changes: str) -> bytes:
    fields = {
        "src": "0",
        "prc": "0",
        "successcode": "0",
        "Ref": KEY,
        "PayRef": "12345678",
        "Amt": "1234.50",
        "Cur": "764",
        "Ord": "1",
        "Holder": "TEST PAYER",
        "payerAuth": "Y",
        "remark": SALE,
        **changes,
    }
    signed = [fields[name] for name in ("src", "prc", "successcode", "Ref", "PayRef", "Cur", "Amt", "payerAuth")]
    fields.setdefault("secureHash", wire.secure_hash(CREDENTIALS, *signed))
    return urlencode(fields).encode()


async def test_datafeed_is_signed_and_names_the_order():
    async with ProviderHttp(timeout_seconds=10) as http:
        bbl, account = Bbl(http), account_at("")

        def parsed(body: bytes, **credentials: str):
            return bbl.parse_callback(
                account_at("", **credentials) if credentials else account,
                Callback(headers={}, body=body, received_at=NINE),
            )

        told = parsed(_feed())
        assert (told.event_id, told.inquire, told.facts, told.ignored) == ("12345678-0", (KEY,), (), False)
        assert parsed(_feed(successcode="1", prc="1", src="51")).event_id == "12345678-1"
        # The published vector, and a second hash beside it while the secret rotates.
        vector = "d5c013a371fca4b4f9bd40267e7a2cfc1e3a4026"
        for given in (vector, f"{'0' * 40},{vector}", f"{vector}, {'0' * 40}"):
            assert parsed(_feed(secureHash=given), secure_hash_algorithm="sha1").inquire == (KEY,)
        for body, code in (
            (_feed(secureHash="0" * 128), "signature_invalid"),
            (_feed(secureHash=""), "signature_invalid"),
            (_feed(secureHash=vector), "signature_invalid"),
            (_feed().replace(b"Amt=1234.50", b"Amt=1.00"), "signature_invalid"),
            (_feed(successcode="9"), "unknown_status"),
            (_feed(Cur="840"), "malformed"),
            (_feed().replace(b"PayRef=", b"Other="), "malformed"),
            (_feed() + b"&Amt=1.00", "malformed"),
            (b"", "malformed"),
            (b"\xff\xfe", "malformed"),
        ):
            with pytest.raises(CallbackRejected) as rejected:
                parsed(body)
            assert rejected.value.code == code, body
        with pytest.raises(CallbackRejected):
            bbl.parse_callback(account_at("", merchant_id=None), Callback(headers={}, body=_feed(), received_at=NINE))
        reply = bbl.callback_reply(account, Callback(headers={}, body=_feed(), received_at=NINE), "evt_1")
        assert (reply.content_type, reply.body) == ("text/plain", b"OK")


async def test_report_is_fetched_with_the_login():
    async def handler(request: Request) -> Reply:
        return 200, b"Transaction Date\r\n"

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=10) as http:
        (file,) = await Bbl(http).statements(account_at(stub.url), date(2026, 1, 1))
    assert (file.source, file.name, file.content) == (
        "bbl_settlement",
        "bbl-9999-20260101.csv",
        b"Transaction Date\r\n",
    )
    (request,) = stub.requests
    assert (request.method, request.path) == ("GET", "/ipay/merchant/report")
    assert request.query == {"merchantId": "9999", "date": "2026-01-01"}
    assert request.headers["authorization"] == "Basic cXVpY2trdWI6aW52ZW50ZWQtcGFzc3dvcmQ="
    for reply in ((404, b"No report of this day"), (401, b""), (500, b""), Raw()):

        async def refusing(request: Request, reply: Reply = reply) -> Reply:
            return reply

        async with serving(refusing) as stub, ProviderHttp(timeout_seconds=10) as http:
            with pytest.raises(StatementUnavailable):
                await Bbl(http).statements(account_at(stub.url), date(2026, 1, 1))
