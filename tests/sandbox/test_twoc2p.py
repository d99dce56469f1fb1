"""2C2P's protocol over plain HTTP: each missing or wrong field, signature and seal is refused, and nothing moves."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from gateway.foundation.clock import BANGKOK, real_now
from gateway.sandbox import twoc2p_jose as jose
from gateway.sandbox import twoc2p_keys as keys

from .conftest import WORLD

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "QUICKKUB00000000INVENTED0000000000000000000000000000000000KEY001"
MERCHANT = rsa.generate_private_key(65537, 2048)
CREDENTIALS = {
    "merchant_id": "QK01",
    "secret_key": KEY,
    "merchant_private_key": MERCHANT.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    "provider_public_key": "the sandbox knows its own",
}
ORDER = {
    "merchantID": "QK01",
    "invoiceNo": "QK2026000001",
    "description": "QuickKub order",
    "amount": Decimal("1234.50"),
    "currencyCode": "THB",
    "paymentChannel": ["QR"],
    "idempotencyID": "QK2026000001-1",
}
GONE = object()


@pytest_asyncio.fixture(loop_scope="session")
async def twoc2p(sandbox):
    await sandbox.control.register_account(
        world=WORLD,
        provider="2c2p",
        credentials=CREDENTIALS,
        callback_url=f"{sandbox.gateway.root}/callbacks/2c2p",
        settings={"callback_retry_seconds": 1},
    )
    return TwoC2p(sandbox)


class TwoC2p:
    """A merchant who speaks to 2C2P."""

    def __init__(self, sandbox) -> None:
        self.sandbox = sandbox

    async def signed(self, path: str, claims: Any, key: str = KEY) -> dict[str, Any]:
        """The proved claims of the answer, or its plain error."""
        body = {"payload": jose.jwt(claims, key)}
        answer = (await self.sandbox.http.post(f"/2c2p/payment/4.3/{path}", json=body)).json()
        if "payload" not in answer:
            return answer
        return msgspec.json.decode(jose.proved_claims(answer["payload"], KEY))

    async def plain(self, path: str, body: Any) -> dict[str, Any]:
        return (await self.sandbox.http.post(f"/2c2p/payment/4.3/{path}", json=body)).json()

    async def token(self, **changed: Any) -> dict[str, Any]:
        fields = {name: value for name, value in {**ORDER, **changed}.items() if value is not GONE}
        return await self.signed("paymentToken", fields)

    async def pay(self, token: str, channel: str = "PPQR", **data: Any) -> dict[str, Any]:
        payment = {"code": {"channelCode": channel}, "data": data or {"qrType": "RAW"}}
        return await self.plain("payment", {"paymentToken": token, "clientID": "c", "payment": payment})

    async def inquire(self) -> dict[str, Any]:
        return await self.signed("paymentInquiry", {"merchantID": "QK01", "invoiceNo": "QK2026000001"})

    async def paid(self, **changed: Any) -> str:
        token = await self.token(**changed)
        assert (await self.pay(token["paymentToken"]))["respCode"] == "1005"
        return await self.let_pay()

    async def let_pay(self) -> str:
        (paid,) = await self.sandbox.control.pay(world=WORLD, provider="2c2p", reference="QK2026000001")
        return paid.transaction_id

    async def action(self, sender=MERCHANT, **changed: Any) -> dict[str, str]:
        """The fields of the opened answer to a maintenance request."""
        fields = {
            "version": "4.3",
            "timeStamp": real_now().astimezone(BANGKOK).strftime("%d%m%y%H%M%S"),
            "merchantID": "QK01",
            "invoiceNo": "QK2026000001",
            "actionAmount": "1234.50",
            "processType": "R",
            "idempotencyID": "QKR1",
            **changed,
        }
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items() if value is not GONE)
        xml = f"<PaymentProcessRequest>{inside}</PaymentProcessRequest>"
        body = jose.seal(xml.encode(), keys.private_key().public_key(), sender)
        return await self.send(body)

    async def send(self, body: bytes, content_type: str = "text/plain") -> dict[str, str]:
        answer = await self.sandbox.http.post(
            "/2c2p-maintenance/PaymentAction/2.0/action", content=body, headers={"content-type": content_type}
        )
        content = answer.content
        if not content.startswith(b"<"):
            jose.check_sender(content, keys.private_key().public_key())
            content = jose.unseal(content, MERCHANT)
        return {child.tag: child.text or "" for child in etree.fromstring(content)}

    async def books(self) -> list[tuple[str, int, int]]:
        charges = (await self.sandbox.books())["charges"]
        return [
            (charge["status"], charge["received_minor"], charge["refunded_minor"])
            for charge in charges
            if charge["provider"] == "2c2p"
        ]


async def test_token_is_refused_for_each_wrong_field(twoc2p):
    for changed, code in (
        ({"invoiceNo": GONE}, "9005"),
        ({"invoiceNo": ""}, "9005"),
        ({"invoiceNo": "QK-1"}, "9005"),
        ({"invoiceNo": "Q" * 21}, "9005"),
        ({"invoiceNo": 1}, "9005"),
        ({"description": GONE}, "9006"),
        ({"description": "x" * 251}, "9006"),
        ({"amount": GONE}, "9007"),
        ({"amount": "1234.50"}, "9007"),
        ({"amount": 0}, "9007"),
        ({"amount": -1}, "9007"),
        ({"amount": Decimal("1.005")}, "9007"),
        ({"amount": Decimal("1e9")}, "9007"),
        ({"amount": 10_000_000}, "9007"),
        ({"amount": True}, "9007"),
        ({"currencyCode": "USD"}, "9008"),
        ({"currencyCode": GONE}, "9008"),
        ({"paymentExpiry": "2020-01-01 00:00:00"}, "9009"),
        ({"paymentExpiry": "2099-13-01 00:00:00"}, "9009"),
        ({"paymentExpiry": "tomorrow"}, "9009"),
        ({"paymentChannel": GONE}, "9057"),
        ({"paymentChannel": "QR"}, "9057"),
        ({"paymentChannel": []}, "9057"),
        ({"paymentChannel": ["XX"]}, "9057"),
        ({"paymentChannel": [["QR"]]}, "9057"),
        ({"nonceStr": "x" * 33}, "9010"),
        ({"idempotencyID": "x" * 101}, "9010"),
        ({"userDefined1": "x" * 151}, "9010"),
        ({"userDefined1": 1}, "9010"),
    ):
        assert (await twoc2p.token(**changed))["respCode"] == code, changed
    assert await twoc2p.books() == []


async def test_signed_calls_are_refused_without_the_right_key_or_algorithm(twoc2p):
    for path in ("paymentToken", "paymentInquiry"):
        assert (await twoc2p.signed(path, ORDER, "another key"))["respCode"] == "9042"
        assert (await twoc2p.signed(path, {**ORDER, "merchantID": "QK02"}))["respCode"] == "9042"
        assert (await twoc2p.signed(path, ["no object"]))["respCode"] == "9042"
        header, claims, signature = jose.jwt(ORDER, KEY).split(".")
        for token in (
            f"eyJhbGciOiJub25lIn0.{claims}.{signature}",
            f"{header}.{claims}.",
            f"{header}.{claims}",
            "x.y.z",
        ):
            assert (await twoc2p.plain(path, {"payload": token}))["respCode"] == "9042", token
        assert (await twoc2p.plain(path, {"token": "x"}))["respCode"] == "9900"
        form = await twoc2p.sandbox.http.post(f"/2c2p/payment/4.3/{path}", data={"payload": "x"})
        assert form.json()["respCode"] == "9900"
    assert await twoc2p.books() == []


async def test_same_request_is_given_the_same_token_and_another_is_refused(twoc2p):
    first = await twoc2p.token()
    assert first["respCode"] == "0000"
    assert first["webPaymentUrl"].endswith(first["paymentToken"])
    assert await twoc2p.token() == first
    for changed in ({"amount": Decimal("1.00")}, {"idempotencyID": "another"}, {"idempotencyID": GONE}):
        assert (await twoc2p.token(**changed))["respCode"] == "9015"
    assert await twoc2p.books() == [("pending", 0, 0)]
    # Nobody pays what no channel was chosen for.
    answer = await twoc2p.sandbox.http.post(
        "/_control/pay",
        json={"world": WORLD, "provider": "2c2p", "reference": "QK2026000001"},
        headers={"authorization": "Bearer control-key-of-the-tests"},
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "not_payable")


async def test_do_payment_chooses_a_channel_of_the_token_once(twoc2p):
    token = (await twoc2p.token())["paymentToken"]
    for channel, data, code in (
        ("CC", {"securePayToken": "x"}, "9057"),
        ("XX", {}, "9057"),
        ("PPQR", {"qrType": "PDF"}, "9010"),
    ):
        assert (await twoc2p.pay(token, channel, **data))["respCode"] == code
    assert (await twoc2p.pay("kSAunknown"))["respCode"] == "9040"
    for body in ({}, {"paymentToken": token}, {"paymentToken": token, "clientID": "c", "payment": {}}):
        assert (await twoc2p.plain("payment", body))["respCode"] == "9010"
    shown = await twoc2p.pay(token)
    assert (shown["respCode"], shown["type"], shown["invoiceNo"]) == ("1005", "QR", "QK2026000001")
    assert "54071234.50" in shown["data"]
    assert await twoc2p.pay(token) == shown
    assert (await twoc2p.pay(token, "SHPQR"))["respCode"] == "9058"
    status = await twoc2p.plain("transactionStatus", {"paymentToken": token})
    assert status["respCode"] == "2001"
    assert (await twoc2p.plain("transactionStatus", {}))["respCode"] == "9040"
    assert await twoc2p.books() == [("pending", 0, 0)]


async def test_card_needs_a_token_of_a_published_test_card(twoc2p):
    token = (await twoc2p.token(paymentChannel=["CC"]))["paymentToken"]
    assert (await twoc2p.pay(token, "CC", securePayToken="unknown"))["respCode"] == "9041"
    card = {
        "merchantID": "QK01",
        "cardNo": "5555555555554444",
        "cardholderName": "TEST PAYER",
        "expiryMonth": 12,
        "expiryYear": 2099,
    }
    for changed, code in (
        ({"cardNo": "4000056655665556"}, "9010"),
        ({"expiryYear": 2020}, "9010"),
        ({"cardholderName": ""}, "9010"),
        ({"merchantID": "QK02"}, "9004"),
        ({"merchantID": None}, "9004"),
    ):
        answer = (await twoc2p.sandbox.http.post("/2c2p-vault/securePayToken", json={**card, **changed})).json()
        assert answer["respCode"] == code
    issued = (await twoc2p.sandbox.http.post("/2c2p-vault/securePayToken", json=card)).json()
    redirected = await twoc2p.pay(token, "CC", securePayToken=issued["securePayToken"])
    assert (redirected["respCode"], redirected["type"]) == ("1001", "REDIRECT")
    assert redirected["data"].startswith("http://sandbox.test/2c2p-ui/pay/")


async def test_payment_is_notified_with_the_documented_claims(twoc2p, gateway):
    transaction_id = await twoc2p.paid(userDefined1="1234.50")
    (told,) = await gateway.wait_for(1)
    claims = msgspec.json.decode(jose.proved_claims(told.fields["payload"], KEY))
    moment = claims.pop("transactionDateTime")
    assert len(moment) == 14
    assert claims == {
        "merchantID": "QK01",
        "invoiceNo": "QK2026000001",
        "amount": 1234.5,
        "currencyCode": "THB",
        "agentCode": "TBANK",
        "channelCode": "PPQR",
        "approvalCode": transaction_id[-6:],
        "referenceNo": transaction_id,
        "tranRef": transaction_id,
        "idempotencyID": "QK2026000001-1",
        **dict.fromkeys((f"userDefined{number}" for number in range(2, 6)), ""),
        "userDefined1": "1234.50",
        "respCode": "0000",
        "respDesc": "Success",
    }
    assert await twoc2p.inquire() == {**claims, "transactionDateTime": moment}
    assert b"1234.5," in jose.unproved_claims(told.fields["payload"])
    # A Thai QR of 2C2P's is paid once.
    answer = await twoc2p.sandbox.http.post(
        "/_control/pay",
        json={"world": WORLD, "provider": "2c2p", "reference": "QK2026000001"},
        headers={"authorization": "Bearer control-key-of-the-tests"},
    )
    assert answer.status_code == 409
    assert await twoc2p.books() == [("captured", 1234_50, 0)]


async def test_cancelled_charge_is_unpayable_unless_it_is_paid_before(twoc2p):
    token = (await twoc2p.token())["paymentToken"]
    assert (await twoc2p.plain("cancelTransaction", {"paymentToken": "x"}))["respCode"] == "9040"
    assert (await twoc2p.plain("cancelTransaction", {"paymentToken": token}))["respCode"] == "0000"
    assert (await twoc2p.plain("cancelTransaction", {"paymentToken": token}))["respCode"] == "0003"
    assert (await twoc2p.pay(token))["respCode"] == "0003"
    assert (await twoc2p.inquire())["respCode"] == "0003"
    assert await twoc2p.books() == [("canceled", 0, 0)]
    assert (await twoc2p.signed("paymentInquiry", {"merchantID": "QK01", "invoiceNo": "QK9"}))["respCode"] == "2002"
    assert (await twoc2p.signed("paymentInquiry", {"merchantID": "QK01"}))["respCode"] == "9005"


async def test_maintenance_is_refused_for_each_wrong_field_and_seal(twoc2p):
    await twoc2p.paid()
    for changed, code in (
        ({"version": "4.2"}, "02"),
        ({"version": GONE}, "02"),
        ({"timeStamp": GONE}, "10"),
        ({"timeStamp": "2026-01-01"}, "11"),
        ({"invoiceNo": GONE}, "10"),
        ({"invoiceNo": "QK-1"}, "15"),
        ({"invoiceNo": "QK9"}, "16"),
        ({"processType": "X"}, "17"),
        ({"processType": GONE}, "17"),
        ({"actionAmount": GONE}, "18"),
        ({"actionAmount": "1234.5"}, "18"),
        ({"actionAmount": "0.00"}, "18"),
        ({"actionAmount": "-1.00"}, "18"),
        ({"idempotencyID": "x" * 101}, "11"),
        # Not settled, so not refundable; never settled by hand.
        ({}, "12"),
        ({"processType": "S"}, "31"),
    ):
        assert (await twoc2p.action(**changed))["respCode"] == code, changed
    other = rsa.generate_private_key(65537, 2048)
    assert (await twoc2p.action(sender=other, processType="V"))["respCode"] == "13"
    assert (await twoc2p.action(merchantID="QK02"))["respCode"] == "03"
    sandbox_key = keys.private_key().public_key()
    for body in (
        b"",
        b"<PaymentProcessRequest/>",
        b"a.b.c",
        jose.seal(b"<PaymentProcessRequest/>", MERCHANT.public_key(), MERCHANT),
        jose.seal(b"not xml", sandbox_key, MERCHANT),
        jose.seal(b"<Other/>", sandbox_key, MERCHANT),
    ):
        assert (await twoc2p.send(body))["respCode"] == "96"
    assert await twoc2p.books() == [("captured", 1234_50, 0)]
    assert (await twoc2p.action(processType="I", actionAmount=GONE))["status"] == "A"


async def test_refunds_stay_within_the_settled_amount(twoc2p):
    transaction_id = await twoc2p.paid()
    await twoc2p.sandbox.pass_days(1)
    assert (await twoc2p.action(processType="V"))["respCode"] == "39"
    assert (await twoc2p.action(actionAmount="1234.51"))["respCode"] == "30"
    assert await twoc2p.books() == [("captured", 1234_50, 0)]
    pending = await twoc2p.action(actionAmount="34.50")
    assert (pending["respCode"], pending["status"], pending["amount"]) == ("42", "RP", "34.50")
    assert pending["referenceNo"] == transaction_id
    again = await twoc2p.action(actionAmount="34.50")
    assert again["refundReferenceNo"] == pending["refundReferenceNo"]
    assert (await twoc2p.action(actionAmount="34.51"))["respCode"] == "50"
    assert (await twoc2p.action(actionAmount="1200.01", idempotencyID="QKR2"))["respCode"] == "40"
    assert await twoc2p.books() == [("captured", 1234_50, 34_50)]
    status = await twoc2p.action(processType="RS", actionAmount=GONE)
    assert (status["respCode"], status["status"]) == ("00", "S")
    assert (await twoc2p.action(actionAmount="1200.00", idempotencyID="QKR3"))["respCode"] == "42"
    assert (await twoc2p.action(actionAmount="1.00", idempotencyID="QKR4"))["respCode"] == "49"
    assert (await twoc2p.action(processType="S", idempotencyID="QKS1"))["respCode"] == "39"
    await twoc2p.sandbox.pass_days(2)
    assert (await twoc2p.inquire())["respCode"] == "4120"
    assert await twoc2p.books() == [("captured", 1234_50, 1234_50)]


async def test_reconcile_file_is_given_to_its_merchant_when_the_day_is_over(twoc2p):
    transaction_id = await twoc2p.paid()
    today = real_now().astimezone(BANGKOK).date()

    async def fetch(date: str = today.isoformat(), key: str = KEY, **signed: str):
        parameters = {"merchantID": "QK01", "date": date}
        headers = {"authorization": f"Bearer {jose.jwt({**parameters, **signed}, key)}"}
        return await twoc2p.sandbox.http.get("/2c2p/output/reconcile", params=parameters, headers=headers)

    assert (await fetch()).status_code == 404
    await twoc2p.sandbox.pass_days(1)
    for refused, status in (
        (await fetch(key="another"), 401),
        (await fetch(merchantID="QK02"), 401),
        (await fetch(date="2020-01-01"), 404),
        (await fetch(date="yesterday"), 404),
        (await fetch(date=today.isoformat(), extra="x"), 401),
    ):
        assert refused.status_code == status
    total, row = (line.split(",") for line in (await fetch()).text.splitlines())
    assert (len(total), len(row)) == (67, 67)
    assert (total[1], total[2], total[17], total[20], total[21], total[29]) == (
        "1",
        "H",
        "1234.50",
        "9.88",
        "0.69",
        "1223.93",
    )
    assert row[1:3] == ["1", "D"]
    assert row[12] == "QK2026000001"
    assert [row[17], row[20], row[21], row[28], row[29]] == [
        "1234.50000",
        "9.88000",
        "0.69000",
        "0.00000",
        "1223.93000",
    ]
    assert (row[0], row[31], row[44]) == ((await twoc2p.sandbox.books())["batches"][0]["id"], "THB", transaction_id)
