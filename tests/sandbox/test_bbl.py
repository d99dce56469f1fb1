"""Bangkok Bank's protocols over plain HTTP: each missing or wrong field is refused in the bank's words."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from gateway.sandbox.bbl import is_taken
from tests.providers.bbl_account import CREDENTIALS, merchant_key

from .conftest import WORLD

pytestmark = pytest.mark.asyncio(loop_scope="session")

BILLER = "099999999999901"
MERCHANT_KEY = merchant_key()
SECRET = CREDENTIALS["secure_hash_secret"]
ORDER = {
    "requestDate": "2026-01-01",
    "requestTime": "09:00:00",
    "merchantCountry": "TH",
    "merchantName": "QUICKKUB",
    "amount": "1234.50",
    "qrPromptpayInfo": {"billerId": BILLER, "reference1": "QK2026000001", "reference2": "QKREF2"},
    "extra1": "",
    "extra2": "",
}
LOGIN = {"merchantId": "9999", "loginId": "quickkub", "password": "invented-password"}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(body: Any, *, key: rsa.RSAPrivateKey = MERCHANT_KEY, alg: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    said = {**body, "iat": now, "exp": now + 86_400, "jti": "00000000-0000-4000-8000-000000000001", **claims}
    said = {name: value for name, value in said.items() if value is not None}
    text = ".".join(_base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": alg}, said))
    return f"{text}.{_base64url(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Bank:
    """The bank as a partner sees it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.token = ""

    async def log_in(self, user: str = "quickkub-consumer", password: str = "quickkub-secret", **form: str) -> Any:
        data = {"grant_type": "client_credentials", "scope": "CREATE READ", **form}
        return await self.http.post("/bbl/oauth/accesstoken", auth=(user, password), data=data)

    async def ask(self, path: str, body: Any, **headers: str | None) -> httpx.Response:
        if not self.token:
            self.token = (await self.log_in()).json()["accessToken"]
        given = {
            "Authorization": f"Bearer {self.token}",
            "Signature": jwt(body),
            "Request-Ref": "20260101090000abcdef",
            "Transmit-Date-Time": "2026-01-01T09:00:00.000+07:00",
            "Content-Type": "application/json",
            **headers,
        }
        kept = {name: value for name, value in given.items() if value is not None}
        return await self.http.post(f"/bbl/biller/v1/{path}", content=json.dumps(body).encode(), headers=kept)

    async def order(self, action: str, **fields: str) -> httpx.Response:
        data = {**LOGIN, "actionType": action, **fields}
        return await self.http.post("/bbl/ipay/merchant/api/orderApi.jsp", data=data)

    async def open_page(self, **changes: str | None) -> httpx.Response:
        form = {
            "merchantId": "9999",
            "amount": "1234.50",
            "orderRef": "QK2026000001",
            "currCode": "764",
            "lang": "E",
            "payType": "N",
            "successUrl": "https://shop.invalid/back",
            "failUrl": "https://shop.invalid/back",
            "cancelUrl": "https://shop.invalid/back",
            "payMethod": "CC",
            "remark": "",
            **changes,
        }
        signed = [str(form[name]) for name in ("merchantId", "orderRef", "currCode", "amount", "payType")]
        form.setdefault("secureHash", hashlib.sha512("|".join([*signed, SECRET]).encode()).hexdigest())
        data = {name: value for name, value in form.items() if value is not None}
        return await self.http.post("/bbl/ipay/payment/payForm.jsp", data=data)


@pytest_asyncio.fixture(loop_scope="session")
async def bank(sandbox) -> Bank:
    await sandbox.control.register_account(
        world=WORLD,
        provider="bbl",
        credentials=CREDENTIALS,
        callback_url=f"{sandbox.gateway.root}/callbacks/bbl",
        settings={"callback_retry_seconds": 3600},
    )
    return Bank(sandbox.http)


async def _charges(sandbox) -> list[tuple[str, str, int, int]]:
    return [
        (each["reference"], each["status"], each["received_minor"], each["refunded_minor"])
        for each in (await sandbox.books())["charges"]
        if each["provider"] == "bbl"
    ]


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["responseCode"]


async def test_token_is_given_for_key_and_secret_only(bank):
    granted = await bank.log_in()
    assert granted.status_code == 200
    assert (granted.json()["token_type"], granted.json()["expires_in"]) == ("BearerToken", "1800")
    for answer, status in (
        (await bank.log_in(password="other"), 401),
        (await bank.log_in(user="other"), 401),
        (await bank.log_in(grant_type="password"), 400),
        (await bank.log_in(scope="READ"), 400),
        (await bank.http.post("/bbl/oauth/accesstoken"), 401),
    ):
        assert (answer.status_code, "fault" in answer.json()) == (status, True)


async def test_request_is_refused_when_a_header_or_its_signature_is_wrong(sandbox, bank):
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    good = jwt(ORDER)
    for headers, status in (
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer other"}, 401),
        ({"Authorization": "Basic eDp4"}, 401),
        ({"Signature": None}, 403),
        ({"Signature": "x.y.z"}, 403),
        ({"Signature": good[:-8] + "AAAAAAAA"}, 403),
        ({"Signature": jwt(ORDER, key=stranger)}, 403),
        ({"Signature": jwt(ORDER, alg="none")}, 403),
        ({"Signature": jwt({**ORDER, "amount": "1.00"})}, 403),
        ({"Signature": jwt(ORDER, more="x")}, 403),
        ({"Signature": jwt(ORDER, iat=None)}, 403),
        ({"Signature": jwt(ORDER, exp=None)}, 403),
        ({"Signature": jwt(ORDER, jti=None)}, 403),
        ({"Signature": jwt(ORDER, exp=now - 1)}, 403),
        ({"Signature": jwt(ORDER, iat=now + 3600)}, 403),
        ({"Signature": jwt(ORDER, exp=now + 2 * 86_400)}, 403),
    ):
        answer = await bank.ask("qr-generate", ORDER, **headers)
        assert (answer.status_code, "fault" in answer.json()) == (status, True), headers
    for headers in (
        {"Request-Ref": None},
        {"Request-Ref": "x" * 31},
        {"Transmit-Date-Time": None},
        {"Transmit-Date-Time": "2026-01-01 09:00:00"},
        {"Content-Type": "text/plain"},
    ):
        assert _code(await bank.ask("qr-generate", ORDER, **headers)) == (200, "211"), headers
    assert await _charges(sandbox) == []


async def test_qr_is_refused_when_a_field_is_missing_or_wrong(sandbox, bank):
    info = ORDER["qrPromptpayInfo"]
    for changes, code in (
        ({"requestDate": "01/01/2026"}, "211"),
        ({"requestTime": "9:00"}, "211"),
        ({"merchantCountry": "LA"}, "211"),
        ({"merchantName": ""}, "211"),
        ({"amount": 1234.5}, "213"),
        ({"amount": "1234.5"}, "213"),
        ({"amount": "0.00"}, "213"),
        ({"qrPromptpayInfo": {}}, "332"),
        ({"qrPromptpayInfo": "x"}, "211"),
        ({"qrPromptpayInfo": {**info, "billerId": "123"}}, "332"),
        ({"qrPromptpayInfo": {**info, "billerId": "099999999999902"}}, "052"),
        ({"qrPromptpayInfo": {**info, "reference1": "qk-1"}}, "331"),
        ({"qrPromptpayInfo": {**info, "reference1": "Q" * 21}}, "331"),
        ({"qrPromptpayInfo": {**info, "reference2": "qk-1"}}, "331"),
    ):
        assert _code(await bank.ask("qr-generate", {**ORDER, **changes})) == (200, code), changes
    assert await _charges(sandbox) == []
    issued = (await bank.ask("qr-generate", ORDER)).json()
    assert issued["data"]["qrData"].startswith("000201010212306")
    assert _code(await bank.ask("qr-generate", ORDER)) == (200, "212")
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=issued["data"]["qrCodeId"])
    assert _code(await bank.ask("qr-generate", ORDER)) == (200, "412")
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 0)]


async def test_payment_is_told_inquired_and_reversed_once(sandbox, bank, gateway):
    bangkok = timezone(timedelta(hours=7))
    today = datetime.now(UTC).astimezone(bangkok).date().isoformat()
    question = {"billerId": BILLER, "transDate": today, "reference1": "QK2026000001", "reference2": "QKREF2"}
    await bank.ask("qr-generate", ORDER)
    assert _code(await bank.ask("payment-inquiry", question)) == (200, "209")
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000001")
    told = (await gateway.wait_for(1))[0]
    assert {"request-ref", "transmit-date-time"} <= told.headers.keys()
    assert (told.fields["amount"], told.fields["txnType"], told.fields["retryFlag"]) == ("1234.50", "C", "N")
    answer = await bank.ask("payment-inquiry", {**question, "amount": "1234.50"})
    assert '"amount":1234.50' in answer.text
    row = answer.json()["data"]
    assert (row["transactionId"], row["approvalCode"], row["txnType"]) == (
        paid.transaction_id,
        told.fields["approvalCode"],
        "C",
    )
    for changes, code in (
        ({"amount": "1.00"}, "209"),
        ({"transDate": "2026-01-01"}, "209"),
        ({"reference2": ""}, "209"),
        ({"billerId": "099999999999902"}, "052"),
        ({"reference1": ""}, "331"),
        ({"transDate": ""}, "211"),
    ):
        assert _code(await bank.ask("payment-inquiry", {**question, **changes})) == (200, code), changes
    reversal = {**question, "transTime": row["transTime"], "amount": "1234.50", "approvalCode": row["approvalCode"]}
    for changes, code in (
        ({"approvalCode": "000000" if row["approvalCode"] != "000000" else "000001"}, "209"),
        ({"approvalCode": ""}, "211"),
        ({"transTime": ""}, "211"),
        ({"amount": "1.00"}, "213"),
        ({"amount": "1"}, "213"),
        ({"billerId": ""}, "332"),
    ):
        assert _code(await bank.ask("refund/reversal", {**reversal, **changes})) == (200, code), changes
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 0)]
    if datetime.now(UTC).astimezone(bangkok).hour == 23:
        assert _code(await bank.ask("refund/reversal", reversal)) == (200, "411")
        return
    assert _code(await bank.ask("refund/reversal", reversal)) == (200, "000")
    assert _code(await bank.ask("refund/reversal", reversal)) == (200, "212")
    assert (await bank.ask("payment-inquiry", question)).json()["data"]["txnType"] == "D"
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 1234_50)]
    await sandbox.pass_days(1)
    assert _code(await bank.ask("refund/reversal", {**reversal, "reference1": "QK2026000002"})) == (200, "209")


async def test_reversal_is_refused_on_another_day(sandbox, bank):
    today = datetime.now(UTC).astimezone(timezone(timedelta(hours=7))).date().isoformat()
    await bank.ask("qr-generate", ORDER)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000001")
    question = {"billerId": BILLER, "transDate": today, "reference1": "QK2026000001", "reference2": "QKREF2"}
    row = (await bank.ask("payment-inquiry", question)).json()["data"]
    await sandbox.pass_days(1)
    reversal = {**question, "transTime": row["transTime"], "amount": "1234.50", "approvalCode": row["approvalCode"]}
    assert _code(await bank.ask("refund/reversal", reversal)) == (200, "411")
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 0)]


async def test_page_is_refused_when_a_field_or_the_hash_is_wrong(sandbox, bank):
    for changes in (
        {"merchantId": "1"},
        {"amount": "1234.5"},
        {"amount": "0.00"},
        {"orderRef": "QK-1"},
        {"orderRef": ""},
        {"currCode": "840"},
        {"lang": "X"},
        {"payType": "X"},
        {"successUrl": None},
        {"failUrl": "javascript:0"},
        {"cancelUrl": ""},
        {"payMethod": None},
        {"remark": "x" * 201},
        {"secureHash": None},
        {"secureHash": "0" * 128},
        {"secureHash": hashlib.sha512(f"9999|QK2026000001|764|1.00|N|{SECRET}".encode()).hexdigest()},
    ):
        assert (await bank.open_page(**changes)).status_code == 400, changes
    assert await _charges(sandbox) == []
    assert (await bank.open_page()).status_code == 200
    assert (await bank.open_page()).status_code == 200
    assert (await bank.open_page(amount="1.00")).status_code == 400
    assert (await bank.open_page(payType="H")).status_code == 400
    assert await _charges(sandbox) == [("QK2026000001", "pending", 0, 0)]


async def _record(bank, **reference: str) -> dict[str, str]:
    document = etree.fromstring((await bank.order("Query", **reference)).content)
    (record,) = document
    return {child.tag: child.text or "" for child in record}


async def test_order_is_fed_with_its_hash_queried_and_voided(sandbox, bank, gateway):
    await bank.open_page(remark="MARK")
    assert etree.fromstring((await bank.order("Query", orderRef="QK2026000001")).content).xpath("record") == []
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000001")
    feed = dict(parse_qsl((await gateway.wait_for(1))[0].body.decode(), keep_blank_values=True))
    signed = "|".join(feed[name] for name in ("src", "prc", "successcode", "Ref", "PayRef", "Cur", "Amt", "payerAuth"))
    assert hmac.compare_digest(feed["secureHash"], hashlib.sha512(f"{signed}|{SECRET}".encode()).hexdigest())
    assert (feed["Ref"], feed["PayRef"], feed["Amt"], feed["remark"]) == (
        "QK2026000001",
        paid.transaction_id,
        "1234.50",
        "MARK",
    )
    record = await _record(bank, orderRef="QK2026000001")
    assert record == await _record(bank, payRef=paid.transaction_id)
    assert (record["orderStatus"], record["amt"], record["settle"], record["remark"]) == (
        "Accepted",
        "1234.50",
        "F",
        "MARK",
    )
    for action, fields in (
        ("Void", {"payRef": "1"}),
        ("Void", {}),
        ("Void", {"payRef": "QK2026000001"}),
        ("Capture", {"payRef": paid.transaction_id, "amount": "1.00"}),
        ("RequestRefund", {"payRef": paid.transaction_id}),
        ("Sing", {"payRef": paid.transaction_id}),
        ("Query", {}),
        ("Void", {"payRef": paid.transaction_id, "password": "other"}),
        ("Void", {"payRef": paid.transaction_id, "loginId": "other"}),
        ("Void", {"payRef": paid.transaction_id, "merchantId": "1"}),
    ):
        answer = await bank.order(action, **fields)
        assert (answer.status_code, dict(parse_qsl(answer.text))["resultCode"]) == (200, "-1"), (action, fields)
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 0)]
    done = dict(parse_qsl((await bank.order("Void", payRef=paid.transaction_id)).text))
    assert (done["resultCode"], done["orderStatus"], done["payRef"]) == ("0", "Voided", paid.transaction_id)
    assert dict(parse_qsl((await bank.order("Void", payRef=paid.transaction_id)).text))["resultCode"] == "-1"
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 1234_50)]


async def test_settled_order_is_refunded_in_parts_and_not_voided(sandbox, bank):
    await bank.open_page()
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000001")
    reference = {"payRef": paid.transaction_id}
    await sandbox.pass_days(1)
    for action, fields in (("Void", {}), ("RequestRefund", {"amount": "1234.51"}), ("RequestRefund", {"amount": "x"})):
        answer = await bank.order(action, **reference, **fields)
        assert dict(parse_qsl(answer.text))["resultCode"] == "-1", (action, fields)
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 0)]
    asked = dict(parse_qsl((await bank.order("RequestRefund", **reference, amount="234.50")).text))
    assert (asked["resultCode"], asked["orderStatus"]) == ("0", "RequestRefund")
    assert "-1" in (await bank.order("RequestRefund", **reference)).text
    await sandbox.pass_days(2)
    assert (await _record(bank, **reference))["orderStatus"] == "PartialRefunded"
    await bank.order("RequestRefund", **reference)
    await sandbox.pass_days(3)
    assert (await _record(bank, **reference))["orderStatus"] == "Refunded"
    assert await _charges(sandbox) == [("QK2026000001", "captured", 1234_50, 1234_50)]


async def test_authorisation_ends_by_itself_and_a_page_too(sandbox, bank):
    await bank.open_page(payType="H")
    await bank.open_page(orderRef="QK2026000002")
    await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000001")
    assert (await _record(bank, orderRef="QK2026000001"))["orderStatus"] == "Authorized"
    await sandbox.pass_days(8)
    assert (await _record(bank, orderRef="QK2026000001"))["orderStatus"] == "Voided"
    assert await _charges(sandbox) == [("QK2026000001", "voided", 0, 0), ("QK2026000002", "expired", 0, 0)]


async def test_report_is_given_for_days_that_are_over_and_to_nobody_else(sandbox, bank):
    today = datetime.now(UTC).astimezone(timezone(timedelta(hours=7))).date()
    auth = ("quickkub", "invented-password")

    async def ask(auth=auth, **parameters: str) -> tuple[int, str]:
        answer = await bank.http.get(
            "/bbl/ipay/merchant/report", auth=auth, params={"merchantId": "9999", "date": str(today), **parameters}
        )
        return answer.status_code, answer.text

    await bank.open_page()
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000001")
    assert (await ask())[0] == 404
    await sandbox.pass_days(1)
    status, text = await ask()
    head, line, rest = text.split("\r\n")
    assert (status, rest) == (200, "")
    assert head == (
        "Transaction Date,Merchant Ref.,Payment Ref.,Currency,Amount,Payment Method,Status,Approval Code,Settle Date,"
        "MDR,VAT,Net"
    )
    assert f"QK2026000001,{paid.transaction_id},THB,1234.50,VISA,Accepted," in line
    assert line.endswith(f",{today + timedelta(days=1)},34.57,2.42,1197.51")
    assert (await ask(date=str(today - timedelta(days=1))))[0] == 404
    assert (await ask(date="yesterday"))[0] == 400
    assert (await ask(auth=("quickkub", "other")))[0] == 401
    assert (await ask(merchantId="1"))[0] == 401


async def test_callback_is_taken_by_the_documented_words_only():
    assert is_taken(b"OK")
    assert is_taken(b"OK - thanks")
    assert is_taken(b'{"responseCode":"000","responseMesg":"Success"}')
    for body in (b"", b"ok", b"{}", b'{"responseCode":"888"}', b'{"responseCode":0}', b"[]", b"<html>OK"):
        assert not is_taken(body)
