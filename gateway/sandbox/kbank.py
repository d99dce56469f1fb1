"""KBank as the sandbox plays it: QR payment and KGP cards under one account, one night run, one report."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import msgspec
from litestar import Controller, Response, get

from gateway.sandbox import acquirer, acquirer_orders, kbank_cards, kbank_qr
from gateway.sandbox.acquirer import Rail
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault
from gateway.sandbox.kbank_cards import KgpCharges, KgpVault
from gateway.sandbox.kbank_qr import KbankQrController
from gateway.sandbox.kbank_settlement import report
from gateway.sandbox.kbank_tokens import KbankTokenController, refuse_entry, world_of_token
from gateway.sandbox.kbank_wire import NAME, answer
from gateway.sandbox.provider import CallbackRules, SandboxProvider
from gateway.sandbox.service import InjectedSandbox
from gateway.sandbox.wire import Answer, AnyRequest, Refusal, Row, refuse_control
from gateway.sandbox.world import World

ATTEMPTS_MAX: Final = 3
"""ASSUMED: "a few retries", their number and times are not published."""
RAILS: Final[Mapping[str, Rail]] = {
    # The bank that issued the QR also takes the payment: it knows expiry, amount and that the QR is paid.
    "promptpay": Rail(rate=acquirer.QR.rate, identifier=kbank_qr.transaction_number),
    "card": kbank_cards.RAIL,
}


class KbankReportController(Controller):
    """The settlement report (ASSUMED path)."""

    path = "/kbank/v1/qrpayment/settlement"

    @get("/report")
    async def statement(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The report of a day that is over."""
        fields = dict(request.query_params)

        async def act(world: World, _: Fault | None) -> Answer:
            merchant_id = world.credentials(NAME)["merchant_id"]
            if fields.get("merchantId") != merchant_id:
                refuse_entry(403, "Forbidden")
            try:
                on = date.fromisoformat(fields.get("date", ""))
            except ValueError:
                refuse_entry(400, "Invalid date")
            if not world.opened_on <= on < world.today:
                refuse_entry(404, "Not found")
            content = report(
                merchant_id,
                on,
                await acquirer.of_day(world, NAME, on),
                await acquirer.batches_of_day(world, NAME, on),
            )
            return Answer(body=content, media_type="text/csv; charset=utf-8")

        try:
            world_name = await world_of_token(request, sandbox)
            replied = await sandbox.perform(world_name, act, provider=NAME, operation="statement")
        except Refusal as refusal:
            replied = refusal.answer
        return replied.response()


async def _pay(world: World, body: PayBody) -> list[dict[str, Any]]:
    return await acquirer_orders.pay_ordered(world, body, RAILS, _announce)


async def _announce(world: World, charge: Row, payment: Row) -> None:
    of_card = charge["method"] == kbank_cards.METHOD
    await (kbank_cards.notify if of_card else kbank_qr.notify)(world, charge, payment)


async def _forge(world: World, reference: str) -> bytes:
    charge = await acquirer.find(world, NAME, reference)
    if charge is None:
        refuse_control(404, "unknown_reference", "no such charge")
    if charge["method"] == kbank_cards.METHOD:
        return await kbank_cards.forged(world, charge)
    return kbank_qr.notice(world, charge, kbank_qr.transaction_number(world, charge), charge["amount_minor"])


async def _charges(world: World) -> list[dict[str, Any]]:
    return await acquirer_orders.charges(world, NAME)


async def _start_day(world: World, day: date) -> None:
    await acquirer.settle(world, NAME, day)


async def _due(world: World) -> None:
    await acquirer.expire_due(world, NAME)
    await acquirer.end_refunds_due(world, NAME)


class _Reply(msgspec.Struct, rename="camel"):
    status_code: str = "00"


def _is_taken(body: bytes) -> bool:
    """Any 2xx takes a callback, unless its body says in the QR product's words that it did not."""
    try:
        return msgspec.json.decode(body, type=_Reply).status_code == "00"
    except msgspec.DecodeError:
        return True


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset(
        {
            "consumer_id",
            "consumer_secret",
            "partner_id",
            "partner_secret",
            "merchant_id",
            "terminal_id",
            "kgp_public_key",
            "kgp_secret_key",
        }
    ),
    identifiers=frozenset({"consumer_id", "kgp_public_key", "kgp_secret_key"}),
    # A QR of the bank's own is paid once, in full and in time, so nothing can befall `pay`; a refund ends at once.
    operations=frozenset({"token", "charge", "inquiry", "cancel", "refund", "statement", "callback"}),
    handlers=(KbankTokenController, KbankQrController, KbankReportController, KgpVault, KgpCharges),
    server_error=lambda: answer({"code": "openapi_error", "message": "Internal Server Error"}, 500),
    callbacks=CallbackRules(
        attempts_max=ATTEMPTS_MAX,
        retry_seconds=lambda settings: settings.callback_retry_seconds,
        is_taken=_is_taken,
    ),
    pay=_pay,
    forge=_forge,
    charges=_charges,
    start_day=_start_day,
    due=_due,
)
