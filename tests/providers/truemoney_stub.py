"""A scripted TrueMoney, which signs as the true one would, and what it is asked with in the tests."""

import base64
import time
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from gateway.providers.base import ChargeRequest, FactKind, Method, RefundRequest
from gateway.providers.http import ProviderHttp
from gateway.providers.truemoney import TrueMoney
from gateway.sandbox.truemoney_wire import SIGNING_KEY
from tests.providers.stub import Reply, Request, account_at, serving
from tests.truemoney_keys import MERCHANT_PRIVATE_KEY

PREFIX = "digest-alg=RSA-SHA; key-id=KEY:RSA:rsf.org; data="
THEIR_KEY = load_pem_private_key(SIGNING_KEY.encode(), None)
OUR_KEY = load_pem_private_key(MERCHANT_PRIVATE_KEY.encode(), None)

NINE = datetime(2026, 1, 1, 2, tzinfo=UTC)
ID = "900000000000000001"
MERCHANT = "000000000000000000001"
CODE = ChargeRequest(
    attempt_id="att_test_1",
    provider_key="QK2026000001",
    method=Method.TRUEMONEY,
    amount_minor=12050,
    currency="THB",
    created_at=NINE,
    card_token="0000000000000000",
    return_url="https://shop.invalid/back",
    description="QuickKub test of a long description",
)
CHECKOUT = replace(CODE, card_token=None, description="", expires_at=NINE + timedelta(minutes=30))
REFUND_REQUEST = RefundRequest(
    refund_id="re_test_1",
    provider_key="QKR2026000001",
    provider_reference=ID,
    amount_minor=5000,
    currency="THB",
    created_at=NINE + timedelta(days=3),
    charge_key="QK2026000001",
    method=Method.TRUEMONEY,
    captured_minor=12050,
    captured_at=NINE,
)
PAYMENT = {
    "payment_id": ID,
    "isv_payment_ref": "QK2026000001",
    "isv": "QUICKKUB",
    "merchant": MERCHANT,
    "amount": 12050,
    "currency": "THB",
    "customer": "tmn.0001",
    "status": "succeeded",
    "response_code": "success",
    "response_message": "Success",
    "refunded": 0,
    "created": "2026-01-01T09:00:00.000+07:00",
    "updated": "2026-01-01T09:00:01.000+07:00",
    "metadata": {"description": "…", "shop_id": MERCHANT},
    "refunds": [],
}
REFUND = {
    "refund_id": "800000000000000001",
    "isv_refund_ref": "QKR2026000001",
    "amount": 5000,
    "created": "2026-01-04T09:00:00.000+07:00",
    "status": "succeeded",
    "response_code": "success",
    "response_message": "Success",
}
PAY, OPEN, BY_KEY = "POST /payments", "POST /payments/checkout", "GET /payments"
BY_ID, GIVE_BACK = f"GET /payments/{ID}", f"POST /payments/{ID}/refunds"
DEBITED = {"payment_id": ID}
PAGE = "https://pay.truemoney.invalid/c/1"


def success(data: object) -> Reply:
    return signed(200, {"status": {"code": "success", "message": "Success"}, "data": data})


def error(code: str, status: int = 400) -> Reply:
    return signed(status, {"status": {"code": code, "message": f"no: {code}"}})


def signed(status: int, body: object, *, key=THEIR_KEY, at: int | None = None, over: bytes | None = None) -> Reply:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    timestamp = str(int(time.time()) if at is None else at)
    signature = key.sign(timestamp.encode() + (content if over is None else over), PKCS1v15(), SHA256())
    headers = {"Timestamp": timestamp, "Content-Signature": PREFIX + base64.b64encode(signature).decode()}
    honest = at is None and over is None and key is THEIR_KEY
    return Honest((status, content, headers)) if honest else (status, content, headers)


class Honest(tuple[int, bytes, dict[str, str]]):
    """A reply signed now; it is signed again when it is sent, for parameters are made long before a test runs."""

    __slots__ = ()


NOWHERE = error("payment_not_found", 404)


class FakeTrueMoney:
    """Answers by `METHOD path`; what it does not know is not found."""

    def __init__(self, replies: dict[str, Reply]) -> None:
        self.replies = replies

    async def __call__(self, request: Request) -> Reply:
        reply = self.replies.get(f"{request.method} {request.path}", NOWHERE)
        return signed(*reply[:2]) if isinstance(reply, Honest) else reply


async def run(replies: dict[str, Reply], operation: str, *arguments, livemode: bool = False, **credentials: str):
    async with serving(FakeTrueMoney(replies)) as stub, ProviderHttp(timeout_seconds=10) as http:
        account = account_at(stub.url, "truemoney", livemode=livemode)
        account = replace(account, credentials={**account.credentials, **credentials})
        return await getattr(TrueMoney(http), operation)(account, *arguments), stub


def asked(stub) -> list[str]:
    return [f"{request.method} {request.path}" for request in stub.requests]


def kinds(result) -> list[FactKind]:
    return [fact.kind for fact in result.facts]


def check_request(request: Request) -> None:
    headers = request.headers
    assert (headers["x-api-key"], headers["x-api-version"]) == ("truemoney_test_invented", "1.0")
    assert headers["content-type"] == "application/json"
    assert abs(time.time() - int(headers["timestamp"])) < 30
    assert headers["content-signature"].startswith(PREFIX)
    signature = base64.b64decode(headers["content-signature"].removeprefix(PREFIX))
    OUR_KEY.public_key().verify(signature, headers["timestamp"].encode() + request.body, PKCS1v15(), SHA256())
