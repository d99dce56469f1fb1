"""A scripted Bangkok Bank, and what its tests share."""

import asyncio
import base64
import json
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from gateway.foundation.clock import BANGKOK
from gateway.providers.bbl import Bbl
from gateway.providers.http import ProviderHttp
from tests.providers.bbl_account import account_at, merchant_key
from tests.providers.stub import Reply, Request, serving

BILLER = "099999999999901"
KEY = "QK2026000001"
NINE = datetime(2026, 1, 1, 9, tzinfo=BANGKOK)
QR_ONLY = {"merchant_id": None}
ROW = {
    "billerId": BILLER,
    "reference1": KEY,
    "reference2": "",
    "amount": "1234.50",
    "transactionId": "T0001",
    "approvalCode": "123456",
    "transDate": "2026-01-01",
    "transTime": "09:05:00",
    "statusCode": "000",
    "fromName": "TEST PAYER",
}


class FakeBank:
    """Gives tokens t1, t2, … and answers everything else as told, by path or one after another."""

    def __init__(self, *replies: Reply, token: Reply | None = None, **by_path: Reply) -> None:
        self.replies = list(replies)
        self.by_path = by_path
        self.token = token
        self.tokens = 0

    async def __call__(self, request: Request) -> Reply:
        if request.path == "/oauth/accesstoken":
            self.tokens += 1
            await asyncio.sleep(0.01)
            return self.token or (200, {"accessToken": f"t{self.tokens}", "expires_in": "1799"})
        known = self.by_path.get(request.path.rpartition("/")[2].replace("-", "_"))
        if known is not None:
            return known
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def reply_of(data: object = None, code: str = "000", status: int = 200) -> Reply:
    return status, {"responseCode": code, "responseMesg": "said so", "data": data}


async def run(fake: FakeBank, operation: str, *arguments, **credentials):
    async with serving(fake) as stub, ProviderHttp(timeout_seconds=10) as http:
        account = account_at(stub.url, **{**QR_ONLY, **credentials})
        return await getattr(Bbl(http), operation)(account, *arguments), stub


def claims_of(request: Request) -> dict[str, object]:
    """The claims of a request whose signature fits the merchant's public key."""
    signing_input, _, signature = request.headers["signature"].rpartition(".")
    merchant_key().public_key().verify(
        base64.urlsafe_b64decode(signature + "=="), signing_input.encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signing_input.split("."))
    assert header == {"typ": "JWT", "alg": "RS256"}
    return claims
