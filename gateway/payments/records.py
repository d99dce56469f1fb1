"""Rows of this room as frozen values, and the only functions that lock or write them.

Lock order: intents in id order, then the book (by `post_entries`). Attempts, refunds and facts are never locked for
a change: whoever writes them holds the lock of their intent. Claiming work (`janitor.py`) only sets a lease.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, Self, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Select, Table, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Source, send
from gateway.foundation.writes import Writes
from gateway.payments import record_statements as statements
from gateway.payments.record_statements import SCHEDULE_COLUMNS
from gateway.payments.states import AttemptStatus, IntentStatus, Qualifier, RefundStatus
from gateway.payments.tables import provider_references
from gateway.providers.base import FactKind, FactSource, Method, NextAction
from gateway.providers.dispute_terms import DisputeStage

Row = TypeVar("Row", bound=msgspec.Struct)


class IntentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A payment, see `tables.intents`.

    Attributes:
        captured_minor: what the merchant was credited with; held_minor: what is held for the payer beside it.
        capture_key: ledger key of the capture entry, on which refunds draw; None until captured.
        available_on: business date on which the captured money becomes available.
        latest_attempt_id: None until it is confirmed.
        disputed_minor: what payers' banks question of it and was not decided for the merchant.
        capture_later: the attempt only authorises; capture_requested_minor: what the merchant then asked to take.
        refused_code, refused_reason: why the last confirmation was refused before anybody was asked.
        returned_minor: what of the held money went back to the payer.
        payment_link_id: the link under which the payer pays.
        accepted_minor: what of the captured money was held for the payer before the merchant took it.
        disputed_held_minor: what of the disputed money is of what is held for the payer; the rest is the merchant's.
    """

    book_id: int
    intent_id: str
    account_id: str
    livemode: bool
    amount_minor: int
    currency: str
    method: Method | None
    status: IntentStatus
    qualifiers: frozenset[Qualifier]
    version: int
    captured_minor: int
    held_minor: int
    refunded_minor: int
    refund_pending_minor: int
    capture_key: UUID | None
    available_on: date | None
    merchant_reference: str | None
    description: str
    metadata: dict[str, str]
    latest_attempt_id: str | None
    capture_later: bool
    capture_requested_minor: int | None
    capture_requested_at: datetime | None
    cancel_requested_at: datetime | None
    created_at: datetime
    expires_at: datetime | None
    customer_id: str | None = None
    refused_code: str | None = None
    refused_reason: str | None = None
    disputed_minor: int = 0
    returned_minor: int = 0
    payment_link_id: str | None = None
    accepted_minor: int = 0
    disputed_held_minor: int = 0

    @property
    def refundable_minor(self) -> int:
        """What may still be refunded: the figure that a page shows; the ledger's cap decides.

        Of a payment that is disputed in part or after a refund, what is neither refunded nor questioned.
        """
        return max(0, self.unrefunded_minor - self.questioned_minor)

    @property
    def questioned_minor(self) -> int:
        """What is disputed of the captured money."""
        return self.disputed_minor - self.disputed_held_minor

    @property
    def unrefunded_minor(self) -> int:
        """What was captured and not refunded, disputed or not."""
        return self.captured_minor - self.refunded_minor - self.refund_pending_minor


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one provider, see `tables.attempts`.

    Attributes:
        outcome: what our own calls came to; the status is this folded with the facts.
        fee_rate_ppm, fee_fixed_minor, settlement_days, late_grace_seconds: the merchant's terms when it was made.
        due_at: business time at which the janitor asks next; asks: how often it has.
        leased_until: real time until which somebody is on it.
        counted: whether its amount is in the account's usage, see `limits.py`.
        capture_days_max: the provider's, where it only authorises; capture_before: when that is over, once authorised.
        capture_warned_at: when the merchant was told that it soon is.
    """

    book_id: int
    attempt_id: str
    intent_id: str
    provider: str
    method: Method
    amount_minor: int
    currency: str
    provider_key: str
    provider_reference: str | None
    status: AttemptStatus
    outcome: AttemptStatus
    version: int
    next_action: NextAction | None
    failure_code: str | None
    provider_code: str | None
    fee_rate_ppm: int
    fee_fixed_minor: int
    settlement_days: int
    created_at: datetime
    expires_at: datetime | None
    asks: int
    due_at: datetime | None
    leased_until: datetime | None
    counted: bool
    capture_days_max: int | None = None
    capture_before: datetime | None = None
    capture_warned_at: datetime | None = None
    late_grace_seconds: int = 0


class FactRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fact as it was recorded and booked, see `tables.facts`."""

    book_id: int
    provider: str
    kind: FactKind
    provider_transaction_id: str
    fact_id: str
    intent_id: str
    attempt_id: str | None
    refund_id: str | None
    provider_reference: str
    amount_minor: int
    currency: str
    captured_minor: int
    held_minor: int
    provider_fee_minor: int | None
    provider_fee_vat_minor: int | None
    failure_code: str | None
    provider_code: str | None
    source: FactSource
    occurred_at: datetime
    recorded_at: datetime
    dispute_id: str | None = None
    dispute_stage: DisputeStage | None = None


class RefundRow(msgspec.Struct, frozen=True, kw_only=True):
    """A refund, see `tables.refunds`.

    Attributes:
        capture_key: ledger key of the capture entry that it draws on; charge_reference: the provider's charge;
            charge_key: the provider key of its attempt.
        captured_minor, captured_at: what the payment took and when: providers void on the same day, refund later.
        reserve_pending_until, reserve_effective_on: decided when it was asked for, so that every retry of the
            reserve is the same entry.
        available_on: business date on which the money that it draws on becomes available.
        claim_id: the claim by which the payer gets it; None where the provider gives it back.
    """

    book_id: int
    refund_id: str
    account_id: str
    livemode: bool
    intent_id: str
    attempt_id: str
    provider: str
    provider_key: str
    charge_reference: str
    charge_key: str
    method: Method
    captured_minor: int
    captured_at: datetime
    amount_minor: int
    currency: str
    status: RefundStatus
    outcome: RefundStatus
    version: int
    reason: str
    metadata: dict[str, str]
    failure_code: str | None
    provider_code: str | None
    capture_key: UUID
    available_on: date
    reserve_pending_until: date | None
    reserve_effective_on: date
    created_at: datetime
    asks: int
    due_at: datetime | None
    leased_until: datetime | None
    claim_id: str | None = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider reference stands for: an attempt or a refund, and the intent of either."""

    intent_id: str
    attempt_id: str | None = None
    refund_id: str | None = None


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A change of status, written beside it: who, why, by which fact, to which version."""

    subject_id: str
    object: str
    version: int
    from_status: str
    to_status: str
    actor: str
    reason: str
    fact_id: str | None = None


class Spoken(Subject, frozen=True, kw_only=True):
    """A reference that a provider gave something, and what it stands for."""

    provider: str
    reference: str


async def lock_intents(connection: AsyncConnection, book_id: int, intent_ids: Iterable[str]) -> list[IntentRow]:
    """The intents, locked in id order until the transaction ends. Absent ones are left out."""
    rows, _ = await lock_spoken_of(connection, book_id, intent_ids, [])
    return rows


async def lock_spoken_of(
    connection: AsyncConnection, book_id: int, intent_ids: Iterable[str], references: Iterable[tuple[str, str]]
) -> tuple[list[IntentRow], dict[tuple[str, str], Subject]]:
    """Locks intents by id, and by what providers call them; in id order, until the transaction ends.

    Args:
        connection: in a transaction.
        book_id: their book; ids and references of other books are unknown here.
        intent_ids: may be absent.
        references: (provider, reference) pairs.

    Returns:
        the intents, and what those pairs that are known stand for.
    """
    wanted = set(references)
    parameters = _of_book(book_id, intent_ids) | {"spoken_references": sorted({reference for _, reference in wanted})}
    found = await send(connection, statements.LOCK_INTENTS, parameters)
    rows = [_INTENT.decode(row["intent"]) for row in found]
    spoken = [each for row in found if row["spoken"] is not None for each in _SPOKEN.decode(row["spoken"])]
    known = {
        (each.provider, each.reference): Subject(
            intent_id=each.intent_id, attempt_id=each.attempt_id, refund_id=each.refund_id
        )
        for each in spoken
    }
    return rows, {pair: subject for pair, subject in known.items() if pair in wanted}


async def intent_with_latest(
    source: Source, book_id: int, account_id: str, intent_id: str
) -> tuple[IntentRow, AttemptRow | None] | None:
    """The account's intent and its latest attempt, as they were at one moment; None where it has no such intent.

    One statement: a change between two would pair an intent with an attempt that it never had that way.
    """
    parameters = {"book_id": book_id, "account_id": account_id, "intent_id": intent_id}
    rows = await send(source, statements.INTENT_WITH_LATEST, parameters)
    if not rows:
        return None
    [row] = rows
    return _INTENT.decode(row["intent"]), None if row["latest"] is None else _ATTEMPT.decode(row["latest"])


async def attempts_of(connection: AsyncConnection, book_id: int, intent_ids: Iterable[str]) -> list[AttemptRow]:
    """All attempts of the intents, oldest first."""
    return await rows_of(connection, statements.ATTEMPTS_OF, AttemptRow, _of_book(book_id, intent_ids))


async def attempts_by_id(connection: AsyncConnection, book_id: int, attempt_ids: Iterable[str]) -> list[AttemptRow]:
    """The attempts with these ids."""
    return await rows_of(connection, statements.ATTEMPTS_BY_ID, AttemptRow, _of_book(book_id, attempt_ids))


async def facts_of(connection: AsyncConnection, book_id: int, intent_ids: Iterable[str]) -> list[FactRow]:
    """All facts of the intents and of their refunds."""
    return await rows_of(connection, statements.FACTS_OF, FactRow, _of_book(book_id, intent_ids))


async def refunds_by_id(connection: AsyncConnection, book_id: int, refund_ids: Iterable[str]) -> list[RefundRow]:
    """The refunds with these ids."""
    return await rows_of(connection, statements.REFUNDS_BY_ID, RefundRow, _of_book(book_id, refund_ids))


async def add_rows(connection: AsyncConnection, table: Table, rows: Sequence[msgspec.Struct]) -> None:
    """Insert rows."""
    await RowWrites().insert(table, rows).send(connection)


async def replace_rows(connection: AsyncConnection, table: Table, rows: Sequence[msgspec.Struct]) -> None:
    """Write rows whose intent the caller has locked; all but the columns of the schedule, which belong to leases."""
    await RowWrites().replace(table, rows).send(connection)


async def add_moves(connection: AsyncConnection, book_id: int, moves: Sequence[Move], moved_at: datetime) -> None:
    """Write the moves, see `RowWrites.move`."""
    await RowWrites().move(book_id, moves, moved_at).send(connection)


class RowWrites(Writes):
    """What a transaction of this room writes, as one statement."""

    def __init__(self) -> None:
        super().__init__()
        self._moves: Sequence[Move] = ()

    def replace(
        self,
        table: Table,
        rows: Sequence[msgspec.Struct],
        *,
        answered: Iterable[str] = (),
        ended: Iterable[str] = (),
    ) -> Self:
        """Rows whose intent the caller has locked.

        The columns of the schedule belong to leases and stay, but for what is known now.

        Args:
            table: with these rows' columns.
            rows: as they are to be, each once.
            answered: ids of those of them whose lease is over; ended: of those that need no further question.
        """
        over, ended = set(answered), set(ended)
        if not over | ended:
            return self.update(table, rows, untouched=SCHEDULE_COLUMNS)
        return self.update(table, rows, untouched=["asks"], cleared={"leased_until": over | ended, "due_at": ended})

    def refer(self, references: Iterable[tuple[int, str, str, Subject]]) -> Self:
        """What a provider calls an attempt or refund: (book, provider, reference, what it stands for).

        A reference that is known stays as it is.
        """
        rows = [
            {"provider": provider, "reference": reference, "book_id": book_id, **msgspec.structs.asdict(subject)}
            for book_id, provider, reference, subject in sorted(references, key=lambda row: row[1:3])
        ]
        return self.insert(provider_references, rows, known_ones_stay=True)

    def move(self, book_id: int, moves: Sequence[Move], moved_at: datetime) -> Self:
        """Changes of status; each is joined to the table of legal moves, so an illegal one would be missing."""
        if moves:
            self._moves = moves
            written = {"moves_of_book": book_id, "moved_at": moved_at, "moves": msgspec.json.encode(moves).decode()}
            self.also("moved", statements.INSERT_MOVES, written, _Moved)
        return self

    async def send(self, source: Source) -> dict[str, list[Any]]:
        """Write everything, see `Writes.send`.

        Raises:
            AssertionError: a move is not legal. Our bug; nothing may be committed.
        """
        returned = await super().send(source)
        assert len(returned.get("moved", ())) == len(self._moves), f"an illegal move among {self._moves}"
        return returned


class _Moved(msgspec.Struct):
    version: int


async def rows_of(
    connection: AsyncConnection,
    statement: Select[Any] | TextClause,
    kind: type[Row],
    parameters: Mapping[str, Any] | None = None,
) -> list[Row]:
    """The rows of a statement as values."""
    result = await connection.execute(statement, parameters)
    names = kind.__struct_fields__
    return [msgspec.convert({name: row[name] for name in names}, kind) for row in result.mappings()]


def _of_book(book_id: int, values: Iterable[str]) -> dict[str, Any]:
    """Parameters of statements that look for `wanted`."""
    return {"of_book": book_id, "wanted": sorted(set(values))}


_INTENT: Final = msgspec.json.Decoder(IntentRow)
_ATTEMPT: Final = msgspec.json.Decoder(AttemptRow)
_SPOKEN: Final = msgspec.json.Decoder(list[Spoken])
