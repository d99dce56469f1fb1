"""Credits on our bank account that nobody knows: noted in the books as nobody's, then assigned to whom they belong.

A person notes a line of the bank's statement that no pass matched; later a person assigns it, whole, to a payment or
to a merchant. A payment takes it as any receipt: it is paid, or the money is held for its payer. Rows are committed
first, the books follow under keys of the row; `run_once` finishes what a crash left. Locks: the receipt's rows.
"""

from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Select, Table, and_, func, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import entry_key, new_id
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import UNIDENTIFIED_RECEIPTS_MINOR
from gateway.merchants import provider_accounts
from gateway.merchants.clocks import clock_of
from gateway.merchants.operators import record_act
from gateway.merchants.tables import accounts
from gateway.payments.calls import subject_of
from gateway.payments.entries import metadata_of
from gateway.payments.errors import NotFound, Refused
from gateway.payments.facts import FactApplier
from gateway.payments.findings import Finding
from gateway.payments.records import add_rows, attempts_by_id, lock_intents, rows_of
from gateway.providers.base import Fact, FactKind, FactSource
from gateway.settlement.confirmations import BANK_LINE_SCHEME
from gateway.settlement.files import BANK
from gateway.settlement.payouts import SYSTEM
from gateway.settlement.rounds import AT_ONCE, Rounds
from gateway.settlement.tables import receipt_assignments, receipts
from ledger.journal import ExternalReference, Posted
from ledger.posting import Ledger
from ledger.posting_rules.receipts import receipt_credited, unidentified_credit

TargetKind = Literal["payment", "merchant"]
_OPEN_LINE: Final = text("""
    SELECT line.amount_minor, line.currency, line.value_on, line.occurred_at
    FROM reconciliation.open_lines AS line
    WHERE line.book_id = :book_id AND line.line_id = :line_id AND line.side = 'bank' AND line.kind = 'credit'
      AND line.amount_minor > 0 AND line.provider IS NULL
""")

_log = get_logger("quickkub.receipts")


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A noted credit, see `tables.receipts`; `paid_at` is the start of its value date where the line has no time."""

    book_id: int
    receipt_id: str
    line_id: str
    bank: str
    amount_minor: int
    currency: str
    value_on: date
    paid_at: datetime
    noted_by: str
    reason: str
    noted_at: datetime
    posted: bool


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a receipt belongs to, see `tables.receipt_assignments`."""

    book_id: int
    receipt_id: str
    target_kind: TargetKind
    target_id: str
    assigned_by: str
    reason: str
    assigned_at: datetime
    posted: bool


class Receipts:
    """The use cases of receipts. `actor` is `op_…`, or `cli:` and a login of the machine."""

    def __init__(self, database: Database, vault: Vault, ledger: Ledger, applier: FactApplier) -> None:
        self._database = database
        self._vault = vault
        self._ledger = ledger
        self._applier = applier
        self._noted_rounds, self._assigned_rounds = Rounds(), Rounds()

    async def note(self, book_id: int, line_id: str, *, actor: str, reason: str) -> Receipt:
        """Take a credit on the bank's statement for money of nobody known. Safe to repeat.

        Raises:
            NotFound: no open credit of the bank's statement has that id.
            LedgerBusy, OutcomeUnknown: it is noted; the books follow by themselves.
        """
        async with self._database.read() as connection:
            receipt = await _receipt_of(connection, book_id, line_id=line_id)
        if receipt is None:
            receipt = await self._noted(book_id, line_id, actor, reason)
        await self._post_receipt(receipt)
        return msgspec.structs.replace(receipt, posted=True)

    async def assign(
        self, book_id: int, receipt_id: str, target_kind: TargetKind, target_id: str, *, actor: str, reason: str
    ) -> tuple[Receipt, Assignment]:
        """Say whose a receipt is: a payment's, which takes it as it takes any money, or a merchant's. Safe to repeat.

        Raises:
            NotFound: the book has no such receipt, payment or merchant.
            Refused: `receipt_assigned` (to somebody else), `receipt_not_assignable` (a payment that was never tried,
                or of another currency); in this order.
            LedgerBusy, OutcomeUnknown: it is assigned; the books follow by themselves.
        """
        async with self._database.transaction() as connection:
            receipt = await _receipt_of(connection, book_id, receipt_id=receipt_id)
            if receipt is None:
                raise NotFound(f"no receipt {receipt_id}")
            known = await _assignment_of(connection, book_id, receipt_id)
            if known is not None and (known.target_kind, known.target_id) != (target_kind, target_id):
                raise Refused("receipt_assigned", f"it is assigned to {known.target_id}")
            if known is None:
                await _check_target(connection, receipt, target_kind, target_id)
                known = await self._assigned(connection, receipt, target_kind, target_id, actor=actor, reason=reason)
        await self._post_assignment(receipt, known)
        return msgspec.structs.replace(receipt, posted=True), msgspec.structs.replace(known, posted=True)

    async def run_once(self) -> int:
        """Post what a crash left unposted, some a round; returns how many were tried."""
        async with self._database.read() as connection:
            noted = await rows_of(connection, _unposted(receipts, self._noted_rounds.after), Receipt)
            left = await rows_of(connection, _unposted(receipt_assignments, self._assigned_rounds.after), Assignment)
            await measure_unidentified(connection)
        self._noted_rounds.turn([row.receipt_id for row in noted])
        self._assigned_rounds.turn([row.receipt_id for row in left])
        rows: list[Receipt | Assignment] = [*noted, *left]
        for row in rows:
            try:
                await self._finish(row)
            except Exception:  # noqa: BLE001 -- logged; one that cannot be posted now must not hold back the others
                _log.exception("receipt could not be posted", extra={"receipt": row.receipt_id})
        return len(rows)

    async def _finish(self, row: Receipt | Assignment) -> None:
        if isinstance(row, Receipt):
            await self._post_receipt(row)
            return
        async with self._database.read() as connection:
            receipt = await _receipt_of(connection, row.book_id, receipt_id=row.receipt_id)
        assert receipt is not None, "an assignment has its receipt"
        await self._post_assignment(receipt, row)

    async def _noted(self, book_id: int, line_id: str, actor: str, reason: str) -> Receipt:
        try:
            async with self._database.transaction() as connection:
                parameters = {"book_id": book_id, "line_id": line_id}
                line = (await connection.execute(_OPEN_LINE, parameters)).one_or_none()
                bank = await provider_accounts.for_book(connection, self._vault, book_id, BANK)
                if line is None or bank is None:
                    raise NotFound(f"no open credit {line_id} on a statement of our bank")
                start_of_day = datetime.combine(line.value_on, time.min, BANGKOK)
                receipt = Receipt(
                    book_id=book_id,
                    receipt_id=new_id("rcp", livemode=bank.livemode),
                    line_id=line_id,
                    bank=bank.account_id,
                    amount_minor=line.amount_minor,
                    currency=line.currency,
                    value_on=line.value_on,
                    paid_at=line.occurred_at or start_of_day,
                    noted_by=actor,
                    reason=reason,
                    noted_at=(await clock_of(connection, book_id)).now(),
                    posted=False,
                )
                await add_rows(connection, receipts, [receipt])
                await record_act(
                    connection, actor=actor, act="receipt.noted", subject=receipt.receipt_id, reason=reason
                )
        except IntegrityError:
            # Somebody else noted it at this moment.
            async with self._database.read() as connection:
                found = await _receipt_of(connection, book_id, line_id=line_id)
            assert found is not None, "the line is what is unique"
            return found
        return receipt

    async def _assigned(
        self,
        connection: AsyncConnection,
        receipt: Receipt,
        target_kind: TargetKind,
        target_id: str,
        *,
        actor: str,
        reason: str,
    ) -> Assignment:
        assignment = Assignment(
            book_id=receipt.book_id,
            receipt_id=receipt.receipt_id,
            target_kind=target_kind,
            target_id=target_id,
            assigned_by=actor,
            reason=reason,
            assigned_at=(await clock_of(connection, receipt.book_id)).now(),
            posted=False,
        )
        try:
            async with connection.begin_nested():
                await add_rows(connection, receipt_assignments, [assignment])
        except IntegrityError as error:
            raise Refused("receipt_assigned", "somebody else assigns it at this moment") from error
        await record_act(connection, actor=actor, act="receipt.assigned", subject=receipt.receipt_id, reason=reason)
        return assignment

    async def _post_receipt(self, receipt: Receipt) -> None:
        if receipt.posted:
            return
        result = await self._ledger.post(
            receipt.book_id,
            unidentified_credit(
                key=entry_key(receipt.receipt_id, "noted"),
                bank=receipt.bank,
                amount_minor=receipt.amount_minor,
                currency=receipt.currency,
                effective_on=receipt.value_on,
                references=(ExternalReference(BANK_LINE_SCHEME, receipt.line_id),),
                metadata=metadata_of(receipt=receipt.receipt_id),
                caller=SYSTEM,
            ),
        )
        assert isinstance(result, Posted), "a recording entry is not refused"
        await self._mark_posted(receipts, receipt)

    async def _post_assignment(self, receipt: Receipt, assignment: Assignment) -> None:
        if assignment.posted:
            return
        await self._post_receipt(receipt)
        if assignment.target_kind == "merchant":
            result = await self._ledger.post(
                receipt.book_id,
                receipt_credited(
                    key=entry_key(receipt.receipt_id, "assigned"),
                    merchant=assignment.target_id,
                    amount_minor=receipt.amount_minor,
                    currency=receipt.currency,
                    effective_on=business_date_of(assignment.assigned_at),
                    references=(),
                    metadata=metadata_of(receipt=receipt.receipt_id),
                    caller=SYSTEM,
                ),
            )
            assert isinstance(result, Posted), "a recording entry is not refused"
        else:
            await self._give_to_payment(receipt, assignment)
        await self._mark_posted(receipt_assignments, assignment)

    async def _give_to_payment(self, receipt: Receipt, assignment: Assignment) -> None:
        """A receipt under its own id: the payment is paid by it, or it is held for the payer.

        Safe to repeat, also when the payment was tried again meanwhile: the applier takes a receipt once a payment.
        """
        async with self._database.transaction() as connection:
            [intent] = await lock_intents(connection, receipt.book_id, [assignment.target_id])
            [attempt] = await attempts_by_id(connection, receipt.book_id, [intent.latest_attempt_id or ""])
        fact = Fact(
            provider=attempt.provider,
            kind=FactKind.CAPTURED,
            provider_reference=attempt.provider_key,
            provider_transaction_id=receipt.receipt_id,
            amount_minor=receipt.amount_minor,
            currency=receipt.currency,
            occurred_at=receipt.paid_at.astimezone(UTC),
            source=FactSource.RECEIPT,
        )
        finding = Finding(provider=attempt.provider, subject=subject_of(attempt), facts=(fact,))
        await self._applier.report(finding, book_id=receipt.book_id)

    async def _mark_posted(self, table: Table, row: Receipt | Assignment) -> None:
        c = table.c
        async with self._database.transaction() as connection:
            await connection.execute(
                update(table).where(c.book_id == row.book_id, c.receipt_id == row.receipt_id).values(posted=True)
            )


def _unposted(table: Table, after: str) -> Select[Any]:
    c = table.c
    return select(table).where(~c.posted, c.receipt_id > after).order_by(c.receipt_id).limit(AT_ONCE)


async def measure_unidentified(connection: AsyncConnection) -> int:
    """How much noted money of live books nobody is known to own; put on show. What is of test books is no money."""
    r, a, owner = receipts.c, receipt_assignments.c, accounts.c
    statement = (
        select(func.coalesce(func.sum(r.amount_minor), 0))
        .select_from(receipts)
        .outerjoin(receipt_assignments, and_(a.book_id == r.book_id, a.receipt_id == r.receipt_id))
        .where(a.receipt_id.is_(None), r.book_id.not_in(select(owner.test_book_id)))
    )
    amount_minor = int((await connection.execute(statement)).scalar_one())
    UNIDENTIFIED_RECEIPTS_MINOR.set(amount_minor)
    return amount_minor


async def _check_target(connection: AsyncConnection, receipt: Receipt, target_kind: TargetKind, target_id: str) -> None:
    """Refuse whom it cannot be assigned to."""
    if target_kind == "merchant":
        a = accounts.c
        books = or_(a.test_book_id == receipt.book_id, a.live_book_id == receipt.book_id)
        if (await connection.execute(select(a.account_id).where(a.account_id == target_id, books))).first() is None:
            raise NotFound(f"no merchant {target_id} in book {receipt.book_id}")
        return
    found = await lock_intents(connection, receipt.book_id, [target_id])
    if not found:
        raise NotFound(f"no payment intent {target_id}")
    if found[0].latest_attempt_id is None or found[0].currency != receipt.currency:
        raise Refused("receipt_not_assignable", "the payment was never tried, or is of another currency")


async def _receipt_of(connection: AsyncConnection, book_id: int, **names: str) -> Receipt | None:
    r = receipts.c
    where = (r.book_id == book_id, *(r[name] == value for name, value in names.items()))
    found = await rows_of(connection, select(receipts).where(*where), Receipt)
    return found[0] if found else None


async def _assignment_of(connection: AsyncConnection, book_id: int, receipt_id: str) -> Assignment | None:
    a = receipt_assignments.c
    statement = select(receipt_assignments).where(a.book_id == book_id, a.receipt_id == receipt_id)
    found = await rows_of(connection, statement, Assignment)
    return found[0] if found else None
