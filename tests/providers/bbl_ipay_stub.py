"""A scripted iPay, and what its tests share."""

from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from gateway.foundation.clock import BANGKOK
from gateway.providers import bbl_ipay_wire as wire
from gateway.providers.base import (
    CaptureRequest,
    Method,
    RefundRequest,
)
from gateway.providers.bbl import Bbl
from gateway.providers.http import ProviderHttp
from tests.providers.bbl_account import CREDENTIALS, account_at
from tests.providers.stub import Reply, Request, serving

KEY = "QK2026000001"
NINE = datetime(2026, 1, 1, 9, tzinfo=BANGKOK)
CARDS_ONLY = {"consumer_key": None}
SALE = wire.mark(CREDENTIALS, KEY, "N")
AUTHORISATION = wire.mark(CREDENTIALS, KEY, "H")
FIELDS = {
    "orderStatus": "Accepted",
    "ref": KEY,
    "payRef": "16461",
    "amt": "1234.5",
    "cur": "764",
    "prc": "0",
    "src": "0",
    "holder": "",
    "remark": SALE,
    "settle": "F",
    "txTime": "2026-01-01 09:05:00.0",
    "errMsg": "Query Successfully",
}
CAPTURE = CaptureRequest(
    capture_id="cap_test_1",
    provider_key="QKC1",
    provider_reference=KEY,
    charge_key=KEY,
    method=Method.CARD,
    amount_minor=1000_00,
    authorized_minor=1234_50,
    currency="THB",
    created_at=NINE,
)
REFUND = RefundRequest(
    refund_id="re_test_1",
    provider_key="QKR1",
    provider_reference=KEY,
    amount_minor=1234_50,
    currency="THB",
    created_at=NINE + timedelta(hours=1),
    charge_key=KEY,
    method=Method.CARD,
    captured_minor=1234_50,
    captured_at=NINE + timedelta(minutes=5),
)


class FakeIpay:
    """Answers each action from its own list; the last answer of a list stays."""

    def __init__(self, **replies: Reply | list[Reply]) -> None:
        self.replies = {
            action: list(reply) if isinstance(reply, list) else [reply] for action, reply in replies.items()
        }
        self.actions: list[str] = []

    async def __call__(self, request: Request) -> Reply:
        assert (request.method, request.path) == ("POST", "/ipay/merchant/api/orderApi.jsp")
        action = dict(parse_qsl(request.body.decode()))["actionType"]
        self.actions.append(action)
        replies = self.replies[action]
        return replies.pop(0) if len(replies) > 1 else replies[0]


def records_of(*changes: dict[str, str | None]) -> Reply:
    records = "".join(
        "<record>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in {**FIELDS, **each}.items() if value is not None)
        + "</record>"
        for each in changes
    )
    return 200, f'<?xml version="1.0"?>\n<records>{records}</records>'.encode()


def flat_of(result_code: str = "0", status: str = "Accepted", pay_ref: str = "16461") -> Reply:
    fields = {
        "resultCode": result_code,
        "orderStatus": status,
        "ref": KEY,
        "payRef": pay_ref,
        "amt": "1",
        "errMsg": "no",
    }
    return 200, urlencode(fields).encode()


async def run(fake: FakeIpay, operation: str, *arguments):
    async with serving(fake) as stub, ProviderHttp(timeout_seconds=10) as http:
        return await getattr(Bbl(http), operation)(account_at(stub.url, **CARDS_ONLY), *arguments), stub
