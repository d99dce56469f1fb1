"""What an account may take: in one payment, in a day, in a month; and how much of it is used.

Each attempt that may bring money, or has brought it, counts on the business day on which it began, for its method and
for all methods together. It is counted in the transaction that writes the attempt, first added and then compared
under the locks of the counters, so that however many race, no limit is passed. What comes to nothing is taken off in
the transaction that learns so, and what pays after all is counted again, without asking: a fact is never refused.
Refunds take nothing off. Accounts without limits are counted too, so that limits set today know of this morning.

Lock order: intents, payers (`velocity.py`), counters in the order of their key, the book.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import business_date_of, real_now
from gateway.foundation.reads import Query, Reads
from gateway.foundation.writes import Writes
from gateway.merchants.operators import record_act
from gateway.payments.errors import InvalidRequest, LimitExceeded
from gateway.payments.records import AttemptRow, add_rows
from gateway.payments.states import AttemptStatus
from gateway.payments.tables import limit_usage, payment_limits
from gateway.providers.base import Method

ALL_METHODS: Final = "*"
"""Stands for every method together; sorts before each of them."""

_COUNTS_NOT: Final = frozenset(
    {
        AttemptStatus.NOT_ATTEMPTED,
        AttemptStatus.ABANDONED,
        AttemptStatus.DECLINED,
        AttemptStatus.EXPIRED,
        AttemptStatus.VOIDED,
    }
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an account may take; None = no limit. `day_payments_max` counts payments, the rest are minor units."""

    payment_min_minor: int | None = None
    payment_max_minor: int | None = None
    day_max_minor: int | None = None
    month_max_minor: int | None = None
    day_payments_max: int | None = None


class LimitRow(Limits, frozen=True, kw_only=True):
    """Limits of an account for a method, as stored."""

    book_id: int
    account_id: str
    currency: str
    method: str
    version: int


class Used(NamedTuple):
    """What is used of a period."""

    amount_minor: int = 0
    payments: int = 0

    def plus(self, use: "Use") -> "Used":
        """With one more change."""
        return Used(self.amount_minor + use.sign * use.amount_minor, self.payments + use.sign)


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """A change of what an account has used: one attempt that counts now (`sign` 1) or no longer (−1)."""

    account_id: str
    currency: str
    method: Method
    began_on: date
    amount_minor: int
    sign: int


_USED: Final = "used"


class _PeriodRow(msgspec.Struct, frozen=True):
    account_id: str
    currency: str
    method: str
    period: str
    starts_on: date
    amount_minor: int
    payments: int


_Period = tuple[str, str, str, str, date]
Periods = Mapping[_Period, Used]
"""What is used by (account, currency, method, `day` or `month`, first day)."""

_COUNT: Final = text("""
    INSERT INTO gateway.limit_usage AS known
        (book_id, account_id, currency, method, period, starts_on, amount_minor, payments)
    SELECT CAST(:used_of_book AS bigint), new.account_id, new.currency, new.method, new.period, new.starts_on,
           new.amount_minor, new.payments
    FROM json_to_recordset(CAST(:used AS json))
         AS new (account_id text, currency text, method text, period text, starts_on date, amount_minor bigint,
                 payments integer)
    ON CONFLICT (book_id, account_id, currency, method, period, starts_on) DO UPDATE
        SET amount_minor = known.amount_minor + excluded.amount_minor, payments = known.payments + excluded.payments
    RETURNING account_id, currency, method, period, starts_on, amount_minor, payments
""").columns(*(limit_usage.c[name] for name in _PeriodRow.__struct_fields__))

IN_FORCE: Final = Query(
    text("""
        SELECT DISTINCT ON (currency, method) book_id, account_id, currency, method, version, payment_min_minor,
               payment_max_minor, day_max_minor, month_max_minor, day_payments_max
        FROM gateway.payment_limits
        WHERE book_id = :book_id AND account_id = :account_id
        ORDER BY currency, method, version DESC
    """).columns(*(payment_limits.c[name] for name in LimitRow.__struct_fields__)),
    LimitRow,
)
"""The newest limits of an account for each currency and method."""


_LIMITS: Final = Reads(limits=IN_FORCE)


def counts(status: AttemptStatus) -> bool:
    """Whether an attempt of this status may still bring money, or has."""
    return status not in _COUNTS_NOT


def use_of(account_id: str, attempt: AttemptRow, *, counted_before: bool) -> Use | None:
    """What becomes of the usage when the attempt becomes this one; None where it stays."""
    if attempt.counted == counted_before:
        return None
    return Use(
        account_id=account_id,
        currency=attempt.currency,
        method=attempt.method,
        began_on=business_date_of(attempt.created_at),
        amount_minor=attempt.amount_minor,
        sign=1 if attempt.counted else -1,
    )


async def take(connection: AsyncConnection, account_id: str, attempt: AttemptRow) -> None:
    """Count an attempt that is about to be made; call it last, the counters stay locked until the commit.

    Raises:
        LimitExceeded: a limit would be passed; the caller's transaction is to be rolled back.
    """
    use = use_of(account_id, attempt, counted_before=False)
    if use is None:
        return
    checks = checks_of(await in_force(connection, attempt.book_id, account_id), [use])
    writes = Writes()
    add_uses(writes, attempt.book_id, [use])
    check_periods(checks, used_after(await writes.send(connection)))


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that a new attempt must keep, beside the attempt's use."""

    limit: LimitRow
    use: Use

    @property
    def is_of_periods(self) -> bool:
        """Whether it needs to be known what is used before it."""
        limit = self.limit
        return (limit.day_max_minor, limit.month_max_minor, limit.day_payments_max) != (None, None, None)


def checks_of(limits: Iterable[LimitRow], uses: Iterable[Use]) -> list[Check]:
    """The limits that stand against each use, once every single payment keeps them.

    Raises:
        LimitExceeded: a payment alone is too small or too large.
    """
    checks = [
        Check(limit=limit, use=use)
        for use in uses
        for limit in limits
        if (limit.account_id, limit.currency) == (use.account_id, use.currency)
        and limit.method in {ALL_METHODS, use.method}
    ]
    for check in checks:
        _check_payment(check.limit, check.use.amount_minor)
    return checks


def check_periods(checks: Iterable[Check], used: Periods) -> None:
    """Compare what is used with the new payment in it.

    Raises:
        LimitExceeded: it passed a limit; the transaction is to be rolled back.
    """
    for check in checks:
        _check_periods(check.limit, used, check.use)


class Room:
    """What is left of an account's periods, while payments are let in one after the other.

    Args:
        used: what is used before them, under the locks of the counters, see `locked_use`.
    """

    def __init__(self, used: Periods) -> None:
        self._used = dict(used)

    def let_in(self, use: Use, checks: Sequence[Check]) -> None:
        """Count one more, for this batch; what is refused here has taken nothing.

        Raises:
            LimitExceeded: it would pass a limit of a period.
        """
        after = {key: self._used.get(key, Used()).plus(use) for key in _periods_of(use)}
        check_periods(checks, after)
        self._used |= after


async def locked_use(connection: AsyncConnection, book_id: int, uses: Iterable[Use]) -> Periods:
    """What is used of the periods that these uses would touch; their counters are locked until the commit."""
    writes = Writes()
    add_uses(writes, book_id, [msgspec.structs.replace(use, amount_minor=0, sign=0) for use in uses])
    return used_after(await writes.send(connection))


def add_uses(writes: Writes, book_id: int, uses: Iterable[Use]) -> None:
    """Let the uses be added to their counters, which are locked in the order of their keys."""
    sums: dict[_Period, Used] = {}
    for use in uses:
        for key in _periods_of(use):
            sums[key] = sums.get(key, Used()).plus(use)
    if sums:
        rows = [_PeriodRow(*key, *sums[key]) for key in sorted(sums)]
        added = {"used_of_book": book_id, "used": msgspec.json.encode(rows).decode()}
        writes.also(_USED, _COUNT, added, _PeriodRow)


def used_after(returned: Mapping[str, Sequence[_PeriodRow]]) -> Periods:
    """What is used now of the periods touched, by what the writes returned."""
    return {
        (row.account_id, row.currency, row.method, row.period, row.starts_on): Used(row.amount_minor, row.payments)
        for row in returned.get(_USED, ())
    }


async def in_force(connection: AsyncConnection, book_id: int, account_id: str) -> list[LimitRow]:
    """The newest limits of an account for each currency and method."""
    [rows] = await _LIMITS.ask(connection, {"book_id": book_id, "account_id": account_id})
    return rows


async def used_on(
    connection: AsyncConnection, book_id: int, account_id: str, today: date
) -> dict[tuple[str, str, str], Used]:
    """What is used today and this month, by (currency, method, `day` or `month`)."""
    c = limit_usage.c
    statement = select(c.currency, c.method, c.period, c.starts_on, c.amount_minor, c.payments).where(
        c.book_id == book_id, c.account_id == account_id, c.starts_on.in_({today, today.replace(day=1)})
    )
    return {
        (currency, method, period): Used(amount_minor, payments)
        for currency, method, period, starts_on, amount_minor, payments in await connection.execute(statement)
        # On the first of a month the day and the month begin together, on other days the first is yesterday's.
        if starts_on == (today if period == "day" else today.replace(day=1))
    }


async def set_limits(
    connection: AsyncConnection,
    *,
    book_id: int,
    account_id: str,
    method: Method | None,
    currency: str,
    limits: Limits,
    actor: str,
    reason: str,
) -> int:
    """Put limits in force instead of the ones before; returns their version.

    Two operators at once collide on the primary key, so no version is ever overwritten.

    Args:
        method: None = all methods together.

    Raises:
        InvalidRequest: a limit is below zero, or the least amount is above the greatest.
    """
    _check_sane(limits)
    name = ALL_METHODS if method is None else method.value
    known = [
        row.version
        for row in await in_force(connection, book_id, account_id)
        if (row.currency, row.method) == (currency, name)
    ]
    version = max(known, default=0) + 1
    row = _NewLimits(
        **msgspec.structs.asdict(limits),
        book_id=book_id,
        account_id=account_id,
        currency=currency,
        method=name,
        version=version,
        actor=actor,
        reason=reason,
        created_at=real_now(),
    )
    await add_rows(connection, payment_limits, [row])
    subject = f"{account_id}/{book_id}/{currency}/{name}/{version}"
    await record_act(connection, actor=actor, act="limits.set", subject=subject, reason=reason)
    return version


class _NewLimits(LimitRow, frozen=True, kw_only=True):
    actor: str
    reason: str
    created_at: datetime


def _check_sane(limits: Limits) -> None:
    for name, value in msgspec.structs.asdict(limits).items():
        if value is not None and value < (1 if name == "payment_min_minor" else 0):
            raise InvalidRequest("parameter_invalid", "limits are not below zero", param=name)
    least, most = limits.payment_min_minor, limits.payment_max_minor
    if least is not None and most is not None and least > most:
        raise InvalidRequest("parameter_invalid", "the least payment is above the greatest", param="payment_min_minor")


def _periods_of(use: Use) -> Iterable[_Period]:
    for method in (ALL_METHODS, use.method.value):
        for period, starts_on in (("day", use.began_on), ("month", use.began_on.replace(day=1))):
            yield (use.account_id, use.currency, method, period, starts_on)


def _check_payment(row: LimitRow, amount_minor: int) -> None:
    if row.payment_min_minor is not None and amount_minor < row.payment_min_minor:
        detail = f"a payment is of at least {row.payment_min_minor}{_of(row)}"
        raise LimitExceeded("payment_min", detail, left=None)
    if row.payment_max_minor is not None and amount_minor > row.payment_max_minor:
        detail = f"a payment is of at most {row.payment_max_minor}{_of(row)}"
        raise LimitExceeded("payment_max", detail, left=row.payment_max_minor)


def _check_periods(row: LimitRow, used: Periods, use: Use) -> None:
    """Compare what is used with this payment in it."""
    key = (row.account_id, row.currency, row.method)
    day, month = used[*key, "day", use.began_on], used[*key, "month", use.began_on.replace(day=1)]
    checks: Sequence[tuple[str, int | None, int, int]] = (
        ("day_max", row.day_max_minor, day.amount_minor, use.amount_minor),
        ("month_max", row.month_max_minor, month.amount_minor, use.amount_minor),
        ("day_payments_max", row.day_payments_max, day.payments, 1),
    )
    for name, limit, total, this in checks:
        if limit is not None and total > limit:
            left = max(0, limit - (total - this))
            raise LimitExceeded(name, f"{name} is {limit}{_of(row)}; {left} is left", left=left)


def _of(row: LimitRow) -> str:
    unit = f" {row.currency.lower()} (minor units)"
    return unit if row.method == ALL_METHODS else f"{unit} for {row.method}"
