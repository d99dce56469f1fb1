"""KBank's adapter as a whole: the published vectors, tokens, callbacks, the report; over real HTTP."""

from datetime import date, datetime
from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK
from gateway.providers import kbank_wire
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    CaptureRequest,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    RefundRule,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.kbank import Kbank
from gateway.providers.kbank_client import basic
from gateway.providers.kbank_wire import Misunderstood, uid_of
from tests.providers.kbank import (
    CARD,
    CARD_PATH,
    CHARGE,
    CHARGE_ID,
    GRANTED,
    INQUIRY,
    ISSUED,
    KEY,
    NOON,
    NOTICE,
    QR,
    QR_PATH,
    REFUND_KEY,
    UID,
    FakeKbank,
    account_of,
    error,
    found_reply,
    kgp_error,
    run,
    without_token,
)
from tests.providers.stub import Raw, Reply, serving
from tests.sandbox.kbank import BASIC, CREDENTIALS


def _parse(body: bytes):
    kbank = Kbank(ProviderHttp(timeout_seconds=10))
    return kbank.parse_callback(account_of(), Callback(headers={}, body=body, received_at=NOON))


def _sealed(secret: str = "skey_test_QUICKKUBINVENTED", **fields) -> bytes:
    charge = msgspec.json.decode(msgspec.json.encode(CHARGE), type=kbank_wire.Charge)
    return msgspec.json.encode({**CHARGE, "checksum": kbank_wire.checksum(charge, secret), **fields})


def test_published_vectors_hold():
    charge = msgspec.json.decode(msgspec.json.encode(CHARGE), type=kbank_wire.Charge)
    assert kbank_wire.checksum(charge, "skey_test_QUICKKUBINVENTED") == (
        "d7bfbce22a77dad4c6843d97a7593a4b3f4049bfc575fdd6348862f9e8d492c8"
    )
    assert basic("quickkub-consumer", "quickkub-secret") == BASIC


def test_uid_is_derived_from_our_key_and_fits_the_oldest_paper():
    assert uid_of(KEY) == UID == uid_of(KEY)
    assert (len(UID), UID.isalnum(), UID.upper()) == (15, True, UID)
    assert uid_of(REFUND_KEY) != UID


def test_capabilities_and_invented_credentials_are_of_the_banks_own_shape():
    qr, card = Kbank.capabilities
    assert (qr.method, qr.rank, qr.refunds, qr.cancelable, qr.expiry_seconds, qr.expiry_seconds_max) == (
        Method.PROMPTPAY,
        20,
        RefundRule.VOID_SAME_DAY,
        True,
        600,
        600,
    )
    assert (card.method, card.rank, card.refunds, card.capture_later, card.cancelable, card.needs) == (
        Method.CARD,
        20,
        RefundRule.PARTIAL,
        False,
        False,
        "card_token",
    )
    invented = Kbank.invented_credentials()
    assert invented.keys() == CREDENTIALS.keys()
    assert (len(invented["partner_id"]), len(invented["partner_secret"]), len(invented["merchant_id"])) == (10, 32, 14)
    assert invented != Kbank.invented_credentials()


async def test_expired_token_is_renewed_once_and_the_request_stays_the_same():
    for expired in ((401, {"code": "openapi_error", "message": "Access Token expired"}), (401, b"")):
        replies = {f"POST {QR_PATH}/request": [expired, (200, ISSUED)]}
        outcome, stub = await run(replies, "charge", QR)
        assert isinstance(outcome, Accepted)
        first, second = without_token(stub)
        assert first.body == second.body
        assert stub.paths().count("/v2/oauth/token") == 2
    gateway_says_so = (400, {"code": "openapi_error", "message": "Access Token expired"})
    outcome, stub = await run({f"POST {QR_PATH}/request": gateway_says_so}, "charge", QR)
    assert isinstance(outcome, NotAttempted)
    assert len(without_token(stub)) == 2


@pytest.mark.parametrize(
    "reply",
    [
        (401, {"code": "openapi_error", "message": "no"}),
        (500, b""),
        (200, b"x"),
        (200, {**GRANTED, "expires_in": "soon"}),
        (200, {**GRANTED, "expires_in": "9" * 30}),
        Raw(),
    ],
)
async def test_without_a_token_nothing_was_attempted(reply: Reply):
    outcome, stub = await run({"POST /v2/oauth/token": reply}, "charge", QR)
    assert isinstance(outcome, NotAttempted)
    assert without_token(stub) == []


async def test_token_is_shared_by_calls_that_wait_for_it():
    replies = {INQUIRY: found_reply()}
    async with serving(FakeKbank(replies)) as stub, ProviderHttp(timeout_seconds=10) as http:
        kbank = Kbank(http)
        for _ in range(3):
            await kbank.inquire(account_of(stub.url), UID, NOON)
    assert stub.paths().count("/v2/oauth/token") == 1
    uids = [request.json()["partnerTxnUid"] for request in without_token(stub)]
    assert len({*uids, UID}) == 4


async def test_what_is_not_offered_is_declined_without_a_call():
    for request in (
        replace(QR, currency="USD"),
        replace(QR, method=Method.TRUEMONEY),
        replace(CARD, capture_later=True),
    ):
        outcome, stub = await run({}, "charge", request)
        assert isinstance(outcome, Declined)
        assert stub.requests == []
    capture = CaptureRequest(
        capture_id="cap_1",
        provider_key="QKC1",
        provider_reference=CHARGE_ID,
        charge_key=KEY,
        method=Method.CARD,
        amount_minor=1,
        authorized_minor=1,
        currency="THB",
        created_at=NOON,
    )
    assert (await run({}, "capture", capture))[0].failure_code == "capture_not_supported"
    assert (await run({}, "cancel", CHARGE_ID))[0].failure_code == "not_cancelable"


async def test_our_key_is_asked_about_at_both_products():
    not_here = error("invalid_origPartnerTxnUid")
    card_path = f"GET {CARD_PATH}/{KEY}"
    cases = [
        (not_here, (200, CHARGE), [FactKind.CAPTURED]),
        ((500, b""), (200, CHARGE), [FactKind.CAPTURED]),
        (found_reply(), None, [FactKind.CAPTURED]),
        (not_here, kgp_error("not_found", 404), []),
        ((500, b""), kgp_error("not_found", 404), Unknown),
        (not_here, (500, b""), Unknown),
    ]
    for of_qr, of_card, expected in cases:
        inquiry, stub = await run({INQUIRY: of_qr, card_path: of_card}, "inquire", KEY, NOON)
        if expected is Unknown:
            assert isinstance(inquiry, Unknown)
        else:
            assert [fact.kind for fact in inquiry.facts] == expected
            assert inquiry.found is bool(expected)
        assert len(without_token(stub)) == (1 if of_card is None else 2)
    inquiry, stub = await run({INQUIRY: found_reply(txnStatus="NOT_FOUND")}, "inquire", UID, NOON)
    assert (inquiry, len(without_token(stub))) == (Inquiry(found=False), 1)


def test_day_of_a_payment_is_that_of_its_number():
    before_midnight = datetime(2026, 1, 1, 23, 58, tzinfo=BANGKOK)
    assert kbank_wire.paid_at("20260101000000001", before_midnight) == before_midnight
    assert kbank_wire.paid_at("20260102000000001", before_midnight) == datetime(2026, 1, 2, tzinfo=BANGKOK)
    after_midnight = datetime(2026, 1, 2, 0, 1, tzinfo=BANGKOK)
    assert kbank_wire.paid_at("20260101000000001", after_midnight) == datetime(2026, 1, 1, 23, 59, 59, tzinfo=BANGKOK)
    for number in ("X", "20261399000000001", "2026010100"):
        assert kbank_wire.paid_at(number, NOON) == NOON


def test_qr_notification_proves_nothing_and_names_the_request():
    parsed = _parse(msgspec.json.encode(NOTICE))
    assert (parsed.event_id, parsed.inquire, parsed.facts) == (f"{UID}-20260101000000001", (UID,), ())


def test_webhook_of_a_card_is_checked_and_the_charge_asked_about():
    body = _sealed()
    assert b"d7bfbce22a77dad4c6843d97a7593a4b3f4049bfc575fdd6348862f9e8d492c8" in body
    parsed = _parse(body)
    assert (parsed.inquire, parsed.facts) == ((CHARGE_ID,), ())
    assert parsed.event_id == _parse(body).event_id
    assert parsed.event_id != _parse(body.replace(b'"livemode":false', b'"livemode":true')).event_id


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b"\xff", "malformed"),
        (b"{}", "malformed"),
        (msgspec.json.encode({**NOTICE, "partnerId": "OTHER"}), "malformed"),
        (msgspec.json.encode({**NOTICE, "merchantId": "OTHER"}), "malformed"),
        (msgspec.json.encode({**NOTICE, "partnerTxnUid": "SHORT"}), "malformed"),
        (msgspec.json.encode({**NOTICE, "partnerTxnUid": None}), "malformed"),
        (_sealed("skey_test_OTHER"), "signature_invalid"),
        (_sealed(checksum=""), "signature_invalid"),
        (_sealed(checksum="é"), "signature_invalid"),
        (_sealed(amount=1234.51), "signature_invalid"),
        (_sealed(id="chrg_test_qk0002"), "signature_invalid"),
        (_sealed(currency="USD"), "signature_invalid"),
        (_sealed(status="fail"), "signature_invalid"),
        (_sealed(transaction_state="Settled"), "signature_invalid"),
        (_sealed(amount="1E+900000000"), "malformed"),
        (_sealed(amount="NaN"), "malformed"),
        (_sealed(checksum=None), "malformed"),
        (_sealed(object="order"), "malformed"),
    ],
)
def test_callback_is_rejected_when_forged_or_unreadable(body: bytes, code: str):
    with pytest.raises(CallbackRejected) as rejected:
        _parse(body)
    assert rejected.value.code == code


def test_reply_is_what_the_bank_wants_to_read_whatever_the_body():
    kbank = Kbank(ProviderHttp(timeout_seconds=10))
    for body in (b"", msgspec.json.encode(NOTICE)):
        reply = kbank.callback_reply(account_of(), Callback(headers={}, body=body, received_at=NOON), "cb_1")
        assert msgspec.json.decode(reply.body) == {"statusCode": "00", "errorCode": None, "errorDesc": None}


def test_amounts_are_exact_or_refused():
    assert [kbank_wire.satang(Decimal(text)) for text in ("100.5", "0.01", "9999999999.99")] == [10050, 1, 999999999999]
    for text in ("0", "-1", "0.001", "1E+12", "Infinity", "NaN"):
        with pytest.raises(Misunderstood):
            kbank_wire.satang(Decimal(text))


async def test_report_is_fetched_by_merchant_and_day():
    path = f"GET {QR_PATH}/settlement/report"
    (file,), stub = await run({path: (200, b"H,\r\n")}, "statements", date(2026, 1, 1))
    assert (file.source, file.name, file.content) == (
        "kbank_settlement",
        "kbank-settlement-KB000000000001-20260101.csv",
        b"H,\r\n",
    )
    request = without_token(stub)[0]
    assert request.query == {"merchantId": "KB000000000001", "date": "2026-01-01"}
    assert request.headers["authorization"] == "Bearer tok_abc"
    for reply in ((404, {"code": "openapi_error", "message": "no"}), (500, b""), (403, b"")):
        with pytest.raises(StatementUnavailable):
            await run({path: reply}, "statements", date(2026, 1, 1))


async def test_no_secret_reaches_a_log(caplog):
    caplog.set_level("DEBUG")
    await run({f"POST {QR_PATH}/request": error("bad_request")}, "charge", QR)
    await run({f"POST {CARD_PATH}": kgp_error("invalid_token")}, "charge", CARD)
    said = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "provider call" in said
    for secret in ("consumer_secret", "partner_secret", "kgp_secret_key"):
        assert CREDENTIALS[secret] not in said
    assert "tokn_1" not in said
