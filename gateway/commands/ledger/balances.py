"""`quickkub ledger balance, trial-balance`: what accounts hold, now and then."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import rich_click as click

from gateway.commands.ledger.common import (
    SEQUENCE,
    AccountName,
    Day,
    account_document,
    account_text,
    book_option,
    connected,
    json_option,
    ledger,
    must_be_there,
    print_json,
    print_table,
    run,
    warn_of_unopened,
)
from ledger.balances import (
    DateAxis,
    TrialBalanceRow,
    all_balances,
    balances,
    balances_at,
    balances_effective,
    trial_balance,
)
from ledger.journal import AccountRef
from ledger.money import to_text


@ledger.command()
@click.argument("accounts", nargs=-1, type=AccountName())
@book_option
@click.option("--at", "sequence", type=SEQUENCE, help="As recorded at an entry; 0 = before the first.")
@click.option("--on", "day", type=Day(), help="As effective on a business date, with all that is known now.")
@json_option
def balance(
    accounts: Sequence[AccountRef], book: int, sequence: int | None, day: date | None, *, as_json: bool
) -> None:
    """Balances on the normal side of each account: now, at an entry, or on a date.

    ACCOUNTS are written kind:owner, such as merchant_available:acct_1; none means every account of the book. What is
    held, and what an authorising entry could still take (available), is known for now only.
    """
    if sequence is not None and day is not None:
        raise click.UsageError("say either --at or --on")
    found = run(_balances(book, list(accounts), sequence, day))
    if as_json:
        print_json([account_document(account) | figures for account, figures in found])
        return
    names = list(found[0][1]) if found else []
    print_table(
        ("account", *(f"{name.removesuffix('_minor')}>" for name in names), ""),
        [
            (
                account_text(account),
                *(None if figures[name] is None else to_text(figures[name], account.currency) for name in names),
                account.currency,
            )
            for account, figures in found
        ],
        empty=f"no account of book {book} was ever used",
    )


async def _balances(
    book: int, accounts: list[AccountRef], sequence: int | None, day: date | None
) -> list[tuple[AccountRef, dict[str, Any]]]:
    async with connected(book) as connection:
        await warn_of_unopened(connection, book, accounts)
        wanted = accounts or [each.account for each in await all_balances(connection, book)]
        if sequence is not None:
            await must_be_there(connection, book, sequence)
            at = await balances_at(connection, book, wanted, sequence)
            return [(account, {"balance_minor": each.balance_minor}) for account, each in at.items()]
        if day is not None:
            effective = await balances_effective(connection, book, wanted, day)
            names: tuple[str, ...] = ("balance_minor", "debits_minor", "credits_minor")
            return [(account, {name: getattr(each, name) for name in names}) for account, each in effective.items()]
        now = await balances(connection, book, wanted)
        names = ("balance_minor", "held_debits_minor", "held_credits_minor", "available_minor")
        return [(account, {name: getattr(each, name) for name in names}) for account, each in now.items()]


@ledger.command(name="trial-balance")
@book_option
@click.option("--from", "from_on", type=Day(), help="First business date; none = from the beginning.")
@click.option("--to", "to_on", type=Day(), help="Last business date; none = no end.")
@click.option("--cut", type=SEQUENCE, help="Only entries up to this sequence.")
@click.option(
    "--axis",
    type=click.Choice([axis.value for axis in DateAxis]),
    default=DateAxis.BOOKED.value,
    show_default=True,
    help="Late facts on the day they are booked on, or on their true date.",
)
@json_option
def trial_balance_(
    book: int, from_on: date | None, to_on: date | None, cut: int | None, axis: str, *, as_json: bool
) -> None:
    """Opening, turnover and closing of every account by business date; debits must equal credits."""
    if from_on is not None and to_on is not None and to_on < from_on:
        raise click.UsageError(f"the dates end at {to_on}, before they begin at {from_on}")
    rows = run(_trial_balance(book, from_on, to_on, cut, DateAxis(axis)))
    figures = ("opening_minor", "debits_minor", "credits_minor", "closing_minor")
    if as_json:
        print_json(
            [
                account_document(row.account) | {"code": row.code} | {name: getattr(row, name) for name in figures}
                for row in rows
            ]
        )
        return
    print_table(
        ("code", "account", "opening>", "debits>", "credits>", "closing>", ""),
        [
            (
                row.code,
                account_text(row.account),
                *(to_text(getattr(row, name), row.account.currency) for name in figures),
                row.account.currency,
            )
            for row in rows
        ],
        empty=f"nothing was posted to book {book} in these dates",
    )
    for currency in sorted({row.account.currency for row in rows}):
        of_currency = [row for row in rows if row.account.currency == currency]
        debits = sum(row.closing_debit_minor for row in of_currency)
        credits_ = sum(row.closing_credit_minor for row in of_currency)
        print(f"closing {currency}: debit {to_text(debits, currency)}, credit {to_text(credits_, currency)}")


async def _trial_balance(
    book: int, from_on: date | None, to_on: date | None, cut: int | None, axis: DateAxis
) -> list[TrialBalanceRow]:
    async with connected(book) as connection:
        await must_be_there(connection, book, cut or 0)
        return await trial_balance(connection, book, from_on=from_on, to_on=to_on, cut=cut, axis=axis)
