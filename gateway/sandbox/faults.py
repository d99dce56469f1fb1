"""Faults on demand: brought by the request itself, ordered for the next n operations of a world, or by a magic amount.

An ordered fault names provider, operation and, if wanted, the amount it waits for. A magic amount (7,770.01 THB and
its neighbours) does the same without any order, once for each request body, so that a retry of the same request
finds the provider well again.
"""

from enum import StrEnum
from typing import Final

import msgspec

from gateway.foundation import test_faults
from gateway.foundation.ids import uuid7, uuid_to_text
from gateway.sandbox.wire import Answer
from gateway.sandbox.world import World

HOLD_SECONDS: Final = 30
"""How long an answer is held back unless the order says: longer than any client waits."""
SLOW_SECONDS: Final = 2
"""How long a slow answer takes: any client waits for it."""


class FaultKind(StrEnum):
    """Everything that can be made to go wrong."""

    DECLINE = "decline"
    SLOW = "slow"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    SERVER_ERROR = "server_error"
    MALFORMED = "malformed"
    CALLBACK_DUPLICATE = "callback_duplicate"
    CALLBACK_LATE = "callback_late"
    CALLBACK_FORGED = "callback_forged"
    CALLBACK_LOST = "callback_lost"
    CALLBACK_REORDERED = "callback_reordered"
    PAY_WRONG_AMOUNT = "pay_wrong_amount"
    PAY_TWICE = "pay_twice"
    REFUND_FAILS_LATER = "refund_fails_later"
    PAYOUT_RETURNED = "payout_returned"


_REQUEST_FAULTS: Final = frozenset(
    {FaultKind.SLOW, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.SERVER_ERROR, FaultKind.MALFORMED}
)
FAULTS_OF_OPERATION: Final[dict[str, frozenset[FaultKind]]] = {
    "token": _REQUEST_FAULTS,
    "charge": _REQUEST_FAULTS | {FaultKind.DECLINE},
    "inquiry": _REQUEST_FAULTS,
    "cancel": _REQUEST_FAULTS | {FaultKind.DECLINE},
    "capture": _REQUEST_FAULTS | {FaultKind.DECLINE},
    "refund": _REQUEST_FAULTS | {FaultKind.DECLINE, FaultKind.REFUND_FAILS_LATER},
    "dispute": _REQUEST_FAULTS,
    "statement": _REQUEST_FAULTS,
    "transfer": _REQUEST_FAULTS,
    "payment_file": _REQUEST_FAULTS,
    "payout": frozenset({FaultKind.PAYOUT_RETURNED}),
    "pay": frozenset({FaultKind.PAY_WRONG_AMOUNT, FaultKind.PAY_TWICE}),
    "callback": frozenset(
        {
            FaultKind.CALLBACK_DUPLICATE,
            FaultKind.CALLBACK_LATE,
            FaultKind.CALLBACK_FORGED,
            FaultKind.CALLBACK_LOST,
            FaultKind.CALLBACK_REORDERED,
        }
    ),
}
"""Which faults can befall which operation."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that has struck.

    Attributes:
        code: the provider's failure code of a decline; seconds: of a hold or a delay, real time.
        paid_minor: what a payer of the wrong amount pays.
    """

    kind: FaultKind
    code: str | None = None
    seconds: float | None = None
    paid_minor: int | None = None


MAGIC_AMOUNTS: Final[dict[int, tuple[str, Fault]]] = {
    7_770_01: ("charge", Fault(kind=FaultKind.DECLINE, code="insufficient_fund")),
    7_770_02: ("charge", Fault(kind=FaultKind.DECLINE, code="stolen_or_lost_card")),
    7_770_03: ("charge", Fault(kind=FaultKind.DECLINE, code="failed_processing")),
    7_770_04: ("charge", Fault(kind=FaultKind.DECLINE, code="payment_rejected")),
    7_770_11: ("charge", Fault(kind=FaultKind.TIMEOUT_BEFORE)),
    7_770_12: ("charge", Fault(kind=FaultKind.TIMEOUT_AFTER)),
    7_770_13: ("charge", Fault(kind=FaultKind.SERVER_ERROR)),
    7_770_14: ("charge", Fault(kind=FaultKind.MALFORMED)),
    7_770_15: ("charge", Fault(kind=FaultKind.SLOW)),
    7_770_21: ("callback", Fault(kind=FaultKind.CALLBACK_DUPLICATE)),
    7_770_22: ("callback", Fault(kind=FaultKind.CALLBACK_LATE)),
    7_770_23: ("callback", Fault(kind=FaultKind.CALLBACK_FORGED)),
    7_770_24: ("callback", Fault(kind=FaultKind.CALLBACK_LOST)),
    7_770_25: ("callback", Fault(kind=FaultKind.CALLBACK_REORDERED)),
    7_770_31: ("pay", Fault(kind=FaultKind.PAY_WRONG_AMOUNT)),
    7_770_32: ("pay", Fault(kind=FaultKind.PAY_TWICE)),
    7_770_41: ("refund", Fault(kind=FaultKind.REFUND_FAILS_LATER)),
    7_770_42: ("refund", Fault(kind=FaultKind.DECLINE, code="failed_refund")),
    7_770_51: ("payout", Fault(kind=FaultKind.PAYOUT_RETURNED)),
}
"""Amount in satang → the operation that it spoils, and how."""


async def order(
    world: World, *, provider: str, operation: str, fault: Fault, times: int, amount_minor: int | None
) -> str:
    """Let a fault befall the next `times` operations; returns its id."""
    identifier = f"fault_{uuid_to_text(uuid7())}"
    await world.connection.execute(
        "INSERT INTO sandbox.faults (world, id, provider, operation, fault, remaining, amount_minor, parameters) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        world.name,
        identifier,
        provider,
        operation,
        fault.kind,
        times,
        amount_minor,
        msgspec.to_builtins(fault),
    )
    return identifier


async def strike(
    world: World, *, provider: str, operation: str, amount_minor: int | None, fingerprint: str
) -> Fault | None:
    """The fault that befalls this operation: what its own request brought, the oldest order that fits, a magic amount.

    Args:
        world: locked, so no fault strikes twice.
        provider: who is asked.
        operation: one of `FAULTS_OF_OPERATION`.
        amount_minor: the operation's amount, if it has one.
        fingerprint: the same for every retry of one request.
    """
    brought = test_faults.take(operation)
    if brought in FAULTS_OF_OPERATION[operation]:
        return Fault(kind=FaultKind(brought))
    if world.has_faults:
        row = await world.connection.fetchrow(
            "UPDATE sandbox.faults SET remaining = remaining - 1 WHERE world = $1 AND id = ("
            " SELECT id FROM sandbox.faults WHERE world = $1 AND provider = $2 AND operation = $3 AND remaining > 0"
            " AND (amount_minor IS NULL OR amount_minor = $4) ORDER BY id LIMIT 1) RETURNING parameters",
            world.name,
            provider,
            operation,
            amount_minor,
        )
        if row is not None:
            return msgspec.convert(row["parameters"], Fault)
    spoiled, fault = MAGIC_AMOUNTS.get(amount_minor or 0, ("", None))
    if spoiled != operation:
        return None
    first = await world.connection.fetchval(
        "INSERT INTO sandbox.magic_amounts_used (world, operation, fingerprint) VALUES ($1, $2, $3) "
        "ON CONFLICT DO NOTHING RETURNING true",
        world.name,
        operation,
        fingerprint,
    )
    return fault if first else None


def cut_off(answer: Answer) -> Answer:
    """The first half of an answer: no parser takes it."""
    return Answer(status=answer.status, body=answer.body[: len(answer.body) // 2], media_type=answer.media_type)
