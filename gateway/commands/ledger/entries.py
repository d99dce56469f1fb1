"""`quickkub ledger entries, statement`: what was posted, and what happened on one account."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import rich_click as click

from gateway.commands.ledger.common import (
    SEQUENCE,
    AccountName,
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
from ledger.feed import RecordedEntry, entries_by_reference, entry_by_key, read_entries
from ledger.journal import AccountRef
from ledger.money import to_text
from ledger.statements import Statement, StatementCursor, statement


@ledger.command()
@book_option
@click.option("--after", type=SEQUENCE, default=0, show_default=True, help="Only entries after this sequence.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many entries.")
@click.option("--key", type=click.UUID, help="The one entry with this key.")
@click.option("--reference", help="Entries that others call so: scheme=value.")
@json_option
def entries(book: int, after: int, limit: int, key: UUID | None, reference: str | None, *, as_json: bool) -> None:
    """Entries in order, with their postings."""
    if key is not None and reference is not None:
        raise click.UsageError("say either --key or --reference")
    if reference is not None and "=" not in reference:
        raise click.BadParameter("must be scheme=value, such as scb=qk0000000000000001", param_hint="--reference")
    found = run(_entries(book, after, limit + 1, key, reference))
    more = len(found) > limit and key is None and reference is None
    found = found[:limit] if more else found
    if as_json:
        print_json([entry_document(entry) for entry in found])
        return
    if not found:
        print(f"book {book} has no such entry")
    for entry in found:
        references = " ".join(f"{each.scheme}={each.value}" for each in entry.references)
        print(f"{entry.sequence} {entry.kind.name.lower()} {entry.effective_on} {entry.key} {references}".rstrip())
        for posting in entry.postings:
            amount = to_text(posting.amount_minor, posting.debit.currency)
            print(
                f"    {account_text(posting.debit)} ← {account_text(posting.credit)}  {amount} {posting.debit.currency}"
            )
    if more:
        print(f"more: --after {found[-1].sequence}")


async def _entries(
    book: int, after: int, limit: int, key: UUID | None, reference: str | None
) -> Sequence[RecordedEntry]:
    async with connected(book) as connection:
        if key is not None:
            entry = await entry_by_key(connection, book, key)
            return [] if entry is None else [entry]
        if reference is not None:
            scheme, _, value = reference.partition("=")
            return (await entries_by_reference(connection, book, scheme, [value])).get(value, [])
        return await read_entries(connection, book, after=after, limit=limit)


def entry_document(entry: RecordedEntry) -> dict[str, Any]:
    """An entry in JSON: every column that the chain seals, metadata in hexadecimal."""
    plain = {
        name: getattr(entry, name)
        for name in entry.__struct_fields__
        if name not in {"postings", "references", "metadata", "kind", "hold_action"}
    }
    return plain | {
        "kind": entry.kind.name.lower(),
        "hold_action": entry.hold_action and entry.hold_action.name.lower(),
        "metadata": entry.metadata.hex(),
        "references": [{"scheme": each.scheme, "value": each.value} for each in entry.references],
        "postings": [
            {
                name: account_document(value) if isinstance(value, AccountRef) else value
                for name, value in ((field, getattr(line, field)) for field in line.__struct_fields__)
                if name != "sequence"
            }
            for line in entry.postings
        ],
    }


@ledger.command(name="statement")
@click.argument("account", type=AccountName())
@book_option
@click.option("--after", type=SEQUENCE, default=0, show_default=True, help="Opening is the balance after this entry.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000),
    default=100,
    show_default=True,
    help="Lines of a page; the last entry's are all shown.",
)
@click.option("--cursor", help="`next` of the page before.")
@json_option
def statement_(account: AccountRef, book: int, after: int, limit: int, cursor: str | None, *, as_json: bool) -> None:
    """What was recorded on one account, with the balance after each line."""
    page = run(_statement(book, account, after, limit, _cursor(cursor)))
    following = page.next.encode() if page.next else None
    if as_json:
        lines = [
            {name: getattr(line, name) for name in line.__struct_fields__}
            | {"other": account_document(line.other), "kind": line.kind.name.lower()}
            for line in page.lines
        ]
        document = {"opening_minor": page.opening_minor, "closing_minor": page.closing_minor, "cut": page.cut}
        print_json(account_document(account) | document | {"lines": lines, "next": following})
        return

    def text(amount_minor: int) -> str:
        return to_text(amount_minor, account.currency)

    print(f"{account_text(account)}: opening {text(page.opening_minor)}, closing {text(page.closing_minor)}")
    print_table(
        ("sequence>", "date", "what", "other account", "debit>", "credit>", "balance>"),
        [
            (
                line.sequence,
                line.effective_on,
                line.kind.name.lower(),
                account_text(line.other),
                text(line.debit_minor) if line.debit_minor else None,
                text(line.credit_minor) if line.credit_minor else None,
                text(line.balance_minor),
            )
            for line in page.lines
        ],
        empty="nothing moved it",
    )
    if following:
        print(f"more: --cursor {following}")


def _cursor(text: str | None) -> StatementCursor | None:
    try:
        return None if text is None else StatementCursor.decode(text)
    except ValueError as error:
        raise click.BadParameter("is no cursor of a statement", param_hint="--cursor") from error


async def _statement(
    book: int, account: AccountRef, after: int, limit: int, cursor: StatementCursor | None
) -> Statement:
    async with connected(book) as connection:
        await must_be_there(connection, book, after)
        await warn_of_unopened(connection, book, [account])
        return await statement(connection, book, account, after=after, limit=limit, cursor=cursor)
