"""A scripted GBPrimePay: requests of ours, answers of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from gateway.providers.base import (
    ChargeRequest,
    Method,
    RefundRequest,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.http import ProviderHttp
from gateway.sandbox.emvco import bill_payment_qr
from tests.providers.stub import Reply, Request, account_at, serving

SECRET = "invented-gbp-secret-key-0001"

BASIC = "Basic aW52ZW50ZWQtZ2JwLXNlY3JldC1rZXktMDAwMTo="

NOON = datetime(2026, 1, 1, 5, tzinfo=UTC)

KEY = "QK20260000000000ABCD"

REFERENCE = "F4KN7XMEOTZ6L64"

CARD = ChargeRequest(
    attempt_id="att_test_1",
    provider_key=KEY,
    method=Method.CARD,
    amount_minor=1234_50,
    currency="THB",
    created_at=NOON,
    card_token="token-1",
    return_url="https://quickkub.test/return",
    description="order 1",
)

PROMPTPAY = replace(
    CARD, method=Method.PROMPTPAY, card_token=None, return_url=None, expires_at=NOON + timedelta(minutes=15)
)

WALLET = replace(CARD, method=Method.TRUEMONEY, card_token=None)

MOBILE = replace(WALLET, method=Method.MOBILE_BANKING, bank="scb")

CHARGED = {"resultCode": "00", "amount": 1234.50, "referenceNo": REFERENCE, "gbpReferenceNo": "gbp0000000001"}

TXN = {
    "amount": 1234.50,
    "referenceNo": REFERENCE,
    "gbpReferenceNo": "gbp0000000001",
    "resultCode": "00",
    "status": "S",
    "paymentType": "C",
    "merchantDefined1": KEY,
    "date": "01012026",
    "time": "120001",
}

REFUND = RefundRequest(
    refund_id="re_test_1",
    provider_key="QKR1",
    provider_reference=REFERENCE,
    amount_minor=1234_50,
    currency="THB",
    created_at=NOON,
    charge_key=KEY,
    method=Method.CARD,
    captured_minor=1234_50,
    captured_at=NOON,
)

BACK = {
    "resultCode": "00",
    "amount": 1234.50,
    "referenceNo": "QKR1",
    "gbpReferenceNo": "gbp0000000009",
    "status": "S",
    "date": "01012026",
    "time": "130000",
}

NOT_FOUND = (200, {"resultCode": "02", "resultMessage": "Transaction not found"})

STATUS = "/v1/check_status_txn"


def issued_qr(amount: str = "1234.50") -> dict[str, str]:
    return {
        "referenceNo": REFERENCE,
        "qrcode": bill_payment_qr("099400000000415", "GBP0000000001", REFERENCE, "", amount),
        "resultCode": "00",
        "gbpReferenceNo": "gbp0000000001",
        "resultMessage": "Success",
    }


def found_txn(*transactions: dict[str, Any]) -> Reply:
    if len(transactions) == 1:
        return 200, {"resultCode": "00", "txn": transactions[0]}
    return 200, {"resultCode": "00", "txns": list(transactions)}


async def run(replies: dict[str, Reply], operation: str, *arguments):
    """By path; what is not in the script is not found."""

    async def handler(request: Request) -> Reply:
        return replies.get(request.path, NOT_FOUND if request.path == STATUS else (404, b"no such page"))

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=10) as http:
        return await getattr(Gbprimepay(http), operation)(account_at(stub.url, "gbprimepay"), *arguments), stub
