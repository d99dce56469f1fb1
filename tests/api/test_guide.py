"""docs/api.md: every request on the page is sent as it stands there, and answered with a yes."""

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.merchants import operators
from gateway.merchants.principals import Scope
from tests.api.test_disputes import disputed
from tests.api.test_refund_claims import paid

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
CARD = {"amount": 100_000, "currency": "thb", "payment_method": "card", "card_token": "tokn_1"}


def requests():
    """(headers, url, body) of every curl on the page."""
    for block in BLOCK.findall(PAGE.read_text("utf-8")):
        text = block.replace("\\\n", " ")
        words: list[str] = []
        for word in shlex.split(text):
            if word == "curl" and words:
                yield words
                words = []
            if word == "curl" or words:
                words.append(word)
        if words:
            yield words


def taken_apart(words):
    headers, body, url, method = {}, None, None, None
    rest = iter(words[1:])
    for word in rest:
        if word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "-u":
            headers["Authorization"] = f"Bearer {next(rest).rstrip(':')}"
        elif word == "-d":
            body = next(rest)
        elif word == "-X":
            method = next(rest)
        else:
            assert url is None, f"two addresses in {words}"
            url = word
    return headers, url, body, method


async def claim_token(client, services, merchant):
    """Of a refund whose payer is to name an account."""
    qr = {"amount": 100_000, "currency": "thb", "payment_method": "promptpay"}
    made = await client.post("/v1/payment_intents", json=qr, headers=merchant.money("qr"))
    principal = await services.house.principal(merchant.account_id, merchant.book_id)
    intent = await services.house.intents.get(principal, made.json()["id"])
    await services.house.pay(principal, intent, services.house.scb, transaction="txn_guide")
    body = {"payment_intent": intent.id, "via": "claim"}
    refund = await client.post("/v1/refunds", json=body, headers=merchant.money("claim"))
    assert refund.status_code == 201, refund.text
    return refund.json()["claim_token"]


def test_the_page_has_its_requests():
    assert len(list(requests())) >= 12


@pytest.mark.timeout(240)
async def test_every_request_of_the_page_is_answered_with_a_yes(client, services, merchant):
    async with services.database.transaction() as connection:
        operator_id = await operators.create_operator(connection, services.vault, name="Tester")
        scopes = [Scope.LEDGER_READ, Scope.LEDGER_POST, Scope.DISPUTES_STATE]
        operator = await operators.create_key(connection, services.vault, operator_id, scopes=scopes)
    card = (await client.post("/v1/payment_intents", json=CARD, headers=merchant.money("card"))).json()
    _, dispute = await disputed(client, services, merchant)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    endpoint = ""
    claim = await claim_token(client, services, merchant)
    held = await paid(client, services, merchant, "late", seconds=3_600)
    payment = card["id"]
    for words in requests():
        headers, url, body, method = taken_apart(words)
        said = {
            "$KEY": merchant.account.test_key.secret,
            "$OPERATOR_KEY": operator.secret,
            "$API": "",
            "pi_test_…/accept_held": f"{held}/accept_held",
            "pi_test_…": card["id"] if "/refunds" in (url or "") or "_letters" in (url or "") else payment,
            "dp_test_…": dispute,
            "$CLAIM_TOKEN": claim,
            "we_test_…": endpoint,
            "2026-12-01": tomorrow,
            '"book": 1000': f'"book": {merchant.book_id}',
            "book=…": f"book={merchant.book_id}",
        }
        for name, value in said.items():
            headers = {key: text.replace(name, value) for key, text in headers.items()}
            url, body = url.replace(name, value), body and body.replace(name, value)
        assert "…" not in url + (body or ""), f"nobody knows what stands for … in {words}"
        method = "POST" if body is not None or method else "GET"
        answer = await client.request(method, url, headers=headers, content=body)
        assert answer.status_code < 300, f"{words}: {answer.status_code} {answer.text}"
        if url == "/v1/payment_intents" and method == "POST":
            payment = answer.json()["id"]
        if url == "/v1/webhook_endpoints" and method == "POST":
            endpoint = answer.json()["endpoint"]["id"]
