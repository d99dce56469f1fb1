"""The adapter against a scripted Omise over real HTTP; the signature by the published recipe's vector."""

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace

from gateway.providers.base import (
    Accepted,
    CaptureRequest,
    ChargeRequest,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NotAttempted,
    RefundRequest,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.omise import Omise
from tests.providers.stub import Raw, Reply, Request, account_at, serving

NOON = datetime(2026, 1, 1, 5, tzinfo=UTC)
CHARGE = {
    "object": "charge",
    "id": "chrg_test_1",
    "livemode": False,
    "status": "successful",
    "amount": 12345,
    "currency": "THB",
    "captured_amount": 12345,
    "authorized": True,
    "fee": 451,
    "fee_vat": 32,
    "metadata": {"attempt_id": "att_test_1", "provider_key": "QK0001"},
    "refunds": {"object": "list", "data": []},
    "transaction": "trxn_test_1",
    "created_at": "2026-01-01T05:00:00Z",
    "paid_at": "2026-01-01T05:00:01Z",
}
PENDING = {**CHARGE, "status": "pending", "captured_amount": 0, "authorized": False, "fee": 0, "paid_at": None}
AUTHORIZED = {**PENDING, "authorized": True}
CAPTURE_REQUEST = CaptureRequest(
    capture_id="cap_test_1",
    provider_key="QKC1",
    provider_reference="chrg_test_1",
    charge_key="QK0001",
    method=Method.CARD,
    amount_minor=5000,
    authorized_minor=12345,
    currency="THB",
    created_at=datetime(2026, 1, 1, 5, tzinfo=UTC),
)
SOURCE = {
    "object": "source",
    "type": "promptpay",
    "scannable_code": {"type": "qr", "image": {"download_uri": "https://qr.invalid/1.svg"}},
}
REFUND = {
    "object": "refund",
    "id": "rfnd_test_1",
    "status": "closed",
    "amount": 5000,
    "currency": "THB",
    "metadata": {"refund_id": "re_test_1", "provider_key": "QKR1"},
    "created_at": "2026-01-02T05:00:00Z",
}
CARD = ChargeRequest(
    attempt_id="att_test_1",
    provider_key="QK0001",
    method=Method.CARD,
    amount_minor=12345,
    currency="THB",
    created_at=NOON,
    card_token="tokn_test_1",
    return_url="https://shop.invalid/back",
    description="order 1",
)
PROMPTPAY = msgspec.structs.replace(
    CARD, method=Method.PROMPTPAY, card_token=None, expires_at=NOON + timedelta(minutes=15)
)
REFUND_REQUEST = RefundRequest(
    refund_id="re_test_1",
    provider_key="QKR1",
    provider_reference="chrg_test_1",
    amount_minor=5000,
    currency="THB",
    created_at=NOON,
)


class FakeOmise:
    """Answers by `METHOD path`; what it does not know is `not_found`."""

    def __init__(self, **replies: Reply) -> None:
        self.replies = replies

    async def __call__(self, request: Request) -> Reply:
        return self.replies.get(f"{request.method} {request.path}", _error("not_found", 404))


def _error(code: str, status: int = 400) -> Reply:
    return status, {"object": "error", "location": "https://www.omise.co/api-errors", "code": code, "message": "no"}


def _search(*charges: dict[str, object]) -> Reply:
    return 200, {"object": "search", "data": list(charges), "total": len(charges)}


async def _run(replies: dict[str, Reply], operation: str, *arguments):
    async with serving(FakeOmise(**replies)) as stub, ProviderHttp(timeout_seconds=10) as http:
        return await getattr(Omise(http), operation)(account_at(stub.url, "omise"), *arguments), stub


async def test_card_is_charged_with_our_key_in_its_metadata():
    outcome, stub = await _run({"POST /charges": (200, CHARGE)}, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == ("QK0001", "chrg_test_1")
    assert outcome.next_action is None
    (fact,) = outcome.facts
    assert (fact.kind, fact.source) == (FactKind.CAPTURED, FactSource.RESPONSE)
    assert (fact.provider_reference, fact.provider_transaction_id) == ("QK0001", "chrg_test_1")
    assert (fact.amount_minor, fact.currency) == (12345, "THB")
    assert (fact.provider_fee_minor, fact.provider_fee_vat_minor) == (451, 32)
    assert fact.occurred_at == datetime(2026, 1, 1, 5, 0, 1, tzinfo=UTC)
    (request,) = stub.requests
    assert request.headers["authorization"] == "Basic c2tleV90ZXN0X2ludmVudGVkOg=="
    assert request.headers["omise-version"] == "2019-05-29"
    assert request.json() == {
        "amount": 12345,
        "currency": "thb",
        "capture": True,
        "card": "tokn_test_1",
        "description": "order 1",
        "return_uri": "https://shop.invalid/back",
        "metadata": {"attempt_id": "att_test_1", "provider_key": "QK0001"},
    }


async def test_promptpay_shows_the_picture_of_its_qr():
    reply = (200, {**PENDING, "source": SOURCE, "expires_at": "2026-01-01T05:15:00Z"})
    outcome, stub = await _run({"POST /charges": reply}, "charge", PROMPTPAY)
    assert isinstance(outcome, Accepted)
    assert outcome.next_action is not None
    assert outcome.next_action.type == "display_qr_code"
    assert outcome.next_action.qr_image_url == "https://qr.invalid/1.svg"
    assert outcome.next_action.expires_at == NOON + timedelta(minutes=15)
    assert [fact.kind for fact in outcome.facts] == [FactKind.PENDING]
    assert outcome.facts[0].provider_fee_minor is None
    body = stub.requests[0].json()
    assert body["source"] == {"type": "promptpay"}
    assert body["expires_at"] == "2026-01-01T05:15:00Z"
    assert "card" not in body


async def test_card_with_3ds_redirects():
    reply = (200, {**PENDING, "authorize_uri": "https://bank.invalid/3ds"})
    outcome, _ = await _run({"POST /charges": reply}, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert outcome.next_action is not None
    assert (outcome.next_action.type, outcome.next_action.redirect_url) == ("redirect", "https://bank.invalid/3ds")


@pytest.mark.parametrize(
    ("failure_code", "ours"),
    [
        ("insufficient_fund", "insufficient_funds"),
        ("stolen_or_lost_card", "lost_or_stolen_card"),
        ("payment_rejected", "do_not_honor"),
        ("a_word_of_tomorrow", "declined"),
    ],
)
async def test_declined_card_keeps_their_word_beside_ours(failure_code: str, ours: str):
    reply = (200, {**PENDING, "status": "failed", "failure_code": failure_code, "failure_message": "no"})
    outcome, _ = await _run({"POST /charges": reply}, "charge", CARD)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code, outcome.message) == (ours, failure_code, "no")
    assert outcome.provider_references == ("QK0001", "chrg_test_1")
    (fact,) = outcome.facts
    assert (fact.kind, fact.failure_code, fact.provider_code) == (FactKind.DECLINED, ours, failure_code)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_error("invalid_card"), Declined),
        (_error("invalid_charge"), Declined),
        (_error("not_found", 404), Declined),
        (_error("authentication_failure", 401), NotAttempted),
        (_error("too_many_requests", 429), NotAttempted),
        ((429, b""), NotAttempted),
        (_error("a_word_of_tomorrow"), Unknown),
        ((400, b"<html>"), Unknown),
        ((302, b""), Unknown),
        (_error("internal_error", 500), Unknown),
        ((200, b"garbage"), Unknown),
        ((200, {**CHARGE, "status": "a_word_of_tomorrow"}), Unknown),
        ((200, {**CHARGE, "amount": 1.5}), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_every_answer_has_its_outcome(reply: Reply, kind: type):
    outcome, stub = await _run({"POST /charges": reply}, "charge", CARD)
    assert type(outcome) is kind
    assert stub.paths() == ["/charges"]


async def test_used_token_is_our_own_charge_when_the_search_finds_it():
    replies = {
        "POST /charges": _error("used_token"),
        "GET /search": _search({**CHARGE, "id": "chrg_test_other", "metadata": {"provider_key": "QK0002"}}, CHARGE),
        "GET /charges/chrg_test_1": (200, CHARGE),
    }
    outcome, stub = await _run(replies, "charge", CARD)
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.CAPTURED]
    assert stub.paths() == ["/charges", "/search", "/charges/chrg_test_1"]


async def test_used_token_is_declined_when_nobody_knows_our_key():
    outcome, _ = await _run({"POST /charges": _error("used_token"), "GET /search": _search()}, "charge", CARD)
    assert isinstance(outcome, Declined)
    assert outcome.failure_code == "card_token_used"


async def test_used_token_is_unknown_when_the_search_does_not_answer():
    outcome, _ = await _run({"POST /charges": _error("used_token"), "GET /search": (503, b"")}, "charge", CARD)
    assert isinstance(outcome, Unknown)


async def test_inquiry_by_charge_id_tells_of_its_refunds_too():
    charge = {**CHARGE, "refunds": {"data": [REFUND, {**REFUND, "id": "rfnd_test_2", "metadata": {}}]}}
    inquiry, stub = await _run({"GET /charges/chrg_test_1": (200, charge)}, "inquire", "chrg_test_1", NOON)
    assert isinstance(inquiry, Inquiry)
    assert inquiry.found
    assert [(fact.kind, fact.provider_reference, fact.provider_transaction_id) for fact in inquiry.facts] == [
        (FactKind.CAPTURED, "QK0001", "chrg_test_1"),
        (FactKind.REFUND_SUCCEEDED, "QKR1", "rfnd_test_1"),
        (FactKind.REFUND_SUCCEEDED, "rfnd_test_2", "rfnd_test_2"),
    ]
    assert stub.paths() == ["/charges/chrg_test_1"]


async def test_inquiry_by_our_key_searches():
    replies = {"GET /search": _search(CHARGE), "GET /charges/chrg_test_1": (200, PENDING)}
    inquiry, stub = await _run(replies, "inquire", "QK0001", NOON)
    assert isinstance(inquiry, Inquiry)
    assert [fact.kind for fact in inquiry.facts] == [FactKind.PENDING]
    assert stub.requests[0].query == {"scope": "charge", "query": "QK0001"}


@pytest.mark.parametrize("replies", [{"GET /search": _search()}, {"GET /search": _search({**CHARGE, "metadata": {}})}])
async def test_key_that_is_not_found_is_no_proof_of_anything(replies: dict[str, Reply]):
    inquiry, _ = await _run(replies, "inquire", "QK0001", NOON)
    assert inquiry == Inquiry(found=False)


async def test_charge_that_omise_does_not_know_is_not_found():
    inquiry, _ = await _run({}, "inquire", "chrg_test_9", NOON)
    assert inquiry == Inquiry(found=False)


@pytest.mark.parametrize("reply", [(500, b""), (200, b"{}"), (200, {**CHARGE, "status": "odd"}), _error("odd")])
async def test_inquiry_without_an_answer_is_unknown(reply: Reply):
    inquiry, _ = await _run({"GET /charges/chrg_test_1": reply}, "inquire", "chrg_test_1", NOON)
    assert isinstance(inquiry, Unknown)


@pytest.mark.parametrize(
    ("status", "authorized", "kind"),
    [
        ("pending", False, FactKind.PENDING),
        ("pending", True, FactKind.AUTHORIZED),
        ("successful", True, FactKind.CAPTURED),
        ("failed", False, FactKind.DECLINED),
        ("expired", False, FactKind.EXPIRED),
        ("reversed", True, FactKind.VOIDED),
    ],
)
async def test_every_status_has_its_fact(status: str, authorized: bool, kind: FactKind):
    charge = {**CHARGE, "status": status, "authorized": authorized}
    inquiry, _ = await _run({"GET /charges/chrg_test_1": (200, charge)}, "inquire", "chrg_test_1", NOON)
    assert isinstance(inquiry, Inquiry)
    assert [fact.kind for fact in inquiry.facts] == [kind]


async def test_cancel_expires_the_charge():
    reply = (200, {**PENDING, "status": "expired", "expired_at": "2026-01-01T06:00:00Z"})
    replies = {"GET /charges/chrg_test_1": (200, PENDING), "POST /charges/chrg_test_1/expire": reply}
    outcome, _ = await _run(replies, "cancel", "chrg_test_1")
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.EXPIRED]
    assert outcome.facts[0].occurred_at == datetime(2026, 1, 1, 6, tzinfo=UTC)


async def test_cancel_by_our_key_finds_the_charge_first():
    replies = {
        "GET /search": _search(PENDING),
        "GET /charges/chrg_test_1": (200, PENDING),
        "POST /charges/chrg_test_1/expire": (200, {**PENDING, "status": "expired"}),
    }
    outcome, stub = await _run(replies, "cancel", "QK0001")
    assert isinstance(outcome, Accepted)
    assert stub.paths() == ["/search", "/charges/chrg_test_1", "/charges/chrg_test_1/expire"]


@pytest.mark.parametrize("replies", [{"GET /search": _search()}, {"GET /search": (500, b"")}])
async def test_cancel_without_a_charge_is_not_attempted(replies: dict[str, Reply]):
    outcome, _ = await _run(replies, "cancel", "QK0001")
    assert isinstance(outcome, NotAttempted)


async def test_cancel_of_a_paid_charge_is_declined():
    replies = {
        "GET /charges/chrg_test_1": (200, CHARGE),
        "POST /charges/chrg_test_1/reverse": _error("failed_reversal"),
    }
    outcome, _ = await _run(replies, "cancel", "chrg_test_1")
    assert isinstance(outcome, Declined)
    assert outcome.failure_code == "not_cancelable"


async def test_cancel_gives_up_an_authorisation():
    reversed_ = {**AUTHORIZED, "status": "reversed", "reversed_at": "2026-01-01T06:00:00Z"}
    replies = {"GET /charges/chrg_test_1": (200, AUTHORIZED), "POST /charges/chrg_test_1/reverse": (200, reversed_)}
    outcome, _ = await _run(replies, "cancel", "chrg_test_1")
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.VOIDED]


async def test_cancel_whose_charge_cannot_be_read_is_not_attempted():
    outcome, stub = await _run({"GET /charges/chrg_test_1": (500, b"")}, "cancel", "chrg_test_1")
    assert isinstance(outcome, NotAttempted)
    assert stub.paths() == ["/charges/chrg_test_1"]


async def test_charge_that_is_to_be_captured_later_says_so():
    outcome, stub = await _run({"POST /charges": (200, AUTHORIZED)}, "charge", replace(CARD, capture_later=True))
    assert isinstance(outcome, Accepted)
    assert [fact.kind for fact in outcome.facts] == [FactKind.AUTHORIZED]
    assert stub.requests[0].json()["capture"] is False


async def test_capture_takes_a_part():
    captured = {**CHARGE, "captured_amount": 5000}
    outcome, stub = await _run({"POST /charges/chrg_test_1/capture": (200, captured)}, "capture", CAPTURE_REQUEST)
    assert isinstance(outcome, Accepted)
    assert [(fact.kind, fact.amount_minor) for fact in outcome.facts] == [(FactKind.CAPTURED, 5000)]
    assert stub.requests[0].json() == {"capture_amount": 5000}


@pytest.mark.parametrize(
    ("found", "outcome_kind"),
    [((200, CHARGE), Accepted), ((200, AUTHORIZED), Declined), ((500, b""), Unknown)],
)
async def test_capture_that_is_refused_is_looked_at(found: Reply, outcome_kind: type):
    replies = {"POST /charges/chrg_test_1/capture": _error("failed_capture"), "GET /charges/chrg_test_1": found}
    outcome, _ = await _run(replies, "capture", CAPTURE_REQUEST)
    assert isinstance(outcome, outcome_kind)


@pytest.mark.parametrize(
    ("status", "kind", "outcome_kind"),
    [
        ("closed", FactKind.REFUND_SUCCEEDED, Accepted),
        ("pending", FactKind.REFUND_PENDING, Accepted),
        ("failed", FactKind.REFUND_FAILED, Declined),
    ],
)
async def test_refund_carries_our_key(status: str, kind: FactKind, outcome_kind: type):
    replies = {"POST /charges/chrg_test_1/refunds": (200, {**REFUND, "status": status})}
    outcome, stub = await _run(replies, "refund", REFUND_REQUEST)
    assert isinstance(outcome, outcome_kind)
    assert outcome.provider_references == ("QKR1", "rfnd_test_1")
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (kind, "QKR1", "rfnd_test_1")
    assert fact.amount_minor == 5000
    assert stub.requests[0].json() == {
        "amount": 5000,
        "metadata": {"refund_id": "re_test_1", "provider_key": "QKR1"},
    }


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_error("failed_refund"), Declined),
        (_error("not_found", 404), Declined),
        (_error("odd"), Unknown),
        ((200, {**REFUND, "status": "odd"}), Unknown),
        ((500, b""), Unknown),
        (_error("authentication_failure", 401), NotAttempted),
    ],
)
async def test_every_answer_to_a_refund_has_its_outcome(reply: Reply, kind: type):
    outcome, _ = await _run({"POST /charges/chrg_test_1/refunds": reply}, "refund", REFUND_REQUEST)
    assert type(outcome) is kind


async def test_refund_is_found_by_our_key():
    others = [{**REFUND, "id": "rfnd_test_0", "metadata": {}}, {**REFUND, "id": "rfnd_test_2", "metadata": {"x": 1}}]
    replies = {"GET /charges/chrg_test_1/refunds": (200, {"object": "list", "data": [*others, REFUND]})}
    inquiry, _ = await _run(replies, "inquire_refund", REFUND_REQUEST)
    assert isinstance(inquiry, Inquiry)
    assert [fact.provider_transaction_id for fact in inquiry.facts] == ["rfnd_test_1"]


async def test_refund_that_is_not_there_is_not_found():
    replies = {"GET /charges/chrg_test_1/refunds": (200, {"object": "list", "data": []})}
    assert (await _run(replies, "inquire_refund", REFUND_REQUEST))[0] == Inquiry(found=False)


@pytest.mark.parametrize("reply", [(500, b""), (200, {"data": [{**REFUND, "status": "odd"}]}), _error("odd")])
async def test_refund_inquiry_without_an_answer_is_unknown(reply: Reply):
    inquiry, _ = await _run({"GET /charges/chrg_test_1/refunds": reply}, "inquire_refund", REFUND_REQUEST)
    assert isinstance(inquiry, Unknown)


async def test_statements_hold_all_pages_of_the_bangkok_day():
    items = [{"object": "transaction", "id": f"trxn_{number}"} for number in range(230)]

    async def handler(request: Request) -> Reply:
        if request.path == "/transfers":
            return 200, {"object": "list", "data": [], "total": 0}
        offset = int(request.query["offset"])
        return 200, {"object": "list", "data": items[offset : offset + 100], "total": 230}

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=10) as http:
        transactions, transfers = await Omise(http).statements(account_at(stub.url, "omise"), date(2026, 1, 1))
    assert (transactions.source, transactions.name) == ("omise_transactions", "omise-transactions-20260101.json")
    assert (transfers.source, transfers.name) == ("omise_transfers", "omise-transfers-20260101.json")
    document = msgspec.json.decode(transactions.content)
    assert (document["object"], document["total"], document["data"]) == ("list", 230, items)
    assert msgspec.json.decode(transfers.content)["data"] == []
    assert [request.query["offset"] for request in stub.requests] == ["0", "100", "200", "0"]
    first = stub.requests[0].query
    assert (first["from"], first["to"]) == ("2025-12-31T17:00:00+00:00", "2026-01-01T17:00:00+00:00")
    assert (first["limit"], first["order"]) == ("100", "chronological")


@pytest.mark.parametrize(
    "reply", [(500, b""), (200, {"data": [], "total": 1}), (200, b"{}"), _error("authentication_failure", 401)]
)
async def test_statement_with_a_missing_page_is_unavailable(reply: Reply):
    with pytest.raises(StatementUnavailable):
        await _run({"GET /transactions": reply}, "statements", date(2026, 1, 1))
