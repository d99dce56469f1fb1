"""TrueMoney's protocol over plain HTTP: what an adapter would see, and that nothing moves where it was refused."""

import base64
import time
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gateway.sandbox.client import SandboxRefused
from tests.truemoney_keys import MERCHANT_PRIVATE_KEY, SANDBOX_PUBLIC_KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")

PREFIX = "digest-alg=RSA-SHA; key-id=KEY:RSA:rsf.org; data="
MERCHANT = "000000000000000000001"
KEY = load_pem_private_key(MERCHANT_PRIVATE_KEY.encode(), None)
PAYMENT = {
    "isv_payment_ref": "QK2026000001",
    "merchant_id": MERCHANT,
    "currency": "THB",
    "request_amount": "12050",
    "payment_method": "BALANCE",
    "payment_code": "0000000000000000",
    "description": "QuickKub test",
    "metadata": {"shop_id": MERCHANT, "partner_shop_id": "S01"},
}
CHECKOUT = {
    **{name: value for name, value in PAYMENT.items() if not name.startswith("payment_")},
    "return_url": "https://shop.invalid/back",
}


def signature_over(timestamp: str, body: bytes, key=KEY) -> str:
    return PREFIX + base64.b64encode(key.sign(timestamp.encode() + body, PKCS1v15(), SHA256())).decode()


async def ask(sandbox, method: str, path: str, body: Any = None, *, change=None, **query: str) -> httpx.Response:
    """A signed request, its headers changed at the end; every answer must be signed by TrueMoney."""
    content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    timestamp = str(int(time.time()))
    headers = {
        "X-API-Key": "truemoney_test_invented",
        "X-API-Version": "1.0",
        "Timestamp": timestamp,
        "Content-Signature": signature_over(timestamp, content),
        "Content-Type": "application/json",
    }
    changed = {**headers, **(change or {})}
    headers = {name: value for name, value in changed.items() if value is not None}
    answer = await sandbox.http.request(method, f"/truemoney{path}", content=content, headers=headers, params=query)
    check_signature(answer.headers, answer.content)
    return answer


def check_signature(headers, body: bytes) -> None:
    timestamp, signature = headers["timestamp"], headers["content-signature"]
    assert abs(time.time() - int(timestamp)) < 30
    assert signature.startswith(PREFIX)
    load_pem_public_key(SANDBOX_PUBLIC_KEY.encode()).verify(
        base64.b64decode(signature.removeprefix(PREFIX)), timestamp.encode() + body, PKCS1v15(), SHA256()
    )


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["status"]["code"]


async def charges(sandbox) -> list[tuple[str, str, int, int]]:
    return [
        (charge["reference"], charge["status"], charge["received_minor"], charge["refunded_minor"])
        for charge in (await sandbox.books())["charges"]
    ]


async def paid(sandbox, **changed: Any) -> str:
    answer = await ask(sandbox, "POST", "/payments", {**PAYMENT, **changed})
    assert said(answer) == (200, "success")
    return answer.json()["data"]["payment_id"]


async def test_request_is_refused_when_key_version_type_time_or_signature_is_wrong(sandbox):
    now, old, ahead = (str(int(time.time()) + seconds) for seconds in (0, -310, 310))
    body = msgspec.json.encode(PAYMENT)
    stranger = generate_private_key(65_537, 2048)
    cases = [
        ({"X-API-Key": None}, (401, "invalid_api_key")),
        ({"X-API-Key": "other"}, (401, "invalid_api_key")),
        ({"X-API-Version": None}, (400, "invalid_request")),
        ({"X-API-Version": "2.0"}, (400, "invalid_request")),
        ({"Content-Type": "text/plain"}, (400, "invalid_request")),
        ({"Timestamp": None}, (401, "invalid_signature")),
        ({"Timestamp": "now"}, (401, "invalid_signature")),
        ({"Timestamp": old, "Content-Signature": signature_over(old, body)}, (401, "invalid_signature")),
        ({"Timestamp": ahead, "Content-Signature": signature_over(ahead, body)}, (401, "invalid_signature")),
        ({"Content-Signature": None}, (401, "invalid_signature")),
        ({"Content-Signature": PREFIX + "AAAA"}, (401, "invalid_signature")),
        ({"Content-Signature": signature_over(now, body).removeprefix(PREFIX)}, (401, "invalid_signature")),
        ({"Timestamp": now, "Content-Signature": signature_over(now, b"{}")}, (401, "invalid_signature")),
        ({"Timestamp": now, "Content-Signature": signature_over(now, body, stranger)}, (401, "invalid_signature")),
    ]
    for change, expected in cases:
        assert said(await ask(sandbox, "POST", "/payments", body, change=change)) == expected, change
    assert said(await ask(sandbox, "GET", "/payments/9", change={"X-API-Key": ""})) == (401, "invalid_api_key")
    assert await charges(sandbox) == []


async def test_order_is_refused_when_a_field_is_missing_or_wrong(sandbox):
    wrong: dict[str, list[Any]] = {
        "isv_payment_ref": [None, "", "QK 1", "Q" * 51, 5],
        "merchant_id": [None, "1", "000000000000000000002"],
        "currency": [None, "USD", "thb"],
        "request_amount": [None, 12050, "120.50", "0", "99", "5000001", "-1", "012050", ""],
        "payment_method": [None, "WALLET"],
        "payment_code": [None, "", 5],
        "description": [None, "", "x" * 21],
        "metadata": [None, "x", {}, {"shop_id": "other"}, {"shop_id": MERCHANT, "x": 1}],
    }
    for name, values in wrong.items():
        for value in values:
            answer = await ask(sandbox, "POST", "/payments", {**PAYMENT, name: value})
            assert said(answer) == (400, "invalid_request"), (name, value)
    for name, value in [("return_url", None), ("return_url", "shop"), ("request_amount", "1"), ("metadata", {})]:
        answer = await ask(sandbox, "POST", "/payments/checkout", {**CHECKOUT, name: value})
        assert said(answer) == (400, "invalid_request"), (name, value)
    for body in (b"{", b"[]", b"\xff"):
        assert said(await ask(sandbox, "POST", "/payments", body)) == (400, "invalid_request")
    assert await charges(sandbox) == []


async def test_debit_is_the_documented_answer_and_inquiry(sandbox):
    answer = await ask(sandbox, "POST", "/payments", PAYMENT)
    payment_id = answer.json()["data"]["payment_id"]
    assert answer.json() == {
        "status": {"code": "success", "message": "Success"},
        "data": {"payment_id": payment_id},
    }
    assert (len(payment_id), payment_id[0], payment_id.isdigit()) == (18, "9", True)
    found = (await ask(sandbox, "GET", f"/payments/{payment_id}")).json()
    data = found["data"]
    assert found["status"] == {"code": "success", "message": "Success"}
    created, updated = data.pop("created"), data.pop("updated")
    assert data == {
        "payment_id": payment_id,
        "isv_payment_ref": "QK2026000001",
        "isv": "QUICKKUB",
        "merchant": MERCHANT,
        "amount": 12050,
        "currency": "THB",
        "customer": "tmn.0001",
        "status": "succeeded",
        "response_code": "success",
        "response_message": "Success",
        "refunded": 0,
        "metadata": {
            "shop_id": MERCHANT,
            "partner_shop_id": "S01",
            "description": "QuickKub test",
            "payment_code": "0000000000000000",
        },
        "refunds": [],
    }
    assert created == updated
    assert created.endswith("+07:00")
    assert len(created) == len("2026-01-01T09:00:00.000+07:00")
    day = created[:10]
    asked = {"isv_payment_ref": "QK2026000001", "transaction_date": f"{day}T23:59:59+07:00"}
    assert (await ask(sandbox, "GET", "/payments", **asked)).json() == found | {
        "data": {**data, "created": created, "updated": updated}
    }


async def test_payment_is_not_found_when_id_reference_or_day_is_another(sandbox):
    payment_id = await paid(sandbox)
    today = (await sandbox.books())["today"]
    for path in ("/payments/900000000000000000", "/payments/QK2026000001"):
        assert said(await ask(sandbox, "GET", path)) == (404, "payment_not_found")
    for reference, moment, expected in [
        ("QK2026000002", f"{today}T00:00:00+07:00", (404, "payment_not_found")),
        ("QK2026000001", "2020-01-01T00:00:00+07:00", (404, "payment_not_found")),
        ("QK2026000001", f"{today}T00:00:00", (400, "invalid_request")),
        ("QK2026000001", f"{today}T00:00:00+00:00", (400, "invalid_request")),
        ("QK2026000001", "2026-02-31T00:00:00+07:00", (400, "invalid_request")),
        ("", f"{today}T00:00:00+07:00", (400, "invalid_request")),
        ("QK2026000001", f"{today}T00:00:00+07:00", (200, "success")),
    ]:
        answer = await ask(sandbox, "GET", "/payments", isv_payment_ref=reference, transaction_date=moment)
        assert said(answer) == expected, (reference, moment)
    assert said(await ask(sandbox, "POST", "/payments/9/refunds", {})) == (404, "payment_not_found")
    assert said(await ask(sandbox, "GET", f"/payments/{payment_id}")) == (200, "success")


async def test_code_is_taken_once_and_a_reference_too(sandbox):
    await paid(sandbox)
    again = await ask(sandbox, "POST", "/payments", {**PAYMENT, "payment_code": "0000000000000001"})
    assert said(again) == (409, "duplicate_isv_payment_ref")
    assert said(await ask(sandbox, "POST", "/payments/checkout", CHECKOUT)) == (409, "duplicate_isv_payment_ref")
    other = {**PAYMENT, "isv_payment_ref": "QK2026000002"}
    assert said(await ask(sandbox, "POST", "/payments", other)) == (400, "invalid_payment_code")
    assert said(await ask(sandbox, "POST", "/payments", {**other, "payment_code": "12"})) == (
        400,
        "invalid_payment_code",
    )
    assert await charges(sandbox) == [("QK2026000001", "captured", 12050, 0)]
    poor = {**other, "payment_code": "0000000000000051"}
    assert said(await ask(sandbox, "POST", "/payments", poor)) == (400, "insufficient_fund")
    assert said(await ask(sandbox, "POST", "/payments", poor)) == (409, "duplicate_isv_payment_ref")
    today = (await sandbox.books())["today"]
    asked = {"isv_payment_ref": "QK2026000002", "transaction_date": f"{today}T00:00:00+07:00"}
    data = (await ask(sandbox, "GET", "/payments", **asked)).json()["data"]
    assert (data["status"], data["response_code"], data["customer"]) == ("failed", "insufficient_fund", "")
    refund = {"isv_refund_ref": "QKR1", "request_amount": "100"}
    refused = await ask(sandbox, "POST", f"/payments/{data['payment_id']}/refunds", refund)
    assert said(refused) == (400, "refund_not_allowed")
    assert await charges(sandbox) == [("QK2026000001", "captured", 12050, 0), ("QK2026000002", "failed", 0, 0)]


async def test_refunds_stop_at_the_captured_amount_and_each_reference_is_used_once(sandbox):
    payment_id = await paid(sandbox)
    path = f"/payments/{payment_id}/refunds"
    first = await ask(sandbox, "POST", path, {"isv_refund_ref": "QKR1", "request_amount": "5000"})
    refund_id = first.json()["data"]["refund_id"]
    assert first.json()["data"] == {"refund_id": refund_id, "type": "PARTIAL"}
    cases = [
        ({"isv_refund_ref": "QKR1", "request_amount": "100"}, (409, "duplicate_isv_refund_ref")),
        ({"isv_refund_ref": "QKR2", "request_amount": "7051"}, (400, "refund_amount_exceeded")),
        ({"isv_refund_ref": "QKR2", "request_amount": 100}, (400, "invalid_request")),
        ({"isv_refund_ref": "QKR2"}, (400, "invalid_request")),
        ({"request_amount": "100"}, (400, "invalid_request")),
    ]
    for body, expected in cases:
        assert said(await ask(sandbox, "POST", path, body)) == expected, body
    assert await charges(sandbox) == [("QK2026000001", "captured", 12050, 5000)]
    await ask(sandbox, "POST", path, {"isv_refund_ref": "QKR2", "request_amount": "7050"})
    data = (await ask(sandbox, "GET", f"/payments/{payment_id}")).json()["data"]
    assert (data["status"], data["refunded"]) == ("succeeded", 12050)
    one, two = data["refunds"]
    assert (one["refund_id"], one["isv_refund_ref"], one["amount"], one["status"], one["response_code"]) == (
        refund_id,
        "QKR1",
        5000,
        "succeeded",
        "success",
    )
    assert (two["isv_refund_ref"], two["amount"]) == ("QKR2", 7050)
    # The fee stays with TrueMoney: 2 % of 120.50 is 2.41, and its VAT 0.17.
    kinds = [
        (row["kind"], row["amount_minor"], row["fee_minor"], row["fee_vat_minor"])
        for row in (await sandbox.books())["movements"]
    ]
    assert kinds == [("payment", 12050, 241, 17), ("refund", 5000, 0, 0), ("refund", 7050, 0, 0)]


async def test_notification_is_the_inquirys_data_signed_and_repeated_until_the_merchant_signs(sandbox, gateway):
    await sandbox.control.configure(world="7", settings={"callback_retry_seconds": 0})
    opened = (await ask(sandbox, "POST", "/payments/checkout", CHECKOUT)).json()["data"]
    assert opened["payment_url"].startswith("http://sandbox.test/truemoney-checkout/")
    waiting = (await ask(sandbox, "GET", f"/payments/{opened['payment_id']}")).json()["data"]
    assert (waiting["status"], waiting["payment_url"]) == ("pending", opened["payment_url"])
    for wrong in ({"amount_minor": 100}, {"transaction_count": 2}):
        with pytest.raises(SandboxRefused):
            await sandbox.control.pay(world="7", provider="truemoney", reference=opened["payment_id"], **wrong)
    assert await charges(sandbox) == [("QK2026000001", "pending", 0, 0)]
    await sandbox.control.pay(world="7", provider="truemoney", reference="QK2026000001")
    told = (await gateway.wait_for(5))[:5]
    assert len({callback.body for callback in told}) == 1
    for callback in told:
        check_signature(callback.headers, callback.body)
    data = (await ask(sandbox, "GET", f"/payments/{opened['payment_id']}")).json()["data"]
    fields = told[0].fields
    assert fields.pop("notify_id").isdigit()
    assert fields == data
    assert "payment_url" not in data


async def test_payer_pays_on_the_page_and_is_sent_back_to_the_shop(sandbox, gateway):
    opened = (await ask(sandbox, "POST", "/payments/checkout", CHECKOUT)).json()["data"]
    path = opened["payment_url"].removeprefix("http://sandbox.test")
    for wrong in (path[:-1], path.replace(opened["payment_id"], "9"), "/truemoney-checkout/7/9/"):
        assert (await sandbox.http.get(wrong)).status_code == 404
        assert (await sandbox.http.post(wrong)).status_code in {404, 405}
    page = await sandbox.http.get(path)
    assert page.status_code == 200
    assert "QK2026000001: 120.50 THB, pending" in page.text
    assert "<form" in page.text
    assert await charges(sandbox) == [("QK2026000001", "pending", 0, 0)]
    for _ in range(2):
        sent_back = await sandbox.http.post(path)
        assert (sent_back.status_code, sent_back.headers["location"]) == (303, "https://shop.invalid/back")
    (told,) = await gateway.wait_for(1)
    assert told.fields["status"] == "succeeded"
    assert await charges(sandbox) == [("QK2026000001", "captured", 12050, 0)]
    assert "<form" not in (await sandbox.http.get(path)).text


async def test_settlement_file_is_there_once_the_day_is_over(sandbox):
    payment_id = await paid(sandbox)
    refund = await ask(
        sandbox,
        "POST",
        f"/payments/{payment_id}/refunds",
        {"isv_refund_ref": "QKR1", "request_amount": "5000"},
    )
    created = (await ask(sandbox, "GET", f"/payments/{payment_id}")).json()["data"]["created"]
    today = (await sandbox.books())["today"]
    asked = await ask(sandbox, "GET", "/settlements", transaction_date=today)
    assert said(asked) == (404, "settlement_not_found")
    await sandbox.pass_days(1)
    tomorrow = (await sandbox.books())["today"]
    for day in ("2020-01-01", tomorrow):
        assert said(await ask(sandbox, "GET", "/settlements", transaction_date=day)) == (404, "settlement_not_found")
    for day in ("", "2026-02-31", "01/01/2026"):
        assert said(await ask(sandbox, "GET", "/settlements", transaction_date=day)) == (400, "invalid_request")
    file = await ask(sandbox, "GET", "/settlements", transaction_date=today)
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    header, payment, given_back, end = file.text.split("\r\n")
    assert header == ("settlement_date,transaction_date,payment_id,isv_payment_ref,type,amount,fee,vat,net,status")
    moment = created[:19].replace("T", " ")
    assert payment == (
        f"{tomorrow} 00:00:00,{moment},{payment_id},QK2026000001,PAYMENT,120.50,2.41,0.17,117.92,SUCCESS"
    )
    cells = given_back.split(",")
    assert cells[2:] == [
        refund.json()["data"]["refund_id"],
        "QKR1",
        "REFUND",
        "-50.00",
        "0.00",
        "0.00",
        "-50.00",
        "SUCCESS",
    ]
    assert end == ""
    (line,) = (await sandbox.books())["bank_lines"]
    (batch,) = (await sandbox.books())["batches"]
    assert (line["amount_minor"], line["reference"], batch["net_minor"]) == (6792, batch["id"], 6792)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (None, "insufficient_fund"),
        ("invalid_payment_code", "invalid_payment_code"),
        ("stolen_or_lost_card", "insufficient_fund"),
    ],
)
async def test_declines_on_demand_are_in_the_words_of_truemoney(sandbox, code, word):
    details = {} if code is None else {"code": code}
    for path, body in (("/payments", PAYMENT), ("/payments/checkout", {**CHECKOUT, "isv_payment_ref": "QK2"})):
        await sandbox.control.add_fault(world="7", provider="truemoney", operation="charge", fault="decline", **details)
        assert said(await ask(sandbox, "POST", path, body)) == (400, word)
    assert all(received == 0 for _, _, received, _ in await charges(sandbox))
