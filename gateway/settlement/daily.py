"""The daily work of a book: close a business date with the statements of that date, settle the next one.

Closing fetches every provider's and the bank's statement, imports them, reconciles, asks about receipts that a
statement has and we have not (in the end the statement decides), and takes what the bank says of payouts to them.
Every step may be repeated. A statement that is not there, or that cannot be trusted, holds back nobody else's: the
date is closed without it, says so, and a job of its own asks again until it came. Only where none came does the
closing itself wait.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import text as sql

from gateway import jobs
from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import entry_key, new_id
from gateway.foundation.logs import get_logger
from gateway.jobs import Job, Step
from gateway.merchants import provider_accounts
from gateway.merchants.clocks import clock_of
from gateway.payments.errors import FactError
from gateway.payments.facts import FactApplier
from gateway.providers.base import Inquiry, ProviderAccount, StatementFile, StatementUnavailable
from gateway.providers.registry import Providers
from gateway.settlement.claim_transfers import on_their_way
from gateway.settlement.confirmations import Confirmation, Confirmations
from gateway.settlement.files import BANK
from gateway.settlement.runs import SettlementRun
from ledger.posting import Ledger
from reconciliation.breaks import BreakKind
from reconciliation.errors import StatementRefused
from reconciliation.importing import ImportResult, RawFile, import_statement
from reconciliation.runs import PayoutSeen, Reconciliation, RunResult
from reconciliation.sql import Connection

_log = get_logger("quickkub.settlement")

_KNOWN_REFERENCES = sql("""
    SELECT DISTINCT line.provider, known.reference, line.occurred_at
    FROM reconciliation.statement_lines AS line
    JOIN reconciliation.line_references AS named USING (book_id, line_id)
    JOIN gateway.provider_references AS known
      ON known.provider = line.provider AND known.reference = named.value AND known.book_id = line.book_id
    WHERE line.book_id = :book_id AND line.line_id = ANY(:line_ids) AND line.occurred_at IS NOT NULL
""")
"""Which of our attempts the lines may speak of."""


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """What closing a date did.

    Attributes:
        facts_found: receipts that only the statement knew, booked now.
        missing: whose statement did not come or was refused, and why.
    """

    files: int
    lines: int
    rejected: int
    matched: int
    unmatched: int
    settled_groups: int
    payouts_confirmed: int
    facts_found: int
    breaks: int
    missing: Mapping[str, str]


class Daily:
    """Runs the jobs of `gateway/jobs.py`."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        vault: Vault,
        providers: Providers,
        applier: FactApplier,
        settlement: SettlementRun,
        confirmations: Confirmations,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._vault = vault
        self._providers = providers
        self._applier = applier
        self._settlement = settlement
        self._confirmations = confirmations

    async def run(self, job: Job) -> dict[str, Any]:
        """Do one job; returns what it did, for the record.

        Raises:
            StatementUnavailable: try again later; what came is done.
        """
        match job.step:
            case Step.SETTLE:
                result: msgspec.Struct = await self._settlement.run(job.book_id, job.period)
            case Step.CLOSE_DAY:
                result = await self.close(job.book_id, job.period)
            case Step.LATE_STATEMENTS:
                result = await self.close_late(job.book_id, job.period)
        found: dict[str, Any] = msgspec.to_builtins(result)
        return found

    async def close(self, book_id: int, day: date) -> Closed:
        """Close a business date that is over, with the statements that there are; the others are asked for later.

        Raises:
            StatementUnavailable: there is none at all.
        """
        accounts = await self._accounts(book_id)
        closed = await self._close(book_id, day, accounts, of={account.provider for account in accounts})
        if closed.missing:
            async with self._database.transaction() as connection:
                await jobs.enqueue(connection, book_id, [(day, Step.LATE_STATEMENTS)], at=real_now())
        return closed

    async def close_late(self, book_id: int, day: date) -> Closed:
        """Close a date once more, with the statements that were missing when it was closed.

        Raises:
            StatementUnavailable: some are still missing; those that came are taken.
        """
        async with self._database.read() as connection:
            missing = (await jobs.result_of(connection, book_id, day, Step.CLOSE_DAY)).get("missing", {})
        accounts = await self._accounts(book_id)
        closed = await self._close(book_id, day, accounts, of=missing)
        if closed.missing:
            raise StatementUnavailable("; ".join(closed.missing.values()))
        return closed

    async def _close(
        self, book_id: int, day: date, accounts: Sequence[ProviderAccount], *, of: Collection[str]
    ) -> Closed:
        imported: list[ImportResult] = []
        missing: dict[str, str] = {}
        asked = [account for account in accounts if account.provider in of]
        for account in asked:
            try:
                files = await self._statements(account, day)
                imported += [await self._import(book_id, file) for file in files]
            except (StatementUnavailable, StatementRefused) as error:
                missing[account.provider] = f"{account.provider}: {error}"
                _log.warning("statement missing", extra={"provider": account.provider, "reason": str(error)})
        if missing and len(missing) == len(asked):
            raise StatementUnavailable("; ".join(missing.values()))
        result = await self.reconcile(book_id, day)
        facts_found = await self._ask(book_id, {account.provider: account for account in accounts}, result)
        confirmed = [seen for seen in result.payouts_seen if await self._confirm(book_id, seen)]
        if facts_found or confirmed:
            # What was booked just now closes breaks of the run before.
            result = await self.reconcile(book_id, day)
        return Closed(
            files=len(imported),
            lines=result.lines.count,
            rejected=sum(each.rejected for each in imported),
            matched=result.matched.count,
            unmatched=result.unmatched.count,
            settled_groups=len(result.groups),
            payouts_confirmed=len(confirmed),
            facts_found=facts_found,
            breaks=len(result.breaks),
            missing=missing,
        )

    async def reconcile(self, book_id: int, day: date, *, dry_run: bool = False) -> RunResult:
        """One reconciliation run of a book through a date, on what was imported so far."""
        livemode, now = await self._mode_and_time(book_id)
        accounts = await self._accounts(book_id)
        async with self._database.read() as connection:
            sent = await on_their_way(connection, book_id)
        engine = Reconciliation(
            connect=self._connect,
            post=self._ledger.post,
            new_id=lambda prefix: new_id(prefix, livemode=livemode),
            entry_key=entry_key,
            banks={
                account.credentials["account_number"]: account.account_id
                for account in accounts
                if account.provider == BANK
            },
            sent=tuple(sent),
        )
        return await engine.run(book_id=book_id, business_date=day, now=now, dry_run=dry_run)

    async def import_file(self, book_id: int, file: RawFile) -> ImportResult:
        """Import a statement that somebody brought by hand.

        Raises:
            StatementRefused: the file cannot be trusted as a whole; nothing was kept.
        """
        livemode, _ = await self._mode_and_time(book_id)
        async with self._connect() as connection:
            return await import_statement(
                connection,
                book_id=book_id,
                file=file,
                received_at=real_now(),
                new_id=lambda prefix: new_id(prefix, livemode=livemode),
                seal=lambda content, context: self._vault.seal_house(content, context=context),
            )

    async def _import(self, book_id: int, file: StatementFile) -> ImportResult:
        return await self.import_file(book_id, RawFile(source=file.source, name=file.name, content=file.content))

    async def _accounts(self, book_id: int) -> list[ProviderAccount]:
        async with self._database.read() as connection:
            found = [
                await provider_accounts.for_book(connection, self._vault, book_id, name)
                for name in (*self._providers, BANK)
            ]
        return [account for account in found if account is not None]

    async def _statements(self, account: ProviderAccount, day: date) -> Sequence[StatementFile]:
        source = self._providers.bank if account.provider == BANK else self._providers[account.provider]
        return await source.statements(account, day)

    async def _ask(self, book_id: int, accounts: Mapping[str, ProviderAccount], result: RunResult) -> int:
        """Ask providers about receipts that their statement has and our books have not; returns how many were new."""
        line_ids = [
            each.subject.removeprefix("line:")
            for each in result.breaks
            if each.kind is BreakKind.MISSING_IN_LEDGER and each.subject.startswith("line:")
        ]
        if not line_ids:
            return 0
        async with self._database.read() as connection:
            known = (await connection.execute(_KNOWN_REFERENCES, {"book_id": book_id, "line_ids": line_ids})).all()
        found = 0
        for provider, reference, occurred_at in known:
            answer = await self._providers[provider].inquire(accounts[provider], reference, occurred_at)
            for fact in answer.facts if isinstance(answer, Inquiry) else ():
                try:
                    found += (await self._applier.apply(fact, book_id=book_id)).new_facts
                except FactError as error:
                    # It is quarantined and stays a break; the other lines go on.
                    _log.warning("statement fact not applied", extra={"code": error.code, "reference": reference})
        return found

    async def _confirm(self, book_id: int, seen: PayoutSeen) -> bool:
        # Also where our books have it: a crash after posting leaves the payout itself to be moved.
        return await self._confirmations.confirm(book_id, seen) is Confirmation.CONFIRMED

    async def _mode_and_time(self, book_id: int) -> tuple[bool, datetime]:
        async with self._database.read() as connection:
            mode = await connection.scalar(
                sql("SELECT mode FROM ledger.books WHERE book_id = :book_id"), {"book_id": book_id}
            )
            clock = await clock_of(connection, book_id)
        return mode == "live", clock.now()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Connection]:
        async with self._database.ledger_pool.acquire() as connection:
            yield connection
