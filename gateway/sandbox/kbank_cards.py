"""KBank's card product (KGP v2) below `/kbank/kgp`: tokens of the browser, charges, voids, refunds, webhooks.

ASSUMED throughout, as the adapter's document says: error codes, the shape of `refund_info`, `reference_order` in the
charge object, the browser's call for a token.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeAlias

from litestar import Controller, Response, get, post
from litestar.params import FromPath

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import acquirer, callbacks
from gateway.sandbox.acquirer import Rail
from gateway.sandbox.cards import CardRefused, keep_token, use_token
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.kbank_settlement import is_settled
from gateway.sandbox.kbank_wire import NAME, Fields, amount, answer, encoded, number, read_json, text
from gateway.sandbox.service import InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.wire import Answer, AnyRequest, MalformedBody, Refusal, Row, read_fields, short_id
from gateway.sandbox.world import World

METHOD: Final = "card"
TOKEN_PREFIX: Final = "tokn_kgp_"  # noqa: S105 - the name of a kind
"""Tokens of other vaults are kept in the same table; none of theirs can be charged here."""
TOKEN_LIFE: Final = timedelta(minutes=10)
SECURED_DIGITS: Final = frozenset({"5741", "5005"})
"""Last digits of the published test cards whose holder must pass 3-D Secure; the control interface pays for him."""
SECURED_LIFE: Final = timedelta(minutes=15)
"""ASSUMED: how long a holder may take before the charge is declined."""
FORGERS_KEY: Final = "not the secret key of anybody"
REFUSED_WORDS: Final = frozenset({"refund_refused", "not_refundable", "not_voidable", "not_settled", "already_settled"})
FAILURES: Final = frozenset({"insufficient_fund", "stolen_or_lost_card", "failed_processing", "payment_rejected"})
CHARGE_FIELDS: Final = frozenset(
    {"amount", "currency", "description", "source_type", "mode", "token", "reference_order", "ref_1", "ref_2", "ref_3"}
)

CardAct: TypeAlias = Callable[[World, Fields, Fault | None], Awaitable[Any]]


def charge_id_of(_: World, charge: Row) -> str:
    """A card is paid once, so its payment has the charge's id."""
    return str(charge["id"])


RAIL: Final = Rail(rate=acquirer.CARD.rate, identifier=charge_id_of)


def _refuse(status: int, code: str, message: str) -> NoReturn:
    raise Refusal(answer({"object": "error", "code": code, "message": message}, status))


class KgpVault(Controller):
    """What `kpayment.min.js` calls."""

    path = "/kbank/kgp/ui/v2"

    @post("/token", status_code=200)
    async def create_token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Turn a published test card into a single-use token; asked with the public key."""
        try:
            world_name = await _world_of(request, sandbox, "kgp_public_key")
            try:
                card = await read_fields(request)
            except MalformedBody:
                _refuse(400, "invalid_request", "the body could not be read")

            async def act(world: World, _: Fault | None) -> Answer:
                return await _keep(world, card)

            replied = await sandbox.perform(world_name, act, provider=NAME, operation="token")
        except Refusal as refusal:
            replied = refusal.answer
        return replied.response()


class KgpCharges(Controller):
    """`https://dev-kpaymentgateway-services.kasikornbank.com`."""

    path = "/kbank/kgp/card/v2/charge"

    @post("/", status_code=200)
    async def create(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Charge a token."""
        return await _answer(request, sandbox, "charge", _charge)

    @get(["/{reference:str}", "/{reference:str}/{on:str}"])
    async def retrieve(
        self, request: AnyRequest, sandbox: InjectedSandbox, reference: FromPath[str]
    ) -> Response[bytes]:
        """A charge by its id or by the merchant's order."""

        async def act(world: World, _: Fields, __: Fault | None) -> Any:
            return await charge_object(world, await _find(world, reference))

        return await _answer(request, sandbox, "inquiry", act)

    @post("/{charge_id:str}/Void", status_code=200)
    async def void(self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str]) -> Response[bytes]:
        """Undo a charge of the day before the night run."""

        async def act(world: World, fields: Fields, fault: Fault | None) -> Any:
            return await _void(world, charge_id, fields, fault)

        return await _answer(request, sandbox, "refund", act, about=charge_id)

    @post("/{charge_id:str}/refund", status_code=200)
    async def refund(self, request: AnyRequest, sandbox: InjectedSandbox, charge_id: FromPath[str]) -> Response[bytes]:
        """Give back a part or all of a settled charge."""

        async def act(world: World, fields: Fields, fault: Fault | None) -> Any:
            return await _refund(world, charge_id, fields, fault)

        return await _answer(request, sandbox, "refund", act)


async def _answer(
    request: AnyRequest, sandbox: Sandbox, operation: str, act: CardAct, *, about: str | None = None
) -> Response[bytes]:
    try:
        world_name = await _world_of(request, sandbox, "kgp_secret_key")
        fields = await read_json(request) if request.method == "POST" else {}
        if fields is None:
            _refuse(400, "invalid_request", "the body is not a JSON object")
        if operation == "charge" and not fields.keys() <= CHARGE_FIELDS | {"additional_data"}:
            # Refused before anything else: not even a fingerprint of a request with a card number is kept.
            _refuse(400, "invalid_request", "a field is not known")

        async def in_world(world: World, fault: Fault | None) -> Answer:
            return answer(await act(world, fields, fault))

        replied = await sandbox.perform(
            world_name,
            in_world,
            provider=NAME,
            operation=operation,
            amount_minor=amount(fields, "amount") if about is None else await _amount_of(sandbox, world_name, about),
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as refusal:
        replied = refusal.answer
    return replied.response()


async def _world_of(request: AnyRequest, sandbox: Sandbox, credential: str) -> str:
    key = request.headers.get("x-api-key", "")
    world_name = await sandbox.accounts.find(NAME, credential, key) if key else None
    if world_name is None:
        _refuse(401, "authentication_failure", "x-api-key is missing or wrong")
    return world_name


async def _amount_of(sandbox: Sandbox, world_name: str, charge_id: str) -> int | None:
    found: int | None = await sandbox.worlds.pool.fetchval(
        "SELECT amount_minor FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2 AND id = $3",
        world_name,
        NAME,
        charge_id,
    )
    return found


async def _keep(world: World, card: Mapping[str, Any]) -> Answer:
    token_id, card_id = TOKEN_PREFIX + short_id("T").lower(), "card_test_" + short_id("C").lower()
    try:
        row = await keep_token(
            world,
            token_id=token_id,
            card_id=card_id,
            number=card.get("number"),
            name=card.get("name"),
            month=card.get("expiration_month"),
            year=card.get("expiration_year"),
        )
    except CardRefused as refused:
        _refuse(400, "invalid_card", str(refused))
    return answer({"id": row["id"], "object": "token", "card": {"id": card_id, "brand": row["brand"]}})


async def _charge(world: World, fields: Fields, fault: Fault | None) -> Any:
    amount_minor = amount(fields, "amount")
    if amount_minor is None:
        _refuse(400, "invalid_amount", "amount is not one in baht")
    wanted = {"currency": "THB", "source_type": "card", "mode": "token"}
    reference, token_id = text(fields, "reference_order", 20), text(fields, "token", 100)
    if any(text(fields, name, 20) != value for name, value in wanted.items()):
        _refuse(400, "invalid_request", "only THB, source_type card and mode token are played")
    if reference is None or token_id is None or text(fields, "description", 255) is None:
        _refuse(400, "invalid_request", "reference_order, token or description is missing or too long")
    if await acquirer.by_reference(world, NAME, reference):
        _refuse(400, "duplicate_reference_order", "reference_order was used before")
    token = await _use(world, token_id)
    failure = _failure(token, fault)
    secured = failure is None and token["last_digits"] in SECURED_DIGITS
    charge = await acquirer.create(
        world,
        NAME,
        identifier="chrg_test_" + short_id("K").lower(),
        reference=reference,
        method=METHOD,
        amount_minor=amount_minor,
        expires_at=world.now + SECURED_LIFE if secured else None,
        status="pending" if failure is None else "failed",
        failure_code=failure,
        details={
            "card_id": token["card_id"],
            "brand": token["brand"].upper(),
            "last_digits": token["last_digits"],
            "description": text(fields, "description", 255),
        },
    )
    if failure is None and not secured:
        charge, payment = await acquirer.capture(world, charge, amount_minor, RAIL, identifier=charge["id"])
        await notify(world, charge, payment)
    return await charge_object(world, charge)


async def _use(world: World, token_id: str) -> Row:
    known = await world.connection.fetchrow(
        "SELECT used, created_at FROM sandbox.card_tokens WHERE world = $1 AND id = $2", world.name, token_id
    )
    if known is None or not token_id.startswith(TOKEN_PREFIX) or known["created_at"] + TOKEN_LIFE <= world.now:
        _refuse(400, "invalid_token", "the token is unknown or too old")
    token = await use_token(world, token_id)
    if token is None:
        _refuse(400, "used_token", "the token was used before")
    return token


def _failure(token: Row, fault: Fault | None) -> str | None:
    if fault is not None and fault.kind is FaultKind.DECLINE:
        return fault.code if fault.code in FAILURES else "payment_rejected"
    found: str | None = token["failure_code"]
    return found


async def _find(world: World, reference: str) -> Row:
    charge = await acquirer.find(world, NAME, reference)
    if charge is None or charge["method"] != METHOD:
        _refuse(404, "not_found", "no such charge")
    return charge


async def _void(world: World, charge_id: str, fields: Fields, fault: Fault | None) -> Any:
    charge = await _find(world, charge_id)
    if fault is not None and fault.kind is FaultKind.DECLINE:
        _refuse_on_demand(fault)
    if charge["status"] != "captured":
        _refuse(400, "not_voidable", "the charge holds no money")
    if await acquirer.movements_of(world, charge, "void"):
        _refuse(400, "already_voided", "the charge was voided before")
    (payment,) = await acquirer.movements_of(world, charge, "payment")
    if is_settled(world, payment):
        _refuse(400, "already_settled", "the charge is settled; refund it")
    charge, _ = await acquirer.give_back(
        world,
        charge,
        charge["captured_minor"],
        kind="void",
        identifier=f"{charge['id']}-void",
        reference=text(fields, "reason", 255) or "",
    )
    return await charge_object(world, charge)


async def _refund(world: World, charge_id: str, fields: Fields, fault: Fault | None) -> Any:
    charge = await _find(world, charge_id)
    amount_minor, reason = amount(fields, "amount"), text(fields, "reason", 255)
    if amount_minor is None or reason is None:
        _refuse(400, "invalid_request", "amount or reason is missing")
    if fault is not None and fault.kind is FaultKind.DECLINE:
        _refuse_on_demand(fault)
    if charge["status"] != "captured" or await acquirer.movements_of(world, charge, "void"):
        _refuse(400, "not_refundable", "the charge holds no money")
    (payment,) = await acquirer.movements_of(world, charge, "payment")
    if not is_settled(world, payment):
        _refuse(400, "not_settled", "the charge is not settled; void it")
    if amount_minor > charge["captured_minor"] - charge["returned_minor"]:
        _refuse(400, "amount_exceeds_charge", "more than is left of the charge")
    charge, _ = await acquirer.give_back(
        world,
        charge,
        amount_minor,
        kind="refund",
        identifier="rfnd_test_" + short_id("R").lower(),
        reference=reason,
    )
    return await charge_object(world, charge)


def _refuse_on_demand(fault: Fault) -> NoReturn:
    code = fault.code if fault.code in REFUSED_WORDS else "refund_refused"
    _refuse(400, code, "refused on demand")


async def charge_object(world: World, charge: Row) -> dict[str, Any]:
    """The charge as KGP shows it."""
    details, movements = charge["details"], await acquirer.movements_of(world, charge)
    failed = charge["status"] not in {"pending", "captured"}
    pending = charge["status"] == "pending"
    return {
        "id": charge["id"],
        "object": "charge",
        "amount": number(charge["amount_minor"]),
        "currency": "THB",
        "transaction_state": _state(world, charge, movements),
        "source": {
            "id": details["card_id"],
            "object": "card",
            "brand": details["brand"],
            "card_masking": f"xxxxxxxxxxxx{details['last_digits']}",
            "issuer_bank": "TEST BANK",
        },
        "created": charge["created_at"].astimezone(BANGKOK).strftime("%Y%m%d%H%M%S%f")[:17],
        "reference_order": charge["reference"],
        "description": details["description"],
        "status": "fail" if failed else "success",
        "approval_code": _approval_code(charge) if charge["status"] == "captured" else "",
        "livemode": False,
        "metadata": {},
        "failure_code": (charge["failure_code"] or "authentication_failed") if failed else None,
        "failure_message": "the card was declined" if failed else None,
        "redirect_url": f"{world.sandbox_url}/kbank/kgp/ui/v2/secure/{charge['id']}" if pending else None,
        "settlement_info": None,
        "refund_info": [_refund_item(row) for row in movements if row["kind"] == "refund"] or None,
    }


def _state(world: World, charge: Row, movements: list[Row]) -> str:
    if charge["status"] == "pending":
        return "Pre-Authorized"
    if charge["status"] != "captured":
        return "Declined"
    if any(row["kind"] == "void" for row in movements):
        return "Voided"
    if charge["returned_minor"] == charge["captured_minor"]:
        return "Refunded"
    payment = next(row for row in movements if row["kind"] == "payment")
    return "Settled" if is_settled(world, payment) else "Authorized"


def _refund_item(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "amount": number(row["amount_minor"]),
        "state": "Refund Sent",
        "reason": row["reference"],
        "created": row["occurred_at"].astimezone(BANGKOK).strftime("%Y%m%d%H%M%S%f")[:17],
    }


def _approval_code(charge: Row) -> str:
    return hashlib.sha256(charge["id"].encode()).hexdigest()[:6].upper()


async def notify(world: World, charge: Row, payment: Row) -> None:
    """Queue the webhook of a paid charge; a forger does not know the secret key."""
    key = world.credentials(NAME)["kgp_secret_key"]
    said = await charge_object(world, charge)
    await callbacks.enqueue(
        world,
        provider=NAME,
        subject=f"paid {payment['id']}",
        amount_minor=payment["amount_minor"],
        body=signed(said, key),
        forged_body=signed(said, FORGERS_KEY),
    )


async def forged(world: World, charge: Row) -> bytes:
    """A webhook that says the charge was paid, sealed with another key."""
    said = await charge_object(world, charge)
    return signed({**said, "status": "success", "transaction_state": "Authorized"}, FORGERS_KEY)


def signed(charge: Mapping[str, Any], secret_key: str) -> bytes:
    """The charge with its checksum: a plain SHA-256, the amount with four decimals."""
    parts = (charge["id"], f"{charge['amount']:.4f}", charge["currency"], charge["status"])
    sealed = "".join((*parts, charge["transaction_state"], secret_key))
    return encoded({**charge, "checksum": hashlib.sha256(sealed.encode()).hexdigest()})
