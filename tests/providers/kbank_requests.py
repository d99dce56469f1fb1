"""Requests to a KBank whose clock is the world's, and what its answers say."""

from datetime import timedelta

from gateway.foundation.clock import real_now
from gateway.providers.base import (
    Accepted,
    Callback,
    ChargeRequest,
    Declined,
    Inquiry,
    Method,
    RefundRequest,
)
from tests.providers.kbank import KEY, REFUND_KEY
from tests.sandbox.conftest import Told
from tests.sandbox.kbank import Kbank as Bank


def qr_request(bank: Bank, key: str = KEY, amount_minor: int = 100_50) -> ChargeRequest:
    return ChargeRequest(
        attempt_id="att_test_1",
        provider_key=key,
        method=Method.PROMPTPAY,
        amount_minor=amount_minor,
        currency="THB",
        created_at=bank.now,
        expires_at=bank.now + timedelta(minutes=10),
    )


async def card_request(bank: Bank, key: str = KEY, **card: str) -> ChargeRequest:
    return ChargeRequest(
        attempt_id="att_test_1",
        provider_key=key,
        method=Method.CARD,
        amount_minor=1234_50,
        currency="THB",
        created_at=bank.now,
        card_token=await bank.card_token(**card),
        description="order 1",
    )


def refund_request(bank: Bank, request: ChargeRequest, reference: str, amount_minor: int, key: str = REFUND_KEY):
    return RefundRequest(
        refund_id="re_test_1",
        provider_key=key,
        provider_reference=reference,
        amount_minor=amount_minor,
        currency="THB",
        created_at=bank.now,
        charge_key=request.provider_key,
        method=request.method,
        captured_minor=request.amount_minor,
        captured_at=request.created_at,
    )


def callback_of(told: Told) -> Callback:
    return Callback(headers=told.headers, body=told.body, received_at=real_now())


def said(result):
    assert isinstance(result, Accepted | Declined | Inquiry), result
    return [(fact.kind, fact.provider_transaction_id, fact.amount_minor) for fact in result.facts]
