"""The page to which a checkout's payer is sent: who opens it by hand sees what he pays, pays, and goes back."""

import hmac
from html import escape
from typing import Final

from litestar import Controller, Response, get, post
from litestar.params import FromPath

from gateway.sandbox import acquirer, truemoney_payments
from gateway.sandbox.client import PayBody
from gateway.sandbox.service import InjectedSandbox
from gateway.sandbox.truemoney_payments import NAME
from gateway.sandbox.wire import Answer, Row, baht, refuse_control
from gateway.sandbox.world import World

PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>TrueMoney (sandbox)</title>
<h1>TrueMoney (sandbox)</h1>
<p>{reference}: {amount} THB, {status}</p>
{form}<p><a href="{return_url}">Back to the shop</a></p>
</html>
"""
FORM: Final = '<form method="post"><button>Pay with an invented wallet</button></form>\n'


class TrueMoneyCheckout(Controller):
    """ASSUMED, as the call that makes checkouts; the address is the secret."""

    path = "/truemoney-checkout"

    @get("/{world_name:str}/{payment_id:str}/{token:str}")
    async def show(
        self, sandbox: InjectedSandbox, world_name: FromPath[str], payment_id: FromPath[str], token: FromPath[str]
    ) -> Response[bytes]:
        """What is to be paid."""
        async with sandbox.worlds.open(world_name) as world:
            charge = await _charge(world, payment_id, token)
        return _page(charge).response()

    @post("/{world_name:str}/{payment_id:str}/{token:str}", status_code=200)
    async def pay(
        self, sandbox: InjectedSandbox, world_name: FromPath[str], payment_id: FromPath[str], token: FromPath[str]
    ) -> Response[bytes]:
        """Pay it, if it still waits, and go back to the shop."""
        async with sandbox.worlds.open(world_name) as world:
            charge = await _charge(world, payment_id, token)
            if charge["status"] == "pending":
                order = PayBody(world=world_name, provider=NAME, reference=charge["id"])
                await truemoney_payments.pay_ordered(world, order)
        sandbox.callbacks.wake()
        return Response(b"", status_code=303, headers={"location": charge["details"]["return_url"]})


async def _charge(world: World, payment_id: str, token: str) -> Row:
    charge = await acquirer.find(world, NAME, payment_id)
    known = "" if charge is None else charge["details"].get("checkout", "")
    if charge is None or not hmac.compare_digest(known.encode(), token.encode()):
        refuse_control(404, "unknown_reference", "no such checkout")
    return charge


def _page(charge: Row) -> Answer:
    text = PAGE.format(
        reference=escape(charge["reference"]),
        amount=baht(charge["amount_minor"]),
        status=charge["status"],
        form=FORM if charge["status"] == "pending" else "",
        return_url=escape(charge["details"]["return_url"]),
    )
    return Answer(body=text.encode(), media_type="text/html")
