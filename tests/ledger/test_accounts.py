"""What an account may do changes by acts on the record only, and totals rolled up are what the postings add up to."""

import asyncio
from datetime import datetime
from uuid import uuid4

import asyncpg
import pytest

from ledger.account_listing import AccountFilter, AccountMetadata, RollUp, RollUpBy, accounts, metadata_of, roll_up
from ledger.accounts import (
    AccountRefusal,
    close_account,
    freeze_account,
    limit_account,
    open_accounts,
    reopen_account,
    write_metadata,
)
from ledger.balances import all_balances
from ledger.chart_of_accounts import CHART, AccountClass, AccountKind, NormalSide
from ledger.errors import BookNotFound, EntryMalformed
from ledger.feed import RecordedEntry
from ledger.holds import place_hold
from ledger.journal import AccountRef, Posted, Refused
from ledger.posting import post_entries
from ledger.refusals import Refusal
from tests.conftest import ClonedDatabase
from tests.ledger.entries import (
    AUTHORISING,
    AVAILABLE,
    BANK,
    BOOK,
    CLEARING,
    DAY,
    FEES,
    PAYOUTS,
    entry,
    paid_out,
    posting,
    received,
)
from tests.ledger.histories import ACCOUNTS, random_history

BY = {"actor": "op_1", "reason": "ticket 7"}
NO_LIMITS = {"floor_minor": None, "ceiling_minor": None}


async def acts(connection: asyncpg.Connection) -> list[tuple[str, str, str, str]]:
    rows = await connection.fetch(
        "SELECT act, subject, actor, reason FROM ledger.ledger_acts WHERE act <> 'create_month' ORDER BY acted_at"
    )
    return [tuple(row.values()) for row in rows]


async def test_accounts_are_opened_once_with_the_limits_of_their_kind(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(5)])
    assert await open_accounts(app, BOOK, []) == []
    first, second, third = await open_accounts(app, BOOK, [PAYOUTS, AVAILABLE, FEES])
    assert await open_accounts(app, BOOK, [FEES, PAYOUTS, FEES]) == [third, first, third]
    listed = {each.account: each for each in await accounts(app, BOOK)}
    assert set(listed) == {BANK, AVAILABLE, PAYOUTS, FEES}
    assert listed[AVAILABLE].number == second
    assert (listed[AVAILABLE].balance.balance_minor, listed[PAYOUTS].balance.last_sequence) == (5, 0)
    assert (listed[PAYOUTS].floor_minor, listed[FEES].floor_minor) == (0, None)
    with pytest.raises(BookNotFound):
        await open_accounts(app, 77, [BANK])


async def test_each_act_is_on_the_record_with_actor_and_reason(app: asyncpg.Connection) -> None:
    await open_accounts(app, BOOK, [AVAILABLE])
    assert await limit_account(app, BOOK, AVAILABLE, floor_minor=-500, ceiling_minor=9_000, **BY) is None
    assert await freeze_account(app, BOOK, AVAILABLE, debits=True, credits_=False, **BY)
    assert await close_account(app, BOOK, AVAILABLE, **BY) is None
    [account] = await accounts(app, BOOK)
    assert (account.floor_minor, account.ceiling_minor) == (-500, 9_000)
    assert (account.debits_frozen, account.credits_frozen, account.closed) == (True, False, True)
    assert await reopen_account(app, BOOK, AVAILABLE, actor="op_2", reason="closed by mistake") is None
    assert await limit_account(app, BOOK, AVAILABLE, **NO_LIMITS, **BY) is None
    [account] = await accounts(app, BOOK)
    assert (account.floor_minor, account.ceiling_minor, account.closed, account.debits_frozen) == (
        None,
        None,
        False,
        True,
    )
    subject = "1000/31/merchant/THB"
    assert await acts(app) == [
        ("limit_account", f"{subject} floor=-500 ceiling=9000", "op_1", "ticket 7"),
        ("freeze_account", f"{subject} debits=t credits=f", "op_1", "ticket 7"),
        ("close_account", f"{subject} at=0", "op_1", "ticket 7"),
        ("reopen_account", f"{subject} at=0", "op_2", "closed by mistake"),
        ("limit_account", f"{subject} floor=none ceiling=none", "op_1", "ticket 7"),
    ]


async def test_refused_act_changes_and_records_nothing(app: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(5)])
    await post_entries(app, BOOK, [place_hold(key=uuid4(), posting=posting(BANK, PAYOUTS, 1), effective_on=DAY)])
    before = await accounts(app, BOOK)
    assert await close_account(app, BOOK, AVAILABLE, **BY) is AccountRefusal.BALANCE_NOT_ZERO
    assert await close_account(app, BOOK, PAYOUTS, **BY) is AccountRefusal.HOLDS_OUTSTANDING
    above = {"floor_minor": 2, "ceiling_minor": 1}
    assert await limit_account(app, BOOK, BANK, **above, **BY) is AccountRefusal.FLOOR_ABOVE_CEILING
    for act in (close_account, reopen_account):
        assert await act(app, BOOK, FEES, **BY) is AccountRefusal.ACCOUNT_NOT_FOUND
    assert await limit_account(app, BOOK, FEES, **NO_LIMITS, **BY) is AccountRefusal.ACCOUNT_NOT_FOUND
    assert not await freeze_account(app, BOOK, FEES, debits=True, credits_=True, **BY)
    assert AccountRefusal.BALANCE_NOT_ZERO.code == "balance_not_zero"
    with pytest.raises(EntryMalformed):
        await limit_account(app, BOOK, BANK, floor_minor=-(2**62), ceiling_minor=None, **BY)
    with pytest.raises(BookNotFound):
        await close_account(app, 77, BANK, **BY)
    assert (await accounts(app, BOOK), await acts(app)) == (before, [])


async def test_account_is_changed_in_read_committed_only(app: asyncpg.Connection) -> None:
    with pytest.raises(AssertionError, match="READ COMMITTED"):
        async with app.transaction(isolation="repeatable_read"):
            await close_account(app, BOOK, BANK, **BY)


async def test_limits_that_were_set_are_those_that_entries_respect(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    await limit_account(app, BOOK, AVAILABLE, floor_minor=-50, ceiling_minor=100, **BY)
    [refused, posted, over] = await post_entries(
        app, BOOK, [paid_out(151), paid_out(150), entry(posting(BANK, AVAILABLE, 151), kind=AUTHORISING)]
    )
    assert isinstance(refused, Refused)
    assert isinstance(posted, Posted)
    assert isinstance(over, Refused)
    assert (refused.refusal, posted.sequence, over.refusal) == (Refusal.BELOW_FLOOR, 2, Refusal.ABOVE_CEILING)
    assert {each.account: each.balance_minor for each in await all_balances(app, BOOK)}[AVAILABLE] == -50


@pytest.mark.parametrize("lines", [1, 2], ids=["one posting", "two postings"])
@pytest.mark.parametrize(
    ("account", "grows", "refusal"),
    [
        (BANK, False, Refusal.BELOW_FLOOR),
        (BANK, True, Refusal.ABOVE_CEILING),
        (AVAILABLE, False, Refusal.BELOW_FLOOR),
        (AVAILABLE, True, Refusal.ABOVE_CEILING),
    ],
    ids=["debit side, floor", "debit side, ceiling", "credit side, floor", "credit side, ceiling"],
)
async def test_limit_of_either_side_is_told_by_its_name(
    account: AccountRef, grows: bool, refusal: Refusal, lines: int, app: asyncpg.Connection
) -> None:
    await post_entries(app, BOOK, [received(100)])
    await limit_account(app, BOOK, account, floor_minor=90, ceiling_minor=110, **BY)
    is_debit = grows == (account is BANK)
    sides = (account, CLEARING) if is_debit else (CLEARING, account)
    too_much, enough = ([posting(*sides, amount // lines) for _ in range(lines)] for amount in (12, 10))
    [over, within] = await post_entries(
        app, BOOK, [entry(*too_much, kind=AUTHORISING), entry(*enough, kind=AUTHORISING)]
    )
    assert isinstance(over, Refused)
    assert over.refusal is refusal
    assert isinstance(within, Posted)
    assert (within.floor_breached, within.ceiling_breached) == (False, False)
    [recorded] = await post_entries(app, BOOK, [entry(*too_much)])
    assert isinstance(recorded, Posted)
    expected = (refusal is Refusal.BELOW_FLOOR, refusal is Refusal.ABOVE_CEILING)
    assert (recorded.floor_breached, recorded.ceiling_breached) == expected
    balance = {each.account: each.balance_minor for each in await all_balances(app, BOOK)}[account]
    assert balance == (122 if grows else 78)


async def test_closed_account_refuses_what_asks_and_takes_what_is_a_fact(app: asyncpg.Connection) -> None:
    await open_accounts(app, BOOK, [AVAILABLE])
    await close_account(app, BOOK, AVAILABLE, **BY)
    asked = entry(posting(BANK, AVAILABLE, 5), kind=AUTHORISING)
    assert await post_entries(app, BOOK, [asked]) == [Refused(key=asked.key, refusal=Refusal.ACCOUNT_CLOSED)]
    [fact] = await post_entries(app, BOOK, [received(7)])
    assert isinstance(fact, Posted)
    assert (fact.sequence, fact.closed_breached) == (1, True)
    await reopen_account(app, BOOK, AVAILABLE, **BY)
    [posted] = await post_entries(app, BOOK, [asked])
    assert isinstance(posted, Posted)
    assert await close_account(app, BOOK, AVAILABLE, **BY) is AccountRefusal.BALANCE_NOT_ZERO


async def test_metadata_has_versions_and_none_is_lost(app: asyncpg.Connection) -> None:
    assert await write_metadata(app, BOOK, FEES, b"{}", actor="op_1") is None
    await open_accounts(app, BOOK, [FEES, BANK])
    assert await metadata_of(app, BOOK, FEES) is None
    assert [await write_metadata(app, BOOK, FEES, text, actor="op_1") for text in (b"{}", b"\x00\xff")] == [1, 2]
    newest, first = await metadata_of(app, BOOK, FEES), await metadata_of(app, BOOK, FEES, version=1)
    assert isinstance(newest, AccountMetadata)
    assert isinstance(first, AccountMetadata)
    assert (newest.version, newest.metadata, newest.actor) == (2, b"\x00\xff", "op_1")
    assert (first.version, first.metadata) == (1, b"{}")
    assert isinstance(first.written_at, datetime)
    assert await metadata_of(app, BOOK, FEES, version=3) is None
    assert await metadata_of(app, BOOK, BANK) is None


async def test_list_is_filtered_and_paged_without_loss(app: asyncpg.Connection) -> None:
    owners = ("a", "ab", "abc", "b", "ก")
    everything = sorted(
        AccountRef(kind, owner, currency)
        for kind in (AccountKind.BANK, AccountKind.MERCHANT_AVAILABLE, AccountKind.FEE_INCOME)
        for owner in owners
        for currency in ("THB", "USD")
    )
    await open_accounts(app, BOOK, everything[::-1])
    await close_account(app, BOOK, everything[3], **BY)
    await freeze_account(app, BOOK, everything[5], debits=False, credits_=True, **BY)
    for limit in (1, 4, 30, 100):
        found: list[AccountRef] = []
        while page := await accounts(app, BOOK, after=found[-1] if found else None, limit=limit):
            assert len(page) <= limit
            found += [each.account for each in page]
        assert found == everything

    async def listed(**filters: object) -> list[AccountRef]:
        return [each.account for each in await accounts(app, BOOK, AccountFilter(**filters))]

    assert await listed(closed=True) == [everything[3]]
    assert await listed(frozen=True) == [everything[5]]
    assert len(await listed(closed=False, frozen=False)) == 28
    assert await listed(owner="ab", currency="USD", kinds=[AccountKind.BANK]) == [
        AccountRef(AccountKind.BANK, "ab", "USD")
    ]
    assert {each.owner for each in await listed(owner_prefix="ab")} == {"ab", "abc"}
    assert {each.kind for each in await listed(classes=[AccountClass.INCOME])} == {AccountKind.FEE_INCOME}
    assert await listed(classes=[AccountClass.EXPENSE]) == []
    assert await listed(owner="nobody") == []


def added_up(recorded: list[RecordedEntry], by: RollUpBy, cut: int) -> dict[tuple[str, str], tuple[int, int]]:
    """Σ postings through the cut for each group and currency, every account of the history counted."""

    def name(account: AccountRef) -> str:
        named = {RollUpBy.CLASS: CHART[account.kind].account_class.value, RollUpBy.OWNER: account.owner}
        return named.get(by, account.kind.name.lower())

    totals = {(name(account), account.currency): (0, 0) for account in ACCOUNTS}
    for line in (line for each in recorded if each.sequence <= cut for line in each.postings):
        for account, debit, credit in ((line.debit, line.amount_minor, 0), (line.credit, 0, line.amount_minor)):
            debits, credits_ = totals[name(account), account.currency]
            totals[name(account), account.currency] = (debits + debit, credits_ + credit)
    return totals


@pytest.mark.parametrize("by", RollUpBy)
async def test_roll_up_is_the_sum_of_the_postings_at_every_cut(app: asyncpg.Connection, by: RollUpBy) -> None:
    recorded = await random_history(app, seed=5)
    for cut in (0, 1, 13, 59, 60, None):
        found = await roll_up(app, BOOK, by=by, cut=cut)
        assert {(each.name, each.currency): (each.debits_minor, each.credits_minor) for each in found} == added_up(
            recorded, by, len(recorded) if cut is None else cut
        )
        for currency in ("THB", "USD"):
            of_currency = await roll_up(app, BOOK, by=by, cut=cut, currency=currency)
            assert of_currency == [each for each in found if each.currency == currency]
            assert sum(each.debits_minor - each.credits_minor for each in of_currency) == 0


async def test_roll_up_states_balances_on_their_side_in_the_order_of_the_chart(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1_000), entry(posting(AVAILABLE, FEES, 30))])
    assert await roll_up(app, BOOK, by=RollUpBy.CLASS) == [
        rolled("asset", NormalSide.DEBIT, 1_000, 1_000, 0),
        rolled("liability", NormalSide.CREDIT, 970, 30, 1_000),
        rolled("income", NormalSide.CREDIT, 30, 0, 30),
    ]
    assert [each.name for each in await roll_up(app, BOOK, by=RollUpBy.KIND)] == [
        "bank",
        "merchant_available",
        "fee_income",
    ]
    assert await roll_up(app, BOOK, by=RollUpBy.OWNER) == [
        rolled("main", NormalSide.DEBIT, 1_000, 1_000, 0),
        rolled("merchant", NormalSide.DEBIT, -1_000, 30, 1_030, count=2),
    ]


def rolled(name: str, side: NormalSide, balance: int, debits: int, credits_: int, *, count: int = 1) -> RollUp:
    return RollUp(
        name=name,
        currency="THB",
        normal_side=side,
        balance_minor=balance,
        debits_minor=debits,
        credits_minor=credits_,
        accounts=count,
    )


async def test_act_waits_for_whoever_posts_and_sees_what_they_posted(
    app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    await open_accounts(app, BOOK, [AVAILABLE])
    other = await asyncpg.connect(database.app_dsn)
    posting_still = other.transaction()
    await posting_still.start()
    await post_entries(other, BOOK, [received(5)])
    closing = asyncio.create_task(close_account(app, BOOK, AVAILABLE, **BY))
    await asyncio.sleep(0.2)
    assert not closing.done()
    await posting_still.commit()
    assert await closing is AccountRefusal.BALANCE_NOT_ZERO
    await other.close()


async def test_versions_of_metadata_follow_each_other_whoever_writes(
    app: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    await open_accounts(app, BOOK, [FEES])

    async def write(number: int) -> int | None:
        async with pool.acquire() as connection:
            return await write_metadata(connection, BOOK, FEES, str(number).encode(), actor="op_1")

    versions = await asyncio.gather(*(write(number) for number in range(20)))
    assert sorted(version or 0 for version in versions) == list(range(1, 21))
    for number, version in enumerate(versions):
        written = await metadata_of(app, BOOK, FEES, version=version)
        assert written is not None
        assert written.metadata == str(number).encode()


async def test_app_may_act_through_the_functions_only(app: asyncpg.Connection) -> None:
    for statement in (
        "UPDATE ledger.accounts SET closed = true",
        "INSERT INTO ledger.account_metadata VALUES (1000, 1, 1, '', now(), 'op_1')",
        "INSERT INTO ledger.periods VALUES (1000, '2026-01-01', '2026-01-31', 'open', now())",
        "UPDATE ledger.periods SET state = 'open'",
        "INSERT INTO ledger.ledger_acts VALUES (gen_random_uuid(), now(), 'a', 'b', 'c', 'd')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(statement)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sign", "0"),
        ("owner", "''"),
        ("owner", "repeat('x', 201)"),
        ("floor_minor", "4000000000000000001"),
        ("ceiling_minor", "-4000000000000000001"),
        ("debits_posted", "-1"),
    ],
)
async def test_database_keeps_no_account_that_cannot_be(
    column: str, value: str, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await post_entries(app, BOOK, [received(1)])
    before = await app.fetch("SELECT * FROM ledger.accounts ORDER BY account_id")
    assert before
    with pytest.raises(asyncpg.CheckViolationError):
        await superuser.execute(f"UPDATE ledger.accounts SET {column} = {value}")
    assert await app.fetch("SELECT * FROM ledger.accounts ORDER BY account_id") == before


async def test_account_with_a_hold_on_its_debit_side_is_not_closed(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [place_hold(key=uuid4(), posting=posting(CLEARING, BANK, 1), effective_on=DAY)])
    assert await close_account(app, BOOK, CLEARING, **BY) is AccountRefusal.HOLDS_OUTSTANDING
    assert await close_account(app, BOOK, BANK, **BY) is AccountRefusal.HOLDS_OUTSTANDING


async def test_opening_outside_read_committed_is_our_bug(app: asyncpg.Connection) -> None:
    with pytest.raises(AssertionError, match="READ COMMITTED"):
        async with app.transaction(isolation="repeatable_read"):
            await open_accounts(app, BOOK, [BANK])
