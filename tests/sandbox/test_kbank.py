"""KBank's protocol over plain HTTP: what is missing or wrong is refused in the bank's words, and nothing changes."""

import hashlib
from datetime import timedelta
from decimal import Decimal

import pytest
import pytest_asyncio

from .kbank import BASIC, CREDENTIALS, DECLINED_CARDS, SECURED_CARD, TEST_CARD, Kbank

pytestmark = pytest.mark.asyncio(loop_scope="session")

UID = "QK0000000000001"


@pytest_asyncio.fixture(loop_scope="session")
async def bank(sandbox) -> Kbank:
    return await Kbank.open(sandbox)


def error_of(answer) -> str:
    assert answer.status_code == 200
    assert answer.json()["statusCode"] == "10"
    assert answer.json().keys() == {"partnerTxnUid", "statusCode", "errorCode", "errorDesc"}
    return answer.json()["errorCode"]


def entry_error_of(answer) -> tuple[int, str]:
    assert answer.json()["code"] == "openapi_error"
    return answer.status_code, answer.json()["message"]


def kgp_error_of(answer) -> tuple[int, str]:
    assert answer.json()["object"] == "error"
    return answer.status_code, answer.json()["code"]


async def test_token_is_granted_to_the_right_consumer_only(bank):
    granted = (await bank.token()).json()
    assert (granted["token_type"], granted["expires_in"], granted["status"]) == ("Bearer", "1799", "approved")
    for authorization in ("", "Bearer x", "Basic !", "Basic YQ==", BASIC[:-4] + "dA==", "Basic " + "eDp5"):
        assert (await bank.token(authorization)).status_code == 401
    for form in ({"grant_type": "password"}, {}, {"grant_type": "client_credentials", "x": "1"}):
        assert entry_error_of(await bank.token(data=form)) == (400, "Invalid grant type")
    assert (await bank.token(data=None, json={"grant_type": "client_credentials"})).status_code == 400


async def test_nobody_passes_without_a_token_of_this_bank(bank):
    scb = await bank.sandbox.scb("GET", "/v1/payment/billpayment/inquiry")
    scb_token = scb.request.headers["authorization"]
    for headers, message in (
        ({}, "Unauthorized"),
        ({"authorization": "Basic x"}, "Unauthorized"),
        ({"authorization": scb_token}, "Unauthorized"),
        ({"authorization": "Bearer tok_kbank_x"}, "Access Token expired"),
    ):
        refused = await bank.sandbox.http.post("/kbank/v1/qrpayment/request", json={}, headers=headers)
        assert entry_error_of(refused) == (401, message)
        refused = await bank.sandbox.http.get("/kbank/v1/qrpayment/settlement/report", headers=headers)
        assert entry_error_of(refused) == (401, message)


async def test_qr_is_refused_when_a_field_is_missing_or_wrong(bank):
    cases = {
        "bad_request": [
            {"drop": "partnerTxnUid"},
            {"uid": "QK00000000000012"},
            {"uid": "QK-1"},
            {"drop": "requestDt"},
            {"requestDt": "2026-01-01T09:00:00Z"},
            {"requestDt": "2026-01-01 09:00:00"},
            {"reference2": "x" * 101},
            {"reference3": 3},
            {"metadata": "x" * 501},
        ],
        "authentication_error": [
            {"drop": "partnerId"},
            {"partnerId": "OTHER"},
            {"drop": "partnerSecret"},
            {"partnerSecret": "0" * 32},
            {"partnerSecret": 1},
        ],
        "invalid_merchant": [
            {"drop": "merchantId"},
            {"merchantId": "KB000000000002"},
            {"drop": "terminalId"},
            {"terminalId": "1"},
        ],
        "invalid_qr_type": [{"drop": "qrType"}, {"qrType": "4"}, {"qrType": 3}],
        "invalid_txn_amount": [
            {"drop": "txnAmount"},
            *({"txnAmount": value} for value in ("0", "-1", "1.001", "x", "NaN", True, None, "1E+900000000", [1])),
        ],
        "invalid_currency_code": [{"drop": "txnCurrencyCode"}, {"txnCurrencyCode": "USD"}],
        "invalid_reference1": [{"drop": "reference1"}, {"reference1": ""}, {"reference1": "x" * 101}],
    }
    for code, bodies in cases.items():
        for body in bodies:
            assert error_of(await bank.issue(**{"uid": UID, **body})) == code, body
    form = await bank.sandbox.http.post("/kbank/v1/qrpayment/request", data={"a": "b"}, headers=await bank.bearer())
    assert error_of(form) == "bad_request"
    assert await bank.charges() == []


async def test_qr_is_issued_once_and_says_what_was_asked(bank):
    issued = (await bank.issue(txnAmount=100.5)).json()
    assert (issued["partnerTxnUid"], issued["partnerId"], issued["statusCode"], issued["sof"]) == (
        UID,
        "PTRQK1",
        "00",
        ["PP"],
    )
    text = issued["qrCode"]
    assert text.startswith("000201010212")
    assert "5406100.50" in text
    assert "0016A0000006770101130103004" in text
    assert error_of(await bank.issue(txnAmount="99.00")) == "duplicate_request"
    found = (await bank.qr("/v4/inquiry", "ASK1", origPartnerTxnUid=UID)).json()
    assert {name: found[name] for name in ("txnStatus", "txnAmount", "txnNo", "reference1", "allowVoid")} == {
        "txnStatus": "REQUESTED",
        "txnAmount": 100.5,
        "txnNo": None,
        "reference1": "INV001",
        "allowVoid": "N",
    }
    assert [charge["amount_minor"] for charge in await bank.charges()] == [100_50]


async def test_unknown_original_is_refused_by_every_verb(bank):
    await bank.charge_card("QKORDER1")
    for path in ("/v4/inquiry", "/cancel", "/void"):
        for fields in ({}, {"origPartnerTxnUid": "QK0000000000009"}, {"origPartnerTxnUid": "QKORDER1"}):
            assert error_of(await bank.qr(path, "ASK1", **fields)) == "invalid_origPartnerTxnUid"
    assert [charge["status"] for charge in await bank.charges()] == ["captured"]


async def test_qr_is_told_paid_once_and_voided_by_its_own_number(bank, gateway):
    await bank.issue()
    number = await bank.pay(UID)
    (told,) = await gateway.wait_for(1)
    assert told.fields == {
        "partnerTxnUid": UID,
        "partnerId": "PTRQK1",
        "statusCode": "00",
        "errorCode": None,
        "errorDesc": None,
        "merchantId": "KB000000000001",
        "txnAmount": 100.5,
        "txnCurrencyCode": "THB",
        "txnNo": number,
        "loyaltyId": None,
        "additionalInfo": None,
        "reference1": "INV001",
        "reference2": None,
        "reference3": None,
        "reference4": None,
        "qrType": "3",
    }
    assert b'"txnAmount":100.50' in told.body
    assert (len(number), number.isdigit()) == (20, True)
    with pytest.raises(Exception, match="not_payable"):
        await bank.pay(UID)
    with pytest.raises(Exception, match="not_payable"):
        await bank.pay(UID, amount_minor=1)
    found = (await bank.qr("/v4/inquiry", "ASK1", origPartnerTxnUid=UID)).json()
    assert (found["txnStatus"], found["txnNo"], found["allowVoid"]) == ("PAID", number, "Y")
    assert error_of(await bank.qr("/cancel", "CANCEL1", origPartnerTxnUid=UID)) == "qr_paid"
    assert error_of(await bank.qr("/void", "VOID1", origPartnerTxnUid=UID, txnNo="1")) == "bad_request"
    assert await bank.movements() == [("payment", 100_50)]
    assert (await bank.qr("/void", "VOID1", origPartnerTxnUid=UID, txnNo=number)).json()["statusCode"] == "00"
    assert error_of(await bank.qr("/void", "VOID1", origPartnerTxnUid=UID)) == "duplicate_request"
    assert error_of(await bank.qr("/void", "VOID2", origPartnerTxnUid=UID)) == "qr_void"
    assert error_of(await bank.qr("/cancel", "CANCEL1", origPartnerTxnUid=UID)) == "qr_void"
    assert await bank.movements() == [("payment", 100_50), ("void", 100_50)]


async def test_qr_ends_unpaid_and_cannot_be_paid_then(bank):
    await bank.issue("QKCANCEL")
    await bank.issue("QKEXPIRE")
    assert (await bank.qr("/cancel", "C1", origPartnerTxnUid="QKCANCEL")).json()["statusCode"] == "00"
    assert error_of(await bank.qr("/void", "V1", origPartnerTxnUid="QKEXPIRE")) == "bad_request"
    await bank.move(timedelta(minutes=10))
    for uid, word in (("QKCANCEL", "qr_cancelled"), ("QKEXPIRE", "qr_expired")):
        assert error_of(await bank.qr("/cancel", "C1", origPartnerTxnUid=uid)) == word
        assert error_of(await bank.qr("/void", "V1", origPartnerTxnUid=uid)) == word
        with pytest.raises(Exception, match="not_payable"):
            await bank.pay(uid)
    assert await bank.movements() == []


async def test_notification_is_repeated_until_it_is_taken_and_a_fault_may_spoil_it(bank, gateway):
    await bank.issue()
    gateway.refusals = 1
    await bank.fault("callback", "callback_duplicate")
    number = await bank.pay(UID)
    told = await gateway.wait_for(3)
    assert {callback.fields["txnNo"] for callback in told} == {number}
    await bank.issue("QK2")
    await bank.fault("callback", "callback_forged")
    other = await bank.pay("QK2")
    told = (await gateway.wait_for(5))[3:]
    assert sorted(callback.fields["txnAmount"] for callback in told) == [100.5, 1005]
    assert {callback.fields["txnNo"] == other for callback in told} == {True, False}


async def test_decline_is_played_with_the_code_that_was_ordered(bank):
    await bank.fault("charge", "decline", code="merchant_closed")
    assert error_of(await bank.issue()) == "merchant_closed"
    await bank.fault("charge", "decline", code="no_word_of_the_bank")
    assert error_of(await bank.issue()) == "payment_exceed_limit"
    assert error_of(await bank.issue(txnAmount="7770.01")) == "payment_exceed_limit"
    assert await bank.charges() == []
    assert (await bank.issue(txnAmount="7770.01")).json()["statusCode"] == "00"
    await bank.fault("charge", "server_error")
    broken = await bank.issue("QK2")
    assert (broken.status_code, broken.json()["code"]) == (500, "openapi_error")


async def test_card_is_refused_when_a_field_or_the_key_is_missing_or_wrong(bank):
    for headers in ({}, {"x-api-key": "skey_test_OTHER"}, {"x-api-key": CREDENTIALS["kgp_public_key"]}):
        assert kgp_error_of(await bank.kgp("POST", "/card/v2/charge", {}, headers=headers)) == (
            401,
            "authentication_failure",
        )
    secret = {"x-api-key": CREDENTIALS["kgp_secret_key"]}
    assert kgp_error_of(await bank.kgp("POST", "/ui/v2/token", dict(TEST_CARD), headers=secret))[0] == 401
    public = {"x-api-key": CREDENTIALS["kgp_public_key"]}
    refused = await bank.kgp("POST", "/ui/v2/token", {**TEST_CARD, "number": "4000056655665556"}, headers=public)
    assert kgp_error_of(refused) == (400, "invalid_card")
    assert "4000056655665556" not in refused.text

    token = await bank.card_token()
    wrong: list[tuple[str, dict]] = [
        *(("invalid_amount", {"amount": value}) for value in (0, -1, Decimal("1.001"), "12.00", True, None)),
        ("invalid_amount", {"drop": "amount"}),
        *(("invalid_request", {"drop": name}) for name in ("currency", "source_type", "mode", "token", "description")),
        ("invalid_request", {"drop": "reference_order"}),
        ("invalid_request", {"reference_order": "X" * 21}),
        ("invalid_request", {"currency": "USD"}),
        ("invalid_request", {"source_type": "alipay"}),
        ("invalid_request", {"mode": "customer"}),
        ("invalid_request", {"card": dict(TEST_CARD)}),
        ("invalid_token", {"token": "tokn_kgp_none"}),
        ("invalid_token", {"token": (await bank.sandbox.token()).json()["id"]}),
    ]
    for code, fields in wrong:
        assert kgp_error_of(await bank.charge_card(**{"token": token, **fields})) == (400, code), fields
    old = await bank.card_token()
    assert await bank.charges() == []
    assert (await bank.charge_card(token=token)).status_code == 200
    assert kgp_error_of(await bank.charge_card(token=old)) == (400, "duplicate_reference_order")
    assert kgp_error_of(await bank.charge_card("QKORDER2", token=token)) == (400, "used_token")
    await bank.move(timedelta(minutes=10))
    assert kgp_error_of(await bank.charge_card("QKORDER2", token=old)) == (400, "invalid_token")
    assert [charge["reference"] for charge in await bank.charges()] == ["QKORDER1"]


async def test_card_is_shown_as_documented_and_its_webhook_carries_the_checksum(bank, gateway):
    charge = (await bank.charge_card()).json()
    assert (charge["object"], charge["status"], charge["transaction_state"]) == ("charge", "success", "Authorized")
    assert (charge["amount"], charge["currency"], charge["failure_code"], charge["redirect_url"]) == (
        1234.5,
        "THB",
        None,
        None,
    )
    assert (charge["source"]["brand"], charge["source"]["card_masking"]) == ("VISA", "xxxxxxxxxxxx4242")
    (told,) = await gateway.wait_for(1)
    sealed = f"{charge['id']}1234.5000THBsuccessAuthorizedskey_test_QUICKKUBINVENTED"
    assert told.fields == {**charge, "checksum": hashlib.sha256(sealed.encode()).hexdigest()}
    for name in (charge["id"], "QKORDER1", "QKORDER1/20260101"):
        assert (await bank.kgp("GET", f"/card/v2/charge/{name}")).json() == charge
    await bank.issue()
    for name in ("chrg_test_none", UID):
        assert kgp_error_of(await bank.kgp("GET", f"/card/v2/charge/{name}")) == (404, "not_found")


async def test_declined_and_secured_cards_hold_no_money(bank, gateway):
    for word, number in DECLINED_CARDS.items():
        declined = await bank.charge_card(f"QK{word[:8]}", token=await bank.card_token(number=number))
        assert (declined.status_code, declined.json()["status"], declined.json()["transaction_state"]) == (
            200,
            "fail",
            "Declined",
        )
        assert (declined.json()["failure_code"], declined.json()["approval_code"]) == (word, "")
    secured = (await bank.charge_card(token=await bank.card_token(number=SECURED_CARD))).json()
    assert (secured["transaction_state"], secured["approval_code"]) == ("Pre-Authorized", "")
    assert secured["redirect_url"].endswith(secured["id"])
    path = f"/card/v2/charge/{secured['id']}"
    assert kgp_error_of(await bank.kgp("POST", f"{path}/Void", {})) == (400, "not_voidable")
    assert kgp_error_of(await bank.kgp("POST", f"{path}/refund", {"amount": 1, "reason": "x"})) == (
        400,
        "not_refundable",
    )
    assert (await bank.movements(), gateway.told) == ([], [])
    await bank.pay(secured["id"])
    assert (await gateway.wait_for(1))[0].fields["transaction_state"] == "Authorized"


async def test_card_is_voided_before_the_night_run_and_refunded_after_it(bank):
    charge_id = (await bank.charge_card()).json()["id"]
    path = f"/card/v2/charge/{charge_id}"
    part = {"amount": Decimal("34.50"), "reason": "QKR1"}
    assert kgp_error_of(await bank.kgp("POST", f"{path}/refund", part)) == (400, "not_settled")
    for wrong in ({"reason": "x"}, {"amount": 1}, {"amount": "1.00", "reason": "x"}, {"amount": 0, "reason": "x"}):
        assert kgp_error_of(await bank.kgp("POST", f"{path}/refund", wrong)) == (400, "invalid_request")
    assert (await bank.kgp("POST", f"{path}/void", {})).status_code == 405
    assert kgp_error_of(await bank.kgp("POST", "/card/v2/charge/chrg_none/Void", {})) == (404, "not_found")
    assert await bank.movements() == [("payment", 1234_50)]
    await bank.move(timedelta(hours=13))
    assert (await bank.kgp("GET", path)).json()["transaction_state"] == "Settled"
    assert kgp_error_of(await bank.kgp("POST", f"{path}/Void", {})) == (400, "already_settled")
    refunded = (await bank.kgp("POST", f"{path}/refund", part)).json()
    assert refunded["transaction_state"] == "Settled"
    (item,) = refunded["refund_info"]
    assert (item["amount"], item["reason"], item["state"]) == (34.5, "QKR1", "Refund Sent")
    rest = {"amount": Decimal("1200.01"), "reason": "QKR2"}
    assert kgp_error_of(await bank.kgp("POST", f"{path}/refund", rest)) == (400, "amount_exceeds_charge")
    await bank.fault("refund", "decline")
    whole = {"amount": 1200, "reason": "QKR2"}
    assert kgp_error_of(await bank.kgp("POST", f"{path}/refund", whole)) == (400, "refund_refused")
    assert (await bank.kgp("POST", f"{path}/refund", whole)).json()["transaction_state"] == "Refunded"
    assert await bank.movements() == [("payment", 1234_50), ("refund", 34_50), ("refund", 1200_00)]


async def test_report_is_given_out_to_its_merchant_when_the_day_is_over(bank):
    await bank.issue()
    number = await bank.pay(UID)
    charge_id = (await bank.charge_card()).json()["id"]
    await bank.kgp("POST", f"/card/v2/charge/{charge_id}/Void", {"reason": "QKR1"})
    day = (await bank.sandbox.books())["today"]

    async def fetch(**parameters):
        return await bank.sandbox.http.get(
            "/kbank/v1/qrpayment/settlement/report", params=parameters, headers=await bank.bearer()
        )

    assert entry_error_of(await fetch(merchantId="KB000000000001", date=day)) == (404, "Not found")
    assert entry_error_of(await fetch(merchantId="OTHER", date=day)) == (403, "Forbidden")
    assert entry_error_of(await fetch(merchantId="KB000000000001", date="x")) == (400, "Invalid date")
    await bank.move(timedelta(days=1))
    answer = await fetch(merchantId="KB000000000001", date=day)
    batch = (await bank.sandbox.books())["batches"][0]
    assert (batch["gross_minor"], batch["net_minor"]) == (100_50, 99_64)
    stamped = f"{day[8:]}/{day[5:7]}/{day[:4]}"
    rows = [row.split(",") for row in answer.text.split("\r\n")[:-1]]
    assert [row[0] for row in rows] == ["H", "D", "D", "D", "T"]
    assert rows[0] == ["H", "kbank_settlement", "1", "KB000000000001", stamped]
    paid, carded, voided = rows[1:4]
    assert paid[2:8] == ["PAYMENT", "QR", number, UID, "INV001", stamped]
    assert paid[9:] == ["100.50", "0.80", "0.06", "99.64", batch["id"]]
    assert carded[2:8] == ["PAYMENT", "CARD", charge_id, charge_id, "QKORDER1", stamped]
    assert carded[9:] == ["1234.50", "34.57", "2.42", "1197.51", batch["id"]]
    assert voided[2:8] == ["VOID", "CARD", f"{charge_id}-void", charge_id, "QKR1", stamped]
    assert voided[9:] == ["-1234.50", "-34.57", "-2.42", "-1197.51", batch["id"]]
    assert rows[4] == ["T", "3", "100.50", "0.80", "0.06", "99.64"]
