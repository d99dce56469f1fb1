"""Whatever the OpenAPI description allows: never a 5xx, never an answer that it does not describe.

Requests are made up from the description itself (schemathesis) and sent over HTTP to a running API.
"""

import asyncio
import os
from collections import Counter

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.app import app_with
from tests.sandbox.conftest import serving

EXAMPLES = int(os.environ.get("QUICKKUB_SCHEMA_EXAMPLES", "5"))
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
QR = {"amount": 100_000, "currency": "thb", "payment_method": "promptpay"}
CARD = {"amount": 100_000, "currency": "thb", "payment_method": "card", "card_token": "tokn_test_1"}


@pytest.fixture
async def root(services):
    """The API on a port of loopback."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened():
        yield services

    async with serving(app_with(opened)) as root:
        yield root


def _tried(operation, headers, known, answered):
    """Send what schemathesis makes up for one operation; ids in paths are now and then ones that exist."""
    failures = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def inner(case):
        for name, value in (case.path_parameters or {}).items():
            case.path_parameters[name] = known.get(name, value)
        case.headers = {**(case.headers or {}), **headers}
        if "Idempotency-Key" not in case.headers and case.method != "GET":
            case.headers["Idempotency-Key"] = "key"
        response = case.call(timeout=20)
        answered[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except Exception as error:  # noqa: BLE001 - collected: one report for all
            failures.append(f"{case.method} {response.request.url} {response.status_code}: {error}")

    inner()
    return failures


@pytest.mark.timeout(600)
async def test_nothing_that_is_sent_is_answered_with_a_mistake_of_ours(root, services, merchant):
    async with httpx.AsyncClient(base_url=root) as client:
        intent = (await client.post("/v1/payment_intents", json=CARD, headers=merchant.money("a"))).json()["id"]
        body = {"payment_intent": intent, "amount": 100}
        refund = (await client.post("/v1/refunds", json=body, headers=merchant.money("b"))).json()["id"]
        made = await client.post(
            "/v1/webhook_endpoints", json={"url": "https://shop.example.test/"}, headers=merchant.headers()
        )
    known = {"intent_id": intent, "refund_id": refund, "endpoint_id": made.json()["endpoint"]["id"]}
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"{root}/openapi.json")
    failures, tried, answered = [], 0, Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        failures += await asyncio.to_thread(_tried, operation, merchant.headers(), known, answered)
        tried += 1
    assert tried > 30
    assert answered[429] == 0, "limits would hide what is behind them"
    assert sum(answered[status] for status in (200, 201)) > tried // 2
    assert failures == [], "\n\n".join(failures[:10])
