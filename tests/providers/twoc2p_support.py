"""What the tests of 2C2P share: an account with the published vectors' key, requests, 2C2P's side of the seals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gateway.providers.base import ChargeRequest, Method, ProviderAccount, RefundRequest
from gateway.providers.twoc2p import TwoC2p
from gateway.sandbox import twoc2p_jose, twoc2p_keys

NOON = datetime(2026, 1, 1, 5, tzinfo=UTC)
KEY = "QUICKKUB00000000INVENTED0000000000000000000000000000000000KEY001"
CREDENTIALS = {**TwoC2p.invented_credentials(), "merchant_id": "QK01", "secret_key": KEY}
INVOICE = "QK2026000001"
TOKEN = "kSAinvented-token_1"
CHARGE = ChargeRequest(
    attempt_id="att_test_1",
    provider_key=INVOICE,
    method=Method.PROMPTPAY,
    amount_minor=1234_50,
    currency="THB",
    created_at=NOON,
    expires_at=NOON + timedelta(minutes=20),
    description="QuickKub order",
)
REFUND = RefundRequest(
    refund_id="re_test_1",
    provider_key="QKR2026000001",
    provider_reference=INVOICE,
    charge_key=INVOICE,
    method=Method.PROMPTPAY,
    amount_minor=25_00,
    currency="THB",
    created_at=NOON + timedelta(days=2),
    captured_minor=1234_50,
    captured_at=NOON,
)


def account_at(url: str, *, callback_url: str = "https://quickkub.test/hook/2c2p") -> ProviderAccount:
    return ProviderAccount(
        account_id="pa_test_2c2p",
        book_id=7,
        provider="2c2p",
        base_url=url,
        callback_url=callback_url,
        livemode=False,
        credentials=CREDENTIALS,
    )


def jwt(claims: Any, key: str = KEY) -> str:
    return twoc2p_jose.jwt(claims, key)


def envelope(claims: Any, key: str = KEY) -> bytes:
    return msgspec.json.encode({"payload": jwt(claims, key)})


def sealed(xml: str) -> bytes:
    """2C2P's answer: signed by it, for the merchant."""
    merchant = twoc2p_keys.public_key_of(CREDENTIALS["merchant_private_key"])
    return twoc2p_jose.seal(xml.encode(), merchant, twoc2p_keys.private_key())
