"""The adapter against a scripted SCB over real HTTP."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    ChargeRequest,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NotAttempted,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.promptpay import Bill, bill_payment_qr
from gateway.providers.scb import Scb
from gateway.providers.scb_client import ScbClient
from tests.providers.stub import Raw, Reply, Request, account_at, serving

BILLER = "099999999999901"
NOON = datetime(2026, 1, 1, 12, tzinfo=BANGKOK)
OK = {"code": 1000, "description": "Success"}
ROW = {
    "transactionId": "qk0000000000000001",
    "amount": "1234.56",
    "billPaymentRef1": "QK2026000001",
    "transactionDateandTime": "2026-01-01T09:00:00.000+07:00",
    "currencyCode": "764",
    "payeeProxyId": BILLER,
    "reverseFlag": "",
    "payerName": "TEST PAYER",
}
CONFIRMATION = {
    "payeeProxyId": BILLER,
    "amount": "1234.56",
    "transactionId": "qk0000000000000001",
    "transactionDateandTime": "2026-01-01T09:00:00.000+07:00",
    "billPaymentRef1": "QK2026000001",
    "billPaymentRef2": "",
    "billPaymentRef3": "QKB",
    "currencyCode": "764",
}


class FakeScb:
    """Gives tokens t1, t2, … and answers everything else as told."""

    def __init__(self, *replies: Reply, expires_in: int = 1800) -> None:
        self.replies = list(replies)
        self.expires_in = expires_in
        self.tokens = 0

    async def __call__(self, request: Request) -> Reply:
        if request.path == "/v1/oauth/token":
            self.tokens += 1
            await asyncio.sleep(0.01)
            return 200, {"status": OK, "data": {"accessToken": f"t{self.tokens}", "expiresIn": self.expires_in}}
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def _reply(data: object = None, code: int = 1000, status: int = 200) -> Reply:
    return status, {"status": {"code": code, "description": "said so"}, "data": data}


def _request(**changes) -> ChargeRequest:
    request = ChargeRequest(
        attempt_id="att_test_1",
        provider_key="QK2026000001",
        method=Method.PROMPTPAY,
        amount_minor=1234_56,
        currency="THB",
        created_at=NOON,
    )
    return msgspec.structs.replace(request, **changes)


def _qr(amount_minor: int = 1234_56, reference: str = "QK2026000001") -> dict[str, str]:
    bill = Bill(biller_id=BILLER, reference1=reference, reference3="QKB")
    return {"qrRawData": bill_payment_qr(bill, amount_minor), "qrImage": ""}


async def _run(fake: FakeScb, operation, *arguments):
    async with serving(fake) as stub, ProviderHttp(timeout_seconds=10) as http:
        result = await getattr(Scb(http), operation)(account_at(stub.url), *arguments)
        return result, stub


async def test_charge_shows_the_qr_of_our_bill():
    expires_at = datetime(2026, 1, 1, 17, 15, tzinfo=UTC)
    outcome, stub = await _run(FakeScb(_reply(_qr())), "charge", _request(expires_at=expires_at))
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == ("QK2026000001",)
    assert outcome.next_action is not None
    assert outcome.next_action.qr_data == (
        "00020101021230550016A00000067701011201150999999999999010212QK2026000001530376454071234.565802TH62070703QKB6304376E"
    )
    assert [(fact.kind, fact.provider_reference, fact.amount_minor) for fact in outcome.facts] == [
        (FactKind.PENDING, "QK2026000001", 1234_56)
    ]
    token, charge = stub.requests
    assert token.json() == {"applicationKey": "l7invented", "applicationSecret": "invented-secret"}
    assert "authorization" not in token.headers
    assert charge.path == "/v2/payment/qrcode/create"
    assert charge.headers["authorization"] == "Bearer t1"
    assert charge.headers["resourceownerid"] == "l7invented"
    assert charge.headers["requestuid"] != token.headers["requestuid"]
    assert charge.json() == {
        "qrType": "PP",
        "ppType": "BILLERID",
        "ppId": BILLER,
        "amount": "1234.56",
        "ref1": "QK2026000001",
        "ref3": "QKB",
        "numberOfTimes": 1,
        "expiryDate": "2026-01-02 00:15:00",
    }


async def test_charge_without_expiry_uses_version_1():
    outcome, stub = await _run(FakeScb(_reply(_qr())), "charge", _request())
    assert isinstance(outcome, Accepted)
    assert stub.paths() == ["/v1/oauth/token", "/v1/payment/qrcode/create"]
    assert "expiryDate" not in stub.requests[1].json()


@pytest.mark.parametrize(
    "data", [_qr(amount_minor=1), _qr(reference="QK2026000002"), {"qrRawData": "000201"}, {}, None, []]
)
async def test_qr_that_is_not_ours_is_unknown(data: object):
    outcome, _ = await _run(FakeScb(_reply(data)), "charge", _request())
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_reply(code=1101, status=400), Declined),
        (_reply(code=1102, status=400), Declined),
        (_reply(code=4101, status=400), Declined),
        (_reply(code=9100, status=401), NotAttempted),
        (_reply(code=9500, status=401), NotAttempted),
        (_reply(code=9503, status=403), NotAttempted),
        (_reply(code=1111, status=409), Unknown),
        (_reply(code=8101, status=409), Unknown),
        (_reply(code=9900, status=200), Unknown),
        (_reply(code=4242, status=200), Unknown),
        ((500, {"status": {"code": 1101}}), Unknown),
        ((429, b"slow down"), NotAttempted),
        ((200, b"<html>"), Unknown),
        ((404, b""), Unknown),
        (Raw(), Unknown),
    ],
)
async def test_every_answer_has_its_outcome(reply: Reply, kind: type):
    outcome, stub = await _run(FakeScb(reply), "charge", _request())
    assert type(outcome) is kind
    assert stub.paths() == ["/v1/oauth/token", "/v1/payment/qrcode/create"]


async def test_charge_without_token_is_not_attempted():
    async def handler(request: Request) -> Reply:
        return 500, b""

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=10) as http:
        outcome = await Scb(http).charge(account_at(stub.url), _request())
        assert outcome == NotAttempted(reason="token: http_500")
        assert stub.paths() == ["/v1/oauth/token"]


async def test_card_is_declined_without_asking():
    outcome, stub = await _run(FakeScb(_reply()), "charge", _request(method=Method.CARD))
    assert isinstance(outcome, Declined)
    assert stub.requests == []


async def test_expired_token_is_renewed_once_with_a_new_request_id():
    outcome, stub = await _run(FakeScb(_reply(code=9300, status=401), _reply(_qr())), "charge", _request())
    assert isinstance(outcome, Accepted)
    _, first, _, second = stub.requests
    assert stub.paths() == ["/v1/oauth/token", "/v1/payment/qrcode/create"] * 2
    assert [first.headers["authorization"], second.headers["authorization"]] == ["Bearer t1", "Bearer t2"]
    assert first.headers["requestuid"] != second.headers["requestuid"]
    assert first.body == second.body


async def test_token_refused_twice_is_not_attempted():
    outcome, stub = await _run(FakeScb(_reply(code=9300, status=401)), "charge", _request())
    assert outcome == NotAttempted(reason="said so", provider_code="9300")
    assert len(stub.requests) == 4


async def test_one_token_serves_all_who_wait():
    fake = FakeScb(_reply([ROW]))
    async with serving(fake) as stub, ProviderHttp(timeout_seconds=10) as http:
        scb = Scb(http)
        await asyncio.gather(*(scb.inquire(account_at(stub.url), "QK2026000001", NOON) for _ in range(10)))
    assert fake.tokens == 1


async def test_one_renewal_serves_all_who_were_refused():
    fake = FakeScb(_reply([ROW]))

    async def handler(request: Request) -> Reply:
        if request.path != "/v1/oauth/token" and request.headers["authorization"] == "Bearer t1":
            return _reply(code=9300, status=401)
        return await fake(request)

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=10) as http:
        scb = Scb(http)
        results = await asyncio.gather(*(scb.inquire(account_at(stub.url), "QK2026000001", NOON) for _ in range(10)))
    assert fake.tokens == 2
    assert all(isinstance(result, Inquiry) and result.found for result in results)


async def test_token_is_renewed_before_it_ends():
    fake = FakeScb(_reply([]), expires_in=1800)
    moment = NOON
    async with serving(fake) as stub, ProviderHttp(timeout_seconds=10) as http:
        client = ScbClient(http, now=lambda: moment)
        for minutes, tokens in ((0, 1), (28, 1), (29, 2), (57, 2), (58, 3)):
            moment = NOON + timedelta(minutes=minutes)
            await client.call(account_at(stub.url), "inquiry", "GET", "/x")
            assert fake.tokens == tokens


async def test_inquiry_finds_every_payment_of_the_bill():
    second = {**ROW, "transactionId": "qk0000000000000002", "amount": "0.01"}
    inquiry, stub = await _run(FakeScb(_reply([ROW, second])), "inquire", "QK2026000001", NOON)
    assert isinstance(inquiry, Inquiry)
    assert inquiry.found
    assert [(fact.provider_transaction_id, fact.amount_minor) for fact in inquiry.facts] == [
        ("qk0000000000000001", 1234_56),
        ("qk0000000000000002", 1),
    ]
    fact = inquiry.facts[0]
    assert (fact.kind, fact.source, fact.currency) == (FactKind.CAPTURED, FactSource.INQUIRY, "THB")
    assert fact.occurred_at == datetime(2026, 1, 1, 2, tzinfo=UTC)
    assert stub.requests[1].query == {
        "eventCode": "00300100",
        "transactionDate": "2026-01-01",
        "billerId": BILLER,
        "reference1": "QK2026000001",
    }


@pytest.mark.parametrize(
    ("created_at", "days"),
    [
        (NOON, ["2026-01-01"]),
        (datetime(2026, 1, 1, 23, 50, tzinfo=BANGKOK), ["2026-01-01", "2026-01-02"]),
        (datetime(2026, 1, 2, 0, 5, tzinfo=BANGKOK), ["2026-01-01", "2026-01-02"]),
        (datetime(2026, 1, 1, 16, 55, tzinfo=UTC), ["2026-01-01", "2026-01-02"]),
    ],
)
async def test_both_days_are_asked_around_midnight(created_at: datetime, days: list[str]):
    inquiry, stub = await _run(FakeScb(_reply(code=1104, status=404)), "inquire", "QK2026000001", created_at)
    assert inquiry == Inquiry(found=False)
    assert [request.query["transactionDate"] for request in stub.requests[1:]] == days


@pytest.mark.parametrize(
    ("expires_at", "days"),
    [
        (datetime(2026, 1, 1, 23, 45, tzinfo=BANGKOK), ["2026-01-01"]),
        (datetime(2026, 1, 1, 23, 55, tzinfo=BANGKOK), ["2026-01-01", "2026-01-02"]),
        (datetime(2026, 1, 2, 12, tzinfo=BANGKOK), ["2026-01-01", "2026-01-02"]),
    ],
)
async def test_every_day_of_a_long_life_is_asked_about(expires_at: datetime, days: list[str]):
    _, stub = await _run(FakeScb(_reply(code=1104, status=404)), "inquire", "QK2026000001", NOON, expires_at)
    assert [request.query["transactionDate"] for request in stub.requests[1:]] == days


@pytest.mark.parametrize(
    "change",
    [
        {"reverseFlag": "Y"},
        {"reverseFlag": "R"},
        {"billPaymentRef1": "QK2026000002"},
        {"payeeProxyId": "099999999999902"},
        {"amount": "0.00"},
        {"amount": "1,234.56"},
        {"amount": 1234.56},
        {"currencyCode": "840"},
        {"transactionDateandTime": "2026-01-01T09:00:00"},
        {"transactionId": None},
    ],
)
async def test_row_that_is_not_understood_is_unknown(change: dict[str, object]):
    inquiry, _ = await _run(FakeScb(_reply([{**ROW, **change}])), "inquire", "QK2026000001", NOON)
    assert isinstance(inquiry, Unknown)


@pytest.mark.parametrize("reply", [_reply(code=9900), (500, b""), (200, b"garbage"), _reply(code=9503)])
async def test_inquiry_without_an_answer_is_unknown(reply: Reply):
    inquiry, _ = await _run(FakeScb(reply), "inquire", "QK2026000001", NOON)
    assert isinstance(inquiry, Unknown)


def _parse(body: bytes):
    callback = Callback(headers={}, body=body, received_at=NOON)
    return Scb(ProviderHttp(timeout_seconds=10)).parse_callback(account_at("http://127.0.0.1:1"), callback)


def test_callback_is_only_a_reason_to_ask():
    parsed = _parse(msgspec.json.encode(CONFIRMATION))
    assert parsed.facts == ()
    assert parsed.inquire == ("QK2026000001",)
    assert parsed.event_id == "qk0000000000000001"
    assert parsed.inquire_about == datetime(2026, 1, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"transactionId": "\xff"}',
        b'{"a":' * 50_000,
        msgspec.json.encode({**CONFIRMATION, "payeeProxyId": "099999999999902"}),
        msgspec.json.encode({**CONFIRMATION, "transactionDateandTime": "yesterday"}),
    ],
)
def test_bad_callback_is_rejected(body: bytes):
    with pytest.raises(CallbackRejected) as caught:
        _parse(body)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("body", [b"", b"\xff", b'{"transactionId": "\xff"}', b'{"a":' * 50_000])
def test_what_cannot_be_read_is_still_confirmed_once_it_is_kept(body: bytes):
    callback = Callback(headers={}, body=body, received_at=datetime(2026, 11, 23, tzinfo=UTC))
    reply = Scb(ProviderHttp(timeout_seconds=10)).callback_reply(account_at(""), callback, "in_1")
    expected = {"resCode": "00", "resDesc": "success", "transactionId": "", "confirmId": "in_1"}
    assert msgspec.json.decode(reply.body) == expected


@pytest.mark.parametrize(
    ("body", "transaction_id"), [(msgspec.json.encode(CONFIRMATION), "qk0000000000000001"), (b"garbage", "")]
)
def test_reply_is_what_scb_wants_to_read(body: bytes, transaction_id: str):
    callback = Callback(headers={}, body=body, received_at=NOON)
    reply = Scb(ProviderHttp(timeout_seconds=10)).callback_reply(account_at(""), callback, "in_test_1")
    assert msgspec.json.decode(reply.body) == {
        "resCode": "00",
        "resDesc": "success",
        "transactionId": transaction_id,
        "confirmId": "in_test_1",
    }


async def test_statement_is_the_file_untouched():
    content = "Hก".encode("cp874") + b" \r\n"
    files, stub = await _run(FakeScb((200, content)), "statements", date(2026, 1, 1))
    assert [(file.source, file.name, file.content) for file in files] == [
        ("thai_bill_payment", "scb-099999999999901-20260101.txt", content)
    ]
    assert stub.requests[1].query == {"billerId": BILLER, "transactionDate": "2026-01-01"}


@pytest.mark.parametrize("reply", [(404, b""), (500, b""), Raw()])
async def test_statement_that_is_not_there_is_unavailable(reply: Reply):
    with pytest.raises(StatementUnavailable):
        await _run(FakeScb(reply), "statements", date(2026, 1, 1))
