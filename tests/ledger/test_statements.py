"""A statement's opening, lines and closing add up, whatever the page, the cut and the axis."""

from datetime import timedelta
from itertools import pairwise

import asyncpg
import pytest

from ledger.chart_of_accounts import CHART, NormalSide
from ledger.journal import AccountRef
from ledger.posting import post_entries
from ledger.statements import Statement, StatementCursor, statement, statement_by_dates
from tests.ledger.entries import AVAILABLE, BANK, BOOK, entry, posting, received
from tests.ledger.histories import ACCOUNTS, FIRST_DAY, NEVER_USED, random_history, sums


def adds_up(pages: list[Statement]) -> None:
    """Every page says the same of the whole, and the lines lead from opening to closing."""
    assert len({(page.account, page.cut, page.opening_minor, page.closing_minor) for page in pages}) == 1
    assert pages[-1].next is None
    balance = pages[0].opening_minor
    side = 1 if CHART[pages[0].account.kind].normal_side is NormalSide.DEBIT else -1
    lines = [line for page in pages for line in page.lines]
    for line in lines:
        balance += side * (line.debit_minor - line.credit_minor)
        assert line.balance_minor == balance
        assert min(line.debit_minor, line.credit_minor) == 0
    assert balance == pages[0].closing_minor
    assert all((a.sequence, a.line) < (b.sequence, b.line) for a, b in pairwise(lines))


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_statement_by_sequence_shows_every_posting_once(app: asyncpg.Connection, limit: int) -> None:
    recorded = await random_history(app, seed=6)
    for account in (*ACCOUNTS, NEVER_USED):
        for after, through in ((0, None), (20, 41), (41, 41), (0, 99)):
            pages = [await statement(app, BOOK, account, after=after, through=through, limit=limit)]
            while cursor := pages[-1].next:
                again = StatementCursor.decode(cursor.encode())
                pages.append(await statement(app, BOOK, account, after=after, cursor=again, limit=limit))
            adds_up(pages)
            cut = len(recorded) if through is None else through
            assert pages[0].opening_minor == sums(recorded, account, cut=after).balance(account)
            assert pages[0].closing_minor == sums(recorded, account, cut=cut).balance(account)
            assert [(line.sequence, line.line) for page in pages for line in page.lines] == [
                (line.sequence, line.line)
                for each in recorded
                if after < each.sequence <= cut
                for line in each.postings
                if account in (line.debit, line.credit)
            ]
            assert all(len(page.lines) <= max(limit, 3) for page in pages)


@pytest.mark.parametrize("limit", [2, 100])
async def test_statement_by_dates_holds_what_happened_then_as_known_at_the_cut(
    app: asyncpg.Connection, limit: int
) -> None:
    recorded = await random_history(app, seed=7)
    from_on, to_on = FIRST_DAY + timedelta(days=3), FIRST_DAY + timedelta(days=7)
    for account in ACCOUNTS:
        for cut in (None, 0, 30):
            pages = [await statement_by_dates(app, BOOK, account, from_on=from_on, to_on=to_on, cut=cut, limit=limit)]
            while cursor := pages[-1].next:
                pages.append(
                    await statement_by_dates(
                        app, BOOK, account, from_on=from_on, to_on=to_on, cursor=cursor, limit=limit
                    )
                )
            adds_up(pages)
            days = {line.effective_on for page in pages for line in page.lines}
            assert all(from_on <= day <= to_on for day in days)
            before = sums(recorded, account, cut=cut, on_date=from_on - timedelta(days=1))
            assert pages[0].opening_minor == before.balance(account)
            assert pages[0].closing_minor == sums(recorded, account, cut=cut, on_date=to_on).balance(account)


async def test_lines_recorded_around_their_dates_are_found_without_reading_the_rest(app: asyncpg.Connection) -> None:
    """The clock of the books is today's: lines of today are found in their stretch, others in the whole account."""
    today = (await app.fetchval("SELECT max(recorded_at) FROM ledger.blocks")).date()
    long_ago, later = today - timedelta(days=400), today + timedelta(days=90)
    for day in (long_ago, today, later, today):
        await post_entries(app, BOOK, [received(day.day, effective_on=day), received(1, effective_on=day)])
    for day, expected in ((long_ago, [1, 2]), (today, [3, 4, 7, 8]), (later, [5, 6])):
        first = await statement_by_dates(app, BOOK, AVAILABLE, from_on=day, to_on=day, limit=1)
        pages = [first]
        while cursor := pages[-1].next:
            pages.append(await statement_by_dates(app, BOOK, AVAILABLE, from_on=day, to_on=day, cursor=cursor, limit=1))
        adds_up(pages)
        assert [line.sequence for page in pages for line in page.lines] == expected
    nothing = await statement_by_dates(app, BOOK, AVAILABLE, from_on=later + timedelta(1), to_on=later + timedelta(2))
    assert (nothing.lines, nothing.next, nothing.opening_minor) == ((), None, nothing.closing_minor)
    everything = await statement_by_dates(app, BOOK, AVAILABLE, from_on=long_ago, to_on=later)
    assert len(everything.lines) == 8


async def test_page_once_read_stays_when_more_is_posted(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(5), received(7), received(9)])
    first = await statement(app, BOOK, AVAILABLE, limit=2)
    await post_entries(app, BOOK, [received(100)])
    assert first.next is not None
    last = await statement(app, BOOK, AVAILABLE, cursor=first.next, limit=2)
    assert (last.cut, last.closing_minor, [line.credit_minor for line in last.lines]) == (3, 21, [9])
    assert await statement(app, BOOK, AVAILABLE, through=3, limit=2) == first


async def test_entry_longer_than_a_page_has_one_of_its_own(app: asyncpg.Connection) -> None:
    def others(number: int) -> AccountRef:
        return AccountRef(AVAILABLE.kind, f"m{number}")

    long = entry(*(posting(BANK, others(number), 1) for number in range(7)))
    await post_entries(app, BOOK, [received(5), long, received(5)])
    first = await statement(app, BOOK, BANK, limit=3)
    second = await statement(app, BOOK, BANK, limit=3, cursor=first.next)
    third = await statement(app, BOOK, BANK, limit=3, cursor=second.next)
    assert [len(page.lines) for page in (first, second, third)] == [1, 7, 1]
    adds_up([first, second, third])
    assert second.lines[6].other == others(6)


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.x", "1.2.3.4.5"])
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        StatementCursor.decode(text)
