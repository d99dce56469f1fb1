"""Omise over HTTP: authentication, paths, bodies. What happens is in the `omise_*` modules beside it."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, time
from typing import Any, Final

from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath

from gateway.foundation.clock import BANGKOK, real_now
from gateway.sandbox import emvco, omise_balance, omise_cards, omise_charges, omise_disputes, omise_lists, omise_refunds
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.omise_charge_object import read_charge
from gateway.sandbox.omise_objects import refund_object, refuse, source_object, transfer_object
from gateway.sandbox.provider import CallbackRules, SandboxProvider
from gateway.sandbox.service import InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.wire import (
    Answer,
    AnyRequest,
    MalformedBody,
    Refusal,
    json_answer,
    read_fields,
    text_metadata,
    whole_number,
)
from gateway.sandbox.world import World

NAME: Final = "omise"
_FORGED_KEY: Final = b"not the webhook secret of anybody"

OmiseAct = Callable[[World, dict[str, Any], Fault | None], Awaitable[Any]]


async def _answer(
    request: AnyRequest, sandbox: Sandbox, operation: str, act: OmiseAct, *, credential: str = "secret_key"
) -> Response[bytes]:
    """Authenticate, read the fields, perform `act` in the world of the key."""
    try:
        world = await _world_of(request, sandbox, credential)
        fields = await _fields(request)
        if operation == "charge" and isinstance(fields.get("card"), dict):
            # Refused before anything else: not even a fingerprint of a request with a card number is kept.
            refuse(400, "invalid_charge", "card must be a token")

        async def in_world(opened: World, fault: Fault | None) -> Answer:
            result = await act(opened, fields, fault)
            return result if isinstance(result, Answer) else json_answer(result)

        answer = await sandbox.perform(
            world,
            in_world,
            provider=NAME,
            operation=operation,
            amount_minor=whole_number(fields.get("amount")),
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as refusal:
        answer = refusal.answer
    return answer.response()


def _key(request: AnyRequest) -> str:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(encoded, validate=True).decode().removesuffix(":") if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


async def _world_of(request: AnyRequest, sandbox: Sandbox, credential: str) -> str:
    key = _key(request)
    world = await sandbox.accounts.find(NAME, credential, key) if key else None
    if world is None:
        refuse(401, "authentication_failure", "authentication failed")
    return world


async def _fields(request: AnyRequest) -> dict[str, Any]:
    try:
        return {**dict(request.query_params), **await read_fields(request)}
    except MalformedBody:
        refuse(400, "bad_request", "request body could not be read")


class OmiseVault(Controller):
    """`https://vault.omise.co`."""

    path = "/omise-vault"

    @post("/tokens", status_code=200)
    async def create_token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Turn a published test card into a single-use token; asked with the public key."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Answer:
            return await omise_cards.create_token(world, fields)

        return await _answer(request, sandbox, "token", act, credential="public_key")


class OmiseCharges(Controller):
    """Charges and what is done to them."""

    path = "/omise/charges"

    @post("/", status_code=200)
    async def create(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Charge a card or a source."""
        return await _answer(request, sandbox, "charge", omise_charges.create_charge)

    @get("/")
    async def list_(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Charges by time."""
        return await _answer(request, sandbox, "inquiry", omise_lists.charges)

    @get("/{charge_id:str}")
    async def retrieve(
        self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str]
    ) -> Response[bytes]:
        """One charge."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Any:
            return await read_charge(world, await omise_charges.find_charge(world, charge_id))

        return await _answer(request, sandbox, "inquiry", act)

    @post("/{charge_id:str}/capture", status_code=200)
    async def capture(self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str]) -> Response[bytes]:
        """Capture an authorised card."""

        async def act(world: World, fields: dict[str, Any], fault: Fault | None) -> Any:
            if fault is not None and fault.kind is FaultKind.DECLINE:
                refuse(400, "failed_capture", "capture was rejected")
            return await omise_charges.capture_charge(world, charge_id, fields)

        return await _answer(request, sandbox, "capture", act)

    @post("/{charge_id:str}/{verb:str}", status_code=200)
    async def end_or_mark(
        self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str], verb: FromPath[str]
    ) -> Response[bytes]:
        """`expire`, `reverse`, and what test mode adds: `mark_as_paid`, `mark_as_failed`."""

        async def act(world: World, _: dict[str, Any], fault: Fault | None) -> Any:
            if fault is not None and fault.kind is FaultKind.DECLINE:
                refuse(400, "failed_reversal" if verb == "reverse" else "invalid_charge", f"{verb} was rejected")
            if verb == "mark_as_paid":
                return await read_charge(world, await omise_charges.pay_charge(world, charge_id))
            ends = {"expire": "expired", "reverse": "reversed", "mark_as_failed": "failed"}
            if verb not in ends:
                refuse(404, "not_found", "the requested path was not found")
            return await omise_charges.end_charge(world, charge_id, ends[verb])

        return await _answer(request, sandbox, "cancel", act)

    @post("/{charge_id:str}/refunds", status_code=200)
    async def refund(self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str]) -> Response[bytes]:
        """Refund a card."""

        async def act(world: World, fields: dict[str, Any], fault: Fault | None) -> Any:
            return await omise_refunds.refund_charge(world, charge_id, fields, fault)

        return await _answer(request, sandbox, "refund", act)

    @get("/{charge_id:str}/refunds")
    async def list_refunds(
        self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str]
    ) -> Response[bytes]:
        """The refunds of a charge."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Any:
            return await omise_lists.refunds_of(world, charge_id, fields)

        return await _answer(request, sandbox, "inquiry", act)

    @get("/{charge_id:str}/refunds/{refund_id:str}")
    async def retrieve_refund(
        self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str], refund_id: FromPath[str]
    ) -> Response[bytes]:
        """One refund."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Any:
            row = await world.connection.fetchrow(
                "SELECT * FROM sandbox.refunds WHERE world = $1 AND charge_id = $2 AND id = $3",
                world.name,
                charge_id,
                refund_id,
            )
            return refund_object(row) if row else refuse(404, "not_found", f"refund {refund_id} was not found")

        return await _answer(request, sandbox, "inquiry", act)

    @get("/{charge_id:str}/documents/{document_id:str}/downloads/{download_token:str}")
    async def download(
        self,
        sandbox: InjectedSandbox,
        charge_id: FromPath[str],
        document_id: FromPath[str],
        download_token: FromPath[str],
    ) -> Response[bytes]:
        """The picture of a PromptPay QR; the address is the secret."""
        qr_data = await sandbox.worlds.pool.fetchval(
            "SELECT qr_data FROM sandbox.charges WHERE id = $1 AND download_token = $2", charge_id, download_token
        )
        if qr_data is None or document_id != f"docu_test_{charge_id.removeprefix('chrg_test_')}":
            return Response(b"", status_code=404, media_type="text/plain")
        return Response(emvco.picture(qr_data, "svg"), media_type="image/svg+xml")


class OmiseDisputes(Controller):
    """Disputes; what decides them stands outside the protocol."""

    path = "/omise"

    @post("/charges/{charge_id:str}/disputes", status_code=200)
    async def create(self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str]) -> Response[bytes]:
        """What test mode adds: dispute a charge."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Any:
            reason_code = str(fields.get("reason_code") or "general")
            return await omise_disputes.open_dispute(world, charge_id, reason_code=reason_code)

        return await _answer(request, sandbox, "dispute", act)

    @get(["/disputes", "/disputes/open", "/disputes/pending", "/disputes/closed"])
    async def list_(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """All disputes, or those of one kind."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Any:
            return await omise_disputes.listed(world, request.url.path.partition("/disputes")[2].strip("/"))

        return await _answer(request, sandbox, "inquiry", act)

    @get("/disputes/{dispute_id:str}")
    async def retrieve(
        self, request: AnyRequest, sandbox: InjectedSandbox, dispute_id: FromPath[str]
    ) -> Response[bytes]:
        """One dispute."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Any:
            return omise_disputes.dispute_object(await omise_disputes.find_dispute(world, dispute_id))

        return await _answer(request, sandbox, "inquiry", act)

    @patch("/disputes/{dispute_id:str}", status_code=200)
    async def answer(self, request: AnyRequest, sandbox: InjectedSandbox, dispute_id: FromPath[str]) -> Response[bytes]:
        """The merchant's message."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Any:
            return await omise_disputes.answer_dispute(world, dispute_id, fields)

        return await _answer(request, sandbox, "dispute", act)

    @patch("/disputes/{dispute_id:str}/accept", status_code=200)
    async def accept(self, request: AnyRequest, sandbox: InjectedSandbox, dispute_id: FromPath[str]) -> Response[bytes]:
        """The merchant gives in."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Any:
            return await omise_disputes.close_dispute(world, dispute_id, "lost")

        return await _answer(request, sandbox, "dispute", act)


class OmiseAccount(Controller):
    """Sources, search, balance, transactions, transfers, events."""

    path = "/omise"

    @post("/sources", status_code=200)
    async def create_source(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A PromptPay source; with the public or the secret key."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Any:
            return source_object(await omise_charges.create_source(world, fields))

        public = _key(request).startswith("pkey_")
        return await _answer(request, sandbox, "token", act, credential="public_key" if public else "secret_key")

    @get("/search")
    async def search(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Charges or refunds that carry a word as id, as description or in their metadata."""
        return await _answer(request, sandbox, "inquiry", omise_lists.search)

    @get("/balance")
    async def balance(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """What Omise holds for the merchant."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Any:
            held = await omise_balance.balance(world, world.now)
            return {
                "object": "balance",
                "livemode": False,
                "location": "/balance",
                "currency": omise_balance.CURRENCY,
                "total": held.total_minor,
                "transferable": held.transferable_minor,
                "reserve": 0,
            }

        return await _answer(request, sandbox, "statement", act)

    @post("/transfers", status_code=200)
    async def create_transfer(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A transfer by hand; the same `idemp_key` gives the first one again."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Any:
            key = fields.get("idemp_key")
            if key is not None:
                earlier = await world.connection.fetchrow(
                    "SELECT * FROM sandbox.transfers WHERE world = $1 AND idempotency_key = $2", world.name, str(key)
                )
                if earlier is not None:
                    return transfer_object(earlier)
            amount_minor = whole_number(fields.get("amount"))
            held = await omise_balance.balance(world, world.now)
            if amount_minor is None or amount_minor <= omise_balance.transfer_fee_minor(world):
                refuse(400, "invalid_amount", "amount must be larger than the transfer fee")
            if amount_minor > held.transferable_minor:
                refuse(400, "insufficient_balance", "amount is larger than the transferable balance")
            sent = await omise_balance.send_transfer(
                world,
                amount_minor,
                at=world.now,
                idempotency_key=None if key is None else str(key),
                metadata=text_metadata(fields.get("metadata")),
            )
            await omise_balance.receive_transfers(world, world.now)
            return sent

        return await _answer(request, sandbox, "transfer", act)

    @get("/transfers")
    async def list_transfers(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Transfers by time."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Any:
            return await omise_lists.by_time(world, "transfers", fields)

        return await _answer(request, sandbox, "statement", act)

    @get("/{name:str}")
    async def list_(self, request: AnyRequest, sandbox: InjectedSandbox, name: FromPath[str]) -> Response[bytes]:
        """`transactions`, `refunds`, `events` by time."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Any:
            return await omise_lists.by_time(world, name, fields)

        operation = "statement" if name == "transactions" else "inquiry"
        return await _answer(request, sandbox, operation, act)

    @get("/{name:str}/{identifier:str}")
    async def retrieve(
        self, request: AnyRequest, sandbox: InjectedSandbox, name: FromPath[str], identifier: FromPath[str]
    ) -> Response[bytes]:
        """One transaction, transfer or event."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Any:
            return await omise_lists.one(world, name, identifier)

        return await _answer(request, sandbox, "inquiry", act)


def _signed(credentials: Mapping[str, str], body: bytes, *, forged: bool) -> dict[str, str]:
    """The signature headers of an event that is sent now; a forger does not know the secret."""
    timestamp = str(int(real_now().timestamp()))
    key = _FORGED_KEY if forged else base64.b64decode(credentials["webhook_secret"])
    signature = hmac.new(key, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Omise-Signature": signature, "Omise-Signature-Timestamp": timestamp}


def _server_error() -> Answer:
    message = "request could not be completed due to an internal error"
    return json_answer(
        {
            "object": "error",
            "location": "https://www.omise.co/api-errors#internal-error",
            "code": "internal_error",
            "message": message,
        },
        500,
    )


async def _start_day(world: World, day: date) -> None:
    starts_at = datetime.combine(day, time.min, BANGKOK)
    if world.settings.omise_transfer_interval == "daily":
        await omise_balance.transfer_all(world, starts_at)
    await omise_balance.receive_transfers(world, starts_at)


async def _due(world: World) -> None:
    await omise_charges.expire_due(world)
    await omise_refunds.fail_refunds_due(world)


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset({"public_key", "secret_key", "webhook_secret"}),
    identifiers=frozenset({"public_key", "secret_key"}),
    # A QR is paid once, in full and in time, so nothing can befall `pay`.
    operations=frozenset(
        {"token", "charge", "inquiry", "cancel", "capture", "refund", "dispute", "statement", "transfer", "callback"}
    ),
    handlers=(OmiseCharges, OmiseDisputes, OmiseAccount, OmiseVault),
    server_error=_server_error,
    callbacks=CallbackRules(
        # It promises no repeat, and makes one.
        attempts_max=2,
        retry_seconds=lambda settings: settings.omise_callback_retry_seconds,
        headers=_signed,
    ),
    pay=omise_charges.pay_ordered,
    forge=omise_charges.forge,
    dispute=omise_disputes.order_dispute,
    charges=omise_charges.charges,
    start_day=_start_day,
    due=_due,
)
