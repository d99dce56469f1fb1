"""GBPrimePay's callbacks, which prove nothing, and its report."""

from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import (
    Callback,
    CallbackRejected,
    StatementUnavailable,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.http import ProviderHttp
from tests.providers.gbprimepay import BASIC, KEY, NOON, REFERENCE, run
from tests.providers.stub import Raw, account_at

NOTICE = {
    "amount": 1234.50,
    "retryFlag": "N",
    "referenceNo": REFERENCE,
    "gbpReferenceNo": "gbp0000000001",
    "currencyCode": "764",
    "resultCode": "00",
    "totalAmount": 1234.50,
    "fee": 0,
    "vat": 0,
    "thbAmount": 1234.50,
    "customerName": "TEST",
    "date": "01012026",
    "time": "090000",
    "paymentType": "Q",
    "detail": "QuickKub",
    "merchantDefined1": KEY,
}


def _parse(body: bytes):
    adapter = Gbprimepay(ProviderHttp(timeout_seconds=10))
    callback = Callback(headers={}, body=body, received_at=NOON)
    assert adapter.callback_reply(account_at("", "gbprimepay"), callback, "in_1").body == b"{}"
    return adapter.parse_callback(account_at("", "gbprimepay"), callback)


def test_callback_is_read_as_json_and_as_a_form_and_believed_in_neither():
    bodies = [msgspec.json.encode(NOTICE), urlencode(NOTICE).encode()]
    bodies.append(urlencode({**NOTICE, "customerName": "ผู้จ่าย", "detail": ""}).encode())
    for body in bodies:
        parsed = _parse(body)
        assert (parsed.facts, parsed.inquire, parsed.ignored) == ((), (KEY,), False)
        assert parsed.inquire_about == datetime(2026, 1, 1, 9, tzinfo=BANGKOK)
        assert parsed.event_id.startswith("gbp0000000001:")
    # The same words are the same event; others about the same transaction are not, or a forger could use it up.
    assert _parse(bodies[0]).event_id == _parse(bodies[0]).event_id
    assert len({_parse(body).event_id for body in bodies}) == 3
    declined = _parse(msgspec.json.encode({**NOTICE, "resultCode": "51"}))
    assert (declined.inquire, declined.facts) == ((KEY,), ())
    bare = {name: NOTICE[name] for name in ("amount", "referenceNo", "gbpReferenceNo", "resultCode")}
    assert _parse(msgspec.json.encode(bare)).inquire == (REFERENCE,)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": "much"},
        {"amount": 0},
        {"amount": None},
        {"amount": 1.001},
        {"referenceNo": ""},
        {"referenceNo": "'; --"},
        {"referenceNo": "A" * 16},
        {"referenceNo": "OTHER"},
        {"merchantDefined1": "QK20260000000000ABCE"},
        {"gbpReferenceNo": ""},
        {"gbpReferenceNo": "../x"},
        {"currencyCode": "840"},
        {"resultCode": 0},
        {"date": "99999999"},
    ],
)
def test_callback_is_rejected_when_it_is_not_what_is_documented(fields: dict[str, Any]):
    with pytest.raises(CallbackRejected) as rejected:
        _parse(msgspec.json.encode({**NOTICE, **fields}))
    assert rejected.value.code == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"garbage",
        b"\xff\xfe",
        b"{" * 10_000,
        b"amount=%ff",
        b"amount=1.00&referenceNo=A&gbpReferenceNo=B",
        urlencode(NOTICE).encode() + b"&amount=9.99",
        b"&".join(b"x%d=1" % number for number in range(200)),
    ],
)
def test_callback_is_rejected_when_it_is_unreadable(body: bytes):
    with pytest.raises(CallbackRejected) as rejected:
        _parse(body)
    assert rejected.value.code == "malformed"


async def test_statement_is_the_file_of_a_day_or_not_there():
    (file,), stub = await run({"/v1/settlement_report": (200, b"Settlement Date")}, "statements", date(2026, 1, 2))
    assert (file.source, file.name, file.content) == (
        "gbprimepay_settlement",
        "gbprimepay-settlement-20260102.csv",
        b"Settlement Date",
    )
    (request,) = stub.requests
    assert (request.method, request.query, request.headers["authorization"]) == ("GET", {"date": "02012026"}, BASIC)
    for reply in ((404, b""), (401, b""), (500, b""), Raw()):
        with pytest.raises(StatementUnavailable):
            await run({"/v1/settlement_report": reply}, "statements", date(2026, 1, 2))
