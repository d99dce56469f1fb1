"""The adapter against a scripted TrueMoney over real HTTP: debits, checkouts and inquiries."""

import base64
import hashlib
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec.structs import replace

from gateway.foundation.clock import real_now
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
    Unknown,
)
from gateway.providers.truemoney import TrueMoney
from gateway.providers.truemoney_signature import NotProved, check, open_keys, signed_headers
from tests.providers.stub import Raw, Reply
from tests.providers.truemoney_stub import (
    BY_ID,
    BY_KEY,
    CHECKOUT,
    CODE,
    DEBITED,
    ID,
    MERCHANT,
    NINE,
    OPEN,
    OUR_KEY,
    PAGE,
    PAY,
    PAYMENT,
    PREFIX,
    REFUND,
    asked,
    check_request,
    error,
    kinds,
    run,
    signed,
    success,
)
from tests.truemoney_keys import CREDENTIALS, MERCHANT_PUBLIC_KEY


def test_signature_is_that_of_the_published_vector():
    body = (
        b'{"isv_payment_ref":"QK2026000001","merchant_id":"000000000000000000001","currency":"THB",'
        b'"request_amount":"12050","payment_method":"BALANCE","payment_code":"0000000000000000",'
        b'"description":"QuickKub test","metadata":{"shop_id":"000000000000000000001","partner_shop_id":"S01"}}'
    )
    assert hashlib.sha256(body).hexdigest() == "337c1463e7daa1e8e797b58b4f17c20a4280305d22fce93e66b67f2c1bb3131e"
    at = datetime.fromtimestamp(1767225600, UTC)
    headers = signed_headers(open_keys(CREDENTIALS), body, at)
    assert headers == {
        "timestamp": "1767225600",
        "content-signature": "digest-alg=RSA-SHA; key-id=KEY:RSA:rsf.org; data="
        "DMOLGi7SSHB17O9WxiQ8YUot/rMpbz2dfflOqQzmLAICCgtK0jgC+aVwkvAzNNJxrAhS/jgl7tzU6TKk8fZKZ0zyvTtZI/4yARsGNdy9aDVa"
        "vvis14BB9dgD3TRRFUDquol5lzORXG0xx7dJTAKiNmnkoVvczj90wgqwIDkARn5ePoSmd8RqGKylX5YMdEpF3z4vqonkPcVScme1Nz4tZ/TZ"
        "OFhe86q94Fit7IOkoep/obF8N+cG/XUaEtk409SqcF29Jm1x5HhR3Fj3tkM+qn9y+rFxjlTerGFL8idK5mxzVJeVSdnWrNYibmAWodht1aPk"
        "/wDPpXncCmmUZgLLzg==",
    }
    both = open_keys({**CREDENTIALS, "provider_public_key": MERCHANT_PUBLIC_KEY})
    check(both, headers, body, at)
    with pytest.raises(NotProved):
        check(both, headers, body + b" ", at)


async def test_wallet_is_debited_by_its_code_in_a_signed_request():
    outcome, stub = await run({PAY: success(DEBITED)}, "charge", CODE)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == ("QK2026000001", ID)
    assert outcome.next_action is None
    (fact,) = outcome.facts
    assert (fact.kind, fact.source, fact.provider) == (FactKind.CAPTURED, FactSource.RESPONSE, "truemoney")
    assert (fact.provider_reference, fact.provider_transaction_id) == ("QK2026000001", ID)
    assert (fact.amount_minor, fact.currency, fact.occurred_at) == (12050, "THB", NINE)
    (request,) = stub.requests
    assert request.json() == {
        "isv_payment_ref": "QK2026000001",
        "merchant_id": MERCHANT,
        "currency": "THB",
        "request_amount": "12050",
        "payment_method": "BALANCE",
        "payment_code": "0000000000000000",
        "description": "QuickKub test of a l",
        "metadata": {"shop_id": MERCHANT},
    }
    check_request(request)


async def test_checkout_sends_the_payer_to_its_page():
    outcome, stub = await run({OPEN: success({**DEBITED, "payment_url": PAGE})}, "charge", CHECKOUT)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == ("QK2026000001", ID)
    assert outcome.next_action is not None
    assert (outcome.next_action.type, outcome.next_action.redirect_url) == ("redirect", PAGE)
    assert outcome.next_action.expires_at == CHECKOUT.expires_at
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_transaction_id, fact.amount_minor) == (FactKind.PENDING, "QK2026000001", 12050)
    (request,) = stub.requests
    assert request.json() == {
        "isv_payment_ref": "QK2026000001",
        "merchant_id": MERCHANT,
        "currency": "THB",
        "request_amount": "12050",
        "return_url": "https://shop.invalid/back",
        "description": "QK2026000001",
        "metadata": {"shop_id": MERCHANT},
    }
    check_request(request)
    # The address alone is documented as assumed; without an id the payment is known by our key.
    outcome, _ = await run({OPEN: success({"payment_url": PAGE})}, "charge", CHECKOUT)
    assert outcome.provider_references == ("QK2026000001",)


@pytest.mark.parametrize(
    ("request_", "kind", "code"),
    [
        (replace(CODE, method=Method.CARD), Declined, "method_not_supported"),
        (replace(CODE, currency="USD"), Declined, "method_not_supported"),
        (replace(CODE, capture_later=True), Declined, "capture_not_supported"),
        (replace(CHECKOUT, return_url=None), Declined, "invalid_request"),
    ],
)
async def test_what_cannot_be_asked_is_notasked(request_: ChargeRequest, kind: type, code: str):
    outcome, stub = await run({}, "charge", request_)
    assert type(outcome) is kind
    assert outcome.failure_code == code
    assert stub.requests == []


async def test_live_account_uses_no_assumed_checkout_but_debits_codes():
    outcome, stub = await run({}, "charge", CHECKOUT, livemode=True)
    assert isinstance(outcome, NotAttempted)
    assert stub.requests == []
    outcome, _ = await run({PAY: success(DEBITED)}, "charge", CODE, livemode=True)
    assert isinstance(outcome, Accepted)


@pytest.mark.parametrize("credentials", [{"private_key": "x"}, {"provider_public_key": "x"}])
async def test_account_without_a_readable_key_asks_nothing(credentials: dict[str, str]):
    outcome, stub = await run({PAY: success(DEBITED)}, "charge", CODE, **credentials)
    assert isinstance(outcome, NotAttempted)
    assert stub.requests == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error("invalid_signature", 401), NotAttempted),
        (error("invalid_api_key", 401), NotAttempted),
        (error("too_many_requests", 429), NotAttempted),
        (error("odd", 403), NotAttempted),
        (error("odd"), Unknown),
        (error("odd", 200), Unknown),
        (error("success", 400), Unknown),
        (error("internal_error", 500), Unknown),
        (error("refund_not_allowed"), Unknown),
        (success({}), Unknown),
        (success({"payment_id": ""}), Unknown),
        (success({"payment_id": "../x"}), Unknown),
        (success({"payment_id": 900000000000000001}), Unknown),
        (signed(200, b"garbage"), Unknown),
        (signed(200, b'{"status":{"code":"success"}'), Unknown),
        (signed(302, b""), Unknown),
        # Not TrueMoney's, or not of now: worth nothing, whatever it says.
        ((200, {"status": {"code": "success"}, "data": DEBITED}), Unknown),
        (signed(200, {"status": {"code": "success"}, "data": DEBITED}, key=OUR_KEY), Unknown),
        (signed(200, {"status": {"code": "success"}, "data": DEBITED}, over=b"{}"), Unknown),
        (signed(200, {"status": {"code": "success"}, "data": DEBITED}, at=int(time.time()) - 3600), Unknown),
        (signed(400, {"status": {"code": "insufficient_fund"}}, key=OUR_KEY), Unknown),
        ((401, {"status": {"code": "invalid_api_key"}}), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_every_answer_to_a_debit_has_its_outcome(reply: Reply, kind: type):
    outcome, stub = await run({PAY: reply}, "charge", CODE)
    assert type(outcome) is kind
    assert asked(stub) == [PAY]


@pytest.mark.parametrize("data", [{}, {"payment_url": "javascript:alert(1)"}, {"payment_url": PAGE, "payment_id": "x"}])
async def test_checkout_that_is_not_understood_is_unknown(data: object):
    outcome, _ = await run({OPEN: success(data)}, "charge", CHECKOUT)
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("insufficient_fund", "insufficient_funds"),
        ("invalid_payment_code", "wallet_code_invalid"),
        ("invalid_request", "invalid_request"),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403])
async def test_refusal_is_a_decline_when_nothing_is_known_under_our_key(code: str, ours: str, status: int):
    outcome, stub = await run({PAY: error(code, status)}, "charge", CODE)
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code, outcome.message) == (ours, code, f"no: {code}")
    assert asked(stub) == [PAY, BY_KEY]
    assert stub.requests[1].query == {
        "isv_payment_ref": "QK2026000001",
        "transaction_date": "2026-01-01T09:00:00+07:00",
    }


@pytest.mark.parametrize("code", ["insufficient_fund", "invalid_payment_code", "duplicate_isv_payment_ref"])
async def test_refused_repetition_is_what_the_first_sending_came_to(code: str):
    paid, _ = await run({PAY: error(code), BY_KEY: success(PAYMENT)}, "charge", CODE)
    assert isinstance(paid, Accepted)
    assert (kinds(paid), paid.facts[0].provider_transaction_id) == ([FactKind.CAPTURED], ID)
    assert paid.provider_references == ("QK2026000001", ID)
    failed = {**PAYMENT, "status": "failed", "response_code": "insufficient_fund", "response_message": "poor"}
    declined, _ = await run({PAY: error(code), BY_KEY: success(failed)}, "charge", CODE)
    assert isinstance(declined, Declined)
    assert (declined.failure_code, declined.provider_code, declined.message) == (
        "insufficient_funds",
        "insufficient_fund",
        "poor",
    )
    assert [(fact.kind, fact.provider_transaction_id) for fact in declined.facts] == [
        (FactKind.DECLINED, "QK2026000001")
    ]
    for unclear in (error("odd"), signed(503, b""), success({**PAYMENT, "status": "odd"}), success({})):
        outcome, _ = await run({PAY: error(code), BY_KEY: unclear}, "charge", CODE)
        assert isinstance(outcome, Unknown)


async def test_duplicate_that_is_not_found_is_unknown():
    outcome, _ = await run({PAY: error("duplicate_isv_payment_ref", 409)}, "charge", CODE)
    assert isinstance(outcome, Unknown)


async def test_checkout_whose_address_was_lost_is_found_again():
    waiting = {**PAYMENT, "status": "pending", "payment_url": PAGE}
    replies = {OPEN: error("duplicate_isv_payment_ref", 409), BY_KEY: success(waiting)}
    outcome, _ = await run(replies, "charge", CHECKOUT)
    assert isinstance(outcome, Accepted)
    assert kinds(outcome) == [FactKind.PENDING]
    assert outcome.next_action is not None
    assert (outcome.next_action.redirect_url, outcome.next_action.expires_at) == (PAGE, CHECKOUT.expires_at)


@pytest.mark.parametrize(
    ("status", "kind", "transaction_id"),
    [
        ("succeeded", FactKind.CAPTURED, ID),
        ("failed", FactKind.DECLINED, "QK2026000001"),
        ("pending", FactKind.PENDING, "QK2026000001"),
        ("processing", FactKind.PENDING, "QK2026000001"),
    ],
)
async def test_every_status_has_its_fact(status: str, kind: FactKind, transaction_id: str):
    inquiry, stub = await run({BY_ID: success({**PAYMENT, "status": status})}, "inquire", ID, NINE)
    assert isinstance(inquiry, Inquiry)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (kind, "QK2026000001", transaction_id)
    assert (fact.amount_minor, fact.source) == (12050, FactSource.INQUIRY)
    assert fact.occurred_at == datetime(2026, 1, 1, 2, 0, 1, tzinfo=UTC)
    assert asked(stub) == [BY_ID]
    check_request(stub.requests[0])


@pytest.mark.parametrize(
    ("code", "ours"),
    [("invalid_payment_code", "wallet_code_invalid"), ("payment_expired", "expired"), ("of_tomorrow", "declined")],
)
async def test_failed_payment_keeps_their_word_beside_ours(code: str, ours: str):
    failed = {**PAYMENT, "status": "failed", "response_code": code}
    inquiry, _ = await run({BY_ID: success(failed)}, "inquire", ID, NINE)
    assert [(fact.failure_code, fact.provider_code) for fact in inquiry.facts] == [(ours, code)]


async def test_inquiry_tells_of_our_refunds_and_of_nobody_elses():
    others = [{**REFUND, "isv_refund_ref": ""}, {**REFUND, "isv_refund_ref": "QK00000000000000000CC"}]
    statuses = ["succeeded", "failed", "pending", "processing"]
    ours = [{**REFUND, "refund_id": f"80{number}", "status": status} for number, status in enumerate(statuses)]
    payment = {**PAYMENT, "refunds": [*others, *ours], "updated": "2026-01-04T09:00:00.000+07:00"}
    inquiry, _ = await run({BY_ID: success(payment)}, "inquire", ID, NINE)
    assert [(fact.kind, fact.provider_transaction_id) for fact in inquiry.facts] == [
        (FactKind.CAPTURED, ID),
        (FactKind.REFUND_SUCCEEDED, "800"),
        (FactKind.REFUND_FAILED, "801"),
        (FactKind.REFUND_PENDING, "802"),
        (FactKind.REFUND_PENDING, "803"),
    ]
    # The refunds moved `updated`; the payer paid before.
    assert inquiry.facts[0].occurred_at == NINE
    assert {fact.provider_reference for fact in inquiry.facts[1:]} == {"QKR2026000001"}


async def test_inquiry_by_key_asks_about_each_day_of_the_charges_life():
    late = datetime(2026, 1, 1, 15, 30, 0, 5, tzinfo=UTC)
    inquiry, stub = await run({}, "inquire", "QK2026000001", late, late + timedelta(minutes=15))
    assert inquiry == Inquiry(found=False)
    assert [request.query["transaction_date"] for request in stub.requests] == [
        "2026-01-01T22:30:00+07:00",
        "2026-01-02T00:00:00+07:00",
    ]
    early = datetime(2025, 12, 31, 17, 5, tzinfo=UTC)
    _, stub = await run({}, "inquire", "QK2026000001", early)
    assert [request.query["transaction_date"] for request in stub.requests] == [
        "2026-01-01T00:05:00+07:00",
        "2025-12-31T00:00:00+07:00",
    ]


@pytest.mark.parametrize(
    "reply",
    [
        error("odd"),
        error("invalid_signature", 401),
        signed(500, b""),
        success({}),
        success({**PAYMENT, "status": "odd"}),
        success({**PAYMENT, "amount": 120.5}),
        success({**PAYMENT, "amount": 0}),
        success({**PAYMENT, "amount": "12050"}),
        success({**PAYMENT, "currency": "USD"}),
        success({**PAYMENT, "merchant": "000000000000000000002"}),
        success({**PAYMENT, "payment_id": "900000000000000002"}),
        success({**PAYMENT, "created": "2026-01-01T09:00:00"}),
        success({**PAYMENT, "refunds": [{**REFUND, "status": "odd"}]}),
        signed(200, {"status": {"code": "success"}, "data": PAYMENT}, key=OUR_KEY),
        Raw(),
    ],
)
async def test_inquiry_without_a_clear_answer_is_unknown(reply: Reply):
    inquiry, _ = await run({BY_ID: reply}, "inquire", ID, NINE)
    assert isinstance(inquiry, Unknown)


async def test_payment_that_is_not_known_is_not_found():
    assert (await run({}, "inquire", ID, NINE))[0] == Inquiry(found=False)


async def test_rail_neither_cancels_nor_captures():
    canceled, stub = await run({}, "cancel", ID)
    assert (type(canceled), canceled.failure_code, stub.requests) == (Declined, "not_cancelable", [])
    capture = CaptureRequest(
        capture_id="cap_test_1",
        provider_key="QKC1",
        provider_reference=ID,
        charge_key="QK2026000001",
        method=Method.TRUEMONEY,
        amount_minor=1,
        authorized_minor=1,
        currency="THB",
        created_at=NINE,
    )
    captured, stub = await run({}, "capture", capture)
    assert (type(captured), captured.failure_code, stub.requests) == (Declined, "capture_not_supported", [])


def test_invented_key_signs_what_its_public_half_proves():
    keys = open_keys(TrueMoney.invented_credentials())
    headers = signed_headers(keys, b"{}", real_now())
    signature = base64.b64decode(headers["content-signature"].removeprefix(PREFIX))
    signed_text = headers["timestamp"].encode() + b"{}"
    keys.ours.public_key().verify(signature, signed_text, PKCS1v15(), SHA256())
    stranger = load_pem_public_key(MERCHANT_PUBLIC_KEY.encode())
    with pytest.raises(InvalidSignature):
        stranger.verify(signature, signed_text, PKCS1v15(), SHA256())
    assert "PRIVATE" not in repr(keys)
