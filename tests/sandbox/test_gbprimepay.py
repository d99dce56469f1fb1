"""GBPrimePay's protocol over plain HTTP: what an adapter and a payer's browser would see."""

import asyncpg
import pytest

from gateway.sandbox.cards import PUBLISHED_TEST_CARDS
from gateway.sandbox.client import SandboxRefused

from .gbprimepay import (
    CARD,
    GBP,
    KEYS,
    PATHS,
    PUBLIC,
    SECRET,
    call,
    charge_body,
    charges,
    post,
    qr_form,
    redirect_form,
    status,
    token,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_call_asks_for_its_own_key(sandbox):
    body = {"referenceNo": "QK20260000001"}
    for path, right in (("/v2/tokens", PUBLIC), ("/v2/tokens/charge", SECRET), ("/v1/check_status_txn", SECRET)):
        wrong = PUBLIC if right is SECRET else SECRET
        for auth in (wrong, ("other", ""), (right[0], "password"), None):
            answer = await call(sandbox, path, body, auth)
            assert (answer.status_code, answer.text) == (401, "Unauthorized")
    for path in ("/v1/void", "/v1/refund"):
        assert (await call(sandbox, path, body, PUBLIC)).status_code == 401
    assert (await sandbox.http.get("/gbprimepay/v1/settlement_report", auth=PUBLIC)).status_code == 401
    bearer = {"authorization": f"Bearer {KEYS['secret_key']}"}
    answer = await sandbox.http.post("/gbprimepay/v1/check_status_txn", json=body, headers=bearer)
    assert answer.status_code == 401
    assert await charges(sandbox) == []


async def test_token_is_given_for_published_test_cards_only_and_nothing_of_a_number_is_kept(sandbox):
    answer = (await token(sandbox)).json()
    assert (answer["resultCode"], answer["rememberCard"]) == ("00", False)
    assert answer["card"] == {
        "token": answer["card"]["token"],
        "number": "XXXXXXXXXXXX5741",
        "expirationMonth": "05",
        "expirationYear": "99",
        "name": "TEST PAYER",
    }
    number = "4000056655665556"
    refused = [
        ({"number": number}, "54"),
        ({"expirationYear": "20"}, "54"),
        ({"name": ""}, "54"),
        ({"expirationMonth": "13"}, "54"),
        ({"expirationMonth": "5"}, "02"),
        ({"expirationYear": "2099"}, "02"),
        ({"expirationYear": 99}, "02"),
        ({"securityCode": ""}, "02"),
    ]
    for card, code in refused:
        answer = await token(sandbox, **card)
        assert (answer.json()["resultCode"], number in answer.text) == (code, False)
    for body in ({}, {"card": CARD}, {"rememberCard": False, "card": "x"}):
        assert (await call(sandbox, "/v2/tokens", body, PUBLIC)).json()["resultCode"] == "02"
    connection = await asyncpg.connect(sandbox.dsn)
    tables = await connection.fetch("SELECT table_name FROM information_schema.tables WHERE table_schema = 'sandbox'")
    dump = ""
    for table in tables:
        dump += "".join(str(row) for row in await connection.fetch(f"SELECT * FROM sandbox.{table['table_name']}"))
    await connection.close()
    assert "5741" in dump
    for known in (number, *PUBLISHED_TEST_CARDS):
        assert known not in dump


async def test_card_charge_is_refused_when_a_field_is_missing_or_wrong(sandbox):
    body = await charge_body(sandbox)
    wrong = [
        {"amount": "1234.50"},
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.001},
        {"amount": True},
        {"amount": None},
        {"referenceNo": "A" * 16},
        {"referenceNo": "QK-1"},
        {"referenceNo": None},
        {"card": None},
        {"card": {}},
        {"otp": "N"},
        {"otp": None},
        {"responseUrl": ""},
        {"backgroundUrl": "quickkub.test"},
    ]
    for fields in wrong:
        answer = await call(sandbox, "/v2/tokens/charge", {**body, **fields})
        assert (answer.status_code, answer.json()["resultCode"]) == (200, "02"), fields
    text = await sandbox.http.post("/gbprimepay/v2/tokens/charge", content=b"{}", auth=SECRET)
    assert (text.status_code, text.json()["resultCode"]) == (400, "02")
    headers = {"content-type": "application/json"}
    broken = await sandbox.http.post("/gbprimepay/v2/tokens/charge", content=b"{", auth=SECRET, headers=headers)
    assert (broken.status_code, broken.json()["resultCode"]) == (400, "02")
    assert await charges(sandbox) == []
    # None of them used the token up; used once, it and its reference are refused.
    answer = (await call(sandbox, "/v2/tokens/charge", body)).json()
    assert answer == {
        "resultCode": "00",
        "amount": 1234.5,
        "referenceNo": "QK20260000001",
        "gbpReferenceNo": answer["gbpReferenceNo"],
        "detail": "QuickKub",
        "merchantDefined1": "QK20260000001",
    }
    again = (await call(sandbox, "/v2/tokens/charge", body)).json()
    assert again == {"resultCode": "02", "resultMessage": "Duplicate referenceNo"}
    other = (await call(sandbox, "/v2/tokens/charge", {**body, "referenceNo": "QK2"})).json()
    assert other["resultCode"] == "54"
    assert len(await charges(sandbox)) == 1


async def test_card_is_paid_only_after_its_form_and_told_as_documented(sandbox, gateway):
    answer = (await call(sandbox, "/v2/tokens/charge", await charge_body(sandbox))).json()
    with pytest.raises(SandboxRefused, match="not_payable"):
        await sandbox.control.pay(**GBP, reference="QK20260000001")
    form = {"publicKey": KEYS["public_key"], "gbpReferenceNo": answer["gbpReferenceNo"]}
    for wrong in ({"publicKey": "other"}, {"gbpReferenceNo": "other"}, {"gbpReferenceNo": "QK20260000001"}):
        refused = await post(sandbox, "/v2/tokens/3d_secured", {**form, **wrong})
        assert (refused.status_code, refused.text) == (400, "Incomplete information")
    waiting = (await status(sandbox))["txn"]
    assert (waiting["status"], waiting["amount"], "resultCode" in waiting) == ("G", 1234.5, False)
    page = await post(sandbox, "/v2/tokens/3d_secured", form)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    (payment,) = await sandbox.control.pay(**GBP, reference="QK20260000001")
    assert payment.transaction_id == answer["gbpReferenceNo"]
    (told,) = await gateway.wait_for(1)
    txn = (await status(sandbox))["txn"]
    assert told.fields == {
        "amount": 1234.5,
        "retryFlag": "N",
        "referenceNo": "QK20260000001",
        "gbpReferenceNo": answer["gbpReferenceNo"],
        "currencyCode": "764",
        "resultCode": "00",
        "totalAmount": 1234.5,
        "fee": 0,
        "vat": 0,
        "thbAmount": 1234.5,
        "date": txn["date"],
        "time": txn["time"],
        "paymentType": "C",
        "detail": "QuickKub",
        "merchantDefined1": "QK20260000001",
    }
    assert b'"amount":1234.50,' in told.body
    assert (txn["status"], txn["resultCode"], txn["gbpReferenceNo"]) == ("S", "00", answer["gbpReferenceNo"])
    with pytest.raises(SandboxRefused, match="not_payable"):
        await sandbox.control.pay(**GBP, reference="QK20260000001")
    ended = await post(sandbox, "/v2/tokens/3d_secured", form)
    assert "has ended" in ended.text


async def test_failing_cards_fail_at_their_bank_with_their_code(sandbox, gateway):
    for number, (card, code) in enumerate(
        (("4111111111140011", "51"), ("4111111111130012", "43"), ("4111111111110014", "05")), start=1
    ):
        used = (await token(sandbox, number=card)).json()["card"]["token"]
        body = await charge_body(sandbox, referenceNo=f"QK{number}", card={"token": used})
        answer = (await call(sandbox, "/v2/tokens/charge", body)).json()
        assert answer["resultCode"] == "00"
        form = {"publicKey": KEYS["public_key"], "gbpReferenceNo": answer["gbpReferenceNo"]}
        assert "declined" in (await post(sandbox, "/v2/tokens/3d_secured", form)).text
        told = (await gateway.wait_for(number))[-1]
        assert (told.fields["resultCode"], told.fields["referenceNo"]) == (code, f"QK{number}")
        txn = (await status(sandbox, f"QK{number}"))["txn"]
        assert (txn["status"], txn["resultCode"]) == ("D", code)
    assert {(charge["status"], charge["received_minor"]) for charge in await charges(sandbox)} == {("failed", 0)}


async def test_qr_is_refused_in_plain_text_when_the_form_is_incomplete(sandbox):
    form = qr_form(sandbox)
    wrong = [
        *({name: ""} for name in form),
        {"token": "other"},
        {"amount": "1234.5"},
        {"amount": "1234"},
        {"amount": "0.00"},
        {"amount": "-1.00"},
        {"referenceNo": "A" * 16},
        {"payType": "X"},
    ]
    for fields in wrong:
        answer = await post(sandbox, "/v3/qrcode/text", {**form, **fields})
        assert (answer.status_code, answer.text) == (400, "Incomplete information"), fields
    as_json = await call(sandbox, "/v3/qrcode/text", form)
    assert (as_json.status_code, as_json.text) == (400, "Incomplete information")
    assert await charges(sandbox) == []


async def test_qr_is_new_each_time_and_every_payment_of_its_reference_is_found(sandbox, gateway):
    first = (await post(sandbox, "/v3/qrcode/text", qr_form(sandbox))).json()
    second = (await post(sandbox, "/v3/qrcode/text", qr_form(sandbox))).json()
    assert (first["resultCode"], first["referenceNo"]) == ("00", "QK20260000001")
    assert first["qrcode"] != second["qrcode"]
    picture = await post(sandbox, "/v3/qrcode", qr_form(sandbox, referenceNo="QK2"))
    assert (picture.headers["content-type"], picture.content[:4]) == ("image/png", b"\x89PNG")
    await sandbox.control.pay(**GBP, reference=first["qrcode"], transaction_count=2)
    await sandbox.control.pay(**GBP, reference=second["gbpReferenceNo"], amount_minor=999_00)
    found = (await status(sandbox))["txns"]
    assert [(txn["status"], txn["amount"], txn["paymentType"]) for txn in found] == [
        ("S", 1234.5, "Q"),
        ("S", 1234.5, "Q"),
        ("S", 999, "Q"),
    ]
    assert found[0]["gbpReferenceNo"] == first["gbpReferenceNo"]
    assert found[2]["gbpReferenceNo"] == second["gbpReferenceNo"]
    told = await gateway.wait_for(3)
    assert {callback.fields["gbpReferenceNo"] for callback in told} == {txn["gbpReferenceNo"] for txn in found}


async def test_form_is_refused_when_a_field_or_its_checksum_is_wrong(sandbox, gateway):
    for number, (method, path) in enumerate(PATHS.items(), start=1):
        form = redirect_form(sandbox, method, referenceNo=f"QK{number}", merchantDefined1="QK20260000000000ABCD")
        for name in form.keys() - {"checksum", "merchantDefined1"}:
            answer = await post(sandbox, path, {**form, name: ""})
            assert (answer.status_code, answer.text) == (400, "Incomplete information"), name
        changed = [{"amount": "1.00"}, {"responseUrl": "https://other.test/"}, {"backgroundUrl": "https://other.test/"}]
        changed += [{"referenceNo": "QK9"}, {"checksum": form["checksum"].upper()}, {"checksum": ""}]
        changed += [{"bankCode": "004"}] if method == "mobile_banking" else []
        for fields in changed:
            answer = await post(sandbox, path, {**form, **fields})
            assert (answer.status_code, answer.text) == (400, "Invalid checksum"), fields
        assert len(await charges(sandbox)) == number - 1
        for _ in range(2):
            assert "Confirm" in (await post(sandbox, path, form)).text
        await sandbox.control.pay(**GBP, reference=f"QK{number}")
        told = (await gateway.wait_for(number))[-1]
        assert told.headers["content-type"] == "application/x-www-form-urlencoded"
        assert f"amount=1234.50&retryFlag=N&referenceNo=QK{number}&".encode() in told.body
        assert b"&merchantDefined1=QK20260000000000ABCD" in told.body
        # Paid, its reference is taken.
        assert (await post(sandbox, path, form)).json()["resultCode"] == "02"
    unknown = redirect_form(sandbox, "mobile_banking", referenceNo="QK9", bankCode="999")
    assert (await post(sandbox, "/v2/mobileBanking", unknown)).text == "Incomplete information"
    assert [charge["method"] for charge in await charges(sandbox)] == list(PATHS)


async def test_inquiry_says_not_found_and_refuses_what_is_no_reference(sandbox):
    assert await status(sandbox) == {"resultCode": "02", "resultMessage": "Transaction not found"}
    for reference in ("A" * 16, "", None, 5):
        answer = await call(sandbox, "/v1/check_status_txn", {"referenceNo": reference})
        assert answer.json() == {"resultCode": "02", "resultMessage": "Invalid data"}
