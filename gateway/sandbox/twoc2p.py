"""2C2P over HTTP: signed claims, plain payments by token, sealed maintenance, the reconcile file.

What happens is in the `twoc2p_*` modules beside it. Business errors are HTTP 200, as 2C2P's own.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Final

import msgspec
from litestar import Controller, Response, get, post

from gateway.sandbox import acquirer, acquirer_orders, cards
from gateway.sandbox import twoc2p_maintenance as maintenance
from gateway.sandbox import twoc2p_payments as payments
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.provider import CallbackRules, SandboxProvider
from gateway.sandbox.service import InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.twoc2p_jose import BadSeal, check_sender, jwt, proved_claims, unproved_claims, unseal
from gateway.sandbox.twoc2p_keys import private_key, public_key_of
from gateway.sandbox.twoc2p_payments import NAME, PaymentBody, refuse
from gateway.sandbox.twoc2p_statement import reconcile_file
from gateway.sandbox.wire import Answer, AnyRequest, Refusal, Row, json_answer, short_id
from gateway.sandbox.world import World

JSON: Final = "application/json"
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

SignedAct = Callable[[World, bytes, Fault | None], Awaitable[dict[str, Any]]]
TokenAct = Callable[[World, Row, Fault | None], Awaitable[Answer]]


class _Envelope(msgspec.Struct):
    payload: str


class _Claims(msgspec.Struct):
    merchantID: str  # noqa: N815 – 2C2P's own name


class _Token(msgspec.Struct):
    paymentToken: str  # noqa: N815 – 2C2P's own name


class _Reference(msgspec.Struct):
    invoiceNo: str = ""  # noqa: N815 – 2C2P's own names
    paymentToken: str = ""  # noqa: N815


async def _signed(request: AnyRequest, sandbox: Sandbox, operation: str, act: SignedAct) -> Response[bytes]:
    """Prove the claims, perform `act`, sign what it says."""
    try:
        token = await _payload(request)
        world_name = await _world_of(sandbox, token)
        amount_minor = _amount(token)

        async def in_world(world: World, fault: Fault | None) -> Answer:
            key = world.credentials(NAME)["secret_key"]
            try:
                claims = proved_claims(token, key)
            except BadSeal:
                refuse("9042", "hash value is mismatched")
            return json_answer({"payload": jwt(await act(world, claims, fault), key)})

        answer = await sandbox.perform(
            world_name,
            in_world,
            provider=NAME,
            operation=operation,
            amount_minor=amount_minor,
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as refusal:
        answer = refusal.answer
    return answer.response()


async def _payload(request: AnyRequest) -> str:
    if not request.headers.get("content-type", "").startswith(JSON):
        refuse("9900", "cannot decrypt the request")
    try:
        return msgspec.json.decode(await request.body(), type=_Envelope).payload
    except NOT_JSON:
        refuse("9900", "cannot decrypt the request")


async def _world_of(sandbox: Sandbox, token: str) -> str:
    try:
        merchant_id = msgspec.json.decode(unproved_claims(token), type=_Claims).merchantID
    except (BadSeal, *NOT_JSON):
        refuse("9042", "hash value is mismatched")
    world = await sandbox.accounts.find(NAME, "merchant_id", merchant_id)
    if world is None:
        refuse("9042", "hash value is mismatched")
    return world


def _amount(token: str) -> int | None:
    """What faults are chosen by, before anything is proved."""
    try:
        fields = msgspec.json.decode(unproved_claims(token), type=dict[str, msgspec.Raw])
    except (BadSeal, *NOT_JSON):
        return None
    return payments.amount_of(fields.get("amount"))


async def _by_token(
    request: AnyRequest, sandbox: Sandbox, operation: str, token: str, act: TokenAct
) -> Response[bytes]:
    """Perform `act` on the charge of a payment token, which alone says whose it is."""
    row = await sandbox.worlds.pool.fetchrow(
        "SELECT world, amount_minor FROM sandbox.acquired_charges WHERE provider = $1 AND id = $2", NAME, token
    )
    try:
        if row is None:
            refuse("9040", "payment token is invalid")

        async def in_world(world: World, fault: Fault | None) -> Answer:
            charge = await acquirer.find(world, NAME, token)
            assert charge is not None, "charges stay"
            return await act(world, charge, fault)

        answer = await sandbox.perform(
            row["world"],
            in_world,
            provider=NAME,
            operation=operation,
            amount_minor=row["amount_minor"],
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as refusal:
        answer = refusal.answer
    return answer.response()


class TwoC2pGateway(Controller):
    """`https://sandbox-pgw.2c2p.com`."""

    path = "/2c2p"

    @post("/payment/4.3/paymentToken", status_code=200)
    async def payment_token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A token for an invoice; the same request is given the same one."""

        async def act(world: World, claims: bytes, _: Fault | None) -> dict[str, Any]:
            charge = await payments.issue_token(world, claims)
            return {
                "webPaymentUrl": f"{world.sandbox_url}/2c2p-ui/payment/4.3/#/token/{charge['id']}",
                "paymentToken": charge["id"],
                "respCode": "0000",
                "respDesc": "Success",
            }

        return await _signed(request, sandbox, "token", act)

    @post("/payment/4.3/payment", status_code=200)
    async def payment(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Do Payment."""
        try:
            body = msgspec.json.decode(await request.body(), type=PaymentBody)
        except NOT_JSON:
            return json_answer({"respCode": "9010", "respDesc": "request is invalid"}).response()

        async def act(world: World, charge: Row, fault: Fault | None) -> Answer:
            return await payments.pay_with(world, charge, body, fault)

        return await _by_token(request, sandbox, "charge", body.paymentToken, act)

    @post("/payment/4.3/paymentInquiry", status_code=200)
    async def payment_inquiry(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A charge by its invoice number or token."""

        async def act(world: World, claims: bytes, _: Fault | None) -> dict[str, Any]:
            asked = msgspec.json.decode(claims, type=_Reference)
            if not asked.invoiceNo and not asked.paymentToken:
                refuse("9005", "invoiceNo is missing")
            charge = await acquirer.find(world, NAME, asked.invoiceNo or asked.paymentToken)
            if charge is None:
                refuse("2002", "transaction not found")
            payment = await payments.payment_of(world, charge)
            return payments.transaction(world, charge, payment, await payments.state_code(world, charge, payment))

        return await _signed(request, sandbox, "inquiry", act)

    @post("/payment/4.3/transactionStatus", status_code=200)
    async def transaction_status(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Whether a payment is still under way."""

        async def act(_: World, charge: Row, __: Fault | None) -> Answer:
            code = "2001" if charge["status"] == "pending" else "2000"
            return json_answer({"invoiceNo": charge["reference"], "respCode": code, "respDesc": "Transaction status"})

        return await _by_token(request, sandbox, "inquiry", await _token_of(request), act)

    @post("/payment/4.3/cancelTransaction", status_code=200)
    async def cancel_transaction(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Make an unpaid charge unpayable."""

        async def act(world: World, charge: Row, fault: Fault | None) -> Answer:
            declined = fault is not None and fault.kind is FaultKind.DECLINE
            if charge["status"] == "canceled":
                refuse("0003", "transaction is cancelled")
            if declined or charge["status"] != "pending":
                # ASSUMED: which word it has for this; the token errors are documented, not when each comes.
                refuse("9041", "payment token cannot be cancelled")
            await acquirer.end(world, charge, "canceled")
            return json_answer({"invoiceNo": charge["reference"], "respCode": "0000", "respDesc": "Success"})

        return await _by_token(request, sandbox, "cancel", await _token_of(request), act)

    @get("/output/reconcile")
    async def reconcile(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The file of a day that is over (ASSUMED path: 2C2P puts it on SFTP)."""
        fields = dict(request.query_params)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            world_name = await _world_of(sandbox, token)
        except Refusal:
            return Answer(status=401).response()

        async def act(world: World, _: Fault | None) -> Answer:
            credentials = world.credentials(NAME)
            try:
                proved = msgspec.json.decode(proved_claims(token, credentials["secret_key"]))
                on = date.fromisoformat(fields.get("date", ""))
            except BadSeal:
                return Answer(status=401)
            except ValueError:
                return Answer(status=404)
            if proved != fields or fields.get("merchantID") != credentials["merchant_id"]:
                return Answer(status=401)
            if not world.opened_on <= on < world.today:
                return Answer(status=404)
            rows = await acquirer.of_day(world, NAME, on)
            paid = {row["charge_id"]: row["id"] for row in rows if row["kind"] == "payment"}
            content = reconcile_file(credentials["merchant_id"], rows, paid)
            return Answer(body=content, media_type="text/csv; charset=utf-8")

        answer = await sandbox.perform(world_name, act, provider=NAME, operation="statement")
        return answer.response()


async def _token_of(request: AnyRequest) -> str:
    try:
        return msgspec.json.decode(await request.body(), type=_Token).paymentToken
    except NOT_JSON:
        return ""


class TwoC2pVault(Controller):
    """Where a payer's browser takes a card for a single-use token (ASSUMED path: 2C2P's script hides it)."""

    path = "/2c2p-vault"

    @post("/securePayToken", status_code=200)
    async def secure_pay_token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A token for a published test card."""
        try:
            card = msgspec.json.decode(await request.body(), type=dict[str, Any])
            merchant_id = card.get("merchantID")
            world = (
                await sandbox.accounts.find(NAME, "merchant_id", merchant_id) if isinstance(merchant_id, str) else None
            )
            if world is None:
                refuse("9004", "merchantID is invalid")

            async def act(opened: World, _: Fault | None) -> Answer:
                token_id = short_id("S") + short_id("P").lower()
                try:
                    await cards.keep_token(
                        opened,
                        token_id=token_id,
                        card_id=short_id("C"),
                        number=card.get("cardNo"),
                        name=card.get("cardholderName"),
                        month=card.get("expiryMonth"),
                        year=card.get("expiryYear"),
                    )
                except cards.CardRefused as refused:
                    refuse("9010", str(refused))
                return json_answer({"securePayToken": token_id, "respCode": "0000", "respDesc": "Success"})

            answer = await sandbox.perform(world, act, provider=NAME, operation="token")
        except NOT_JSON:
            answer = json_answer({"respCode": "9010", "respDesc": "request is invalid"})
        except Refusal as refusal:
            answer = refusal.answer
        return answer.response()


class TwoC2pMaintenance(Controller):
    """`https://demo2.2c2p.com/2C2PFrontend`."""

    path = "/2c2p-maintenance"

    @post("/PaymentAction/2.0/action", status_code=200)
    async def action(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Void, refund, settle, inquire: decrypt to learn who asks, then prove it."""
        body = await request.body()
        try:
            order = maintenance.read_order(unseal(body, private_key()))
        except BadSeal:
            order = None
        if order is None or not request.headers.get("content-type", "").startswith("text/plain"):
            return maintenance.unsealed("96").response()
        world_name = await sandbox.accounts.find(NAME, "merchant_id", order.merchant_id)
        if world_name is None:
            return maintenance.unsealed("03").response()

        async def act(world: World, fault: Fault | None) -> Answer:
            merchant = public_key_of(world.credentials(NAME)["merchant_private_key"])
            try:
                check_sender(body, merchant)
            except BadSeal:
                await maintenance.refuse(world, order, "13")
            return await maintenance.perform(world, order, fault)

        answer = await sandbox.perform(
            world_name,
            act,
            provider=NAME,
            operation=maintenance.OPERATIONS.get(order.process_type, "inquiry"),
            amount_minor=order.amount_minor,
            # The seal is new each time; what is asked for is not.
            fingerprint=f"2c2p {order.process_type} {order.invoice_no} {order.idempotency_id} {order.amount}",
        )
        return answer.response()


def _server_error() -> Answer:
    return json_answer({"respCode": "9999", "respDesc": "System error"}, 500)


async def _charges(world: World) -> list[dict[str, Any]]:
    return await acquirer_orders.charges(world, NAME)


async def _start_day(world: World, day: date) -> None:
    await acquirer.settle(world, NAME, day)


async def _due(world: World) -> None:
    await acquirer.expire_due(world, NAME)
    await maintenance.end_refunds_due(world)


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset({"merchant_id", "secret_key", "merchant_private_key", "provider_public_key"}),
    identifiers=frozenset({"merchant_id"}),
    operations=frozenset({"token", "charge", "inquiry", "cancel", "capture", "refund", "statement", "pay", "callback"}),
    handlers=(TwoC2pGateway, TwoC2pVault, TwoC2pMaintenance),
    server_error=_server_error,
    callbacks=CallbackRules(
        # Its schedule is not published.
        attempts_max=4,
        retry_seconds=lambda settings: settings.callback_retry_seconds,
    ),
    pay=payments.pay,
    forge=payments.forge,
    charges=_charges,
    start_day=_start_day,
    due=_due,
)
