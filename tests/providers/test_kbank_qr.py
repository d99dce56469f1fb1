"""KBank's QR product against a scripted bank over real HTTP: every documented word has its outcome."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    NotAttempted,
    Unknown,
)
from gateway.providers.kbank_wire import uid_of
from gateway.providers.promptpay import bill_payment_qr
from tests.providers.kbank import (
    BILL,
    INQUIRY,
    ISSUED,
    KEY,
    LATER,
    NOON,
    QR,
    QR_PATH,
    QR_TEXT,
    REFUND_KEY,
    UID,
    VOID_REQUEST,
    error,
    found_reply,
    run,
    without_token,
)
from tests.providers.stub import Raw, Reply
from tests.sandbox.kbank import BASIC, CREDENTIALS


async def test_qr_is_asked_for_with_token_partner_and_our_key():
    outcome, stub = await run({f"POST {QR_PATH}/request": (200, ISSUED)}, "charge", QR)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == (KEY, UID)
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (FactKind.PENDING, KEY, KEY)
    assert (fact.amount_minor, fact.occurred_at, fact.source) == (100_50, NOON, FactSource.RESPONSE)
    assert (outcome.next_action.qr_data, outcome.next_action.expires_at) == (QR_TEXT, NOON + timedelta(minutes=5))
    token, request = stub.requests
    assert (token.path, token.body) == ("/v2/oauth/token", b"grant_type=client_credentials")
    assert (token.headers["authorization"], token.headers["content-type"]) == (
        BASIC,
        "application/x-www-form-urlencoded",
    )
    assert (request.headers["authorization"], request.headers["content-type"]) == ("Bearer tok_abc", "application/json")
    body = request.json()
    asked_at = datetime.fromisoformat(body.pop("requestDt"))
    assert asked_at.utcoffset() == timedelta(hours=7)
    assert body == {
        "partnerTxnUid": UID,
        "partnerId": "PTRQK1",
        "partnerSecret": CREDENTIALS["partner_secret"],
        "merchantId": "KB000000000001",
        "terminalId": "09000001",
        "qrType": "3",
        "txnAmount": "100.50",
        "txnCurrencyCode": "THB",
        "reference1": KEY,
    }


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (error("bad_request"), (Declined, "invalid_request")),
        (error("invalid_currency_code"), (Declined, "invalid_request")),
        (error("invalid_txn_amount"), (Declined, "invalid_request")),
        (error("invalid_qr_type"), (Declined, "invalid_request")),
        (error("invalid_reference1"), (Declined, "invalid_request")),
        (error("payment_exceed_limit"), (Declined, "amount_too_large")),
        (error("account_error"), (NotAttempted, "account_error")),
        (error("invalid_account"), (NotAttempted, "invalid_account")),
        (error("authentication_error"), (NotAttempted, "authentication_error")),
        (error("merchant_closed"), (NotAttempted, "merchant_closed")),
        (error("invalid_merchant"), (NotAttempted, "invalid_merchant")),
        (error("general_error"), (Unknown, None)),
        (error("internal_error"), (Unknown, None)),
        (error("callback_error"), (Unknown, None)),
        (error("a_word_of_tomorrow"), (Unknown, None)),
        (error("bad_request", "11"), (Unknown, None)),
        (error("bad_request", "99"), (Unknown, None)),
        ((403, {"code": "openapi_error", "message": "Forbidden"}), (NotAttempted, "openapi_error")),
        ((404, {"code": "openapi_error", "message": "no"}), (NotAttempted, "openapi_error")),
        ((405, {"code": "openapi_error", "message": "no"}), (NotAttempted, "openapi_error")),
        ((429, {"code": "openapi_error", "message": "no"}), (NotAttempted, "openapi_error")),
        ((429, b""), (NotAttempted, None)),
        ((404, b"<html>"), (Unknown, None)),
        ((400, {"code": "openapi_error", "message": "odd"}), (Unknown, None)),
        ((400, ISSUED), (Unknown, None)),
        ((500, {"code": "openapi_error", "message": "no"}), (Unknown, None)),
        ((504, b""), (Unknown, None)),
        ((302, b""), (Unknown, None)),
        ((200, b"garbage"), (Unknown, None)),
        ((200, b"[]"), (Unknown, None)),
        ((200, {**ISSUED, "partnerTxnUid": "OTHER0000000001"}), (Unknown, None)),
        ((200, {**ISSUED, "partnerTxnUid": None}), (Unknown, None)),
        ((200, {**ISSUED, "qrCode": None}), (Unknown, None)),
        ((200, {**ISSUED, "qrCode": QR_TEXT[:-1] + "0"}), (Unknown, None)),
        ((200, {**ISSUED, "qrCode": bill_payment_qr(BILL, 100_51)}), (Unknown, None)),
        ((200, {**ISSUED, "qrCode": bill_payment_qr(BILL)}), (Unknown, None)),
        (Raw(), (Unknown, None)),
    ],
)
async def test_every_answer_to_a_qr_has_its_outcome(reply: Reply, outcome: tuple[type, str | None]):
    found, stub = await run({f"POST {QR_PATH}/request": reply}, "charge", QR)
    word = found.failure_code if isinstance(found, Declined) else getattr(found, "provider_code", None)
    assert (type(found), word) == outcome
    assert len(without_token(stub)) == 1


@pytest.mark.parametrize(
    ("inquiry", "kinds"),
    [
        (found_reply(), [FactKind.CAPTURED]),
        (found_reply(txnStatus="VOIDED"), [FactKind.CAPTURED]),
        (found_reply(txnStatus="CANCELLED"), [FactKind.VOIDED]),
        (found_reply(txnStatus="EXPIRED"), [FactKind.EXPIRED]),
        (found_reply(txnStatus="REQUESTED"), None),
        (found_reply(txnStatus="NOT_FOUND"), None),
        (error("invalid_origPartnerTxnUid"), None),
        ((500, b""), None),
    ],
)
async def test_duplicate_request_is_resolved_by_inquiry_and_never_declined(inquiry: Reply, kinds):
    replies = {f"POST {QR_PATH}/request": error("duplicate_request"), INQUIRY: inquiry}
    outcome, _ = await run(replies, "charge", QR)
    if kinds is None:
        assert isinstance(outcome, Unknown)
    else:
        assert isinstance(outcome, Accepted)
        assert [fact.kind for fact in outcome.facts] == kinds


@pytest.mark.parametrize(
    ("status", "kind", "transaction_id"),
    [
        ("REQUESTED", FactKind.PENDING, KEY),
        ("PAID", FactKind.CAPTURED, "20260101000000001"),
        ("VOIDED", FactKind.CAPTURED, "20260101000000001"),
        ("CANCELLED", FactKind.VOIDED, KEY),
        ("EXPIRED", FactKind.EXPIRED, KEY),
    ],
)
async def test_every_status_of_a_qr_has_its_fact(status: str, kind: FactKind, transaction_id: str):
    inquiry, stub = await run({INQUIRY: found_reply(txnStatus=status, txnAmount="100.50")}, "inquire", UID, NOON)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (kind, KEY, transaction_id)
    assert (fact.amount_minor, fact.currency, fact.occurred_at, fact.source) == (
        100_50,
        "THB",
        NOON,
        FactSource.INQUIRY,
    )
    assert without_token(stub)[0].json()["origPartnerTxnUid"] == UID


@pytest.mark.parametrize(
    "reply",
    [
        found_reply(txnStatus="A_WORD_OF_TOMORROW"),
        found_reply(txnStatus=None),
        found_reply(txnNo=None),
        found_reply(txnAmount=None),
        found_reply(txnAmount=100.505),
        found_reply(txnAmount=-1),
        found_reply(txnAmount="NaN"),
        found_reply(txnAmount="1E+900000000"),
        found_reply(txnCurrencyCode="USD"),
        found_reply(txnCurrencyCode=None),
        found_reply(reference1="SOMEBODYELSES"),
        found_reply(partnerTxnUid="OTHER0000000001"),
        found_reply(statusCode="11"),
        error("general_error"),
        (500, b""),
        (403, b""),
    ],
)
async def test_inquiry_of_a_qr_that_is_not_understood_is_unknown(reply: Reply):
    inquiry, _ = await run({INQUIRY: reply}, "inquire", UID, NOON)
    assert isinstance(inquiry, Unknown)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ((200, {"statusCode": "00"}), (Accepted, None)),
        (error("qr_cancelled"), (Accepted, None)),
        (error("qr_paid"), (Declined, "not_cancelable")),
        (error("qr_expired"), (Declined, "not_cancelable")),
        (error("qr_void"), (Declined, "not_cancelable")),
        (error("invalid_origPartnerTxnUid"), (NotAttempted, None)),
        (error("merchant_closed"), (NotAttempted, None)),
        (error("general_error"), (Unknown, None)),
        ((500, b""), (Unknown, None)),
        (Raw(), (Unknown, None)),
    ],
)
async def test_every_answer_to_a_cancellation_has_its_outcome(reply: Reply, outcome: tuple[type, str | None]):
    found, stub = await run({f"POST {QR_PATH}/cancel": reply}, "cancel", KEY)
    assert (type(found), getattr(found, "failure_code", None)) == outcome
    assert without_token(stub)[0].json()["origPartnerTxnUid"] == UID


@pytest.mark.parametrize(
    ("reply", "after", "outcome"),
    [
        ((200, {"statusCode": "00"}), found_reply(), (Accepted, None)),
        (error("duplicate_request"), found_reply(txnStatus="VOIDED"), (Accepted, None)),
        (error("qr_void"), found_reply(txnStatus="VOIDED"), (Accepted, None)),
        (error("duplicate_request"), found_reply(), (Unknown, None)),
        (error("duplicate_request"), (500, b""), (Unknown, None)),
        (error("settlement_error"), found_reply(), (Declined, "refund_window_over")),
        (error("qr_cancelled"), found_reply(), (Declined, "refund_refused")),
        (error("qr_expired"), found_reply(), (Declined, "refund_refused")),
        (error("bad_request"), found_reply(), (Declined, "refund_refused")),
        (error("authentication_error"), found_reply(), (NotAttempted, None)),
        (error("general_error"), found_reply(), (Unknown, None)),
        (error("x", "11"), found_reply(), (Unknown, None)),
        ((500, b""), found_reply(), (Unknown, None)),
        (Raw(), found_reply(), (Unknown, None)),
    ],
)
async def test_every_answer_to_a_void_has_its_outcome(reply: Reply, after: Reply, outcome):
    replies = {INQUIRY: [found_reply(), after], f"POST {QR_PATH}/void": reply}
    found, stub = await run(replies, "refund", VOID_REQUEST)
    assert (type(found), getattr(found, "failure_code", None)) == outcome
    body = without_token(stub)[1].json()
    assert (body["partnerTxnUid"], body["origPartnerTxnUid"], body["txnNo"]) == (
        uid_of(REFUND_KEY),
        UID,
        "20260101000000001",
    )
    if isinstance(found, Accepted):
        (fact,) = found.facts
        assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
            FactKind.REFUND_SUCCEEDED,
            REFUND_KEY,
            uid_of(REFUND_KEY),
            100_50,
        )


async def test_void_is_refused_before_anybody_is_asked_when_it_cannot_be():
    cases = {
        "partial_refund_not_supported": replace(VOID_REQUEST, amount_minor=50_00),
        "refund_window_over": replace(VOID_REQUEST, created_at=LATER),
    }
    for code, request in cases.items():
        outcome, stub = await run({}, "refund", request)
        assert (outcome.failure_code, stub.requests) == (code, [])
    night = replace(VOID_REQUEST, created_at=datetime(2026, 1, 1, 23, 0, tzinfo=BANGKOK))
    assert (await run({}, "refund", night))[0].failure_code == "refund_window_over"


async def test_void_asks_first_and_does_not_void_what_it_does_not_understand():
    bare = replace(VOID_REQUEST, charge_key="", method=None, captured_minor=None, captured_at=None)
    cases: list[tuple[Reply, type]] = [
        (found_reply(txnStatus="VOIDED"), Accepted),
        (found_reply(txnAmount=50.00), Declined),
        (found_reply(txnAmount=None), NotAttempted),
        (error("invalid_origPartnerTxnUid"), NotAttempted),
        ((500, b""), NotAttempted),
    ]
    for reply, kind in cases:
        outcome, stub = await run({INQUIRY: reply}, "refund", bare)
        assert isinstance(outcome, kind)
        assert [request.path for request in without_token(stub)] == [f"{QR_PATH}/v4/inquiry"]


async def test_void_is_found_by_the_status_of_its_charge():
    cases = [
        (found_reply(txnStatus="VOIDED"), True),
        (found_reply(), False),
        (error("invalid_origPartnerTxnUid"), False),
        (found_reply(txnStatus="REQUESTED"), None),
        (found_reply(txnStatus="VOIDED", txnAmount=1), None),
        (found_reply(txnStatus="VOIDED", txnAmount=None), None),
        ((500, b""), None),
    ]
    for reply, found in cases:
        inquiry, _ = await run({INQUIRY: reply}, "inquire_refund", VOID_REQUEST)
        assert (inquiry.found if isinstance(inquiry, Inquiry) else None) is found
