"""A run: one business date of one book, from the newest statements to a result that adds up.

Steps: follow the ledger's feed · take the lines of the date · match · form groups · post them · work out the breaks
· tie out · count. Each step is committed by itself and finds nothing to do when done before, so a run that died is
simply run again, and a run that is run again changes nothing. One run of a book at a time (an advisory lock held by
its session). Every line belongs to exactly one run: the first one of its date or later.

A dry run does everything but posting, in one transaction that is rolled back.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from ledger.business_days import BusinessCalendar, thai_banks
from reconciliation import breaks, expectations, matching, net_settlement, tie_out
from reconciliation.errors import IdentityBroken, RunInProgress, UnknownBankAccount
from reconciliation.net_settlement import Post
from reconciliation.sql import Connection, queries


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many, and their signed sum."""

    count: int = 0
    amount_minor: int = 0


class SourceResult(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one source: matched + suggested + unmatched = lines, in count and amount.

    Attributes:
        rejected, duplicates: what the files held besides.
        suggested: nothing is ever matched on a suggestion, and no pass makes one yet.
    """

    source: str
    files: int
    lines: Counted
    matched_by_rule: Mapping[str, Counted]
    unmatched: Counted
    rejected: Counted
    duplicates: Counted
    suggested: Counted = Counted()

    @property
    def matched(self) -> Counted:
        """All rules together."""
        return _sum(self.matched_by_rule.values())


class SettledGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Money that reached the bank, and what it paid for. All amounts ≥ 0 but that of a fee's bank line.

    Attributes:
        line_count: statement lines in it.
        entry_sequence: None in a dry run.
    """

    group_id: str
    kind: Literal["net_transfer", "net_batch", "direct_credits", "biller_fee"]
    provider: str
    value_on: date
    currency: str
    payments_minor: int
    refunds_minor: int
    fee_minor: int
    vat_minor: int
    transfer_fee_minor: int
    transfer_vat_minor: int
    bank_minor: int
    bank_account: str
    transfer_reference: str | None
    entry_sequence: int | None
    line_count: int


class PayoutSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the bank's statement that names a payout: for settlement to confirm.

    Attributes:
        end_to_end_id: what the bank calls the payout.
        amount_minor: > 0 either way; `returned` says that it came back.
        bank: owner of the ledger's bank account.
        booked: our books have it already.
    """

    end_to_end_id: str
    amount_minor: int
    currency: str
    bank: str
    line_id: str
    value_on: date
    returned: bool
    booked: bool


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found.

    Attributes:
        breaks: every open break of the book, oldest first, not only of this date.
        rules: name of each pass → its explanation.
    """

    run_id: str
    book_id: int
    business_on: date
    dry_run: bool
    sources: tuple[SourceResult, ...]
    groups: tuple[SettledGroup, ...]
    payouts_seen: tuple[PayoutSeen, ...]
    breaks: tuple[breaks.Break, ...]
    banks: tuple[tie_out.BankTieOut, ...]
    providers: tuple[tie_out.ProviderTieOut, ...]
    rules: Mapping[str, str]

    @property
    def lines(self) -> Counted:
        """All sources together."""
        return _sum(source.lines for source in self.sources)

    @property
    def matched(self) -> Counted:
        """All sources together."""
        return _sum(source.matched for source in self.sources)

    @property
    def unmatched(self) -> Counted:
        """All sources together."""
        return _sum(source.unmatched for source in self.sources)


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What a run needs of the world.

    Attributes:
        connect: gives a connection of the app role, outside any transaction.
        post: posts an entry on a connection of its own.
        new_id: an id from a prefix (`rec`, `sgr`, `brk`).
        entry_key: the key of the entry that a row causes, from the row's id and a purpose.
        banks: account as the bank's statement names it → owner of the ledger's bank account.
        rates_ppm: what each provider keeps back of a payment.
        sent: transfers on their way of which the books know only once the bank shows them.
    """

    connect: Callable[[], AbstractAsyncContextManager[Connection]]
    post: Post
    new_id: Callable[[str], str]
    entry_key: Callable[[str, str], UUID]
    banks: Mapping[str, str]
    rates_ppm: Mapping[str, tuple[int, ...]] = matching.PUBLIC_RATES_PPM
    calendar: BusinessCalendar = msgspec.field(default_factory=thai_banks)
    sent: tuple[breaks.SentTransfer, ...] = ()

    async def run(self, *, book_id: int, business_date: date, now: datetime, dry_run: bool = False) -> RunResult:
        """Reconcile a book through a business date.

        Args:
            now: business time of the book, for the record.
            dry_run: say what a run would find; keep and post nothing.

        Raises:
            RunInProgress: somebody else is at it.
            SettlementRefused, UnknownBankAccount: nothing is half done; run it again once that is mended.
            IdentityBroken: a bug.
        """
        async with self.connect() as connection:
            sql = queries("runs")
            if not await connection.fetchval(sql["try_lock"], book_id):
                raise RunInProgress(f"book {book_id}")
            try:
                if not dry_run:
                    return await self._run(connection, book_id, business_date, now, dry_run=False)
                return await self._dry(connection, book_id, business_date, now)
            finally:
                await connection.execute(sql["unlock"], book_id)

    async def _dry(self, connection: Connection, book_id: int, on: date, now: datetime) -> RunResult:
        transaction = connection.transaction()
        await transaction.start()
        try:
            return await self._run(connection, book_id, on, now, dry_run=True)
        finally:
            await transaction.rollback()

    async def _run(self, connection: Connection, book_id: int, on: date, now: datetime, *, dry_run: bool) -> RunResult:
        sql = queries("runs")
        run_id = await connection.fetchval(sql["start"], book_id, on, self.new_id("rec"), now)
        # An earlier date that is run again sees the later one too, or its breaks would swing back in time.
        through = max(on, await connection.fetchval(sql["latest"], book_id))
        await expectations.follow_feed(connection, book_id)
        taken = await connection.execute(sql["take_lines"], book_id, on)
        await connection.execute(sql["take_files"], book_id, on)
        await matching.refresh_statistics(connection, rows=int(taken.split()[-1]))
        await matching.run_passes(connection, book_id=book_id, through=through, run_id=run_id, rates_ppm=self.rates_ppm)
        await net_settlement.form_groups(
            connection, book_id=book_id, through=through, run_id=run_id, new_id=self.new_id
        )
        if not dry_run:
            await net_settlement.post_groups(
                connection, book_id=book_id, banks=self.banks, post=self.post, entry_key=self.entry_key
            )
        await breaks.refresh(
            connection,
            book_id=book_id,
            through=through,
            run_id=run_id,
            calendar=self.calendar,
            new_id=self.new_id,
            sent=self.sent,
        )
        result = RunResult(
            run_id=run_id,
            book_id=book_id,
            business_on=on,
            dry_run=dry_run,
            sources=await _sources(connection, book_id, on),
            groups=tuple(
                msgspec.convert(dict(row), SettledGroup)
                for row in await connection.fetch(sql["groups"], book_id, run_id)
            ),
            payouts_seen=await self._payouts_seen(connection, book_id, on),
            breaks=await _all_breaks(connection, book_id),
            banks=await tie_out.tie_out_banks(connection, book_id=book_id, on=on, banks=self.banks),
            providers=await tie_out.tie_out_providers(connection, book_id=book_id, through=on),
            rules={step.name: step.explanation for step in matching.PASSES},
        )
        kept = msgspec.json.encode(msgspec.structs.replace(result, breaks=()))
        await connection.execute(sql["finish"], book_id, on, now, kept.decode())
        return result

    async def _payouts_seen(self, connection: Connection, book_id: int, on: date) -> tuple[PayoutSeen, ...]:
        found = []
        for row in await connection.fetch(queries("runs")["payouts_seen"], book_id, on):
            bank = self.banks.get(row["account"])
            if bank is None:
                raise UnknownBankAccount(f"account {row['account']} of line {row['line_id']}")
            fields = {name: value for name, value in row.items() if name != "account"}
            found.append(PayoutSeen(**{**fields, "bank": bank, "amount_minor": abs(row["amount_minor"])}))
        return tuple(found)


async def _sources(connection: Connection, book_id: int, on: date) -> tuple[SourceResult, ...]:
    """Counts of a run's lines, each by a query of its own, so that their adding up proves something."""
    lines, unmatched, matched, files = [
        [dict(row) for row in await connection.fetch(queries("runs")[name], book_id, on)]
        for name in ("lines_by_source", "unmatched_by_source", "matched_by_rule", "not_lines")
    ]
    found = []
    for source in sorted({row["source"] for row in [*lines, *files]}):
        besides = next((row for row in files if row["source"] == source), {})
        result = SourceResult(
            source=source,
            files=besides.get("files", 0),
            lines=_of_source(lines, source),
            matched_by_rule={row["rule"]: _counted(row) for row in matched if row["source"] == source},
            unmatched=_of_source(unmatched, source),
            rejected=Counted(count=besides.get("rejected", 0), amount_minor=besides.get("rejected_amount_minor", 0)),
            duplicates=Counted(
                count=besides.get("duplicates", 0), amount_minor=besides.get("duplicates_amount_minor", 0)
            ),
        )
        if _sum([result.matched, result.suggested, result.unmatched]) != result.lines:
            raise IdentityBroken(f"{source}: {result.matched} + {result.unmatched} is not {result.lines}")
        found.append(result)
    return tuple(found)


async def _all_breaks(connection: Connection, book_id: int) -> tuple[breaks.Break, ...]:
    found: list[breaks.Break] = []
    while page := await breaks.listed(connection, book_id=book_id, after=found[-1] if found else None):
        found += page
    return tuple(found)


def _of_source(rows: list[dict[str, Any]], source: str) -> Counted:
    return next((_counted(row) for row in rows if row["source"] == source), Counted())


def _counted(row: Mapping[str, Any]) -> Counted:
    return Counted(count=row["count"], amount_minor=row["amount_minor"])


def _sum(parts: Any) -> Counted:
    listed = list(parts)
    return Counted(count=sum(part.count for part in listed), amount_minor=sum(part.amount_minor for part in listed))
