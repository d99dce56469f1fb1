"""2C2P's maintenance API against a scripted server: what is sealed, and every code and status of a void or refund."""

from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from msgspec.structs import replace

from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    RefundRequest,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.twoc2p import TwoC2p
from gateway.sandbox import twoc2p_jose, twoc2p_keys
from tests.providers.stub import Reply, Request, serving
from tests.providers.twoc2p_support import CREDENTIALS, INVOICE, NOON, REFUND, TOKEN, account_at, envelope, sealed

SAME_DAY = replace(REFUND, amount_minor=1234_50, created_at=NOON + timedelta(hours=1))
LATER = replace(REFUND, amount_minor=1234_50)


def answer(process: str, code: str, **fields: str) -> Reply:
    texts = {"respCode": code, "respDesc": "said", "timeStamp": "030126090000", "processType": process}
    return _xml({**texts, "invoiceNo": INVOICE, **fields})


def _xml(fields: dict[str, str]) -> Reply:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return 200, sealed(f"<PaymentProcessResponse><version>4.3</version>{inside}</PaymentProcessResponse>")


class FakeMaintenance:
    """Opens what it is sent and answers by processType."""

    def __init__(self, replies: dict[str, Reply]) -> None:
        self.replies = replies
        self.orders: list[dict[str, str]] = []

    async def __call__(self, request: Request) -> Reply:
        if request.path == "/2c2p/payment/4.3/paymentInquiry":
            return self.replies["paymentInquiry"]
        assert request.path == "/2c2p-maintenance/PaymentAction/2.0/action"
        assert request.headers["content-type"] == "text/plain"
        twoc2p_jose.check_sender(request.body, twoc2p_keys.public_key_of(CREDENTIALS["merchant_private_key"]))
        root = etree.fromstring(twoc2p_jose.unseal(request.body, twoc2p_keys.private_key()))
        assert root.tag == "PaymentProcessRequest"
        self.orders.append({child.tag: child.text or "" for child in root})
        return self.replies[self.orders[-1]["processType"]]

    @property
    def asked(self) -> list[str]:
        return [order["processType"] for order in self.orders]


async def run(replies: dict[str, Reply], request: RefundRequest, operation: str = "refund") -> tuple[Any, Any]:
    fake = FakeMaintenance(replies)
    async with serving(fake) as stub, ProviderHttp(timeout_seconds=5) as http:
        return await getattr(TwoC2p(http), operation)(account_at(f"{stub.url}/2c2p"), request), fake


def void_ok(**fields: str) -> Reply:
    return answer("V", "00", **{"status": "V", "referenceNo": "1000001", "amount": "1234.50", **fields})


def refund_ok(code: str = "00", **fields: str) -> Reply:
    return answer("R", code, **{"status": "RF", "referenceNo": "1000001", "refundReferenceNo": "2000001", **fields})


def listed(*rows: tuple[str, str, str, str], status: str = "S", amount: str = "1234.50") -> Reply:
    """Answer to RS; rows: amount, status, reference, time."""
    refunds = "".join(
        f'<refund amount="{paid}" status="{state}" referenceNo="{reference}" dateTime="{at}"/>'
        for paid, state, reference, at in rows
    )
    return answer("RS", "00", status=status, referenceNo="1000001", amount=amount, refundList=refunds)


def said(result: Any) -> list[tuple[FactKind, str, str, int]]:
    return [
        (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) for fact in result.facts
    ]


REFUNDED = [(FactKind.REFUND_SUCCEEDED, "QKR2026000001", "2000001", 25_00)]
VOIDED = [(FactKind.REFUND_SUCCEEDED, "QKR2026000001", "1000001V", 1234_50)]


async def test_partial_refund_is_sealed_with_exactly_these_fields():
    outcome, fake = await run({"R": refund_ok(amount="25.00")}, REFUND)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == ("QKR2026000001", "2000001")
    assert said(outcome) == REFUNDED
    assert outcome.facts[0].occurred_at.isoformat() == "2026-01-03T09:00:00+07:00"
    (order,) = fake.orders
    stamp = order.pop("timeStamp")
    assert len(stamp) == 12
    assert stamp.isdigit()
    assert order == {
        "version": "4.3",
        "merchantID": "QK01",
        "invoiceNo": INVOICE,
        "actionAmount": "25.00",
        "processType": "R",
        "bankCode": "",
        "accountName": "",
        "accountNumber": "",
        "notifyURL": "https://quickkub.test/hook/2c2p",
        "idempotencyID": "QKR2026000001-R",
    }


async def test_whole_payment_is_voided_on_its_day_before_the_cut_off():
    outcome, fake = await run({"V": void_ok()}, SAME_DAY)
    assert said(outcome) == VOIDED
    (order,) = fake.orders
    assert (order["processType"], order["actionAmount"], order["notifyURL"]) == ("V", "1234.50", "")
    assert order["idempotencyID"] == "QKR2026000001-V"
    pending, _ = await run({"V": void_ok(status="VP")}, SAME_DAY)
    assert pending.facts[0].kind is FactKind.REFUND_PENDING


@pytest.mark.parametrize("code", ["12", "21", "36", "39", "54"])
async def test_void_that_comes_too_late_becomes_a_refund(code: str):
    outcome, fake = await run({"V": answer("V", code), "R": refund_ok()}, SAME_DAY)
    assert said(outcome) == [(FactKind.REFUND_SUCCEEDED, "QKR2026000001", "2000001", 1234_50)]
    assert fake.asked == ["V", "R"]
    waits, _ = await run({"V": answer("V", code), "R": answer("R", "12")}, SAME_DAY)
    assert isinstance(waits, NotAttempted)


async def test_refund_that_comes_too_early_becomes_a_void():
    for code in ("12", "41"):
        outcome, fake = await run({"R": answer("R", code), "V": void_ok()}, LATER)
        assert said(outcome) == VOIDED
        assert fake.asked == ["R", "V"]
    # Neither of them: what the refund said decides.
    for code, kind in {"12": NotAttempted, "41": Declined}.items():
        for too_late in ("12", "21", "36", "39", "54"):
            outcome, _ = await run({"R": answer("R", code), "V": answer("V", too_late)}, LATER)
            assert type(outcome) is kind
    # A part is never voided.
    for code, kind in {"12": NotAttempted, "41": Declined}.items():
        outcome, fake = await run({"R": answer("R", code)}, REFUND)
        assert type(outcome) is kind
        assert fake.asked == ["R"]


async def test_the_time_of_the_refund_chooses_void_or_refund():
    last = NOON.replace(hour=13, minute=59)
    for created_at, first in {last: "V", last + timedelta(minutes=1): "R", NOON + timedelta(days=1): "R"}.items():
        replies = {"V": void_ok(), "R": refund_ok()}
        _, fake = await run(replies, replace(SAME_DAY, created_at=created_at))
        assert fake.asked == [first], created_at
    wallet = replace(SAME_DAY, created_at=NOON.replace(hour=16, minute=58))
    _, fake = await run({"V": void_ok(), "R": refund_ok()}, replace(wallet, method=Method.TRUEMONEY))
    assert fake.asked == ["V"]


@pytest.mark.parametrize(
    ("code", "failure_code"),
    [
        *((code, "invalid_request") for code in ("02", "10", "11", "15", "17", "18", "97")),
        *((code, "refund_refused") for code in ("21", "22", "25", "30", "36", "39", "40", "41", "44", "54")),
        ("16", "charge_not_found"),
        ("43", "partial_refund_not_allowed"),
        ("45", "refund_failed"),
        ("46", "provider_balance_insufficient"),
    ],
)
async def test_a_certain_no_is_declined(code: str, failure_code: str):
    outcome, _ = await run({"R": answer("R", code)}, REFUND)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code, outcome.message) == (failure_code, code, "said")


@pytest.mark.parametrize("code", ["03", "13", "14", "96"])
async def test_not_let_in_is_not_attempted_sealed_or_not(code: str):
    unsealed = (200, f"<PaymentProcessResponse><respCode>{code}</respCode></PaymentProcessResponse>".encode())
    for reply in (answer("R", code), unsealed):
        outcome, _ = await run({"R": reply}, REFUND)
        assert isinstance(outcome, NotAttempted)
        assert outcome.provider_code == code


@pytest.mark.parametrize(
    "reply",
    [
        *(answer("R", code) for code in ("50", "95", "99", "77")),
        refund_ok(status="word"),
        refund_ok(status=""),
        refund_ok(refundReferenceNo=""),
        refund_ok(amount="26.00"),
        refund_ok(amount="1e3"),
        refund_ok(timeStamp=""),
        answer("V", "00", status="V"),
        _xml({"respCode": "00", "processType": "R", "invoiceNo": "QK2"}),
        (200, b"<PaymentProcessResponse><respCode>00</respCode></PaymentProcessResponse>"),
        (200, sealed("<!DOCTYPE x [<!ENTITY a 'b'>]><PaymentProcessResponse/>")),
        (200, sealed("<Other><respCode>00</respCode></Other>")),
        (200, sealed("not xml")),
        (200, b"a.b.c"),
        (200, b"\xff"),
        (500, b""),
        (404, b""),
    ],
)
async def test_everything_else_is_unknown_and_nothing_more_is_asked(reply: Reply):
    outcome, fake = await run({"R": reply}, REFUND)
    assert isinstance(outcome, Unknown)
    assert fake.asked == ["R"]
    outcome, fake = await run({"V": reply}, SAME_DAY)
    assert isinstance(outcome, Unknown)
    assert fake.asked == ["V"]


async def test_an_answer_that_somebody_else_signed_is_unknown():
    merchant = twoc2p_keys.private_key_of(CREDENTIALS["merchant_private_key"])
    xml = f"<PaymentProcessResponse><respCode>00</respCode><invoiceNo>{INVOICE}</invoiceNo></PaymentProcessResponse>"
    forged = twoc2p_jose.seal(xml.encode(), merchant.public_key(), merchant)
    assert isinstance((await run({"R": (200, forged)}, REFUND))[0], Unknown)


async def test_pending_and_failed_refunds():
    for reply in (refund_ok("42", status="RP"), refund_ok("42", status=""), refund_ok(status="RP")):
        outcome, _ = await run({"R": reply}, REFUND)
        assert isinstance(outcome, Accepted)
        assert [(fact.kind, fact.provider_transaction_id) for fact in outcome.facts] == [
            (FactKind.REFUND_PENDING, "2000001")
        ]
    nameless, _ = await run({"R": refund_ok("42", status="RP", refundReferenceNo="")}, REFUND)
    assert nameless.provider_references == ("QKR2026000001",)
    for status in ("RFF", "RR", "RR1", "RR2", "RR3"):
        outcome, _ = await run({"R": refund_ok(status=status)}, REFUND)
        assert isinstance(outcome, Declined)
        assert (outcome.failure_code, outcome.provider_code) == ("refund_failed", status)
        assert [fact.kind for fact in outcome.facts] == [FactKind.REFUND_FAILED]


async def test_given_back_before_is_ours_when_the_list_says_so():
    ours, fake = await run({"R": answer("R", "49"), "RS": listed(("25.00", "RF", "2000001", "20260103120001"))}, REFUND)
    assert said(ours) == REFUNDED
    assert fake.asked == ["R", "RS"]
    for reply in (listed(), answer("RS", "16"), answer("RS", "99"), (500, b"")):
        outcome, _ = await run({"R": answer("R", "49"), "RS": reply}, REFUND)
        assert isinstance(outcome, Unknown)
    voided, _ = await run({"V": answer("V", "29"), "RS": listed(status="V")}, SAME_DAY)
    assert said(voided) == VOIDED


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (listed(), []),
        (answer("RS", "16"), []),
        (listed(("25.00", "RF", "2000001", "20260103115501")), REFUNDED),
        # Older than our refund, or of another amount: not ours.
        (listed(("25.00", "RF", "2000001", "20260103115459")), []),
        (listed(("25.01", "RF", "2000001", "20260103120001")), []),
        (listed(("25.00", "RF", "1", "20260102120000"), ("25.00", "RF", "2000001", "20260103120001")), REFUNDED),
        (listed(status="V"), []),
        (listed(("25.00", "RF", "1", "20260103120001"), ("25.00", "RF", "2", "20260103120001")), None),
        (listed(("25.00", "word", "2000001", "20260103120001")), None),
        (listed(("25.00", "RF", "", "20260103120001")), None),
        (listed(("x", "RF", "2000001", "20260103120001")), None),
        (listed(("25.00", "RF", "2000001", "yesterday")), None),
        (answer("RS", "95"), None),
        (answer("RS", "03"), None),
        ((500, b""), None),
    ],
)
async def test_inquiry_of_a_refund(reply: Reply, expected: list[Any] | None):
    inquiry, fake = await run({"RS": reply}, REFUND, "inquire_refund")
    assert (fake.orders[0]["actionAmount"], fake.orders[0]["idempotencyID"]) == ("", "QKR2026000001-RS")
    if expected is None:
        assert isinstance(inquiry, Unknown)
        return
    assert isinstance(inquiry, Inquiry)
    assert (inquiry.found, said(inquiry)) == (bool(expected), expected)


async def test_payment_is_asked_about_where_the_request_does_not_say_it_all():
    claims = {
        "merchantID": "QK01",
        "invoiceNo": INVOICE,
        "amount": 1234,
        "currencyCode": "THB",
        "transactionDateTime": "20260101120000",
        "tranRef": "1000001",
        "respCode": "0000",
    }
    short = replace(SAME_DAY, charge_key="", provider_reference=TOKEN, captured_minor=None, amount_minor=1234_00)
    replies = {"paymentInquiry": (200, envelope(claims)), "V": void_ok(amount="1234.00")}
    outcome, fake = await run(replies, short)
    assert isinstance(outcome, Accepted)
    assert fake.orders[0]["invoiceNo"] == INVOICE
    for reply in (
        (500, b""),
        (200, {"respCode": "2002"}),
        (200, envelope({**claims, "respCode": "0999"})),
        (200, envelope({**claims, "respCode": "0001"})),
    ):
        outcome, fake = await run({"paymentInquiry": reply}, short)
        assert isinstance(outcome, NotAttempted)
        inquiry, fake = await run({"paymentInquiry": reply}, short, "inquire_refund")
        assert isinstance(inquiry, Unknown)
        assert fake.orders == []


async def test_wrong_keys_are_not_attempted():
    async with ProviderHttp(timeout_seconds=5) as http:
        account = account_at("http://127.0.0.1:1/2c2p")
        for name in ("merchant_private_key", "provider_public_key"):
            other = replace(account, credentials={**account.credentials, name: "no key"})
            assert isinstance(await TwoC2p(http).refund(other, REFUND), NotAttempted)
