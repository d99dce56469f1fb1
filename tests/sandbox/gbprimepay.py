"""A client of the sandbox's GBPrimePay, and a payer's browser."""

import hashlib
import hmac
from typing import Any

import httpx

from .conftest import CREDENTIALS

KEYS = CREDENTIALS["gbprimepay"]


PUBLIC = (KEYS["public_key"], "")


SECRET = (KEYS["secret_key"], "")


GBP = {"world": "7", "provider": "gbprimepay"}


CARD = {
    "number": "4535017710535741",
    "expirationMonth": "05",
    "expirationYear": "99",
    "securityCode": "184",
    "name": "TEST PAYER",
}


PATHS = {
    "truemoney": "/v2/trueWallet",
    "rabbit_linepay": "/v2/linepay",
    "shopeepay": "/v1/shopeePay",
    "mobile_banking": "/v2/mobileBanking",
}


def hook(sandbox) -> str:
    return f"{sandbox.gateway.root}/callbacks/gbprimepay"


async def call(sandbox, path: str, body: Any, auth=SECRET) -> httpx.Response:
    return await sandbox.http.post(f"/gbprimepay{path}", json=body, auth=auth)


async def post(sandbox, path: str, fields: dict[str, str]) -> httpx.Response:
    return await sandbox.http.post(f"/gbprimepay{path}", data=fields)


async def token(sandbox, **card: Any) -> httpx.Response:
    return await call(sandbox, "/v2/tokens", {"rememberCard": False, "card": {**CARD, **card}}, PUBLIC)


async def charge_body(sandbox, **fields: Any) -> dict[str, Any]:
    return {
        "amount": 1234.50,
        "referenceNo": "QK20260000001",
        "detail": "QuickKub",
        "merchantDefined1": "QK20260000001",
        "card": {"token": (await token(sandbox)).json()["card"]["token"]},
        "otp": "Y",
        "responseUrl": "https://quickkub.test/return",
        "backgroundUrl": hook(sandbox),
        **fields,
    }


def qr_form(sandbox, **fields: str) -> dict[str, str]:
    return {
        "token": KEYS["token"],
        "amount": "1234.50",
        "referenceNo": "QK20260000001",
        "backgroundUrl": hook(sandbox),
        "payType": "F",
        **fields,
    }


def redirect_form(sandbox, method: str, **fields: str) -> dict[str, str]:
    form = {
        "publicKey": KEYS["public_key"],
        "amount": "1234.50",
        "referenceNo": "QK20260000001",
        "responseUrl": "https://quickkub.test/return",
        "backgroundUrl": hook(sandbox),
        **({"bankCode": "014"} if method == "mobile_banking" else {}),
        **fields,
    }
    names = ("amount", "referenceNo", "responseUrl", "backgroundUrl", "bankCode")
    signed = "".join(form[name] for name in names if name in form)
    checksum = hmac.new(KEYS["secret_key"].encode(), signed.encode(), hashlib.sha256).hexdigest()
    return {"checksum": checksum, **form}


async def status(sandbox, reference: str = "QK20260000001") -> dict[str, Any]:
    return (await call(sandbox, "/v1/check_status_txn", {"referenceNo": reference})).json()


async def charges(sandbox) -> list[dict[str, Any]]:
    return [charge for charge in (await sandbox.books())["charges"] if charge["provider"] == "gbprimepay"]


async def paid(sandbox, method: str, reference: str = "QK20260000001") -> str:
    """A paid charge of the method; its gbpReferenceNo."""
    if method == "card":
        answer = (await call(sandbox, "/v2/tokens/charge", await charge_body(sandbox, referenceNo=reference))).json()
        form = {"publicKey": KEYS["public_key"], "gbpReferenceNo": answer["gbpReferenceNo"]}
        await post(sandbox, "/v2/tokens/3d_secured", form)
    elif method == "promptpay":
        await post(sandbox, "/v3/qrcode/text", qr_form(sandbox, referenceNo=reference))
    else:
        await post(sandbox, PATHS[method], redirect_form(sandbox, method, referenceNo=reference))
    (payment,) = await sandbox.control.pay(**GBP, reference=reference, silent=True)
    return payment.transaction_id


DECLINED_CARD = "4111111111140011"
"""Its bank has not enough money for it: code 51."""
