"""SCB's Open API over HTTP: tokens, QR codes, inquiry, slips, the daily file. Payments are in `bill_payments.py`."""

import base64
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final, NoReturn

import msgspec
from litestar import Controller, Response, get, post
from litestar.params import FromPath

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import bank_account, bill_payments, emvco
from gateway.sandbox.accounts import grant_token
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.provider import CallbackRules, SandboxProvider
from gateway.sandbox.service import Act, InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.statements import bill_payment_file
from gateway.sandbox.wire import Answer, AnyRequest, MalformedBody, Refusal, baht, json_answer, read_fields, satang
from gateway.sandbox.world import World

TOKEN_SECONDS: Final = 1800
QR30_EVENT: Final = "00300100"
SENDING_BANK: Final = "014"
REQUEST_UID: Final = re.compile(r"[0-9A-Za-z-]{1,36}")
REFERENCE: Final = re.compile(r"[A-Z0-9]{1,20}")
BILLER: Final = re.compile(r"[0-9]{15}")

NAME: Final = "scb"


def _refuse(status: int, code: int, description: str) -> NoReturn:
    raise Refusal(json_answer({"status": {"code": code, "description": description}}, status))


def _success(data: Any) -> Answer:
    return json_answer({"status": {"code": 1000, "description": "Success"}, "data": data})


def _required_headers(request: AnyRequest) -> str:
    """The application key of a request whose headers are complete."""
    for name in ("resourceOwnerId", "requestUId"):
        if not request.headers.get(name):
            _refuse(400, 1101, f"Missing required parameters: {name}")
    if not REQUEST_UID.fullmatch(request.headers["requestUId"]):
        _refuse(400, 1102, "Invalid parameters entered: requestUId")
    return request.headers["resourceOwnerId"]


async def _answer(
    request: AnyRequest, sandbox: Sandbox, operation: str, act: Act, *, amount_minor: int | None = None
) -> Response[bytes]:
    """Check headers and token, then perform `act`, which reads or writes once, in the world of the token."""
    try:
        application_key = _required_headers(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            _refuse(401, 9100, "Missing required authorization credentials")
        world = await sandbox.accounts.find_by_token(NAME, token)
        # A new application key ends the tokens of the old one.
        if world is not None and await sandbox.accounts.find(NAME, "application_key", application_key) != world:
            world = None
        if world is None:
            _refuse(401, 9300, "Invalid authorization credentials")
        answer = await sandbox.perform(
            world,
            act,
            provider=NAME,
            operation=operation,
            amount_minor=amount_minor,
            fingerprint=await fingerprint_of(request),
            alone=True,
        )
    except Refusal as refusal:
        answer = refusal.answer
    return answer.response()


async def _body(request: AnyRequest) -> dict[str, Any]:
    try:
        return await read_fields(request)
    except MalformedBody:
        _refuse(400, 1102, "Invalid parameters entered")


def _text(fields: dict[str, Any], name: str, pattern: re.Pattern[str], *, optional: bool = False) -> str:
    value = fields.get(name)
    if optional and value in (None, ""):
        return ""
    if value is None:
        _refuse(400, 1101, f"Missing required parameters: {name}")
    if value == "":
        _refuse(400, 1103, f"Empty string parameter: {name}")
    if not isinstance(value, str) or not pattern.fullmatch(value):
        _refuse(400, 1102, f"Invalid parameters entered: {name}")
    return value


def _day(fields: dict[str, Any]) -> date:
    text = _text(fields, "transactionDate", re.compile(r"\d{4}-\d{2}-\d{2}"))
    try:
        return date.fromisoformat(text)
    except ValueError:
        _refuse(400, 1102, "Invalid parameters entered: transactionDate")


class ScbController(Controller):
    """`https://api-sandbox.partners.scb/partners/sandbox`."""

    path = "/scb"

    @post("/v1/oauth/token", status_code=200)
    async def token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A bearer token of 1800 real seconds for an application key and its secret."""
        try:
            _required_headers(request)
            body = await _body(request)
            anything = re.compile(r".+")
            key, secret = _text(body, "applicationKey", anything), _text(body, "applicationSecret", anything)
            world = await sandbox.accounts.find(NAME, "application_key", key)
            if world is None or request.headers["resourceOwnerId"] != key:
                _refuse(401, 9500, "Invalid authentication credentials")

            async def act(opened: World, _: Fault | None) -> Answer:
                expected = opened.credentials(NAME)["application_secret"]
                if not hmac.compare_digest(expected.encode(), secret.encode()):
                    _refuse(401, 9500, "Invalid authentication credentials")
                return await _grant(opened)

            answer = await sandbox.perform(world, act, provider=NAME, operation="token")
        except Refusal as refusal:
            answer = refusal.answer
        return answer.response()

    @post(["/v1/payment/qrcode/create", "/v2/payment/qrcode/create"], status_code=200)
    async def create_qr(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A tag-30 QR; version 2 also takes an expiry."""
        try:
            body = await _body(request)
            amount_minor = satang(body.get("amount"))
            with_expiry = request.url.path.startswith("/scb/v2")
            return await _answer(
                request, sandbox, "charge", _issue(body, amount_minor, with_expiry), amount_minor=amount_minor
            )
        except Refusal as refusal:
            return refusal.answer.response()

    @get("/v1/payment/billpayment/inquiry")
    async def inquire(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The payments of a reference on one day; 1104 where there is none."""
        fields = dict(request.query_params)

        async def act(world: World, _: Fault | None) -> Answer:
            if _text(fields, "eventCode", re.compile(r"\d{8}")) != QR30_EVENT:
                _refuse(400, 1102, "Invalid parameters entered: eventCode")
            _own_biller(world, _text(fields, "billerId", BILLER))
            reference1 = _text(fields, "reference1", REFERENCE)
            reference2 = _text(fields, "reference2", REFERENCE, optional=True)
            rows = [
                row
                for row in await bill_payments.of_reference(world, reference1, _day(fields))
                if (not reference2 or row["ref2"] == reference2)
                and fields.get("amount") in (None, baht(row["amount_minor"]))
            ]
            if not rows:
                _refuse(404, 1104, "The requested data is not found")
            account = bill_payments.Payee.of(world)
            return _success([bill_payments.inquiry_row(row, account) for row in rows])

        return await _answer(request, sandbox, "inquiry", act)

    @get("/v1/payment/billpayment/transactions/{transaction_id:str}")
    async def verify_slip(
        self, request: AnyRequest, sandbox: InjectedSandbox, transaction_id: FromPath[str]
    ) -> Response[bytes]:
        """What a slip's QR stands for."""

        async def act(world: World, _: Fault | None) -> Answer:
            row = await world.connection.fetchrow(
                "SELECT * FROM sandbox.bill_payments WHERE world = $1 AND transaction_id = $2",
                world.name,
                transaction_id,
            )
            if row is None or request.query_params.get("sendingBank") != row["sending_bank_code"]:
                _refuse(404, 1104, "The requested data is not found")
            return _success(bill_payments.slip(row, bill_payments.Payee.of(world)))

        return await _answer(request, sandbox, "inquiry", act)

    @get("/v1/payment/billpayment/statements")
    async def statement(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The biller's 256-character file of a day that is over (ASSUMED path: banks agree their own)."""
        fields = dict(request.query_params)

        async def act(world: World, _: Fault | None) -> Answer:
            _own_biller(world, _text(fields, "billerId", BILLER))
            on = _day(fields)
            if not world.opened_on <= on < world.today:
                _refuse(404, 1104, "The file of this day is not available")
            content = bill_payment_file(on, await bill_payments.of_day(world, on), bill_payments.Payee.of(world))
            return Answer(body=content, media_type="text/plain; charset=cp874")

        return await _answer(request, sandbox, "statement", act)


async def _grant(world: World) -> Answer:
    token = secrets.token_urlsafe(32)
    expires_at = await grant_token(world.connection, world.name, NAME, token, TOKEN_SECONDS)
    return _success(
        {
            "accessToken": token,
            "tokenType": "Bearer",
            "expiresIn": TOKEN_SECONDS,
            "expiresAt": int(expires_at.timestamp()),
        }
    )


def _own_biller(world: World, biller_id: str) -> None:
    if biller_id != world.credentials(NAME).get("biller_id"):
        _refuse(403, 9503, "Access to the requested biller is not allowed")


def _issue(body: dict[str, Any], amount_minor: int | None, with_expiry: bool) -> Act:  # noqa: FBT001
    async def act(world: World, fault: Fault | None) -> Callable[[], Answer]:
        if body.get("qrType") != "PP" or body.get("ppType") != "BILLERID":
            _refuse(400, 1102, "Invalid parameters entered: qrType, ppType")
        biller_id = _text(body, "ppId", BILLER)
        _own_biller(world, biller_id)
        ref1, ref3 = _text(body, "ref1", REFERENCE), _text(body, "ref3", REFERENCE)
        ref2 = _text(body, "ref2", REFERENCE, optional=True)
        if not ref3.startswith(world.credentials(NAME).get("ref3_prefix", "")):
            _refuse(400, 1102, "Invalid parameters entered: ref3")
        if amount_minor is None:
            _refuse(400, 1101 if "amount" not in body else 1102, "Invalid parameters entered: amount")
        if fault is not None and fault.kind is FaultKind.DECLINE:
            _refuse(400, 1102, "Invalid parameters entered: declined on demand")
        qr_data = emvco.bill_payment_qr(biller_id, ref1, ref2, ref3, baht(amount_minor))
        bill = bill_payments.Bill(ref1=ref1, ref2=ref2, ref3=ref3, amount_minor=amount_minor)
        bill_payments.remember_qr(world, bill, qr_data, _expiry(body) if with_expiry else None)
        return lambda: _drawn(qr_data)

    return act


def _drawn(qr_data: str) -> Answer:
    return _success({"qrRawData": qr_data, "qrImage": base64.b64encode(emvco.picture(qr_data, "png")).decode()})


def _expiry(body: dict[str, Any]) -> datetime | None:
    text = _text(body, "expiryDate", re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}"), optional=True)
    try:
        return datetime.fromisoformat(text).replace(tzinfo=BANGKOK) if text else None
    except ValueError:
        _refuse(400, 1102, "Invalid parameters entered: expiryDate")


class _Reply(msgspec.Struct):
    resCode: str = ""  # noqa: N815 – SCB's own name


def _is_taken(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Reply).resCode == "00"
    except (msgspec.DecodeError, msgspec.ValidationError):
        return False


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset({"application_key", "application_secret", "biller_id", "ref3_prefix"}),
    identifiers=frozenset({"application_key"}),
    operations=frozenset({"token", "charge", "inquiry", "statement", "pay", "callback"}),
    handlers=(ScbController,),
    server_error=lambda: json_answer({"status": {"code": 9700, "description": "Generic Business Error"}}, 500),
    callbacks=CallbackRules(
        # Up to three repeats, until the answer says resCode 00.
        attempts_max=4,
        retry_seconds=lambda settings: settings.scb_callback_retry_seconds,
        is_taken=_is_taken,
    ),
    pay=bill_payments.pay_ordered,
    forge=bill_payments.forge,
    charges=bill_payments.charges,
    end_day=bank_account.charge_biller_fees,
)
