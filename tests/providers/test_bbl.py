"""The Open API side of the adapter against a scripted bank over real HTTP; signatures by the published vectors."""

import asyncio
import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK
from gateway.providers import bbl_wire
from gateway.providers.base import (
    Accepted,
    CaptureRequest,
    ChargeRequest,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NotAttempted,
    RefundRule,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.bbl import Bbl
from gateway.providers.bbl_client import BblClient
from gateway.providers.http import ProviderHttp
from gateway.providers.promptpay import Bill, bill_payment_qr
from tests.providers.bbl_account import CREDENTIALS, account_at, merchant_key
from tests.providers.bbl_bank import BILLER, KEY, NINE, QR_ONLY, ROW, FakeBank, claims_of, reply_of, run
from tests.providers.stub import Raw, Reply, Request, serving


def _request(**changes) -> ChargeRequest:
    request = ChargeRequest(
        attempt_id="att_test_1",
        provider_key=KEY,
        method=Method.PROMPTPAY,
        amount_minor=1234_50,
        currency="THB",
        created_at=NINE,
        expires_at=NINE + timedelta(minutes=15),
    )
    return replace(request, **changes)


def _qr(amount_minor: int = 1234_50, reference: str = KEY, biller_id: str = BILLER) -> dict[str, object]:
    text = bill_payment_qr(Bill(biller_id=biller_id, reference1=reference), amount_minor)
    return {"qrCodeId": "Q1", "qrReference": "Q1", "qrData": text, "amount": 1234.5, "showThaiQrLogo": "Y"}


def test_signature_is_that_of_the_published_vector():
    claims = {
        "requestDate": "2026-01-01",
        "requestTime": "09:00:00",
        "merchantCountry": "TH",
        "merchantName": "QUICKKUB",
        "amount": "1234.50",
        "qrPromptpayInfo": {"billerId": BILLER, "reference1": KEY, "reference2": "QKREF2"},
        "iat": 1767232800,
        "exp": 1767319200,
        "jti": "00000000-0000-4000-8000-000000000001",
    }
    public = merchant_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(public).hexdigest() == "0d39d0779942ce97290bcd677e7f6c8131fbb98bded91b294404d9405ef9135f"
    signing_input, _, signature = bbl_wire.signed(CREDENTIALS["private_key"], claims).rpartition(".")
    assert hashlib.sha256(signing_input.encode()).hexdigest() == (
        "e2ceb238c2307f647d0d7e59b8da08026a9d88d8c473beaa039fdedc364b148f"
    )
    assert signature == (
        "sSqI-nPOzvrbkdy9xq0sXpQE9_mnOqo1pwiSvXeTBllQrzdsANjlldZ0mvaSHecFihKNXeS-Dy8QcdfYfSLA2a8v28mc-R6bv4fbqPwtqgZjrmSx16"
        "10ccDuWcsa5HGwAtQZrcY9OsyUwC34LKCkRsk1o-N3KdIsWM9bIsJox5Y0EvPnqjuAA6ZUu1GMwT5P2qEGhaq20mgxlVTs1JCsN4J2allcjHaY6_qqt"
        "_1g_cwVPsmv3x2SPxWkfSR3tb4y9QphXtiMqRPcQljxJg1kd2O6Yumvt4nV4vLACd4tR9iuPYaikb26kYlh_8nhwKRxQCmMxQeVtMALd9yXM1vlFA"
    )


def test_capabilities_are_those_of_the_documents():
    qr, card = Bbl.capabilities
    assert (qr.method, qr.rank, qr.refunds, qr.cancelable) == (Method.PROMPTPAY, 15, RefundRule.VOID_SAME_DAY, False)
    assert (qr.void_until.hour, qr.expiry_seconds) == (23, 900)
    assert (card.method, card.rank, card.refunds, card.capture_later) == (Method.CARD, 40, RefundRule.FULL, True)
    assert (card.return_url, card.needs, card.cancelable, card.captures_many) == (True, None, True, False)


def test_invented_credentials_are_of_the_right_shape_and_new_each_time_but_for_the_key():
    first, second = Bbl.invented_credentials(), Bbl.invented_credentials()
    assert first.keys() == CREDENTIALS.keys() | {"secure_hash_algorithm"}
    assert load_pem_private_key(first["private_key"].encode(), None).key_size == 2048
    assert re.fullmatch(r"099\d{12}", first["biller_id"])
    same = {name for name in first if first[name] == second[name]}
    assert same == {"merchant_name", "private_key", "secure_hash_algorithm"}


async def test_charge_sends_the_documented_request_and_shows_its_qr():
    outcome, stub = await run(FakeBank(reply_of(_qr())), "charge", _request())
    assert isinstance(outcome, Accepted)
    assert outcome.provider_references == (KEY,)
    assert (outcome.next_action.type, outcome.next_action.expires_at) == (
        "display_qr_code",
        NINE + timedelta(minutes=15),
    )
    assert outcome.next_action.qr_data == _qr()["qrData"]
    (fact,) = outcome.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor, fact.source) == (
        FactKind.PENDING,
        KEY,
        KEY,
        1234_50,
        FactSource.RESPONSE,
    )
    token, charge = stub.requests
    assert (token.method, token.path) == ("POST", "/oauth/accesstoken")
    assert token.headers["authorization"] == "Basic " + base64.b64encode(b"quickkub-consumer:quickkub-secret").decode()
    assert token.headers["content-type"] == "application/x-www-form-urlencoded"
    assert token.body == b"grant_type=client_credentials&scope=CREATE+READ"
    assert (charge.method, charge.path) == ("POST", "/biller/v1/qr-generate")
    body = {
        "requestDate": "2026-01-01",
        "requestTime": "09:00:00",
        "merchantCountry": "TH",
        "merchantName": "QUICKKUB",
        "amount": "1234.50",
        "qrPromptpayInfo": {"billerId": BILLER, "reference1": KEY, "reference2": ""},
        "extra1": "",
        "extra2": "",
    }
    assert charge.json() == body
    assert charge.headers["authorization"] == "Bearer t1"
    assert charge.headers["content-type"] == "application/json"
    assert charge.headers["origin"] == "https://quickkub.invalid"
    assert re.fullmatch(r"\d{14}[0-9a-f]{16}", charge.headers["request-ref"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+07:00", charge.headers["transmit-date-time"])
    claims = claims_of(charge)
    assert claims.pop("exp") - claims.pop("iat") == 24 * 60 * 60
    assert re.fullmatch(r"[0-9a-f-]{36}", claims.pop("jti"))
    assert claims == body


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (reply_of(code="211"), Declined),
        (reply_of(code="213"), Declined),
        (reply_of(code="331"), Declined),
        (reply_of(code="332"), Declined),
        (reply_of(code="052"), NotAttempted),
        (reply_of(code="429"), NotAttempted),
        (reply_of(code="429", status=429), NotAttempted),
        ((429, b""), NotAttempted),
        ((403, {"fault": {"faultstring": "Invalid signature"}}), NotAttempted),
        ((401, {"fault": {"faultstring": "Invalid access token"}}), NotAttempted),
        (reply_of(code="054"), Unknown),
        (reply_of(code="209"), Unknown),
        (reply_of(code="210"), Unknown),
        (reply_of(code="214"), Unknown),
        (reply_of(code="341"), Unknown),
        (reply_of(code="888"), Unknown),
        (reply_of(code="777"), Unknown),
        (reply_of(code="888", status=500), Unknown),
        ((400, b"<html>"), Unknown),
        ((302, b""), Unknown),
        ((200, b"garbage"), Unknown),
        (Raw(), Unknown),
        (reply_of(_qr(amount_minor=1)), Unknown),
        (reply_of(_qr(reference="QK2026000002")), Unknown),
        (reply_of(_qr(biller_id="099999999999902")), Unknown),
        (reply_of({"qrData": "000201"}), Unknown),
        (reply_of({}), Unknown),
        (reply_of([]), Unknown),
    ],
)
async def test_every_answer_to_a_qr_has_its_outcome(reply: Reply, kind: type):
    outcome, _ = await run(FakeBank(reply), "charge", _request())
    assert type(outcome) is kind
    if kind is Declined:
        assert (outcome.failure_code, outcome.provider_code) == ("invalid_request", reply[1]["responseCode"])


@pytest.mark.parametrize("code", ["212", "411", "412"])
async def test_reference_that_was_used_is_looked_up_and_never_declined(code: str):
    paid, stub = await run(
        FakeBank(qr_generate=reply_of(code=code), payment_inquiry=reply_of(ROW)), "charge", _request()
    )
    assert isinstance(paid, Accepted)
    assert [fact.kind for fact in paid.facts] == [FactKind.CAPTURED]
    assert stub.paths()[1:] == ["/biller/v1/qr-generate", "/biller/v1/payment-inquiry"]
    for answer in (reply_of(code="209"), (500, b"")):
        unpaid, _ = await run(FakeBank(qr_generate=reply_of(code=code), payment_inquiry=answer), "charge", _request())
        # A live QR that is certainly unpaid is shown again; its text follows from bill and amount.
        is_alive = code == "212" and answer[0] == 200
        assert isinstance(unpaid, Accepted if is_alive else Unknown)
        if is_alive:
            assert unpaid.next_action.qr_data == _qr()["qrData"]
            assert [fact.kind for fact in unpaid.facts] == [FactKind.PENDING]


async def test_silence_is_unknown():
    async def hanging(request: Request) -> Reply:
        if request.path == "/oauth/accesstoken":
            return 200, {"access_token": "t1", "expires_in": 1799}
        await asyncio.sleep(5)
        return reply_of(_qr())

    async with serving(hanging) as stub, ProviderHttp(timeout_seconds=0.3) as http:
        account = account_at(stub.url, **QR_ONLY)
        assert isinstance(await Bbl(http).charge(account, _request()), Unknown)
        assert isinstance(await Bbl(http).inquire(account, KEY, NINE), Unknown)
    async with ProviderHttp(timeout_seconds=0.3) as http:
        nobody = account_at("http://127.0.0.1:9", **QR_ONLY)
        assert isinstance(await Bbl(http).charge(nobody, _request()), NotAttempted)


@pytest.mark.parametrize(
    "token",
    [
        (401, {"fault": {"faultstring": "ClientId is Invalid"}}),
        (500, b""),
        (200, b"garbage"),
        (200, {"token_type": "BearerToken"}),
        (200, {"accessToken": "t", "expires_in": "soon"}),
        Raw(),
    ],
)
async def test_without_a_token_nothing_is_attempted(token: Reply):
    outcome, stub = await run(FakeBank(reply_of(_qr()), token=token), "charge", _request())
    assert isinstance(outcome, NotAttempted)
    assert stub.paths() == ["/oauth/accesstoken"]


async def test_token_is_shared_renewed_before_its_end_and_once_when_refused():
    now = NINE
    fake = FakeBank(reply_of(_qr()))
    async with serving(fake) as stub, ProviderHttp(timeout_seconds=10) as http:
        client, account = BblClient(http, now=lambda: now), account_at(stub.url)
        await asyncio.gather(*(client.call(account, "charge", "/x", {}) for _ in range(3)))
        assert fake.tokens == 1
        now += timedelta(seconds=1739)
        await client.call(account, "charge", "/x", {})
        assert fake.tokens == 2
    expired = (401, {"fault": {"faultstring": "Access Token expired"}})
    outcome, stub = await run(FakeBank(expired, reply_of(_qr())), "charge", _request())
    assert isinstance(outcome, Accepted)
    assert [request.headers.get("authorization", "")[-2:] for request in stub.requests[1::2]] == ["t1", "t2"]
    assert len({request.headers["request-ref"] for request in stub.requests[1::2]}) == 2


async def test_what_an_account_does_not_have_is_not_attempted():
    broken, stub = await run(FakeBank(reply_of(_qr())), "charge", _request(), private_key="no key")
    assert isinstance(broken, NotAttempted)
    assert stub.paths() == ["/oauth/accesstoken"]
    no_qr, stub = await run(FakeBank(reply_of()), "charge", _request(), consumer_key=None)
    assert (type(no_qr), stub.paths()) == (NotAttempted, [])
    no_cards, stub = await run(FakeBank(reply_of()), "charge", _request(method=Method.CARD))
    assert (type(no_cards), stub.paths()) == (NotAttempted, [])
    for changes in ({"currency": "USD"}, {"method": Method.TRUEMONEY}):
        other, stub = await run(FakeBank(reply_of()), "charge", _request(**changes))
        assert (type(other), other.failure_code, stub.paths()) == (Declined, "method_not_supported", [])
    cancel, _ = await run(FakeBank(reply_of()), "cancel", KEY)
    assert (type(cancel), cancel.failure_code) == (Declined, "not_cancelable")
    with pytest.raises(StatementUnavailable):
        await run(FakeBank(reply_of()), "statements", NINE.date())


async def test_qr_is_not_captured():
    request = CaptureRequest(
        capture_id="cap_test_1",
        provider_key="QKC1",
        provider_reference=KEY,
        charge_key=KEY,
        method=Method.PROMPTPAY,
        amount_minor=1,
        authorized_minor=1,
        currency="THB",
        created_at=NINE,
    )
    outcome, stub = await run(FakeBank(reply_of()), "capture", request)
    assert (type(outcome), outcome.failure_code, stub.paths()) == (Declined, "capture_not_supported", [])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount": 1234.5},
        {"statusCode": ""},
        {"txnType": "D"},
        {"reference1": "", "promptPayRef1": KEY},
        {"billerId": ""},
    ],
)
async def test_inquiry_tells_a_payment(changes: dict[str, object]):
    inquiry, stub = await run(FakeBank(reply_of({**ROW, **changes})), "inquire", KEY, NINE, NINE + timedelta(hours=1))
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id) == (FactKind.CAPTURED, KEY, "T0001")
    assert (fact.amount_minor, fact.currency, fact.source) == (1234_50, "THB", FactSource.INQUIRY)
    assert fact.occurred_at == datetime(2026, 1, 1, 2, 5, tzinfo=UTC)
    assert stub.requests[1].json() == {
        "billerId": BILLER,
        "transDate": "2026-01-01",
        "reference1": KEY,
        "reference2": "",
    }


async def test_inquiry_asks_about_each_day_and_tells_each_payment():
    rows = [ROW, {**ROW, "transactionId": "T0002", "amount": "1.00"}]
    late = datetime(2026, 1, 1, 23, 50, tzinfo=BANGKOK)
    inquiry, stub = await run(FakeBank(reply_of(code="209"), reply_of(rows)), "inquire", KEY, late)
    assert [fact.provider_transaction_id for fact in inquiry.facts] == ["T0001", "T0002"]
    assert [request.json()["transDate"] for request in stub.requests[1:]] == ["2026-01-01", "2026-01-02"]
    assert (await run(FakeBank(reply_of(code="209")), "inquire", KEY, NINE))[0] == Inquiry(found=False)


@pytest.mark.parametrize(
    "reply",
    [
        *(reply_of(code=code) for code in ("052", "054", "210", "211", "341", "412", "888", "429", "777")),
        (500, b""),
        (200, b"garbage"),
        (403, b""),
        Raw(),
        reply_of(None),
        reply_of({}),
        reply_of({**ROW, "statusCode": "999"}),
        reply_of({**ROW, "txnType": "X"}),
        reply_of({**ROW, "reference1": "QK2026000002"}),
        reply_of({**ROW, "billerId": "099999999999902"}),
        reply_of({**ROW, "transactionId": ""}),
        *(reply_of({**ROW, "amount": amount}) for amount in ("0.00", "-1.00", "1.001", "1,234.50", "NaN", "x", None)),
        reply_of({**ROW, "transDate": "01/01/2026"}),
        reply_of({**ROW, "transTime": "09:05:00+07:00"}),
    ],
)
async def test_inquiry_that_is_not_understood_is_unknown(reply: Reply):
    inquiry, _ = await run(FakeBank(reply), "inquire", KEY, NINE)
    assert isinstance(inquiry, Unknown)
