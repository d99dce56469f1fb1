"""`quickkub ledger accounts …`: what accounts there are, their roll-ups, and acts on them."""

from collections.abc import Awaitable, Callable
from typing import Any

import rich_click as click

from gateway.commands.ledger.common import (
    SEQUENCE,
    AccountName,
    account_document,
    account_text,
    actor_option,
    book_option,
    connected,
    currency_option,
    json_option,
    kind_names,
    ledger,
    must_be_there,
    print_json,
    print_table,
    reason_option,
    run,
)
from ledger.account_listing import Account, AccountFilter, RollUp, RollUpBy, roll_up
from ledger.account_listing import accounts as list_accounts
from ledger.accounts import (
    AccountRefusal,
    close_account,
    freeze_account,
    limit_account,
    open_accounts,
    reopen_account,
)
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef
from ledger.money import to_text

AMOUNT = click.IntRange(-4 * 10**18, 4 * 10**18)


@ledger.group()
def accounts() -> None:
    """Accounts: list, roll up, open, limit, freeze, close. Whoever limits, freezes or closes says who and why."""


@accounts.command(name="list")
@book_option
@click.option("--kind", type=click.Choice(kind_names()), help="Only this kind.")
@click.option("--owner", help="Only this owner.")
@click.option("--owner-prefix", help="Only owners that begin so.")
@currency_option
@click.option("--closed/--open", default=None, help="Only closed ones, or only open ones.")
@click.option("--after", type=AccountName(), help="Go on after this account.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True, help="How many.")
@json_option
def list_(
    *,
    book: int,
    kind: str | None,
    owner: str | None,
    owner_prefix: str | None,
    currency: str | None,
    after: AccountRef | None,
    limit: int,
    closed: bool | None,
    as_json: bool,
) -> None:
    """Accounts with their state, in the order of kind, owner and currency."""
    wanted = AccountFilter(
        kinds=[AccountKind[kind.upper()]] if kind else [],
        owner=owner,
        owner_prefix=owner_prefix,
        currency=currency,
        closed=closed,
    )
    found = run(_list(book, wanted, after, limit))
    if as_json:
        print_json([_document(each) for each in found])
        return
    print_table(
        ("code", "account", "balance>", "floor>", "ceiling>", "", "state"),
        [
            (
                each.code,
                account_text(each.account),
                *(
                    None if amount is None else to_text(amount, each.account.currency)
                    for amount in (each.balance.balance_minor, each.floor_minor, each.ceiling_minor)
                ),
                each.account.currency,
                _state(each),
            )
            for each in found
        ],
        empty=f"book {book} has no such account",
    )
    if len(found) == limit:
        print(f"more: --after {account_text(found[-1].account)}")


async def _list(book: int, wanted: AccountFilter, after: AccountRef | None, limit: int) -> list[Account]:
    async with connected(book) as connection:
        return await list_accounts(connection, book, wanted, after=after, limit=limit)


def _state(account: Account) -> str:
    sides = [side for side, yes in (("debits", account.debits_frozen), ("credits", account.credits_frozen)) if yes]
    return "closed" if account.closed else f"{' and '.join(sides)} frozen" if sides else "open"


def _document(account: Account) -> dict[str, Any]:
    names = ("number", "code", "floor_minor", "ceiling_minor", "debits_frozen", "credits_frozen", "closed", "opened_at")
    return (
        account_document(account.account)
        | {name: getattr(account, name) for name in names}
        | {"class": account.account_class.value, "balance_minor": account.balance.balance_minor}
    )


@accounts.command(name="roll-up")
@book_option
@click.option("--by", type=click.Choice([by.value for by in RollUpBy]), default="class", show_default=True)
@currency_option
@click.option("--at", "cut", type=SEQUENCE, help="As recorded at an entry; none = now.")
@json_option
def roll_up_(book: int, by: str, currency: str | None, cut: int | None, *, as_json: bool) -> None:
    """Totals by class, kind or owner; always the sum of the postings."""
    found = run(_roll_up(book, RollUpBy(by), currency, cut))
    if as_json:
        print_json(found)
        return
    print_table(
        (by, "debits>", "credits>", ""),
        [
            (
                each.name,
                to_text(each.debits_minor, each.currency),
                to_text(each.credits_minor, each.currency),
                each.currency,
            )
            for each in found
        ],
        empty=f"nothing was posted to book {book}",
    )


async def _roll_up(book: int, by: RollUpBy, currency: str | None, cut: int | None) -> list[RollUp]:
    async with connected(book) as connection:
        await must_be_there(connection, book, cut or 0)
        return list(await roll_up(connection, book, by=by, currency=currency, cut=cut))


@accounts.command(name="open")
@click.argument("account", type=AccountName(), nargs=-1, required=True)
@book_option
@json_option
def open_(account: tuple[AccountRef, ...], book: int, *, as_json: bool) -> None:
    """Open accounts before anything is posted to them; one that is open stays as it is."""

    async def act() -> list[int]:
        async with connected(book) as connection:
            return await open_accounts(connection, book, account)

    opened = list(zip(account, run(act()), strict=True))
    if as_json:
        print_json([account_document(each) | {"number": number} for each, number in opened])
        return
    for each, number in opened:
        print(f"{account_text(each)} is account {number} of book {book}")


@accounts.command()
@click.argument("account", type=AccountName())
@book_option
@click.option("--debits/--no-debits", required=True, help="Whether debits are frozen from now on.")
@click.option("--credits/--no-credits", "credits_", required=True, help="Whether credits are.")
@actor_option
@reason_option
def freeze(account: AccountRef, book: int, actor: str, reason: str, *, debits: bool, credits_: bool) -> None:
    """Freeze or free an account for authorising entries; what happened is still recorded."""

    async def act(connection: Any) -> AccountRefusal | None:
        done = await freeze_account(
            connection, book, account, debits=debits, credits_=credits_, actor=actor, reason=reason
        )
        return None if done else AccountRefusal.ACCOUNT_NOT_FOUND

    _say(account, book, act, f"debits {'frozen' if debits else 'free'}, credits {'frozen' if credits_ else 'free'}")


@accounts.command()
@click.argument("account", type=AccountName())
@book_option
@click.option("--floor-minor", type=AMOUNT, help="Lowest balance in minor units; none = no floor.")
@click.option("--ceiling-minor", type=AMOUNT, help="Highest balance in minor units; none = no ceiling.")
@actor_option
@reason_option
def limit(
    *, account: AccountRef, book: int, floor_minor: int | None, ceiling_minor: int | None, actor: str, reason: str
) -> None:
    """Set both limits that authorising entries respect."""

    async def act(connection: Any) -> AccountRefusal | None:
        return await limit_account(
            connection, book, account, floor_minor=floor_minor, ceiling_minor=ceiling_minor, actor=actor, reason=reason
        )

    _say(account, book, act, f"floor {floor_minor}, ceiling {ceiling_minor}")


@accounts.command()
@click.argument("account", type=AccountName())
@book_option
@actor_option
@reason_option
@click.option("--reopen", is_flag=True, help="Open it again instead.")
def close(account: AccountRef, book: int, actor: str, reason: str, *, reopen: bool) -> None:
    """Close an account with a zero balance and without holds."""

    async def act(connection: Any) -> AccountRefusal | None:
        change = reopen_account if reopen else close_account
        return await change(connection, book, account, actor=actor, reason=reason)

    _say(account, book, act, "open" if reopen else "closed")


def _say(account: AccountRef, book: int, act: Callable[[Any], Awaitable[AccountRefusal | None]], done: str) -> None:
    async def acted() -> AccountRefusal | None:
        async with connected(book) as connection:
            return await act(connection)

    refusal = run(acted())
    if refusal is not None:
        raise click.ClickException(f"refused: {refusal.code}")
    print(f"{account_text(account)} of book {book}: {done}")
