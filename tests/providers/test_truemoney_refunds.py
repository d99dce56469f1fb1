"""The adapter against a scripted TrueMoney over real HTTP: refunds, settlement files, and silence."""

import asyncio
from datetime import date, timedelta

import pytest
from msgspec.structs import replace

from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    Inquiry,
    NotAttempted,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.truemoney import TrueMoney
from tests.providers.stub import Raw, Reply, Request, account_at, serving
from tests.providers.truemoney_stub import (
    BY_ID,
    BY_KEY,
    CODE,
    GIVE_BACK,
    ID,
    MERCHANT,
    NINE,
    NOWHERE,
    OUR_KEY,
    PAYMENT,
    REFUND,
    REFUND_REQUEST,
    asked,
    check_request,
    error,
    kinds,
    run,
    signed,
    success,
)


@pytest.mark.parametrize(
    ("status", "kind", "outcome_kind"),
    [
        ("succeeded", FactKind.REFUND_SUCCEEDED, Accepted),
        ("pending", FactKind.REFUND_PENDING, Accepted),
        ("failed", FactKind.REFUND_FAILED, Declined),
    ],
)
async def test_refund_is_as_far_as_the_payment_says(status: str, kind: FactKind, outcome_kind: type):
    issued = success({"refund_id": "800000000000000001", "type": "PARTIAL"})
    payment = {**PAYMENT, "refunds": [{**REFUND, "status": status}]}
    outcome, stub = await run({GIVE_BACK: issued, BY_ID: success(payment)}, "refund", REFUND_REQUEST)
    assert type(outcome) is outcome_kind
    assert outcome.provider_references == ("QKR2026000001", "800000000000000001")
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        kind,
        "QKR2026000001",
        "800000000000000001",
        5000,
    )
    assert asked(stub) == [GIVE_BACK, BY_ID]
    assert stub.requests[0].json() == {"isv_refund_ref": "QKR2026000001", "request_amount": "5000"}
    check_request(stub.requests[0])


@pytest.mark.parametrize("payment", [success(PAYMENT), signed(503, b""), NOWHERE])
async def test_refund_that_was_taken_waits_while_the_payment_does_not_show_it(payment: Reply):
    issued = success({"refund_id": "800000000000000001"})
    outcome, _ = await run({GIVE_BACK: issued, BY_ID: payment}, "refund", REFUND_REQUEST)
    assert isinstance(outcome, Accepted)
    assert [(fact.kind, fact.provider_transaction_id) for fact in outcome.facts] == [
        (FactKind.REFUND_PENDING, "800000000000000001")
    ]


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("refund_amount_exceeded", "refund_refused"),
        ("refund_not_allowed", "refund_refused"),
        ("payment_not_found", "charge_not_found"),
        ("invalid_request", "invalid_request"),
        ("duplicate_isv_refund_ref", None),
    ],
)
async def test_refused_refund_is_looked_for_before_it_is_declined(code: str, ours: str | None):
    given = success({**PAYMENT, "refunds": [REFUND]})
    outcome, _ = await run({GIVE_BACK: error(code), BY_ID: given}, "refund", REFUND_REQUEST)
    assert isinstance(outcome, Accepted)
    assert kinds(outcome) == [FactKind.REFUND_SUCCEEDED]
    outcome, _ = await run({GIVE_BACK: error(code), BY_ID: signed(503, b"")}, "refund", REFUND_REQUEST)
    assert isinstance(outcome, Unknown)
    outcome, _ = await run({GIVE_BACK: error(code), BY_ID: success(PAYMENT)}, "refund", REFUND_REQUEST)
    if ours is None:
        assert isinstance(outcome, Unknown)
    else:
        assert isinstance(outcome, Declined)
        assert (outcome.failure_code, outcome.provider_code) == (ours, code)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error("odd"), Unknown),
        (error("insufficient_fund"), Unknown),
        (error("invalid_signature", 401), NotAttempted),
        (success({}), Unknown),
        ((200, {"status": {"code": "success"}, "data": {"refund_id": "8"}}), Unknown),
        (signed(500, b""), Unknown),
    ],
)
async def test_every_answer_to_a_refund_has_its_outcome(reply: Reply, kind: type):
    outcome, _ = await run({GIVE_BACK: reply}, "refund", REFUND_REQUEST)
    assert type(outcome) is kind


async def test_refund_by_our_key_finds_the_payment_on_the_days_before_it_was_captured():
    request = replace(REFUND_REQUEST, provider_reference="QK2026000001", captured_at=NINE - timedelta(hours=8))
    outcome, stub = await run({BY_KEY: NOWHERE}, "refund", request)
    assert isinstance(outcome, NotAttempted)
    assert [request.query["transaction_date"][:10] for request in stub.requests] == ["2025-12-31", "2026-01-01"]
    replies = {BY_KEY: success(PAYMENT), BY_ID: success({**PAYMENT, "refunds": [REFUND]}), GIVE_BACK: success({})}
    outcome, stub = await run(replies, "refund", request)
    assert isinstance(outcome, Accepted)
    assert asked(stub) == [BY_KEY, GIVE_BACK, BY_ID]
    outcome, stub = await run({BY_KEY: signed(503, b"")}, "refund", request)
    assert isinstance(outcome, NotAttempted)
    assert asked(stub) == [BY_KEY]


async def test_refund_is_found_by_our_key_among_those_of_its_payment():
    other = {**REFUND, "refund_id": "8", "isv_refund_ref": "QKR2026000002"}
    found, _ = await run({BY_ID: success({**PAYMENT, "refunds": [other, REFUND]})}, "inquire_refund", REFUND_REQUEST)
    assert isinstance(found, Inquiry)
    assert [fact.provider_transaction_id for fact in found.facts] == ["800000000000000001"]
    none, _ = await run({BY_ID: success({**PAYMENT, "refunds": [other]})}, "inquire_refund", REFUND_REQUEST)
    assert none == Inquiry(found=False)
    for unclear in (signed(503, b""), success({**PAYMENT, "refunds": [{**REFUND, "status": "odd"}]})):
        assert isinstance((await run({BY_ID: unclear}, "inquire_refund", REFUND_REQUEST))[0], Unknown)
    lost = replace(REFUND_REQUEST, provider_reference="QK2026000001")
    assert isinstance((await run({}, "inquire_refund", lost))[0], Unknown)


async def test_settlement_file_of_a_day_is_handed_on_untouched():
    content = b"settlement_date,transaction_date\r\n"
    files, stub = await run({"GET /settlements": signed(200, content)}, "statements", date(2026, 1, 1))
    ((file),) = files
    assert (file.source, file.name, file.content) == (
        "truemoney_settlement",
        f"truemoney-{MERCHANT}-20260101.csv",
        content,
    )
    assert stub.requests[0].query == {"transaction_date": "2026-01-01"}
    for reply in (error("settlement_not_found", 404), (200, content), signed(200, content, key=OUR_KEY), Raw()):
        with pytest.raises(StatementUnavailable):
            await run({"GET /settlements": reply}, "statements", date(2026, 1, 1))


async def test_time_out_is_unknown_and_a_closed_door_was_not_attempted():
    async def silent(request: Request) -> Reply:
        await asyncio.sleep(1)
        return Raw()

    async with serving(silent) as stub, ProviderHttp(timeout_seconds=0.2) as http:
        assert isinstance(await TrueMoney(http).charge(account_at(stub.url, "truemoney"), CODE), Unknown)
        closed = account_at("http://127.0.0.1:1", "truemoney")
        assert isinstance(await TrueMoney(http).charge(closed, CODE), NotAttempted)
        assert isinstance(await TrueMoney(http).inquire(closed, ID, NINE), Unknown)
