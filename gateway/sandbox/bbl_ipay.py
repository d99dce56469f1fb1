"""Bualuang iPay over HTTP: the hosted page, the merchant API, the merchant report; paths under `/bbl/ipay`."""

import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final, NoReturn

from litestar import Controller, Response, get, post

from gateway.sandbox import acquirer, bbl_payments
from gateway.sandbox.bbl_access import basic
from gateway.sandbox.bbl_orders import change, query, refuse
from gateway.sandbox.bbl_payments import BAHT_CODE, NAME, secure_hash
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.service import InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.wire import (
    Answer,
    AnyRequest,
    MalformedBody,
    Refusal,
    Row,
    baht,
    read_fields,
    refuse_control,
    satang,
)
from gateway.sandbox.world import World

PAGE_LIFE: Final = timedelta(minutes=30)
AUTHORISATION_LIFE: Final = timedelta(days=7)
ORDER_REF: Final = re.compile(r"[0-9A-Za-z]{1,35}")
PAY_METHODS: Final = ("ALL", "CC", "VISA", "Master")
REMARK_LENGTH_MAX: Final = 200
FIELDS_OF_PAGE: Final = ("successUrl", "failUrl", "cancelUrl")
DECLINES: Final[Mapping[str, tuple[str, str]]] = {
    "insufficient_fund": ("1", "51"),
    "stolen_or_lost_card": ("1", "43"),
    "payment_rejected": ("1", "05"),
    "expired_card": ("1", "54"),
    "failed_3d_secure": ("3", "0"),
    "failed_fraud_check": ("-8", "0"),
    "failed_processing": ("-9", "0"),
}
"""The word of an ordered decline → `prc` and `src` (ASSUMED from the PayDollar family)."""

_STATUS: Final = "SELECT status FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2 AND id = $3"


def _page(text: str, status: int = 200) -> Answer:
    body = f"<!doctype html><html><head><title>Bualuang iPay</title></head><body><p>{text}</p></body></html>"
    return Answer(status=status, body=body.encode(), media_type="text/html; charset=utf-8")


def _refuse_page(text: str) -> NoReturn:
    raise Refusal(_page(text, 400))


def _refuse_file(status: int, text: str) -> NoReturn:
    raise Refusal(Answer(status=status, body=text.encode(), media_type="text/plain"))


class IpayController(Controller):
    """`https://ipay.bangkokbank.com/b2c/eng`."""

    path = "/bbl/ipay"

    @post("/payment/payForm.jsp", status_code=200)
    async def open_page(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The payer's browser brings the order; `POST /_control/pay` is his card on the page."""
        return await _opened(request, sandbox, await _form(request))

    @get("/payment/payForm.jsp")
    async def open_page_by_link(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The same by a link."""
        return await _opened(request, sandbox, dict(request.query_params))

    @post("/merchant/api/orderApi.jsp", status_code=200)
    async def order(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Query, Capture, Void, RequestRefund."""
        try:
            fields = await _form(request)
            world = await sandbox.accounts.find(NAME, "merchant_id", fields.get("merchantId", ""))
            if world is None:
                refuse("Authentication failed")
            action = fields.get("actionType", "")
            operation = await _operation(sandbox, world, action, fields.get("payRef", ""))

            async def act(opened: World, fault: Fault | None) -> Answer:
                _log_in(opened, fields.get("loginId", ""), fields.get("password", ""))
                if action == "Query":
                    return await query(opened, fields)
                return await change(opened, action, fields, fault)

            answer = await sandbox.perform(
                world,
                act,
                provider=NAME,
                operation=operation,
                amount_minor=satang(fields.get("amount")),
                fingerprint=await fingerprint_of(request),
            )
        except Refusal as refusal:
            answer = refusal.answer
        return answer.response()

    @get("/merchant/report")
    async def report(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The merchant report of a day that is over (ASSUMED: the real one is downloaded by hand)."""
        fields = dict(request.query_params)
        try:
            world = await sandbox.accounts.find(NAME, "merchant_id", fields.get("merchantId", ""))
            if world is None:
                _refuse_file(401, "Authentication failed")

            async def act(opened: World, _: Fault | None) -> Answer:
                try:
                    _log_in(opened, *basic(request))
                except Refusal:
                    _refuse_file(401, "Authentication failed")
                try:
                    on = date.fromisoformat(fields.get("date", ""))
                except ValueError:
                    _refuse_file(400, "date is invalid")
                if not opened.opened_on <= on < opened.today:
                    _refuse_file(404, "No report of this day")
                return Answer(body=await bbl_payments.report(opened, on), media_type="text/csv; charset=utf-8")

            answer = await sandbox.perform(
                world, act, provider=NAME, operation="statement", fingerprint=await fingerprint_of(request)
            )
        except Refusal as refusal:
            answer = refusal.answer
        return answer.response()


async def pay(world: World, body: PayBody, charge: Row) -> list[dict[str, Any]]:
    """The payer's card is taken: authorised or captured as the order says.

    Raises:
        Refusal: `not_payable`.
    """
    if charge["status"] != "pending":
        refuse_control(409, "not_payable", f"the charge is {charge['status']}")
    amount_minor: int = charge["amount_minor"]
    if body.amount_minor not in (None, amount_minor) or body.transaction_count != 1:
        refuse_control(409, "not_payable", "the page takes the amount of the order, once")
    if charge["details"]["pay_type"] == "H":
        charge = await acquirer.authorize(world, charge, expires_at=world.now + AUTHORISATION_LIFE)
    else:
        charge, _ = await acquirer.capture(world, charge, amount_minor, acquirer.CARD, identifier=charge["id"])
    if not body.silent:
        await bbl_payments.feed(world, charge, amount_minor=amount_minor)
    return [{"transaction_id": charge["id"], "amount_minor": amount_minor}]


async def _form(request: AnyRequest) -> dict[str, str]:
    try:
        fields = await read_fields(request)
    except MalformedBody:
        return {}
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _log_in(world: World, login_id: str, password: str) -> None:
    expected = world.credentials(NAME)
    given = f"{login_id}\0{password}".encode()
    if not hmac.compare_digest(f"{expected['login_id']}\0{expected['password']}".encode(), given):
        refuse("Authentication failed")


async def _opened(request: AnyRequest, sandbox: Sandbox, fields: Mapping[str, str]) -> Response[bytes]:
    try:
        world = await sandbox.accounts.find(NAME, "merchant_id", fields.get("merchantId", ""))
        if world is None:
            _refuse_page("merchantId is invalid")

        async def act(opened: World, fault: Fault | None) -> Answer:
            _check_order(opened, fields)
            return await _take_order(opened, fields, fault)

        answer = await sandbox.perform(
            world,
            act,
            provider=NAME,
            operation="charge",
            amount_minor=satang(fields.get("amount")),
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as refusal:
        answer = refusal.answer
    return answer.response()


def _check_order(world: World, fields: Mapping[str, str]) -> None:
    amount_minor = satang(fields.get("amount"))
    wrong = {
        "amount": amount_minor is None or fields["amount"] != baht(amount_minor),
        "orderRef": not ORDER_REF.fullmatch(fields.get("orderRef", "")),
        "currCode": fields.get("currCode") != BAHT_CODE,
        "lang": fields.get("lang") not in ("E", "T"),
        "payType": fields.get("payType") not in ("N", "H"),
        "payMethod": fields.get("payMethod") not in PAY_METHODS,
        "remark": len(fields.get("remark", "")) > REMARK_LENGTH_MAX,
        **{name: not fields.get(name, "").startswith(("http://", "https://")) for name in FIELDS_OF_PAGE},
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            _refuse_page(f"{name} is invalid")
    signed = [fields[name] for name in ("merchantId", "orderRef", "currCode", "amount", "payType")]
    expected = secure_hash(world.credentials(NAME), *signed)
    if not hmac.compare_digest(expected.encode(), fields.get("secureHash", "").encode()):
        _refuse_page("secureHash is invalid")


async def _take_order(world: World, fields: Mapping[str, str], fault: Fault | None) -> Answer:
    """A page for the order: the one that is open, a new one after a refused card, none once it is paid."""
    amount_minor = satang(fields["amount"])
    assert amount_minor is not None, "checked"
    earlier = await acquirer.by_reference(world, NAME, fields["orderRef"])
    if any(charge["status"] not in ("pending", "failed", "expired") for charge in earlier):
        _refuse_page("the order was paid before")
    wanted = (amount_minor, fields["payType"])
    if any((charge["amount_minor"], charge["details"]["pay_type"]) != wanted for charge in earlier):
        _refuse_page("the order was of another amount or type")
    codes = None
    if fault is not None and fault.kind is FaultKind.DECLINE:
        codes = DECLINES.get(fault.code or "", DECLINES["payment_rejected"])
    charge = next((each for each in earlier if each["status"] == "pending"), None)
    if charge is None:
        charge = await acquirer.create(
            world,
            NAME,
            identifier=str(10**11 + secrets.randbelow(9 * 10**11)),
            reference=fields["orderRef"],
            method="card",
            amount_minor=amount_minor,
            expires_at=world.now + PAGE_LIFE,
            details={"pay_type": fields["payType"], "remark": fields.get("remark", ""), "codes": ["0", "0"]},
        )
    if codes is None:
        return _page(f"Payment {charge['id']} of {baht(amount_minor)} THB waits for a card.")
    charge = await acquirer.set_details(world, charge, codes=list(codes))
    charge = await acquirer.end(world, charge, "failed", "/".join(codes))
    await bbl_payments.feed(world, charge, amount_minor=amount_minor, success_code="1", codes=codes)
    return _page(f"Payment {charge['id']} was refused.")


async def _operation(sandbox: Sandbox, world: str, action: str, pay_ref: str) -> str:
    """A void gives up an authorisation, or gives money back: other faults befall it."""
    if action == "Void":
        status = await sandbox.worlds.pool.fetchval(_STATUS, world, NAME, pay_ref)
        return "refund" if status == "captured" else "cancel"
    operations = {"Query": "inquiry", "Capture": "capture", "RequestRefund": "refund"}
    if action not in operations:
        refuse("actionType is invalid")
    return operations[action]
