"""A scripted KBank: what it is asked and answers, for both products."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from gateway.providers.base import (
    ChargeRequest,
    Method,
    ProviderAccount,
    RefundRequest,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.kbank import Kbank
from gateway.providers.kbank_wire import uid_of
from gateway.providers.promptpay import Bill, Innovation, bill_payment_qr
from tests.providers.stub import Reply, Request, serving
from tests.sandbox.kbank import CREDENTIALS

NOON = datetime(2026, 1, 1, 5, tzinfo=UTC)
KEY = "QK2026000001ABCDEFGH"
UID = uid_of(KEY)
REFUND_KEY = "QKR2026000001ABCDEFG"
CHARGE_ID = "chrg_test_qk0001"
QR_PATH = "/v1/qrpayment"
INQUIRY = f"POST {QR_PATH}/v4/inquiry"
CARD_PATH = "/kgp/card/v2/charge"
BILL = Bill(biller_id="010753600099999", reference1=UID)
QR_TEXT = bill_payment_qr(BILL, 100_50, innovation=Innovation(acquirer_code="004", reference1=UID))
ISSUED = {
    "partnerTxnUid": UID,
    "partnerId": "PTRQK1",
    "statusCode": "00",
    "errorCode": None,
    "errorDesc": None,
    "accountName": "QUICKKUB SHOP",
    "qrCode": QR_TEXT,
    "sof": ["PP"],
}
FOUND = {
    "partnerTxnUid": "ANOTHER",
    "statusCode": "00",
    "errorCode": None,
    "errorDesc": None,
    "txnStatus": "PAID",
    "txnAmount": 100.50,
    "txnCurrencyCode": "THB",
    "txnNo": "20260101000000001",
    "reference1": KEY,
}
NOTICE = {
    "partnerTxnUid": UID,
    "partnerId": "PTRQK1",
    "statusCode": "00",
    "errorCode": None,
    "errorDesc": None,
    "merchantId": "KB000000000001",
    "txnAmount": 100.50,
    "txnCurrencyCode": "THB",
    "txnNo": "20260101000000001",
    "loyaltyId": None,
    "additionalInfo": None,
    "reference1": KEY,
    "reference2": None,
    "reference3": None,
    "reference4": None,
    "qrType": "3",
}
CHARGE = {
    "id": CHARGE_ID,
    "object": "charge",
    "amount": 1234.50,
    "currency": "THB",
    "transaction_state": "Authorized",
    "source": {"id": "card_test_1", "object": "card", "brand": "VISA", "card_masking": "411111xxxxxx1111"},
    "created": "20260101090000000",
    "status": "success",
    "approval_code": "123456",
    "reference_order": KEY,
    "livemode": False,
    "metadata": {},
    "failure_code": None,
    "failure_message": None,
    "redirect_url": None,
    "settlement_info": None,
    "refund_info": None,
}
REFUND_ITEM = {
    "id": "rfnd_test_1",
    "amount": 34.50,
    "state": "Refund Sent",
    "reason": REFUND_KEY,
    "created": "20260102090000000",
}
GRANTED = {"token_type": "Bearer", "client_id": "x", "access_token": "tok_abc", "expires_in": "1799"}
QR = ChargeRequest(
    attempt_id="att_test_1",
    provider_key=KEY,
    method=Method.PROMPTPAY,
    amount_minor=100_50,
    currency="THB",
    created_at=NOON,
    expires_at=NOON + timedelta(minutes=5),
)
CARD = replace(
    QR,
    method=Method.CARD,
    amount_minor=1234_50,
    expires_at=None,
    card_token="tokn_1",
    description="order 1",
    return_url="https://shop.invalid/back",
)
VOID_REQUEST = RefundRequest(
    refund_id="re_test_1",
    provider_key=REFUND_KEY,
    provider_reference=UID,
    amount_minor=100_50,
    currency="THB",
    created_at=NOON + timedelta(hours=1),
    charge_key=KEY,
    method=Method.PROMPTPAY,
    captured_minor=100_50,
    captured_at=NOON,
)
CARD_REFUND = replace(
    VOID_REQUEST,
    provider_reference=CHARGE_ID,
    method=Method.CARD,
    amount_minor=1234_50,
    captured_minor=1234_50,
)
LATER = NOON + timedelta(days=1)


class FakeKbank:
    """Answers by `METHOD path`; several replies are given in turn. Tokens are always granted."""

    def __init__(self, replies: dict[str, Reply | list[Reply]]) -> None:
        self.replies = {"POST /v2/oauth/token": (200, GRANTED), **replies}

    async def __call__(self, request: Request) -> Reply:
        reply = self.replies[f"{request.method} {request.path}"]
        return reply.pop(0) if isinstance(reply, list) else reply


def account_of(url: str = "", **credentials: str) -> ProviderAccount:
    return ProviderAccount(
        account_id="pa_test_1",
        book_id=7,
        provider="kbank",
        base_url=url,
        callback_url="",
        livemode=False,
        credentials={**CREDENTIALS, **credentials},
    )


async def run(replies, operation: str, *arguments):
    async with serving(FakeKbank(replies)) as stub, ProviderHttp(timeout_seconds=10) as http:
        return await getattr(Kbank(http), operation)(account_of(stub.url), *arguments), stub


def error(code: str, status_code: str = "10") -> Reply:
    return 200, {"partnerTxnUid": None, "statusCode": status_code, "errorCode": code, "errorDesc": "no"}


def kgp_error(code: str, status: int = 400) -> Reply:
    return status, {"object": "error", "code": code, "message": "no"}


def found_reply(**fields) -> Reply:
    return 200, {**FOUND, "partnerTxnUid": UID, **fields}


def without_token(stub) -> list[Request]:
    return [request for request in stub.requests if request.path != "/v2/oauth/token"]
