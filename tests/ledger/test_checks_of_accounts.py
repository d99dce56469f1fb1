"""Each check of accounts and periods finds what was done against it, and nothing in sound books.

Method: a history with late entries, holds and a closed period; each tampering is done as superuser with the guards
off, every check is run, and what they find is stated: which ones, and the first words of the first problem.
"""

import asyncio
from datetime import date, timedelta
from uuid import uuid4

import asyncpg
import pytest

from ledger import checks_of_accounts, checks_of_ranges
from ledger.checks import BEFORE_GENESIS, Range, Start
from ledger.checks_in_python import CHUNK, AccountDays, gather
from ledger.checks_of_accounts import CHECKS
from ledger.feed import head
from ledger.holds import hold_by_key, place_hold, post_hold
from ledger.periods import begin_closing, close_period, define_periods
from ledger.posting import post_entries
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BANK, BOOK, DAY, entry, posting, received
from tests.ledger.histories import FIRST_DAY, random_history
from tests.ledger.test_verification import UNGUARD

BY = {"actor": "op_1", "reason": "month end"}
PERIODS = [(date(2026, 9, 1), date(2026, 9, 30)), (date(2026, 10, 1), date(2026, 10, 31))]


async def problems(connection: asyncpg.Connection, cut: int) -> dict[str, list[str]]:
    """What each check finds; those that find nothing are left out."""
    found = {name: [line async for line in check(connection, BOOK, cut)] for name, check in CHECKS.items()}
    found[AccountDays.name] = await days_out_of_order(connection, cut)
    return {name: lines for name, lines in found.items() if lines}


async def days_out_of_order(connection: asyncpg.Connection, cut: int) -> list[str]:
    """What the scan of the days finds over the entries up to a cut, in two ranges."""
    check = AccountDays(Start(), seed=0)
    for after, last in ((0, cut // 2), (cut // 2, cut)):
        range_ = Range(
            book_id=BOOK,
            before=BEFORE_GENESIS,
            end=BEFORE_GENESIS,
            after=after,
            last=last,
            cut=cut,
            start=Start(),
            seed=0,
        )
        check.read({CHUNK: await gather(connection, range_)})
    return (await check.finish(connection, BOOK, cut)).found


async def books(app: asyncpg.Connection) -> int:
    """63 entries: two before September closed, 58 at random, a late fact, and two holds of which one was posted."""
    await define_periods(app, BOOK, PERIODS, **BY)
    await post_entries(app, BOOK, [received(10_000, effective_on=date(2026, 9, 5)), received(1)])
    await begin_closing(app, BOOK, ends_on=PERIODS[0][1], **BY)
    await close_period(app, BOOK, ends_on=PERIODS[0][1], **BY)
    await random_history(app, seed=8, entries=58)
    await post_entries(app, BOOK, [received(9, effective_on=date(2026, 9, 6))])
    placed = [place_hold(key=uuid4(), posting=posting(BANK, AVAILABLE, n), effective_on=DAY) for n in (40, 7)]
    await post_entries(app, BOOK, placed)
    hold = await hold_by_key(app, BOOK, placed[1].key)
    assert hold is not None
    await post_entries(app, BOOK, [post_hold(hold, key=uuid4(), effective_on=DAY, amount_minor=3)])
    return await head(app, BOOK)


OTHER_DAYS = "has days that are not those of its postings"
TAMPERINGS = {
    "day moved": (
        """UPDATE ledger.account_days SET debits_posted = debits_posted - 1 WHERE effective_on = '2026-09-05'
           AND account_id = 1;
           UPDATE ledger.account_days SET debits_posted = debits_posted + 1 WHERE effective_on = '2026-09-06'
           AND account_id = 1""",
        {"account_days": f"account 1 {OTHER_DAYS}"},
    ),
    "sides of a day exchanged": (
        """UPDATE ledger.account_days SET debits_posted = 0, credits_posted = debits_posted
           WHERE effective_on = '2026-09-05';
           UPDATE ledger.accounts AS a SET debits_before = d.debits, credits_before = d.credits
           FROM (SELECT account_id, sum(debits_posted) AS debits, sum(credits_posted) AS credits
                 FROM ledger.account_days GROUP BY account_id) AS d WHERE d.account_id = a.account_id""",
        {"account_days": f"account 1 {OTHER_DAYS}"},
    ),
    "day widened": (
        "UPDATE ledger.account_days SET debits_posted = 10001 WHERE effective_on = '2026-09-05' AND account_id = 1",
        {"account_days": "account 1 does not carry its days before"},
    ),
    "day deleted": (
        "DELETE FROM ledger.account_days WHERE effective_on = '2026-09-05' AND account_id = 1",
        {"account_days": "account 1 does not carry its days before"},
    ),
    "day invented": (
        "INSERT INTO ledger.account_days VALUES (1000, 1, '2026-01-01', 0, 0), (1000, 2, '2026-01-01', 5, 0)",
        {"account_days": "account 2 does not carry its days before"},
    ),
    "latest day moved": (
        "UPDATE ledger.accounts SET effective_on = effective_on + 1 WHERE account_id = 1",
        {"account_days": f"account 1 {OTHER_DAYS}"},
    ),
    "totals before forgotten": (
        "UPDATE ledger.accounts SET debits_before = 0 WHERE account_id = 1",
        {"account_days": "account 1 does not carry its days before"},
    ),
    "days after the latest": (
        "INSERT INTO ledger.account_days VALUES (1000, 1, '2027-01-01', 0, 0)",
        {"account_days": "account 1 does not carry its days before"},
    ),
    "business date of an entry changed": (
        "UPDATE ledger.entries SET effective_on = '2026-12-24' WHERE sequence = 1",
        {"account_days": f"account 1 {OTHER_DAYS}"},
    ),
    "hold forgotten": (
        "UPDATE ledger.accounts SET debits_held = 0 WHERE account_id = 1",
        {"holds_held": "account 1 says (0, 0) held, its holds (40, 0)"},
    ),
    "hold invented": (
        "UPDATE ledger.accounts SET credits_held = 9 WHERE account_id = 3",
        {"holds_held": "account 3 says (0, 9) held, its holds (0, 0)"},
    ),
    "hold resolved twice": (
        "DELETE FROM ledger.hold_resolutions",
        {"holds_held": "account 1 says (40, 0) held, its holds (47, 0)"},
    ),
    "hold to nobody": (
        "UPDATE ledger.holds SET credit_account = 99 WHERE amount_minor = 40",
        {"holds_held": "account"},
    ),
    "entry slipped into a closed period": (
        "UPDATE ledger.entries SET booked_on = NULL WHERE booked_on IS NOT NULL",
        {"periods_closed": "entry 61 of 2026-09-06 is booked on 2026-09-06, the books were closed through 2026-09-30"},
    ),
    "entry booked before it happened": (
        "UPDATE ledger.entries SET booked_on = effective_on WHERE sequence = 2",
        {"periods_closed": "entry 2 of 2026-11-23 is booked on 2026-11-23"},
    ),
    "period closed earlier than said": (
        "UPDATE ledger.periods SET closed_at_sequence = 0 WHERE state = 'closed'",
        {"periods_closed": "entry 1 of 2026-09-05 is booked on 2026-09-05"},
    ),
    "gap between periods": (
        "UPDATE ledger.periods SET starts_on = '2026-10-02' WHERE state = 'open'",
        {"periods_closed": "the period through 2026-10-31 does not follow 2026-09-30"},
    ),
    "period opened behind the acts": (
        "UPDATE ledger.periods SET state = 'open' WHERE state = 'closed'",
        {"periods_closed": "the period through 2026-09-30 is open at 2"},
    ),
    "two periods closing": (
        "UPDATE ledger.periods SET state = 'closing', closed_at_sequence = NULL",
        {"periods_closed": "more than one period is closing"},
    ),
    "later period closed first": (
        """UPDATE ledger.periods SET closed_at_sequence = NULL,
               state = CASE state WHEN 'open' THEN 'closing' ELSE 'open' END""",
        {"periods_closed": "the period through 2026-10-31 is closing and the one before open"},
    ),
    "total of an account changed": (
        "UPDATE ledger.accounts SET credits_posted = credits_posted + 1 WHERE account_id = 2",
        {"account_days": f"account 2 {OTHER_DAYS}", "roll_ups": "class liability THB says"},
    ),
    "amount of a posting changed": (
        "UPDATE ledger.postings SET amount_minor = 9999 WHERE sequence = 1",
        {"account_days": f"account 1 {OTHER_DAYS}", "roll_ups": "class asset THB says"},
    ),
    "posting to nobody": (
        "UPDATE ledger.postings SET debit_account = 99 WHERE sequence = 1",
        {"account_days": f"account 1 {OTHER_DAYS}", "roll_ups": "account 99 has postings and no row"},
    ),
}


async def test_every_tampering_is_found_by_its_check(app: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
    cut = await books(app)
    assert cut == 64
    assert await problems(app, cut) == {}
    found = {}
    for done, (sql, expected) in TAMPERINGS.items():
        undo = superuser.transaction()
        await undo.start()
        await superuser.execute(UNGUARD)
        await superuser.execute(sql)
        lines = await problems(superuser, cut)
        found[done] = {
            name: expected[name] if name in expected and said[0].startswith(expected[name]) else said[0]
            for name, said in lines.items()
        }
        await undo.rollback()
    assert found == {done: expected for done, (_, expected) in TAMPERINGS.items()}
    assert set().union(*found.values()) == {*CHECKS, "account_days"}
    assert await problems(app, cut) == {}


async def test_chunks_of_any_size_find_the_same(
    app: asyncpg.Connection, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = await books(app)
    sound, tampered = [], []
    for entries, accounts in ((50_000, 500), (7, 2), (1, 1)):
        monkeypatch.setattr(checks_of_accounts, "ENTRIES_AT_ONCE", entries)
        monkeypatch.setattr(checks_of_ranges, "ACCOUNTS_AT_ONCE", accounts)
        sound.append(await problems(app, cut))
        undo = superuser.transaction()
        await undo.start()
        await superuser.execute(UNGUARD)
        await superuser.execute("UPDATE ledger.postings SET amount_minor = 9999 WHERE sequence IN (1, 30)")
        tampered.append({name: sorted(lines) for name, lines in (await problems(superuser, cut)).items()})
        await undo.rollback()
    assert sound == [{}, {}, {}]
    assert tampered[0] == tampered[1] == tampered[2]
    assert set(tampered[0]) == {"account_days", "roll_ups"}


async def test_books_pass_at_an_old_cut_and_while_posting_goes_on(
    app: asyncpg.Connection, superuser: asyncpg.Connection, database: ClonedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = await books(app)
    for cut in (0, 1, 2, 3, 33, last):
        assert await problems(app, cut) == {}
    monkeypatch.setattr(checks_of_accounts, "ENTRIES_AT_ONCE", 10)
    other = await asyncpg.connect(database.app_dsn)

    async def post_on() -> None:
        for n in range(40):
            day = FIRST_DAY + timedelta(days=n * 5 % 31)
            await post_entries(other, BOOK, [received(5, effective_on=day), entry(posting(AVAILABLE, BANK, 1))])

    posting_on, rounds = asyncio.create_task(post_on()), 0
    while not posting_on.done():
        assert await problems(app, await head(app, BOOK)) == {}
        rounds += 1
    await posting_on
    await other.close()
    assert rounds > 0
