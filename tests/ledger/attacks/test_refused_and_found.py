"""Every attack is refused with an exact SQLSTATE, or `verify` fails with at least the checks named.

Goal: what is not refused is found. What neither can do stands in `test_beyond_the_books.py`.
"""

import asyncpg
import pytest

from ledger.posting import post_entries
from ledger.verification import VerificationReport, verify
from tests.conftest import ClonedDatabase
from tests.ledger.attacks.conftest import Attackers
from tests.ledger.attacks.table import BEHIND_THE_FENCE, FOUND, REFUSALS, Attack
from tests.ledger.entries import BOOK, received


def failing(report: VerificationReport) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


async def state_after(attackers: Attackers, attack: Attack) -> str | None:
    """The SQLSTATE that the attack ended with; it is rolled back if it ended well."""
    attacker = attackers[attack.by]
    transaction = attacker.transaction()
    await transaction.start()
    try:
        await attack.carry_out(attacker)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    finally:
        await transaction.rollback()
    return None


async def test_refused_attacks_have_their_sqlstate_and_move_nothing(attackers: Attackers) -> None:
    before = await verify(attackers.app, BOOK)
    states = {attack.name: await state_after(attackers, attack) for attack in REFUSALS}
    assert states == {attack.name: attack.refused for attack in REFUSALS}
    after = await verify(attackers.app, BOOK)
    assert (after.passed, after.head_hash) == (True, before.head_hash)


async def test_owner_and_superuser_cannot_alter_the_books_behind_the_fence(fenced: Attackers) -> None:
    states = {attack.name: await state_after(fenced, attack) for attack in BEHIND_THE_FENCE}
    assert states == {attack.name: attack.refused for attack in BEHIND_THE_FENCE}
    assert (await verify(fenced.app, BOOK)).passed
    await post_entries(fenced.app, BOOK, [received(1)])


@pytest.mark.parametrize("attack", FOUND, ids=lambda attack: attack.name)
async def test_what_is_not_refused_is_found(attackers: Attackers, attack: Attack) -> None:
    await attack.carry_out(attackers[attack.by])
    report = await verify(attackers.app, BOOK)
    assert not report.passed
    assert failing(report) >= attack.found


async def test_app_role_has_nothing_to_hand_out_and_nobody_to_become(attackers: Attackers) -> None:
    owner = await attackers.owner.fetchval("SELECT current_user")
    await attackers.app.execute("GRANT ALL ON ledger.entries TO PUBLIC")  # PostgreSQL warns: no privileges were granted
    for statement in (f"SET ROLE {owner}", f"SET SESSION AUTHORIZATION {owner}", f"GRANT {owner} TO current_user"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await attackers.app.execute(statement)
    assert (await verify(attackers.app, BOOK)).passed


async def test_names_of_the_callers_own_change_nothing_that_the_functions_do(
    attackers: Attackers, database: ClonedDatabase
) -> None:
    """Temporary tables and functions that shadow what SECURITY DEFINER code uses, first on the caller's path."""
    app = await attackers.app.fetchval("SELECT current_user")
    await attackers.superuser.execute(f"GRANT TEMPORARY ON DATABASE {database.name} TO {app}")
    for table in ("books", "blocks", "entries", "accounts", "idempotency_keys", "account_kinds"):
        await attackers.app.execute(f"CREATE TEMPORARY TABLE {table} (LIKE ledger.{table})")
    for function in (
        "sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT ''forged''::bytea'",
        "clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''1999-01-01''::timestamptz'",
    ):
        await attackers.app.execute(f"CREATE FUNCTION pg_temp.{function}")
    await attackers.app.execute("SET search_path = pg_temp, ledger, pg_catalog")
    await post_entries(attackers.app, BOOK, [received(1)])
    await attackers.app.execute("RESET search_path")
    report = await verify(attackers.superuser, BOOK)
    assert (report.passed, report.head) == (True, 6)
