"""Which cells there are: every method of every provider, every operation it has, every fault that can befall that.

Nothing here names a provider: the sandbox says which operations each has, the adapters what each method can do. A new
provider is played as soon as both know it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.providers.base import Capabilities, RefundRule
from gateway.providers.registry import ADAPTERS
from gateway.sandbox.faults import FAULTS_OF_OPERATION, FaultKind
from gateway.sandbox.registry import PROVIDERS

NOTHING: Final = "nothing"
PAID_AFTER_EXPIRY: Final = "pay_after_expiry"
PAID_TOO_MUCH: Final = "pay_too_much"
TOO_MUCH_MINOR: Final = 250_25
FORGED_UNPAID: Final = "forged_unpaid"
LATER: Final = " later"
ANOTHER_ATTEMPT: Final = "another_attempt_while_unknown"
JANITOR_AND_CALLBACK: Final = "janitor_and_callback_at_once"
SETTLED_BY_TWO: Final = "settled_by_two_people"
HARD_CASES: Final = {
    ANOTHER_ATTEMPT: "charge",
    JANITOR_AND_CALLBACK: "callback",
    SETTLED_BY_TWO: "charge",
}
"""What is made by more than a fault, see `hard_cases.py`, and the operation that it is about."""
ALONE: Final = frozenset({"token", "inquiry", "cancel", "capture", "refund"})
"""Operations whose requests may name no amount by which a fault could be told whom to strike: a book for each cell."""
FIRST_AMOUNT_MINOR: Final = 1_201_00
"""Far from the sandbox's magic amounts; each cell of a provider has an amount of its own."""
STEP_MINOR: Final = 1_13


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One payment and what befalls it.

    Attributes:
        operation: which the fault befalls; empty where nothing does.
        able: what the provider can do for the method.
        on_another_day: the money is given back after its own day: then it is no void.
        by_code: the payer shows a code where he could also go to the provider's page.
    """

    provider: str
    operation: str
    fault: str
    amount_minor: int
    able: Capabilities
    by_code: bool = False
    on_another_day: bool = False

    @property
    def name(self) -> tuple[str, str, str]:
        """How the cell is called in the table."""
        method = f"{self.able.method.value} by code" if self.by_code else self.able.method.value
        operation = "refund on another day" if self.on_another_day else self.operation
        return (method, operation or "–", self.fault)

    @property
    def ordered_fault(self) -> str:
        """What the sandbox is asked to do."""
        return FaultKind.PAY_WRONG_AMOUNT.value if self.fault == PAID_TOO_MUCH else self.fault

    @property
    def is_alone(self) -> bool:
        """Whether it needs a book of its own."""
        return self.operation in ALONE or self.fault in HARD_CASES

    @property
    def is_manual(self) -> bool:
        """Whether the money is only authorised at first."""
        return self.operation == "capture" or (self.operation == "cancel" and self.able.capture_later)

    @property
    def is_refunded(self) -> bool:
        """Whether the merchant gives the money back once it came."""
        return self.operation == "refund"


def cells_of(provider: str) -> list[Cell]:
    """Every cell of a provider, always in the same order."""
    adapter = next(adapter for adapter in ADAPTERS if adapter.name == provider)
    named = [
        (able, by_code, operation, fault)
        for able in adapter.capabilities
        for by_code in ((False, True) if able.token_optional else (able.needs == "wallet_code",))
        for operation, fault in _befalls(able, PROVIDERS[provider].operations)
    ]
    return [
        Cell(
            provider=provider,
            operation=operation.removesuffix(LATER),
            on_another_day=operation.endswith(LATER),
            fault=fault,
            amount_minor=FIRST_AMOUNT_MINOR + number * STEP_MINOR,
            able=able,
            by_code=by_code,
        )
        for number, (able, by_code, operation, fault) in enumerate(named)
    ]


def _befalls(able: Capabilities, operations: Iterable[str]) -> Iterable[tuple[str, str]]:
    yield "", NOTHING
    for operation in ("token", "charge", "inquiry", "cancel", "capture", "refund", "pay", "callback"):
        if operation in operations and _happens(able, operation):
            for fault in FaultKind:
                if fault in FAULTS_OF_OPERATION[operation]:
                    yield operation, fault.value
            if operation == "pay":
                yield operation, PAID_TOO_MUCH
            if "inquiry" in operations:
                yield from ((operation, case) for case, about in HARD_CASES.items() if about == operation)
            if operation == "refund" and able.refunds is not RefundRule.VOID_SAME_DAY:
                yield from (
                    (operation + LATER, fault.value) for fault in FaultKind if fault in FAULTS_OF_OPERATION["refund"]
                )
    if able.expiry_seconds is not None:
        yield "pay", PAID_AFTER_EXPIRY
    if "callback" in operations and able.expiry_seconds is not None:
        yield "callback", FORGED_UNPAID


def _happens(able: Capabilities, operation: str) -> bool:
    match operation:
        case "cancel":
            return able.cancelable
        case "capture":
            return able.capture_later
        case "refund":
            return able.refundable
        case _:
            return True
