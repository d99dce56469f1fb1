"""Voids and notifications of the Open API, against a scripted bank over real HTTP."""

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    RefundRequest,
    Unknown,
)
from gateway.providers.bbl import Bbl
from gateway.providers.http import ProviderHttp
from tests.providers.bbl_account import account_at
from tests.providers.bbl_bank import BILLER, KEY, NINE, ROW, FakeBank, claims_of, reply_of, run
from tests.providers.stub import Raw, Reply

NOTIFICATION = {
    "billerId": BILLER,
    "transDate": "2026-01-01",
    "transTime": "09:00:00",
    "termType": "80",
    "amount": "1234.50",
    "reference1": KEY,
    "reference2": "QKREF2",
    "reference3": "",
    "fromBank": "014",
    "fromBranch": "",
    "fromName": "TEST PAYER",
    "bankRef": "0000000001",
    "approvalCode": "123456",
    "txnType": "C",
    "retryFlag": "N",
}
REFUND = RefundRequest(
    refund_id="re_test_1",
    provider_key="QKR1",
    provider_reference=KEY,
    amount_minor=1234_50,
    currency="THB",
    created_at=NINE + timedelta(hours=13, minutes=59),
    charge_key=KEY,
    method=Method.PROMPTPAY,
    captured_minor=1234_50,
    captured_at=NINE + timedelta(minutes=5),
)


async def test_refund_voids_the_whole_payment_on_its_day():
    fake = FakeBank(payment_inquiry=reply_of(ROW), reversal=reply_of())
    outcome, stub = await run(fake, "refund", REFUND)
    assert isinstance(outcome, Accepted)
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.REFUND_SUCCEEDED,
        "QKR1",
        "T0001",
        1234_50,
    )
    assert stub.paths()[1:] == ["/biller/v1/payment-inquiry", "/biller/v1/refund/reversal"]
    body = {
        "billerId": BILLER,
        "reference1": KEY,
        "reference2": "",
        "transDate": "2026-01-01",
        "transTime": "09:05:00",
        "amount": "1234.50",
        "approvalCode": "123456",
    }
    assert stub.requests[2].json() == body
    assert body.items() <= claims_of(stub.requests[2]).items()


async def test_refund_that_the_documents_rule_out_is_not_asked_for():
    no_cards, stub = await run(FakeBank(reply_of()), "refund", replace(REFUND, method=Method.CARD))
    assert (type(no_cards), stub.paths()) == (NotAttempted, [])
    for changes, failure_code in (
        ({"created_at": NINE + timedelta(hours=14)}, "refund_window_closed"),
        ({"created_at": NINE + timedelta(days=1)}, "refund_window_closed"),
        ({"amount_minor": 1_00}, "partial_refund_not_supported"),
    ):
        outcome, stub = await run(FakeBank(reply_of()), "refund", replace(REFUND, **changes))
        assert (type(outcome), outcome.failure_code, stub.paths()) == (Declined, failure_code, [])


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (reply_of({**ROW, "txnType": "D"}), Accepted),
        (reply_of([ROW, {**ROW, "transactionId": "T0002", "transTime": "09:06:00"}]), Accepted),
        (reply_of([ROW, {**ROW, "transactionId": "T0002"}]), NotAttempted),
        (reply_of({**ROW, "amount": "1.00"}), NotAttempted),
        (reply_of(code="209"), NotAttempted),
        ((500, b""), NotAttempted),
    ],
)
async def test_refund_needs_the_one_payment_that_it_is_about(rows: Reply, kind: type):
    outcome, stub = await run(FakeBank(payment_inquiry=rows, reversal=reply_of()), "refund", REFUND)
    assert type(outcome) is kind
    if kind is Accepted:
        assert outcome.facts[0].provider_transaction_id == "T0001"
    else:
        assert "/biller/v1/refund/reversal" not in stub.paths()


@pytest.mark.parametrize(
    ("reply", "kind", "failure_code"),
    [
        (reply_of(code="209"), Declined, "refund_refused"),
        (reply_of(code="211"), Declined, "refund_refused"),
        (reply_of(code="213"), Declined, "refund_refused"),
        (reply_of(code="331"), Declined, "refund_refused"),
        (reply_of(code="332"), Declined, "refund_refused"),
        (reply_of(code="411"), Declined, "refund_window_closed"),
        (reply_of(code="052"), NotAttempted, None),
        (reply_of(code="429"), NotAttempted, None),
        (reply_of(code="212"), Unknown, None),
        (reply_of(code="412"), Unknown, None),
        (reply_of(code="210"), Unknown, None),
        (reply_of(code="888"), Unknown, None),
        ((500, b""), Unknown, None),
        ((200, b"garbage"), Unknown, None),
        (Raw(), Unknown, None),
    ],
)
async def test_every_answer_to_a_void_has_its_outcome(reply: Reply, kind: type, failure_code: str | None):
    outcome, _ = await run(FakeBank(payment_inquiry=reply_of(ROW), reversal=reply), "refund", REFUND)
    assert type(outcome) is kind
    assert getattr(outcome, "failure_code", None) == failure_code


async def test_void_is_found_by_the_type_of_its_payment():
    assert (await run(FakeBank(reply_of(ROW)), "inquire_refund", REFUND))[0] == Inquiry(found=False)
    inquiry, _ = await run(FakeBank(reply_of({**ROW, "txnType": "D"})), "inquire_refund", REFUND)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (
        FactKind.REFUND_SUCCEEDED,
        "QKR1",
        "T0001",
    )
    for reply in (reply_of(code="888"), reply_of(code="209"), (500, b"")):
        assert isinstance((await run(FakeBank(reply), "inquire_refund", REFUND))[0], Unknown)


def _callback(body: object, **headers: str) -> Callback:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Callback(headers=headers, body=content, received_at=NINE)


async def test_notification_is_only_a_reason_to_ask():
    async with ProviderHttp(timeout_seconds=10) as http:
        bbl, account = Bbl(http), account_at("")
        assert set(bbl.callback_headers) == {"request-ref", "transmit-date-time"}
        callback = _callback(NOTIFICATION, **{"Request-Ref": "R1", "transmit-date-time": "T1"})
        parsed = bbl.parse_callback(account, callback)
        assert (parsed.event_id, parsed.facts, parsed.inquire, parsed.inquire_about) == (
            f"2026-01-01-{KEY}-123456-C",
            (),
            (KEY,),
            NINE,
        )
        # Sent again it is the same event; the payment's cancellation is another one.
        assert bbl.parse_callback(account, _callback({**NOTIFICATION, "retryFlag": "Y"})).event_id == parsed.event_id
        assert bbl.parse_callback(account, _callback({**NOTIFICATION, "txnType": "D"})).event_id.endswith("-D")
        no_approval = bbl.parse_callback(account, _callback({**NOTIFICATION, "approvalCode": ""}))
        assert no_approval.event_id == f"2026-01-01-{KEY}-0000000001-C"
        reply = bbl.callback_reply(account, callback, "evt_1")
        assert reply.headers == {"Request-Ref": "R1", "Transmit-Date-Time": "T1"}
        assert json.loads(reply.body) == {"responseCode": "000", "responseMesg": "Success"}
        assert bbl.callback_reply(account, _callback(b"{"), "evt_1").headers == {}
        for changes, code in (
            ({"billerId": "099999999999902"}, "malformed"),
            ({"amount": "0.00"}, "malformed"),
            ({"amount": 1234.5}, "malformed"),
            ({"transDate": "yesterday"}, "malformed"),
            ({"bankRef": "", "approvalCode": ""}, "malformed"),
            ({"reference1": None}, "malformed"),
            ({"txnType": "X"}, "unknown_status"),
        ):
            with pytest.raises(CallbackRejected) as rejected:
                bbl.parse_callback(account, _callback({**NOTIFICATION, **changes}))
            assert rejected.value.code == code
        with pytest.raises(CallbackRejected):
            bbl.parse_callback(account, _callback(b'{"billerId":'))
