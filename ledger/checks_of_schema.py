"""The checks that ask once: the trial balance, the charts, the guards."""

from ledger.chart_of_accounts import CHART
from ledger.checks import Problems
from ledger.journal import POSTABLE, EntryKind, mode_of
from ledger.posting import Connection
from ledger.queries import QUERIES


async def trial_balance_zero(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """Σ debits = Σ credits over all accounts, in every currency."""
    problems = Problems()
    for row in await connection.fetch(QUERIES["totals_by_currency"], book_id):
        problems.rows += row["accounts"]
        if row["debits"] != row["credits"]:
            problems.add(f"{row['currency']}: debits {row['debits']}, credits {row['credits']}")
    return problems


async def kinds(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """The database's charts of accounts and entries are the program's."""
    problems = Problems()
    stored = {
        row["kind"]: tuple(row.values())[1:]
        for row in await connection.fetch("SELECT k.* FROM ledger.account_kinds AS k")
    }
    ours = {
        int(kind): (
            kind.name.lower(),
            rules.code,
            rules.account_class.value,
            rules.normal_side.value,
            rules.floor_minor,
            rules.ceiling_minor,
            rules.owned,
        )
        for kind, rules in CHART.items()
    }
    modes = {
        row["kind"]: (row["name"], row["mode"], row["postable"])
        for row in await connection.fetch("SELECT k.* FROM ledger.entry_kinds AS k")
    }
    our_modes = {int(kind): (kind.name.lower(), mode_of(kind).value, kind in POSTABLE) for kind in EntryKind}
    problems.rows = len(stored) + len(modes)
    for kind in sorted(stored.keys() | ours.keys()):
        if stored.get(kind) != ours.get(kind):
            problems.add(f"account kind {kind}: stored {stored.get(kind)}, ours {ours.get(kind)}")
    for kind in sorted(modes.keys() | our_modes.keys()):
        if modes.get(kind) != our_modes.get(kind):
            problems.add(f"entry kind {kind}: stored {modes.get(kind)}, ours {our_modes.get(kind)}")
    return problems


async def guards(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """Every table and partition refuses UPDATE, DELETE and TRUNCATE, and only the owner could write at all."""
    problems = Problems()
    for row in await connection.fetch(QUERIES["tables_and_guards"]):
        problems.rows += 1
        if not (row["row_guarded"] and row["truncate_guarded"]):
            problems.add(f"ledger.{row['table_name']} is not guarded")
        if row["writers"]:
            problems.add(f"ledger.{row['table_name']} can be written by {', '.join(row['writers'])}")
        if row["unbound"]:
            problems.add(f"ledger.{row['table_name']} is a partition no more")
    fence = await connection.fetchval(QUERIES["ddl_guard"])
    problems.note = "guarded; DDL trips an event trigger" if fence else "guarded; DDL is detected, not refused"
    return problems
