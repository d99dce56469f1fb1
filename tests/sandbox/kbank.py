"""KBank's account in a world, and the words of its protocol as a careful client would send them."""

from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from gateway.foundation.clock import BANGKOK, real_now
from tests.sandbox.conftest import WORLD, Sandbox

CREDENTIALS = {
    "consumer_id": "quickkub-consumer",
    "consumer_secret": "quickkub-secret",
    "partner_id": "PTRQK1",
    "partner_secret": "0123456789abcdef0123456789abcdef",
    "merchant_id": "KB000000000001",
    "terminal_id": "09000001",
    "kgp_public_key": "pkey_test_QUICKKUBINVENTED",
    "kgp_secret_key": "skey_test_QUICKKUBINVENTED",
}
BASIC = "Basic cXVpY2trdWItY29uc3VtZXI6cXVpY2trdWItc2VjcmV0"
TEST_CARD = {"name": "TEST PAYER", "number": "4242424242424242", "expiration_month": 12, "expiration_year": 2099}
SECURED_CARD = "4535017710535741"
DECLINED_CARDS = {
    "insufficient_fund": "4111111111140011",
    "stolen_or_lost_card": "4111111111130012",
    "payment_rejected": "4111111111110014",
}


class Kbank:
    """One world's KBank, its clock set to ten o'clock: far from midnight and from the night run."""

    def __init__(self, sandbox: Sandbox, offset: timedelta) -> None:
        self.sandbox = sandbox
        self.offset = offset

    @classmethod
    async def open(cls, sandbox: Sandbox, **settings: Any) -> "Kbank":
        await sandbox.control.register_account(
            world=WORLD,
            provider="kbank",
            credentials=CREDENTIALS,
            callback_url=f"{sandbox.gateway.root}/callbacks/kbank",
            settings={"callback_retry_seconds": 0, **settings},
        )
        today = real_now().astimezone(BANGKOK)
        ten = datetime.combine(today.date() + timedelta(days=1), time(10), BANGKOK)
        opened = cls(sandbox, timedelta(seconds=int((ten - today).total_seconds()) + 1))
        await opened.move(timedelta(0))
        return opened

    @property
    def now(self) -> datetime:
        return real_now() + self.offset

    async def move(self, by: timedelta) -> None:
        self.offset += by
        await self.sandbox.control.move_clock(world=WORLD, offset_seconds=int(self.offset.total_seconds()))

    async def pay(self, reference: str, **details: Any) -> str:
        (paid,) = await self.sandbox.control.pay(world=WORLD, provider="kbank", reference=reference, **details)
        return paid.transaction_id

    async def fault(self, operation: str, fault: str, **details: Any) -> None:
        await self.sandbox.control.add_fault(world=WORLD, provider="kbank", operation=operation, fault=fault, **details)

    async def charges(self) -> list[dict[str, Any]]:
        return [charge for charge in (await self.sandbox.books())["charges"] if charge["provider"] == "kbank"]

    async def movements(self) -> list[tuple[str, int]]:
        return [(row["kind"], row["amount_minor"]) for row in (await self.sandbox.books())["movements"]]

    async def token(self, authorization: str = BASIC, **request: Any) -> httpx.Response:
        options = {"data": {"grant_type": "client_credentials"}, **request}
        headers = {"authorization": authorization}
        return await self.sandbox.http.post("/kbank/v2/oauth/token", headers=headers, **options)

    async def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {(await self.token()).json()['access_token']}"}

    async def qr(self, path: str, uid: str, *, drop: str | None = None, **fields: Any) -> httpx.Response:
        body = {
            "partnerTxnUid": uid,
            "partnerId": "PTRQK1",
            "partnerSecret": CREDENTIALS["partner_secret"],
            "requestDt": "2026-01-01T09:00:00+07:00",
            "merchantId": "KB000000000001",
            "terminalId": "09000001",
            "qrType": "3",
            **fields,
        }
        body.pop(drop or "", None)
        return await self.sandbox.http.post(f"/kbank/v1/qrpayment{path}", json=body, headers=await self.bearer())

    async def issue(self, uid: str = "QK0000000000001", **fields: Any) -> httpx.Response:
        wanted = {"txnAmount": "100.50", "txnCurrencyCode": "THB", "reference1": "INV001", **fields}
        return await self.qr("/request", uid, **wanted)

    async def kgp(self, method: str, path: str, body: dict[str, Any] | None = None, **request: Any) -> httpx.Response:
        headers = request.pop("headers", {"x-api-key": CREDENTIALS["kgp_secret_key"]})
        if body is not None:
            headers = {**headers, "content-type": "application/json"}
            request["content"] = msgspec.json.Encoder(decimal_format="number").encode(body)
        return await self.sandbox.http.request(method, f"/kbank/kgp{path}", headers=headers, **request)

    async def card_token(self, **card: Any) -> str:
        headers = {"x-api-key": CREDENTIALS["kgp_public_key"]}
        return (await self.kgp("POST", "/ui/v2/token", {**TEST_CARD, **card}, headers=headers)).json()["id"]

    async def charge_card(
        self, reference: str = "QKORDER1", *, drop: str | None = None, **fields: Any
    ) -> httpx.Response:
        body = {
            "amount": Decimal("1234.50"),
            "currency": "THB",
            "description": "order 1",
            "source_type": "card",
            "mode": "token",
            "token": fields.pop("token", None) or await self.card_token(),
            "reference_order": reference,
            **fields,
        }
        body.pop(drop or "", None)
        return await self.kgp("POST", "/card/v2/charge", body)
