"""SCB's protocol over plain HTTP: what an adapter would see."""

import asyncio
import base64

import asyncpg
import pytest

from gateway.foundation.remembering import REMEMBERED_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")


HEADERS = {"resourceOwnerId": "l7invented", "requestUId": "0123456789abcdef"}
JSON = {"content-type": "application/json"}
SECRET = {"applicationKey": "l7invented", "applicationSecret": "scb-secret-invented"}
QR = (
    "00020101021230550016A00000067701011201150999999999999010212QK2026000001530376454071234.565802TH62070703QKB6304376E"
)


def code_of(answer) -> tuple[int, int]:
    return answer.status_code, answer.json()["status"]["code"]


async def today(sandbox) -> str:
    return (await sandbox.books())["today"]


async def test_token_lives_1800_seconds_when_the_secret_is_right(sandbox):
    answer = await sandbox.http.post("/scb/v1/oauth/token", json=SECRET, headers=HEADERS)
    assert code_of(answer) == (200, 1000)
    assert answer.json()["data"]["tokenType"] == "Bearer"
    assert answer.json()["data"]["expiresIn"] == 1800


async def test_token_is_refused_when_secret_or_headers_are_wrong(sandbox):
    url = "/scb/v1/oauth/token"
    wrong = await sandbox.http.post(url, json={**SECRET, "applicationSecret": "guess"}, headers=HEADERS)
    assert code_of(wrong) == (401, 9500)
    assert code_of(await sandbox.http.post(url, json={"applicationKey": "l7invented"}, headers=HEADERS)) == (400, 1101)
    assert code_of(await sandbox.http.post(url, json=SECRET, headers={"requestUId": "1"})) == (400, 1101)
    assert code_of(await sandbox.http.post(url, json=SECRET, headers={**HEADERS, "requestUId": "a b"})) == (400, 1102)
    assert code_of(await sandbox.http.post(url, content=b"{", headers={**HEADERS, **JSON})) == (400, 1102)


async def test_call_is_refused_when_the_token_is_missing_or_unknown(sandbox):
    url = "/scb/v1/payment/billpayment/inquiry"
    assert code_of(await sandbox.http.get(url, headers=HEADERS)) == (401, 9100)
    stale = {**HEADERS, "authorization": "Bearer of-yesterday"}
    assert code_of(await sandbox.http.get(url, headers=stale)) == (401, 9300)


async def test_call_is_refused_when_the_token_has_expired(sandbox):
    assert (await sandbox.create_qr()).status_code == 200
    granted = await sandbox.http.post("/scb/v1/oauth/token", json=SECRET, headers=HEADERS)
    token = {**HEADERS, "authorization": f"Bearer {granted.json()['data']['accessToken']}"}
    url = "/scb/v1/payment/billpayment/inquiry"
    assert code_of(await sandbox.http.get(url, headers=token)) == (400, 1101)
    connection = await asyncpg.connect(sandbox.dsn)
    await connection.execute("UPDATE sandbox.access_tokens SET expires_at = expires_at - interval '1800 seconds'")
    await connection.close()
    # Who may call is remembered for a second.
    await asyncio.sleep(REMEMBERED_SECONDS)
    assert code_of(await sandbox.http.get(url, headers=token)) == (401, 9300)


async def test_qr_is_the_published_text_when_created(sandbox):
    answer = await sandbox.create_qr()
    assert code_of(answer) == (200, 1000)
    assert answer.json()["data"]["qrRawData"] == QR
    assert base64.b64decode(answer.json()["data"]["qrImage"]).startswith(b"\x89PNG")
    assert (await sandbox.books())["charges"][0]["amount_minor"] == 123456


async def test_qr_is_refused_when_a_field_is_wrong(sandbox):
    refused = {
        1101: [{"ref1": None}],
        1103: [{"ref1": ""}],
        1102: [
            {"ref1": "lower"},
            {"amount": "0.00"},
            {"amount": "1.234"},
            {"amount": 5},
            {"ppType": "MSISDN"},
            {"ref3": "OTHER"},
        ],
    }
    for code, cases in refused.items():
        for case in cases:
            assert code_of(await sandbox.create_qr(**case)) == (400, code)
    assert code_of(await sandbox.create_qr(ppId="099999999999902")) == (403, 9503)
    assert (await sandbox.books())["charges"] == []


async def test_payment_is_called_back_and_found_when_the_qr_is_paid(sandbox, gateway):
    await sandbox.create_qr()
    day = await today(sandbox)
    assert code_of(await sandbox.inquire("QK2026000001", day)) == (404, 1104)

    paid = await sandbox.control.pay(world="7", provider="scb", reference="QK2026000001")
    told = (await gateway.wait_for(1))[0].fields
    assert told["transactionId"] == paid[0].transaction_id
    assert (told["amount"], told["billPaymentRef1"], told["billPaymentRef3"]) == ("1234.56", "QK2026000001", "QKB")
    assert (told["payeeProxyId"], told["currencyCode"]) == ("099999999999901", "764")
    assert told["transactionDateandTime"].endswith("+07:00")

    answer = await sandbox.inquire("QK2026000001", day)
    assert code_of(answer) == (200, 1000)
    [row] = answer.json()["data"]
    assert (row["transactionId"], row["amount"], row["reverseFlag"]) == (paid[0].transaction_id, "1234.56", "N")
    assert code_of(await sandbox.inquire("QK2026000001", "2020-01-01")) == (404, 1104)


async def test_inquiry_shows_each_payment_when_paid_several_times_late_or_wrongly(sandbox, gateway):
    answer = await sandbox.scb(
        "POST",
        "/v2/payment/qrcode/create",
        json={
            "qrType": "PP",
            "ppType": "BILLERID",
            "ppId": "099999999999901",
            "amount": "50.00",
            "ref1": "QKTWICE",
            "ref3": "QKB",
            "numberOfTimes": 1,
            "expiryDate": "2026-01-01 00:00:00",
        },
    )
    qr = answer.json()["data"]["qrRawData"]
    await sandbox.control.pay(world="7", provider="scb", reference=qr, transaction_count=2)
    await sandbox.control.pay(world="7", provider="scb", reference="QKTWICE", amount_minor=4999, silent=True)
    rows = (await sandbox.inquire("QKTWICE", await today(sandbox))).json()["data"]
    assert sorted(row["amount"] for row in rows) == ["49.99", "50.00", "50.00"]
    assert len(await gateway.wait_for(2)) == 2
    charge = (await sandbox.books())["charges"][0]
    assert charge["received_minor"] == 14999


async def test_slip_is_verified_when_the_payment_is_known(sandbox):
    await sandbox.create_qr()
    [paid] = await sandbox.control.pay(world="7", provider="scb", reference="QK2026000001")
    path = f"/v1/payment/billpayment/transactions/{paid.transaction_id}"
    slip = (await sandbox.scb("GET", path, params={"sendingBank": "014"})).json()["data"]
    assert (slip["transRef"], slip["amount"], slip["ref1"]) == (paid.transaction_id, "1234.56", "QK2026000001")
    assert code_of(await sandbox.scb("GET", f"{path}X", params={"sendingBank": "014"})) == (404, 1104)
