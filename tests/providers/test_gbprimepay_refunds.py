"""Voids and refunds against a scripted GBPrimePay over real HTTP."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK
from gateway.providers import gbprimepay_refunds
from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    RefundRequest,
    RefundRule,
    Unknown,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.http import ProviderHttp
from tests.providers.gbprimepay import BACK, BASIC, NOT_FOUND, REFERENCE, REFUND, STATUS, TXN, found_txn, run
from tests.providers.stub import Raw, Reply, Request, account_at, serving


def test_nothing_is_given_back_by_a_call_whose_flag_is_off(monkeypatch):
    monkeypatch.setattr(gbprimepay_refunds, "REFUND_BY_API", False)
    rules = [gbprimepay_refunds.rule_of(method) for method in (Method.CARD, Method.TRUEMONEY)]
    assert rules == [RefundRule.VOID_SAME_DAY, RefundRule.NONE]
    monkeypatch.setattr(gbprimepay_refunds, "VOID_BY_API", False)
    assert gbprimepay_refunds.rule_of(Method.CARD) is RefundRule.NONE


async def test_void_on_the_day_and_refund_afterwards():
    outcome, stub = await run({STATUS: found_txn(TXN), "/v1/void": (200, BACK)}, "refund", REFUND)
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
    outcome, stub = await run({STATUS: found_txn(TXN), "/v1/refund": (200, BACK)}, "refund", late)
    assert isinstance(outcome, Accepted)
    assert stub.requests[1].json()["amount"] == 1234.50
    assert b'"amount":1234.50' in stub.requests[1].body
    # A part is never voided, and a wallet that knows no void is refunded at once.
    part = replace(REFUND, amount_minor=100_00)
    partly = {STATUS: found_txn(TXN), "/v1/refund": (200, {**BACK, "amount": 100})}
    shopee = {**partly, STATUS: found_txn({**TXN, "paymentType": "?"})}
    for replies, request in (
        (partly, part),
        (partly, replace(part, method=Method.TRUEMONEY)),
        # A letter that nobody knows, of a method that the request does not say: theirs to refuse.
        (shopee, replace(part, method=None)),
    ):
        outcome, stub = await run(replies, "refund", request)
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

    replies = {STATUS: found_txn(TXN), "/v1/void": said(void), "/v1/refund": said(refund)}
    outcome, stub = await run(replies, "refund", REFUND)
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
    outcome, stub = await run({STATUS: found_txn(TXN), "/v1/void": reply}, "refund", REFUND)
    assert type(outcome) is kind
    assert stub.paths() == [STATUS, "/v1/void"]


async def test_refund_under_a_taken_reference_is_asked_about():
    async def handler(request: Request) -> Reply:
        if request.path == STATUS:
            return found_txn(TXN) if request.json()["referenceNo"] == REFERENCE else earlier
        return 200, {"resultCode": "02", "resultMessage": "Duplicate referenceNo"}

    for earlier, kind in (
        (found_txn({**BACK, "merchantDefined1": "QKR1"}), Accepted),
        (found_txn({**BACK, "status": "D", "resultCode": "05"}), Declined),
        (NOT_FOUND, Declined),
        ((500, b""), Unknown),
        (found_txn({**BACK, "merchantDefined1": "QKR2"}), Unknown),
        (found_txn(BACK, {**BACK, "gbpReferenceNo": "gbp0000000010"}), Unknown),
    ):
        async with serving(handler) as stub, ProviderHttp(timeout_seconds=10) as http:
            outcome = await Gbprimepay(http).refund(account_at(stub.url, "gbprimepay"), REFUND)
            assert type(outcome) is kind, earlier


@pytest.mark.parametrize(
    ("found", "request_", "kind"),
    [
        (NOT_FOUND, REFUND, NotAttempted),
        (found_txn({**TXN, "status": "G"}), REFUND, NotAttempted),
        (found_txn(TXN, {**TXN, "gbpReferenceNo": "gbp2"}), REFUND, NotAttempted),
        (found_txn({**TXN, "referenceNo": "OTHER"}), REFUND, NotAttempted),
        ((500, b""), REFUND, NotAttempted),
        (found_txn({**TXN, "paymentType": "Q"}), replace(REFUND, method=None), Declined),
        (found_txn(TXN), replace(REFUND, method=Method.PROMPTPAY), Declined),
    ],
)
async def test_nothing_is_given_back_without_one_payment_to_give_back(
    found: Reply, request_: RefundRequest, kind: type
):
    outcome, stub = await run({STATUS: found}, "refund", request_)
    assert type(outcome) is kind
    assert set(stub.paths()) <= {STATUS}


async def test_inquiry_of_a_refund():
    outcome, stub = await run({STATUS: found_txn(BACK)}, "inquire_refund", REFUND)
    assert [fact.provider_transaction_id for fact in outcome.facts] == ["gbp0000000009"]
    assert stub.requests[0].json() == {"referenceNo": "QKR1"}
    outcome, _ = await run({}, "inquire_refund", REFUND)
    assert outcome == Inquiry(found=False)
    for unclear in (found_txn({**BACK, "status": "?"}), (500, b""), (401, b"")):
        outcome, _ = await run({STATUS: unclear}, "inquire_refund", REFUND)
        assert isinstance(outcome, Unknown)
