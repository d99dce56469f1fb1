"""Bangkok Bank: the Open API (token, signed requests, QR, inquiry, reversal) over HTTP. Cards: `bbl_ipay.py`."""

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, time
from typing import Any, Final, NoReturn

import msgspec
from litestar import Controller, Response, post

from gateway.foundation.clock import BANGKOK, real_now
from gateway.sandbox import acquirer, acquirer_orders, bbl_ipay, bbl_payments, emvco
from gateway.sandbox.accounts import grant_token
from gateway.sandbox.bbl_access import basic, is_signed
from gateway.sandbox.bbl_payments import ERRORS, NAME, SUCCESS
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.provider import CallbackRules, SandboxProvider
from gateway.sandbox.service import InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.wire import (
    Answer,
    AnyRequest,
    MalformedBody,
    Refusal,
    Row,
    baht,
    json_answer,
    read_fields,
    satang,
    short_id,
)
from gateway.sandbox.world import World

TOKEN_SECONDS: Final = 1800
VOID_UNTIL: Final = time(23, 0)
REQUEST_REF: Final = re.compile(r"[0-9A-Za-z-]{1,30}")
TRANSMITTED: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}\+07:00")
BILLER: Final = re.compile(r"[0-9]{15}")
REFERENCE: Final = re.compile(r"[A-Z0-9]{1,20}")
DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
TIME: Final = re.compile(r"\d{2}:\d{2}:\d{2}")
ANYTHING: Final = re.compile(r".{1,100}")

INVALID_CLIENT: Final = ("oauth.v2.InvalidClientIdentifier", "ClientId is Invalid")

BblAct = Callable[[World, Mapping[str, Any], Fault | None], Awaitable[Answer]]


def _keep_out(status: int, code: str, text: str) -> NoReturn:
    """What the gateway before the bank says: Apigee's shape."""
    raise Refusal(json_answer({"fault": {"faultstring": text, "detail": {"errorcode": code}}}, status))


def _refuse(code: str, detail: str = "") -> NoReturn:
    message = f"{ERRORS[code]}: {detail}" if detail else ERRORS[code]
    raise Refusal(json_answer({"responseCode": code, "responseMesg": message}))


def _success(data: Any) -> Answer:
    return json_answer({"responseCode": SUCCESS, "responseMesg": "Success", "data": data})


def _text(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str], *, code: str = "211") -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        _refuse(code, name)
    return value


def _optional(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str], *, code: str = "211") -> str:
    return "" if fields.get(name) in (None, "") else _text(fields, name, pattern, code=code)


def _day(fields: Mapping[str, Any], name: str) -> date:
    try:
        return date.fromisoformat(_text(fields, name, DAY))
    except ValueError:
        _refuse("211", name)


def _amount(fields: Mapping[str, Any]) -> int:
    amount_minor = satang(fields.get("amount"))
    if amount_minor is None or fields["amount"] != baht(amount_minor):
        _refuse("213", "amount")
    return amount_minor


async def _world_of(request: AnyRequest, sandbox: Sandbox) -> str:
    """The world of a request whose headers are complete and whose token lives."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    world: str | None = None
    if scheme == "Bearer" and token:
        world = await sandbox.accounts.find_by_token(NAME, token)
    if world is None:
        _keep_out(401, "keymanagement.service.invalid_access_token", "Invalid access token")
    if not REQUEST_REF.fullmatch(request.headers.get("request-ref", "")):
        _refuse("211", "Request-Ref")
    if not TRANSMITTED.fullmatch(request.headers.get("transmit-date-time", "")):
        _refuse("211", "Transmit-Date-Time")
    if not request.headers.get("content-type", "").startswith("application/json"):
        _refuse("211", "Content-Type")
    return world


async def _fields(request: AnyRequest) -> dict[str, Any]:
    try:
        return await read_fields(request)
    except MalformedBody:
        _refuse("211", "body")


async def _answer(request: AnyRequest, sandbox: Sandbox, operation: str, act: BblAct) -> Response[bytes]:
    """Check headers, token and signature, then perform `act(world, fields, fault)` in the world of the token."""
    try:
        world = await _world_of(request, sandbox)
        fields = await _fields(request)
        account = (await sandbox.accounts.of_world(world))[NAME]
        if not is_signed(account.credentials["private_key"], request.headers.get("signature", ""), fields):
            _keep_out(403, "steps.jwt.InvalidToken", "Invalid signature")

        async def in_world(opened: World, fault: Fault | None) -> Answer:
            return await act(opened, fields, fault)

        answer = await sandbox.perform(
            world,
            in_world,
            provider=NAME,
            operation=operation,
            amount_minor=satang(fields.get("amount")),
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as refusal:
        answer = refusal.answer
    return answer.response()


class BblController(Controller):
    """`https://api.bangkokbank.com`."""

    path = "/bbl"

    @post("/oauth/accesstoken", status_code=200)
    async def token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A bearer token of 1800 real seconds for the consumer key and its secret."""
        try:
            key, secret = basic(request)
            world = await sandbox.accounts.find(NAME, "consumer_key", key) if key else None
            if world is None:
                _keep_out(401, *INVALID_CLIENT)
            form = await _fields(request)
            if form.get("grant_type") != "client_credentials" or form.get("scope") != "CREATE READ":
                _keep_out(400, "oauth.v2.InvalidRequest", "grant_type or scope is invalid")

            async def act(opened: World, _: Fault | None) -> Answer:
                expected = opened.credentials(NAME)["consumer_secret"]
                if not hmac.compare_digest(expected.encode(), secret.encode()):
                    _keep_out(401, *INVALID_CLIENT)
                return await _grant(opened)

            answer = await sandbox.perform(world, act, provider=NAME, operation="token")
        except Refusal as refusal:
            answer = refusal.answer
        return answer.response()

    @post("/biller/v1/qr-generate", status_code=200)
    async def generate(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A tag-30 QR; a reference is taken once."""
        return await _answer(request, sandbox, "charge", _issue)

    @post("/biller/v1/payment-inquiry", status_code=200)
    async def inquire(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The payments of a reference on a day: an object for one, a list for several, 209 for none."""
        return await _answer(request, sandbox, "inquiry", _inquire)

    @post("/biller/v1/refund/reversal", status_code=200)
    async def reverse(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Give a payment back, all of it, on its day before 23:00."""
        return await _answer(request, sandbox, "refund", _reverse)


async def _grant(world: World) -> Answer:
    token = secrets.token_urlsafe(32)
    await grant_token(world.connection, world.name, NAME, token, TOKEN_SECONDS)
    return json_answer({"accessToken": token, "token_type": "BearerToken", "expires_in": str(TOKEN_SECONDS)})


def _own_biller(world: World, biller_id: str) -> None:
    if biller_id != world.credentials(NAME).get("biller_id"):
        _refuse("052", "billerId")


def _declined_by(fault: Fault | None) -> None:
    if fault is not None and fault.kind is FaultKind.DECLINE:
        code = fault.code or ""
        _refuse(code if code in ERRORS else "211", "declined on demand")


async def _issue(world: World, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    _day(fields, "requestDate")
    _text(fields, "requestTime", TIME)
    if fields.get("merchantCountry") != "TH":
        _refuse("211", "merchantCountry")
    _text(fields, "merchantName", ANYTHING)
    info = fields.get("qrPromptpayInfo")
    if not isinstance(info, Mapping):
        _refuse("211", "qrPromptpayInfo")
    amount_minor = _amount(fields)
    biller_id = _text(info, "billerId", BILLER, code="332")
    _own_biller(world, biller_id)
    reference1 = _text(info, "reference1", REFERENCE, code="331")
    reference2 = _optional(info, "reference2", REFERENCE, code="331")
    _declined_by(fault)
    earlier = await acquirer.by_reference(world, NAME, reference1)
    if earlier:
        _refuse("412" if earlier[-1]["status"] == "captured" else "212")
    qr_data = emvco.bill_payment_qr(biller_id, reference1, reference2, "", baht(amount_minor))
    charge = await acquirer.create(
        world,
        NAME,
        identifier=short_id("Q"),
        reference=reference1,
        method="promptpay",
        amount_minor=amount_minor,
        expires_at=None,
        qr_data=qr_data,
        details={"biller_id": biller_id, "reference2": reference2},
    )
    return _success(
        {
            "qrCodeId": charge["id"],
            "qrReference": charge["id"],
            "qrData": qr_data,
            "amount": msgspec.Raw(baht(amount_minor).encode()),
            "billerId": biller_id,
            "reference1": reference1,
            "reference2": reference2,
            "showThaiQrLogo": "Y",
        }
    )


async def _payments(world: World, reference1: str, reference2: str, on: date) -> list[tuple[Row, Row]]:
    return [
        (charge, movement)
        for charge in await acquirer.by_reference(world, NAME, reference1)
        if charge["method"] == "promptpay" and charge["details"]["reference2"] == reference2
        for movement in await acquirer.movements_of(world, charge, "payment")
        if movement["booked_on"] == on
    ]


async def _inquire(world: World, fields: Mapping[str, Any], _: Fault | None) -> Answer:
    _own_biller(world, _text(fields, "billerId", BILLER, code="332"))
    reference1 = _text(fields, "reference1", REFERENCE, code="331")
    reference2 = _optional(fields, "reference2", REFERENCE, code="331")
    found = await _payments(world, reference1, reference2, _day(fields, "transDate"))
    if "amount" in fields:
        amount_minor = _amount(fields)
        found = [pair for pair in found if pair[1]["amount_minor"] == amount_minor]
    if not found:
        _refuse("209")
    rows = []
    for charge, movement in found:
        undone = await _undone(world, charge, movement)
        rows.append(bbl_payments.inquiry_row(charge, movement, undone=undone))
    return _success(rows[0] if len(rows) == 1 else rows)


async def _undone(world: World, charge: Row, payment: Row) -> bool:
    voids = await acquirer.movements_of(world, charge, "void")
    return any(void["details"]["payment_ref"] == payment["id"] for void in voids)


async def _reverse(world: World, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    _own_biller(world, _text(fields, "billerId", BILLER, code="332"))
    reference1 = _text(fields, "reference1", REFERENCE, code="331")
    reference2 = _optional(fields, "reference2", REFERENCE, code="331")
    on, at = _day(fields, "transDate"), _text(fields, "transTime", TIME)
    amount_minor, approval_code = _amount(fields), _text(fields, "approvalCode", re.compile(r"\d{6}"))
    _declined_by(fault)
    for charge, movement in await _payments(world, reference1, reference2, on):
        row = bbl_payments.inquiry_row(charge, movement, undone=False)
        if (row["transTime"], row["approvalCode"]) != (at, approval_code):
            continue
        if movement["amount_minor"] != amount_minor:
            _refuse("213")
        if await _undone(world, charge, movement):
            _refuse("212")
        if on != world.today or world.now.astimezone(BANGKOK).time() >= VOID_UNTIL:
            _refuse("411")
        details = {"payment_ref": movement["id"]}
        await acquirer.give_back(
            world, charge, amount_minor, kind="void", details=details, payment_id=str(movement["id"])
        )
        return _success(row)
    _refuse("209")


def _headers(credentials: Mapping[str, str], body: bytes, *, forged: bool) -> dict[str, str]:  # noqa: ARG001 - the shape of all
    """A notification names its call; a datafeed is a plain form."""
    if not body.startswith(b"{"):
        return {}
    now: datetime = real_now().astimezone(BANGKOK)
    return {
        "Request-Ref": f"{now:%Y%m%d%H%M%S}{secrets.token_hex(8)}",
        "Transmit-Date-Time": now.isoformat(timespec="milliseconds"),
    }


class _Reply(msgspec.Struct, rename="camel"):
    response_code: str = ""


def is_taken(body: bytes) -> bool:
    """A datafeed is taken by `OK`, a notification by 000."""
    if body.startswith(b"OK"):
        return True
    try:
        return msgspec.json.decode(body, type=_Reply).response_code == SUCCESS
    except msgspec.DecodeError:
        return False


async def _pay(world: World, body: PayBody) -> list[dict[str, Any]]:
    charge = await acquirer.find(world, NAME, body.reference)
    if charge is not None and charge["method"] == "card":
        return await bbl_ipay.pay(world, body, charge)
    return await acquirer_orders.pay_ordered(world, body, {"promptpay": acquirer.QR}, bbl_payments.announce)


async def _charges(world: World) -> list[dict[str, Any]]:
    return await acquirer_orders.charges(world, NAME)


async def _start_day(world: World, day: date) -> None:
    await acquirer.settle(world, NAME, day)


async def _due(world: World) -> None:
    await acquirer.expire_due(world, NAME)
    await acquirer.end_refunds_due(world, NAME)


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset(
        {
            "consumer_key",
            "consumer_secret",
            "private_key",
            "biller_id",
            "merchant_name",
            "merchant_id",
            "login_id",
            "password",
            "secure_hash_secret",
        }
    ),
    identifiers=frozenset({"consumer_key", "merchant_id"}),
    operations=frozenset({"token", "charge", "inquiry", "cancel", "capture", "refund", "statement", "pay", "callback"}),
    handlers=(BblController, bbl_ipay.IpayController),
    server_error=lambda: json_answer({"responseCode": "888", "responseMesg": ERRORS["888"]}, 500),
    callbacks=CallbackRules(
        # Up to three repeats, until the answer takes it.
        attempts_max=4,
        retry_seconds=lambda settings: settings.callback_retry_seconds,
        headers=_headers,
        is_taken=is_taken,
    ),
    pay=_pay,
    forge=bbl_payments.forge,
    charges=_charges,
    start_day=_start_day,
    due=_due,
)
