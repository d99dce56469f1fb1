"""The 2C2P adapter against a scripted server over real HTTP: requests to the byte, every word's outcome."""

import base64
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.providers.base import (
    Accepted,
    CaptureRequest,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NotAttempted,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.twoc2p import TwoC2p
from gateway.sandbox.emvco import bill_payment_qr
from gateway.sandbox.twoc2p_jose import proved_claims
from tests.providers.stub import Raw, Reply, Request, serving
from tests.providers.twoc2p_support import CHARGE, INVOICE, KEY, NOON, TOKEN, account_at, envelope

ISSUED = (200, envelope({"paymentToken": TOKEN, "respCode": "0000", "respDesc": "Success"}))
QR = bill_payment_qr("099999999999902", INVOICE, "", "2C2P", "1234.50")
SHOWN = {"respCode": "1005", "invoiceNo": INVOICE, "data": QR, "type": "QR"}
CARD = replace(CHARGE, method=Method.CARD, card_token="spt_1", return_url="https://shop.invalid/back")


def said(code: str, **claims: Any) -> dict[str, Any]:
    """Claims of a notification or an inquiry."""
    return {
        "merchantID": "QK01",
        "invoiceNo": INVOICE,
        "amount": Decimal("1234.5"),
        "currencyCode": "THB",
        "transactionDateTime": "20260101120000",
        "tranRef": "1000001",
        "userDefined1": "1234.50",
        "respCode": code,
        "respDesc": "no",
        **claims,
    }


def plain(code: str) -> Reply:
    return 200, {"respCode": code, "respDesc": "no"}


async def run(replies: dict[str, Reply], operation: str, *arguments):
    async def handler(request: Request) -> Reply:
        return replies.get(request.path.rpartition("/")[2], (404, b""))

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=5) as http:
        return await getattr(TwoC2p(http), operation)(account_at(stub.url), *arguments), stub


async def charged(payment: Reply, request=CHARGE, **others: Reply):
    return await run({"paymentToken": ISSUED, "payment": payment, **others}, "charge", request)


async def test_thai_qr_is_asked_for_with_exactly_these_bodies():
    outcome, stub = await charged((200, SHOWN))
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == (INVOICE, TOKEN)
    (fact,) = outcome.facts
    assert (fact.kind, fact.source, fact.provider_reference) == (FactKind.PENDING, FactSource.RESPONSE, INVOICE)
    assert outcome.next_action is not None
    assert (outcome.next_action.type, outcome.next_action.qr_data) == ("display_qr_code", QR)
    token, payment = stub.requests
    assert (token.path, payment.path) == ("/payment/4.3/paymentToken", "/payment/4.3/payment")
    assert token.headers["content-type"] == payment.headers["content-type"] == "application/json"
    (payload,) = token.json().values()
    assert base64.urlsafe_b64decode(payload.split(".")[0] + "=") == b'{"alg":"HS256","typ":"JWT"}'
    assert proved_claims(payload, KEY) == (
        b'{"merchantID":"QK01","invoiceNo":"QK2026000001","description":"QuickKub order","amount":1234.50,'
        b'"currencyCode":"THB","paymentChannel":["QR"],"userDefined1":"1234.50","idempotencyID":"QK2026000001",'
        b'"nonceStr":"270d1da132a758a954c24da889d5afc2","locale":"en","paymentExpiry":"2026-01-01 12:20:00",'
        b'"backendReturnUrl":"https://quickkub.test/hook/2c2p"}'
    )
    assert payment.json() == {
        "paymentToken": TOKEN,
        "clientID": "9ade2e5a-85af-5981-b4a4-f056cc1e93b6",
        "locale": "en",
        "payment": {"code": {"channelCode": "PPQR"}, "data": {"qrType": "RAW"}},
    }


async def test_the_same_request_is_sent_the_same_again():
    bodies = [[request.body for request in (await charged((200, SHOWN)))[1].requests] for _ in range(2)]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("method", "channel", "code", "data"),
    [
        (Method.CARD, "CC", "CC", {"securePayToken": "spt_1"}),
        (Method.TRUEMONEY, "DPAY", "TRUEMONEY", {}),
        (Method.RABBIT_LINEPAY, "DPAY", "LINE", {}),
        (Method.SHOPEEPAY, "QR", "SHPQR", {"qrType": "RAW"}),
    ],
)
async def test_each_method_has_its_channel(method: Method, channel: str, code: str, data: dict[str, str]):
    answer = {"respCode": "1001", "data": "https://bank.invalid/3ds"}
    outcome, stub = await charged((200, answer), replace(CARD, method=method))
    assert isinstance(outcome, Accepted)
    assert outcome.next_action is not None
    assert (outcome.next_action.type, outcome.next_action.redirect_url) == ("redirect", "https://bank.invalid/3ds")
    claims = msgspec.json.decode(proved_claims(stub.requests[0].json()["payload"], KEY))
    assert (claims["paymentChannel"], claims.get("request3DS")) == ([channel], "Y" if channel == "CC" else None)
    assert claims["frontendReturnUrl"] == "https://shop.invalid/back"
    assert stub.requests[1].json()["payment"] == {"code": {"channelCode": code}, "data": data}
    assert stub.requests[1].json()["responseReturnUrl"] == "https://shop.invalid/back"


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ({"respCode": "1000", "data": "https://pgw-ui.invalid/x"}, "redirect"),
        ({"respCode": "1002", "data": "line://pay"}, "open_app"),
        ({"respCode": "1004", "data": "truemoney://pay"}, "open_app"),
        ({"respCode": "1003"}, "wait"),
        ({"respCode": "2001"}, "wait"),
        ({"respCode": "0001"}, "wait"),
        ({"respCode": "1001", "data": "javascript:alert(1)"}, None),
        ({"respCode": "1001"}, None),
        ({"respCode": "1005", "data": QR}, None),
        ({"respCode": "2002"}, None),
        ({"respCode": "2003"}, None),
        ({"respCode": "9999"}, None),
    ],
)
async def test_flow_codes_say_what_the_payer_does(answer: dict[str, str], action: str | None):
    outcome, _ = await charged((200, answer), replace(CARD, method=Method.TRUEMONEY))
    if action is None:
        assert isinstance(outcome, Unknown)
        return
    assert isinstance(outcome, Accepted)
    assert outcome.next_action is not None
    assert outcome.next_action.type == action


async def test_a_thai_qr_that_does_not_say_our_amount_is_not_shown():
    other = bill_payment_qr("099999999999902", INVOICE, "", "2C2P", "1.00")
    for data in (other, QR[:-1] + "0", "https://qr.invalid/picture.png", ""):
        assert isinstance((await charged((200, {**SHOWN, "data": data})))[0], Unknown), data
    assert isinstance((await charged((200, {**SHOWN, "invoiceNo": "QK2"})))[0], Unknown)


@pytest.mark.parametrize(
    ("code", "failure_code"),
    [
        ("0003", "canceled"),
        ("4005", "do_not_honor"),
        ("4033", "expired_card"),
        ("4051", "insufficient_funds"),
        ("4054", "expired_card"),
        ("4080", "canceled_by_payer"),
        ("4081", "authentication_failed"),
        ("4091", "processing_error"),
        ("4096", "processing_error"),
        ("4099", "processing_error"),
        ("4062", "declined"),
        ("5003", "declined"),
        ("9035", "declined"),
    ],
)
async def test_declines_keep_their_word_beside_ours(code: str, failure_code: str):
    outcome, _ = await charged(plain(code))
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code, outcome.message) == (failure_code, code, "no")
    (fact,) = outcome.facts
    assert (fact.kind, fact.failure_code, fact.provider_code) == (FactKind.DECLINED, failure_code, code)
    inquiry, _ = await run({"paymentInquiry": (200, envelope(said(code, tranRef="")))}, "inquire", INVOICE, NOON)
    assert isinstance(inquiry, Inquiry)
    assert (inquiry.facts[0].failure_code, inquiry.facts[0].provider_transaction_id) == (failure_code, INVOICE)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        *((plain(code), Declined) for code in ("6101", "6107", "9004", "9010", "9057", "9060")),
        *((plain(code), NotAttempted) for code in ("9042", "9900")),
        *((plain(code), Unknown) for code in ("0999", "9991", "9999", "2003", "5002", "4051", "word")),
        ((401, b""), NotAttempted),
        ((403, b""), NotAttempted),
        ((429, b""), NotAttempted),
        ((302, b""), Unknown),
        ((500, b""), Unknown),
        ((200, b"garbage"), Unknown),
        ((200, {"payload": "not.a.token"}), Unknown),
        ((200, envelope({"respCode": "0000", "paymentToken": TOKEN}, "another key")), Unknown),
        ((200, envelope({"respCode": "0000"})), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_every_answer_to_the_token_call_has_its_outcome(reply: Reply, kind: type):
    outcome, stub = await run({"paymentToken": reply}, "charge", CHARGE)
    assert type(outcome) is kind
    assert stub.paths() == ["/payment/4.3/paymentToken"]


@pytest.mark.parametrize("code", ["5005", "9015"])
async def test_a_known_invoice_is_asked_about_and_never_declined_for_it(code: str):
    known = {
        "0000": Accepted,
        "5009": Accepted,
        "4051": Declined,
        "0001": Unknown,
        "0999": Unknown,
    }
    for now, kind in known.items():
        replies = {"paymentToken": plain(code), "paymentInquiry": (200, envelope(said(now)))}
        outcome, stub = await run(replies, "charge", CHARGE)
        assert type(outcome) is kind, now
        assert stub.paths() == ["/payment/4.3/paymentToken", "/payment/4.3/paymentInquiry"]
    for reply in (plain("2002"), (500, b""), plain("0000")):
        outcome, _ = await run({"paymentToken": plain(code), "paymentInquiry": reply}, "charge", CHARGE)
        assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (plain("9057"), Declined),
        *((plain(code), Accepted) for code in ("2000", "0000", "9038", "9040", "9041", "5005")),
        *((plain(code), Accepted) for code in ("5009", "5017", "9020")),
        (plain("5002"), Unknown),
        ((500, b""), Unknown),
        ((200, b'{"respCode":'), Unknown),
        ((429, b""), NotAttempted),
    ],
)
async def test_every_answer_to_do_payment_has_its_outcome(reply: Reply, kind: type):
    outcome, _ = await charged(reply, paymentInquiry=(200, envelope(said("0000"))))
    assert type(outcome) is kind


async def test_what_2c2p_cannot_do_is_declined_without_a_call():
    for request in (
        replace(CHARGE, method=Method.MOBILE_BANKING),
        replace(CHARGE, currency="USD"),
        replace(CARD, capture_later=True),
        replace(CARD, card_token=None),
    ):
        outcome, stub = await run({}, "charge", request)
        assert isinstance(outcome, Declined)
        assert stub.paths() == []
    capture = CaptureRequest(
        capture_id="cap_test_1",
        provider_key="QKC1",
        provider_reference=INVOICE,
        charge_key=INVOICE,
        method=Method.CARD,
        amount_minor=1,
        authorized_minor=1,
        currency="THB",
        created_at=NOON,
    )
    outcome, stub = await run({}, "capture", capture)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, stub.paths()) == ("capture_not_supported", [])


@pytest.mark.parametrize("code", ["0000", "4110", "4120", "4121", "4122", "4130"])
async def test_inquiry_tells_of_the_payment_whatever_became_of_it(code: str):
    inquiry, stub = await run({"paymentInquiry": (200, envelope(said(code)))}, "inquire", INVOICE, NOON)
    assert isinstance(inquiry, Inquiry)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.source) == (FactKind.CAPTURED, FactSource.INQUIRY)
    assert (fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (INVOICE, "1000001", 1234_50)
    assert fact.occurred_at == datetime(2026, 1, 1, 5, tzinfo=UTC)
    claims = proved_claims(stub.requests[0].json()["payload"], KEY)
    assert claims == b'{"merchantID":"QK01","invoiceNo":"QK2026000001","locale":"en"}'


async def test_inquiry_by_token_tells_of_our_key():
    inquiry, stub = await run({"paymentInquiry": (200, envelope(said("0000")))}, "inquire", TOKEN, NOON)
    assert inquiry.facts[0].provider_reference == INVOICE
    claims = msgspec.json.decode(proved_claims(stub.requests[0].json()["payload"], KEY))
    assert claims == {"merchantID": "QK01", "paymentToken": TOKEN, "locale": "en"}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (plain("2002"), Inquiry(found=False)),
        ((200, envelope({"respCode": "2002", "respDesc": "not found"})), Inquiry(found=False)),
        (plain("2001"), Inquiry(found=True)),
        ((200, envelope(said("0004", amount=None))), Inquiry(found=True)),
    ],
)
async def test_inquiry_without_a_fact(reply: Reply, expected: Inquiry):
    assert (await run({"paymentInquiry": reply}, "inquire", INVOICE, NOON))[0] == expected


@pytest.mark.parametrize("code", ["0001", "0004", "1003", "1005", "2001"])
async def test_inquiry_of_a_waiting_charge(code: str):
    reply = (200, envelope(said(code, tranRef="", transactionDateTime="")))
    inquiry, _ = await run({"paymentInquiry": reply}, "inquire", INVOICE, NOON)
    assert [(fact.kind, fact.provider_transaction_id, fact.occurred_at) for fact in inquiry.facts] == [
        (FactKind.PENDING, INVOICE, NOON)
    ]


@pytest.mark.parametrize(
    "reply",
    [
        *(plain(code) for code in ("0000", "4051", "5009", "0999", "2003", "9042")),
        *((200, envelope(said(code))) for code in ("0999", "2003", "5002", "9999", "4200", "word")),
        (200, envelope(said("0000", merchantID="QK02"))),
        (200, envelope(said("0000", invoiceNo="QK2"))),
        (200, envelope(said("0000", currencyCode="USD"))),
        (200, envelope(said("0000", tranRef=""))),
        (200, envelope(said("0000", transactionDateTime=""))),
        (200, envelope(said("0000", transactionDateTime="2026-01-01"))),
        (200, envelope(said("0000", transactionDateTime="2026010112000"))),
        (200, envelope(said("0000", amount=Decimal("1234.505")))),
        (200, envelope(said("0000", amount=0))),
        (200, envelope(said("0000", amount=-1))),
        (200, envelope(said("0000", amount=None))),
        (200, envelope(said("0000"), "another key")),
        (404, b""),
        (503, b""),
        Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"),
    ],
)
async def test_inquiry_is_unknown_when_anything_is_missing_or_new(reply: Reply):
    assert isinstance((await run({"paymentInquiry": reply}, "inquire", INVOICE, NOON))[0], Unknown)


@pytest.mark.parametrize(
    ("code", "amount", "asked", "paid_minor"),
    [
        ("5015", "2000", "1234.50", 2000_00),
        ("5016", "1000.01", "1234.50", 1000_01),
        ("5015", "1234.5", "1234.50", None),
        ("5016", "1234.5", "1234.50", None),
        ("5015", "1000", "1234.50", None),
        ("5016", "2000", "1234.50", None),
        ("5016", "1000", None, None),
    ],
)
async def test_more_and_less_money_is_believed_only_when_the_amount_shows_it(
    code: str, amount: str, asked: str | None, paid_minor: int | None
):
    reply = (200, envelope(said(code, amount=Decimal(amount), userDefined1=asked)))
    inquiry, _ = await run({"paymentInquiry": reply}, "inquire", INVOICE, NOON)
    if paid_minor is None:
        assert isinstance(inquiry, Unknown)
        return
    assert [(fact.kind, fact.amount_minor) for fact in inquiry.facts] == [(FactKind.CAPTURED, paid_minor)]


async def test_cancel_needs_the_token_and_asks_where_it_is_refused():
    outcome, stub = await run({}, "cancel", INVOICE)
    assert isinstance(outcome, NotAttempted)
    assert stub.paths() == []
    outcome, stub = await run({"cancelTransaction": plain("0000")}, "cancel", TOKEN)
    assert outcome == Accepted(provider_references=(TOKEN,))
    assert stub.requests[0].json() == {"paymentToken": TOKEN}
    for now, kind in {"0003": Accepted, "0000": Declined, "0001": Declined, "0999": Unknown}.items():
        replies = {"cancelTransaction": plain("9041"), "paymentInquiry": (200, envelope(said(now)))}
        assert type((await run(replies, "cancel", TOKEN))[0]) is kind, now
    outcome, _ = await run({"cancelTransaction": plain("9041"), "paymentInquiry": (500, b"")}, "cancel", TOKEN)
    assert isinstance(outcome, Unknown)
    assert isinstance((await run({"cancelTransaction": (500, b"")}, "cancel", TOKEN))[0], Unknown)
    assert isinstance((await run({"cancelTransaction": (429, b"")}, "cancel", TOKEN))[0], NotAttempted)


async def test_statement_is_asked_for_by_a_signed_token():
    (files, stub) = await run({"reconcile": (200, b"rows")}, "statements", date(2026, 1, 1))
    (file,) = files
    assert (file.source, file.name, file.content) == ("2c2p_settlement", "2c2p-QK01-20260101.csv", b"rows")
    (request,) = stub.requests
    assert (request.path, request.query) == ("/output/reconcile", {"merchantID": "QK01", "date": "2026-01-01"})
    token = request.headers["authorization"].removeprefix("Bearer ")
    assert proved_claims(token, KEY) == b'{"merchantID":"QK01","date":"2026-01-01"}'
    for reply in ((404, b""), (401, b""), (500, b"")):
        with pytest.raises(StatementUnavailable):
            await run({"reconcile": reply}, "statements", date(2026, 1, 1))


async def test_nobody_there_is_not_attempted():
    async with ProviderHttp(timeout_seconds=5) as http:
        adapter, account = TwoC2p(http), account_at("http://127.0.0.1:1")
        assert isinstance(await adapter.charge(account, CHARGE), NotAttempted)
        assert isinstance(await adapter.inquire(account, INVOICE, NOON), Unknown)
        assert isinstance(await adapter.cancel(account, TOKEN), NotAttempted)
