"""KBank's cards (KGP) against a scripted bank over real HTTP: every documented word has its outcome."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    Inquiry,
    NotAttempted,
    RefundRequest,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.kbank import Kbank
from tests.providers.kbank import (
    CARD,
    CARD_PATH,
    CARD_REFUND,
    CHARGE,
    CHARGE_ID,
    KEY,
    LATER,
    NOON,
    REFUND_ITEM,
    REFUND_KEY,
    FakeKbank,
    account_of,
    kgp_error,
    run,
)
from tests.providers.stub import Raw, Reply, serving


def _given_back(**fields) -> Reply:
    return 200, {**CHARGE, **fields}


async def test_card_is_charged_with_our_key_as_its_order():
    outcome, stub = await run({f"POST {CARD_PATH}": (200, CHARGE)}, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert (outcome.provider_references, outcome.next_action) == ((KEY, CHARGE_ID), None)
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (FactKind.CAPTURED, KEY, CHARGE_ID)
    assert (fact.amount_minor, fact.currency, fact.occurred_at) == (
        1234_50,
        "THB",
        datetime(2026, 1, 1, 2, tzinfo=UTC),
    )
    (request,) = stub.requests
    assert (request.headers["x-api-key"], request.headers["content-type"]) == (
        "skey_test_QUICKKUBINVENTED",
        "application/json",
    )
    assert b'"amount":1234.50' in request.body
    assert request.json() == {
        "amount": 1234.5,
        "currency": "THB",
        "description": "order 1",
        "source_type": "card",
        "mode": "token",
        "token": "tokn_1",
        "reference_order": KEY,
    }


async def test_card_product_may_live_on_a_host_of_its_own():
    async with (
        serving(FakeKbank({"POST /card/v2/charge": (200, CHARGE)})) as stub,
        ProviderHttp(timeout_seconds=10) as http,
    ):
        account = account_of("http://127.0.0.1:1", kgp_base_url=stub.url)
        assert isinstance(await Kbank(http).charge(account, CARD), Accepted)
        live = replace(account, livemode=True)
    async with ProviderHttp(timeout_seconds=10, sandbox_url=stub.url) as http:
        assert isinstance(await Kbank(http).charge(live, CARD), NotAttempted)


@pytest.mark.parametrize(
    ("status", "state", "code", "kind"),
    [
        ("success", "Initialize", "", FactKind.PENDING),
        ("success", "Pre-Authorized", "", FactKind.PENDING),
        ("success", "Authorized", "1", FactKind.CAPTURED),
        ("success", "Settled", "1", FactKind.CAPTURED),
        ("success", "Refund Sent", "1", FactKind.CAPTURED),
        ("success", "Refunded", "1", FactKind.CAPTURED),
        ("success", "Voided", "1", FactKind.CAPTURED),
        ("success", "Reversed", "1", FactKind.CAPTURED),
        ("success", "Voided", "", FactKind.DECLINED),
        ("success", "Reversed", None, FactKind.DECLINED),
        ("success", "Declined", "", FactKind.DECLINED),
        ("fail", "Declined", "", FactKind.DECLINED),
        ("fail", "Authorized", "1", None),
        ("fail", "Pre-Authorized", "", None),
        ("fail", "Voided", "1", None),
        ("pending", "Authorized", "1", None),
        ("success", "A Word Of Tomorrow", "1", None),
        ("success", "authorized", "1", None),
    ],
)
async def test_every_state_of_a_card_has_its_fact(status, state, code, kind):
    reply = (200, {**CHARGE, "status": status, "transaction_state": state, "approval_code": code})
    inquiry, _ = await run({f"GET {CARD_PATH}/{CHARGE_ID}": reply}, "inquire", CHARGE_ID, NOON)
    if kind is None:
        assert isinstance(inquiry, Unknown)
    else:
        assert [fact.kind for fact in inquiry.facts] == [kind]


async def test_card_without_our_order_is_named_by_its_id_and_odd_refunds_hide_no_money():
    for fields in ({}, {"refund_info": {"shape": "unknown"}}, {"refund_info": [{**REFUND_ITEM, "state": "odd"}]}):
        reply = (200, {**CHARGE, "reference_order": None, **fields})
        inquiry, _ = await run({f"GET {CARD_PATH}/{CHARGE_ID}": reply}, "inquire", CHARGE_ID, NOON)
        assert [(fact.kind, fact.provider_reference) for fact in inquiry.facts] == [(FactKind.CAPTURED, CHARGE_ID)]


@pytest.mark.parametrize(
    ("failure_code", "ours"),
    [
        ("insufficient_fund", "insufficient_funds"),
        ("stolen_or_lost_card", "lost_or_stolen_card"),
        ("payment_rejected", "do_not_honor"),
        ("a_word_of_tomorrow", "declined"),
        (None, "declined"),
    ],
)
async def test_declined_card_keeps_their_word_beside_ours(failure_code, ours):
    fields = {"status": "fail", "transaction_state": "Declined", "failure_code": failure_code, "failure_message": "no"}
    outcome, _ = await run({f"POST {CARD_PATH}": (200, {**CHARGE, **fields})}, "charge", CARD)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code, outcome.message) == (ours, failure_code or "", "no")
    assert [(fact.kind, fact.failure_code, fact.provider_code) for fact in outcome.facts] == [
        (FactKind.DECLINED, ours, failure_code)
    ]


async def test_card_with_3_d_secure_redirects():
    fields = {"transaction_state": "Pre-Authorized", "approval_code": "", "redirect_url": "https://bank.invalid/3ds"}
    outcome, _ = await run({f"POST {CARD_PATH}": (200, {**CHARGE, **fields})}, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert (outcome.next_action.type, outcome.next_action.redirect_url) == ("redirect", "https://bank.invalid/3ds")
    assert [fact.kind for fact in outcome.facts] == [FactKind.PENDING]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (kgp_error("invalid_request"), (Declined, "invalid_request")),
        (kgp_error("invalid_amount"), (Declined, "invalid_request")),
        (kgp_error("invalid_token"), (Declined, "card_token_not_found")),
        (kgp_error("authentication_failure", 401), (NotAttempted, None)),
        (kgp_error("x", 403), (NotAttempted, None)),
        ((429, b""), (NotAttempted, None)),
        (kgp_error("not_found", 404), (Unknown, None)),
        (kgp_error("a_word_of_tomorrow"), (Unknown, None)),
        (kgp_error("invalid_request", 302), (Unknown, None)),
        ((400, b"<html>"), (Unknown, None)),
        ((500, b""), (Unknown, None)),
        ((200, b"garbage"), (Unknown, None)),
        ((200, {**CHARGE, "object": "order"}), (Unknown, None)),
        ((200, {**CHARGE, "amount": 1234.505}), (Unknown, None)),
        ((200, {**CHARGE, "amount": 0}), (Unknown, None)),
        ((200, {**CHARGE, "currency": "USD"}), (Unknown, None)),
        ((200, {**CHARGE, "created": "yesterday"}), (Unknown, None)),
        ((200, {**CHARGE, "created": "20261301090000000"}), (Unknown, None)),
        ((200, {**CHARGE, "reference_order": "OTHER"}), (Unknown, None)),
        (Raw(), (Unknown, None)),
    ],
)
async def test_every_answer_to_a_card_has_its_outcome(reply: Reply, outcome: tuple[type, str | None]):
    found, stub = await run({f"POST {CARD_PATH}": reply}, "charge", CARD)
    assert (type(found), getattr(found, "failure_code", None)) == outcome
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("code", "inquiry", "kind"),
    [
        ("duplicate_reference_order", (200, CHARGE), Accepted),
        ("used_token", (200, CHARGE), Accepted),
        ("duplicate_reference_order", kgp_error("not_found", 404), Unknown),
        ("used_token", kgp_error("not_found", 404), Declined),
        ("duplicate_reference_order", (500, b""), Unknown),
        ("used_token", (500, b""), Unknown),
        ("used_token", kgp_error("x", 401), Unknown),
        ("used_token", (200, {**CHARGE, "reference_order": "OTHER"}), Unknown),
    ],
)
async def test_order_that_was_charged_before_is_looked_at(code: str, inquiry: Reply, kind: type):
    replies = {f"POST {CARD_PATH}": kgp_error(code), f"GET {CARD_PATH}/{KEY}": inquiry}
    outcome, _ = await run(replies, "charge", CARD)
    assert type(outcome) is kind


async def test_card_is_voided_on_its_day_and_refunded_later_and_kgp_knows_better():
    look, void, refund = (
        f"GET {CARD_PATH}/{CHARGE_ID}",
        f"{CARD_PATH}/{CHARGE_ID}/Void",
        f"{CARD_PATH}/{CHARGE_ID}/refund",
    )
    voided = _given_back(transaction_state="Voided")
    refunded = _given_back(transaction_state="Refund Sent", refund_info=[{**REFUND_ITEM, "amount": 1234.50}])
    later, unaware = replace(CARD_REFUND, created_at=LATER), replace(CARD_REFUND, captured_at=None, method=None)
    settled = (200, {**CHARGE, "transaction_state": "Settled"})
    cases = [
        (CARD_REFUND, (200, CHARGE), {void: voided}, [void]),
        (later, (200, CHARGE), {refund: refunded}, [refund]),
        (unaware, (200, CHARGE), {void: voided}, [void]),
        (unaware, settled, {refund: refunded}, [refund]),
        (CARD_REFUND, (200, CHARGE), {void: kgp_error("already_settled"), refund: refunded}, [void, refund]),
        (later, (200, CHARGE), {refund: kgp_error("not_settled"), void: voided}, [refund, void]),
    ]
    for request, found, replies, paths in cases:
        answers = {look: found, **{f"POST {path}": reply for path, reply in replies.items()}}
        outcome, stub = await run(answers, "refund", request)
        (fact,) = outcome.facts
        identifier = f"{CHARGE_ID}-void" if paths[-1] == void else "rfnd_test_1"
        assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
            FactKind.REFUND_SUCCEEDED,
            REFUND_KEY,
            identifier,
            1234_50,
        )
        assert stub.paths()[1:] == paths
        bodies = {void: {"reason": REFUND_KEY}, refund: {"amount": 1234.5, "reason": REFUND_KEY}}
        assert stub.requests[-1].json() == bodies[paths[-1]]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (_given_back(refund_info=[REFUND_ITEM]), (Accepted, None)),
        (_given_back(refund_info=[{**REFUND_ITEM, "state": "Refunded"}]), (Accepted, None)),
        (_given_back(refund_info=[{**REFUND_ITEM, "state": "odd"}]), (Unknown, None)),
        (_given_back(refund_info=[{**REFUND_ITEM, "reason": "OTHER"}]), (Unknown, None)),
        (_given_back(refund_info="odd"), (Unknown, None)),
        (_given_back(), (Unknown, None)),
        (_given_back(status="fail", failure_code="x"), (Declined, "refund_refused")),
        (kgp_error("not_settled"), (NotAttempted, None)),
        (kgp_error("amount_exceeds_charge"), (Declined, "refund_refused")),
        (kgp_error("not_refundable"), (Declined, "refund_refused")),
        (kgp_error("refund_refused"), (Declined, "refund_refused")),
        (kgp_error("a_word_of_tomorrow"), (Unknown, None)),
        (kgp_error("x", 401), (NotAttempted, None)),
        ((500, b""), (Unknown, None)),
        ((200, b"garbage"), (Unknown, None)),
        (Raw(), (Unknown, None)),
    ],
)
async def test_every_answer_to_a_refund_has_its_outcome(reply: Reply, outcome: tuple[type, str | None]):
    replies = {f"GET {CARD_PATH}/{CHARGE_ID}": (200, CHARGE), f"POST {CARD_PATH}/{CHARGE_ID}/refund": reply}
    found, _ = await run(replies, "refund", replace(CARD_REFUND, amount_minor=34_50))
    assert (type(found), getattr(found, "failure_code", None)) == outcome


async def test_refund_of_a_card_is_looked_for_before_it_is_sent():
    look, part = f"GET {CARD_PATH}/{CHARGE_ID}", replace(CARD_REFUND, amount_minor=34_50)
    cases: list[tuple[Reply, RefundRequest, type]] = [
        ((200, {**CHARGE, "refund_info": [REFUND_ITEM]}), part, Accepted),
        ((200, {**CHARGE, "transaction_state": "Voided"}), CARD_REFUND, Accepted),
        ((200, {**CHARGE, "transaction_state": "Voided"}), part, Unknown),
        ((200, {**CHARGE, "refund_info": 7}), part, Unknown),
        ((200, {**CHARGE, "refund_info": [{**REFUND_ITEM, "reason": ""}]}), part, Unknown),
        ((200, {**CHARGE, "transaction_state": "Refund Sent"}), part, Unknown),
        ((500, b""), part, NotAttempted),
        (kgp_error("not_found", 404), part, NotAttempted),
        ((200, {**CHARGE, "id": "chrg_other", "reference_order": "OTHER"}), part, NotAttempted),
    ]
    for reply, request, kind in cases:
        outcome, stub = await run({look: reply}, "refund", request)
        assert type(outcome) is kind
        assert len(stub.requests) == 1
    odd = (200, {**CHARGE, "id": "../../etc"})
    outcome, stub = await run({f"GET {CARD_PATH}/{KEY}": odd}, "refund", replace(part, provider_reference=KEY))
    assert (type(outcome), len(stub.requests)) == (Unknown, 1)
    outcome, stub = await run({}, "refund", replace(part, provider_reference="../x"))
    assert (type(outcome), stub.requests) == (NotAttempted, [])


async def test_void_that_was_done_before_is_looked_at():
    look, void = f"GET {CARD_PATH}/{CHARGE_ID}", f"POST {CARD_PATH}/{CHARGE_ID}/Void"
    for after, kind in (((200, {**CHARGE, "transaction_state": "Voided"}), Accepted), ((500, b""), Unknown)):
        replies = {look: [(200, CHARGE), after], void: kgp_error("already_voided")}
        assert type((await run(replies, "refund", CARD_REFUND))[0]) is kind


async def test_refund_of_a_card_is_found_by_our_key():
    look = f"GET {CARD_PATH}/{CHARGE_ID}"
    part = replace(CARD_REFUND, amount_minor=34_50)
    others = [{**REFUND_ITEM, "id": "rfnd_test_0", "reason": "OTHER"}, REFUND_ITEM]
    inquiry, _ = await run({look: (200, {**CHARGE, "refund_info": others})}, "inquire_refund", part)
    assert [(fact.provider_transaction_id, fact.amount_minor) for fact in inquiry.facts] == [("rfnd_test_1", 34_50)]
    for reply in ((200, CHARGE), kgp_error("not_found", 404)):
        assert (await run({look: reply}, "inquire_refund", part))[0] == Inquiry(found=False)
    nobodys = {**CHARGE, "refund_info": [{**REFUND_ITEM, "reason": ""}]}
    for reply in ((500, b""), (200, {**CHARGE, "refund_info": 7}), (200, nobodys), kgp_error("odd")):
        assert isinstance((await run({look: reply}, "inquire_refund", part))[0], Unknown)
