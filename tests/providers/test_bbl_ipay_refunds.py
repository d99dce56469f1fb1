"""Captures, voids and refunds of cards, against a scripted merchant API over real HTTP."""

from datetime import timedelta
from urllib.parse import parse_qsl

import pytest
from msgspec.structs import replace

from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    NotAttempted,
    Unknown,
)
from tests.providers.bbl_ipay_stub import (
    AUTHORISATION,
    CAPTURE,
    KEY,
    NINE,
    REFUND,
    FakeIpay,
    flat_of,
    records_of,
    run,
)
from tests.providers.stub import Raw, Reply


async def test_capture_says_what_the_record_says_afterwards():
    held = records_of({"orderStatus": "Authorized", "remark": AUTHORISATION})
    done = records_of({"orderStatus": "Accepted", "remark": AUTHORISATION, "amt": "1000.00"})
    outcome, stub = await run(FakeIpay(Query=[held, done], Capture=flat_of()), "capture", CAPTURE)
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.CAPTURED,
        KEY,
        "16461",
        1000_00,
    )
    sent = dict(parse_qsl(stub.requests[1].body.decode()))
    assert (sent["actionType"], sent["payRef"], sent["amount"]) == ("Capture", "16461", "1000.00")
    # It may be captured by this very request, in a call whose answer was lost.
    fake = FakeIpay(Query=done)
    assert isinstance((await run(fake, "capture", CAPTURE))[0], Accepted)
    assert fake.actions == ["Query"]


HELD = {"orderStatus": "Authorized", "remark": AUTHORISATION}


@pytest.mark.parametrize(
    ("flat", "after", "kind"),
    [
        (flat_of("-1"), records_of(HELD), Declined),
        (flat_of("0"), records_of(HELD), Unknown),
        (flat_of("-1"), (500, b""), Unknown),
        (flat_of("7"), records_of(HELD), Unknown),
        (flat_of("0", pay_ref="9"), records_of(HELD), Unknown),
        ((200, b"garbage"), records_of(HELD), Unknown),
        ((500, b""), records_of(HELD), Unknown),
        ((401, b""), records_of(HELD), NotAttempted),
        (Raw(), records_of(HELD), Unknown),
    ],
)
async def test_every_answer_to_capture_and_cancel_has_its_outcome(flat: Reply, after: Reply, kind: type):
    fake = FakeIpay(Query=[records_of(HELD), after], Capture=flat)
    captured, _ = await run(fake, "capture", CAPTURE)
    assert type(captured) is kind
    canceled, _ = await run(FakeIpay(Query=[records_of(HELD), after], Void=flat), "cancel", KEY)
    assert type(canceled) is kind
    if kind is Declined:
        assert (captured.failure_code, canceled.failure_code) == ("capture_refused", "not_cancelable")


async def test_only_an_authorisation_is_given_up():
    gone = records_of({**HELD, "orderStatus": "Voided"})
    fake = FakeIpay(Query=[records_of(HELD), gone], Void=flat_of(status="Voided"))
    outcome, stub = await run(fake, "cancel", KEY)
    assert [fact.kind for fact in outcome.facts] == [FactKind.VOIDED]
    assert dict(parse_qsl(stub.requests[1].body.decode()))["payRef"] == "16461"
    assert [fact.kind for fact in (await run(FakeIpay(Query=gone), "cancel", KEY))[0].facts] == [FactKind.VOIDED]
    for records in (records_of(), records_of({}), records_of({"orderStatus": "Voided"})):
        outcome, _ = await run(FakeIpay(Query=records), "cancel", KEY)
        assert (type(outcome), outcome.failure_code) == (Declined, "not_cancelable")
        outcome, _ = await run(FakeIpay(Query=records_of()), "capture", CAPTURE)
        assert (type(outcome), outcome.failure_code) == (Declined, "capture_refused")


VOIDED = records_of({"orderStatus": "Voided"})
ASKED = records_of({"orderStatus": "RequestRefund", "settle": "T"})
DAY_LATER = replace(REFUND, created_at=NINE + timedelta(days=1))
AFTER_THE_CUT_OFF = replace(REFUND, created_at=NINE + timedelta(hours=14))


@pytest.mark.parametrize(
    ("request_", "replies", "actions", "kind"),
    [
        (REFUND, {"Void": flat_of(), "after": VOIDED}, ["Void"], FactKind.REFUND_SUCCEEDED),
        (DAY_LATER, {"RequestRefund": flat_of(), "after": ASKED}, ["RequestRefund"], FactKind.REFUND_PENDING),
        (AFTER_THE_CUT_OFF, {"RequestRefund": flat_of(), "after": ASKED}, ["RequestRefund"], FactKind.REFUND_PENDING),
        (
            REFUND,
            {"Void": flat_of("-1"), "RequestRefund": flat_of(), "after": ASKED},
            ["Void", "RequestRefund"],
            FactKind.REFUND_PENDING,
        ),
        (
            DAY_LATER,
            {"RequestRefund": flat_of("-1"), "Void": flat_of(), "after": VOIDED},
            ["RequestRefund", "Void"],
            FactKind.REFUND_SUCCEEDED,
        ),
        # Both are refused because an earlier call of ours was only now acted on.
        (REFUND, {"Void": flat_of("-1"), "RequestRefund": flat_of("-1"), "after": VOIDED}, ["Void", "RequestRefund"],
         FactKind.REFUND_SUCCEEDED),
    ],
)  # fmt: skip
async def test_refund_takes_the_way_that_the_day_allows_and_else_the_other(request_, replies, actions, kind):
    after = replies.pop("after")
    fake = FakeIpay(Query=[records_of({}), after], **replies)
    outcome, _ = await run(fake, "refund", request_)
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.amount_minor) == (kind, "QKR1", 1234_50)
    assert fact.provider_transaction_id == ("16461" if kind is FactKind.REFUND_SUCCEEDED else "QKR1")
    assert fake.actions == ["Query", *actions, "Query"]


@pytest.mark.parametrize(
    ("void", "after", "kind"),
    [
        (flat_of("-1"), records_of({}), Declined),
        (flat_of("0"), records_of({}), Unknown),
        (flat_of("0"), (500, b""), Unknown),
        (flat_of("7"), VOIDED, Unknown),
        ((200, b"resultCode=0&orderStatus=Voi"), VOIDED, Unknown),
        ((500, b""), VOIDED, Unknown),
        ((429, b""), VOIDED, NotAttempted),
        (Raw(), VOIDED, Unknown),
    ],
)
async def test_every_answer_to_a_refund_has_its_outcome(void: Reply, after: Reply, kind: type):
    fake = FakeIpay(Query=[records_of({}), after], Void=void, RequestRefund=flat_of("-1"))
    outcome, _ = await run(fake, "refund", REFUND)
    assert type(outcome) is kind


async def test_captured_authorisation_is_never_voided():
    record = {"remark": AUTHORISATION}
    fake = FakeIpay(Query=records_of(record), RequestRefund=flat_of("-1"))
    outcome, _ = await run(fake, "refund", REFUND)
    assert (type(outcome), outcome.reason) == (NotAttempted, "not settled yet")
    assert "Void" not in fake.actions
    fake = FakeIpay(Query=records_of({**record, "settle": "T"}), RequestRefund=flat_of("-1"))
    outcome, _ = await run(fake, "refund", REFUND)
    assert (type(outcome), outcome.failure_code) == (Declined, "refund_refused")


async def test_refund_of_a_part_is_not_asked_for():
    for request, amount in ((replace(REFUND, amount_minor=1_00), "1234.50"), (REFUND, "1000.00")):
        fake = FakeIpay(Query=records_of({"amt": amount}))
        outcome, _ = await run(fake, "refund", request)
        assert (type(outcome), outcome.failure_code, fake.actions) == (
            Declined,
            "partial_refund_not_supported",
            ["Query"],
        )


@pytest.mark.parametrize(
    ("status", "kind", "transaction_id"),
    [
        ("Voided", FactKind.REFUND_SUCCEEDED, "16461"),
        ("Refunded", FactKind.REFUND_SUCCEEDED, "16461"),
        ("RequestRefund", FactKind.REFUND_PENDING, "QKR1"),
        ("RefundRejected", FactKind.REFUND_FAILED, "QKR1"),
        ("Accepted", None, None),
        ("PartialRefunded", None, None),
    ],
)
async def test_refund_is_found_by_the_status_of_its_payment(status, kind, transaction_id):
    inquiry, _ = await run(FakeIpay(Query=records_of({"orderStatus": status})), "inquire_refund", REFUND)
    if kind is None:
        assert inquiry == Inquiry(found=False)
        return
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.source) == (
        kind,
        "QKR1",
        transaction_id,
        FactSource.INQUIRY,
    )
