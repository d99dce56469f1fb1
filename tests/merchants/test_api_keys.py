"""Keys: only a key in force opens anything, and only its own account, mode and scopes."""

from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from gateway.foundation.clock import real_now
from gateway.merchants import api_keys, operators
from gateway.merchants.accounts import LIVE_BOOK_ID
from gateway.merchants.principals import MERCHANT_SCOPES, MerchantPrincipal, OperatorPrincipal, Scope
from gateway.merchants.tables import api_keys as key_rows
from gateway.merchants.tables import operator_keys as operator_key_rows
from gateway.merchants.tables import operators as operator_rows


async def test_a_test_key_acts_in_the_test_book_and_a_live_key_in_the_live_one(opened, vault, account):
    async with opened.transaction() as connection:
        test = await api_keys.authenticate(connection, vault, account.test_key.secret)
        live = await api_keys.authenticate(connection, vault, account.live_key.secret)
    assert account.test_key.secret.startswith("sk_test_")
    assert account.live_key.secret.startswith("sk_live_")
    assert isinstance(test, MerchantPrincipal)
    assert isinstance(live, MerchantPrincipal)
    assert (test.account_id, test.book_id, test.livemode) == (account.account_id, account.test_book_id, False)
    assert (live.account_id, live.book_id, live.livemode) == (account.account_id, LIVE_BOOK_ID, True)
    assert test.scopes == MERCHANT_SCOPES == live.scopes


@pytest.mark.parametrize(
    "presented",
    ["", "sk_test_", "sk_test_" + "a" * 40, "ok_" + "a" * 40, "nonsense", "sk_test_ก", "sk_test_" + "a" * 9999],
)
async def test_nobody_is_recognised_by_a_key_that_was_never_made(opened, vault, account, presented):
    async with opened.transaction() as connection:
        assert await api_keys.authenticate(connection, vault, presented) is None


async def test_a_live_key_does_not_work_under_the_test_prefix(opened, vault, account):
    presented = account.live_key.secret.replace("sk_live_", "sk_test_")
    async with opened.transaction() as connection:
        assert await api_keys.authenticate(connection, vault, presented) is None


async def test_no_stored_column_holds_the_key(opened, vault, account):
    async with opened.read() as connection:
        stored = (await connection.execute(text("SELECT string_agg(k::text, '') FROM gateway.api_keys k"))).scalar()
    assert account.test_key.secret[8:] not in stored
    assert account.test_key.secret[-4:] in stored
    assert account.test_key.secret not in repr(account.test_key)


async def test_a_revoked_key_opens_nothing_at_once(opened, vault, account):
    async with opened.transaction() as connection:
        assert await api_keys.revoke(connection, account.test_key.key_id)
    async with opened.transaction() as connection:
        assert not await api_keys.revoke(connection, account.test_key.key_id)
        assert await api_keys.authenticate(connection, vault, account.test_key.secret) is None
        assert await api_keys.authenticate(connection, vault, account.live_key.secret) is not None


async def test_both_keys_work_after_a_roll_until_the_old_one_ends(opened, vault, account):
    old = account.test_key
    async with opened.transaction() as connection:
        new = await api_keys.roll(connection, vault, old.key_id, old_expires_at=real_now() + timedelta(hours=1))
    assert new is not None
    async with opened.transaction() as connection:
        first = await api_keys.authenticate(connection, vault, old.secret)
        second = await api_keys.authenticate(connection, vault, new.secret)
        assert first is not None
        assert second is not None
        assert first.scopes == second.scopes
        past = {"expires_at": real_now() - timedelta(seconds=1)}
        await connection.execute(update(key_rows).where(key_rows.c.key_id == old.key_id).values(**past))
        assert await api_keys.authenticate(connection, vault, old.secret) is None
        assert await api_keys.roll(connection, vault, old.key_id, old_expires_at=real_now()) is None
        summaries = await api_keys.list_keys(connection, account.account_id)
    assert [(key.key_id, key.prefix) for key in summaries] == [
        (old.key_id, "sk_test_"),
        (account.live_key.key_id, "sk_live_"),
        (new.key_id, "sk_test_"),
    ]


async def test_a_merchant_key_cannot_hold_an_operators_scope(opened, vault, account):
    async with opened.transaction() as connection:
        with pytest.raises(ValueError, match="not for merchants"):
            await api_keys.create(connection, vault, account.account_id, livemode=False, scopes=[Scope.LEDGER_READ])
        assert len(await api_keys.list_keys(connection, account.account_id)) == 2


async def test_the_last_use_is_written_once_in_a_while(opened, vault, account):
    last_used = select(key_rows.c.last_used_at).where(key_rows.c.key_id == account.test_key.key_id)
    async with opened.transaction() as connection:
        assert (await connection.execute(last_used)).scalar_one() is None
        await api_keys.authenticate(connection, vault, account.test_key.secret)
        first = (await connection.execute(last_used)).scalar_one()
        await api_keys.authenticate(connection, vault, account.test_key.secret)
        assert (await connection.execute(last_used)).scalar_one() == first is not None


async def test_uses_of_merchants_and_operators_are_noted_by_one_statement_that_waits_for_nobody(opened, vault, account):
    async with opened.transaction() as connection:
        operator_id = await operators.create_operator(connection, vault, name="Tester")
        key = await operators.create_key(connection, vault, operator_id)
    merchants, ours = select(key_rows.c.key_id, key_rows.c.last_used_at), select(operator_key_rows.c.last_used_at)
    async with opened.transaction() as other:
        await other.execute(select(key_rows).where(key_rows.c.key_id == account.live_key.key_id).with_for_update())
        await api_keys.note_use(opened, [account.test_key.key_id, account.live_key.key_id, key.key_id])
    async with opened.read() as connection:
        noted = {key_id for key_id, last_used_at in await connection.execute(merchants) if last_used_at is not None}
        assert (noted, (await connection.execute(ours)).scalar_one() is None) == ({account.test_key.key_id}, False)


async def test_an_operators_key_works_until_its_operator_is_disabled(opened, vault):
    async with opened.transaction() as connection:
        operator_id = await operators.create_operator(connection, vault, name="Tester")
        key = await operators.create_key(connection, vault, operator_id)
        principal = await api_keys.authenticate(connection, vault, key.secret)
        assert isinstance(principal, OperatorPrincipal)
        assert (principal.operator_id, principal.scopes) == (operator_id, {"ledger:read"})
        assert [operator.name for operator in await operators.list_operators(connection, vault)] == ["Tester"]
        await connection.execute(update(operator_rows).values(disabled_at=real_now()))
        assert await api_keys.authenticate(connection, vault, key.secret) is None


async def test_an_operators_key_expires_and_can_be_revoked(opened, vault):
    async with opened.transaction() as connection:
        operator_id = await operators.create_operator(connection, vault, name="Tester")
        expired = await operators.create_key(connection, vault, operator_id, life=timedelta(0))
        revoked = await operators.create_key(connection, vault, operator_id)
        assert await api_keys.revoke(connection, revoked.key_id)
        assert await api_keys.authenticate(connection, vault, expired.secret) is None
        assert await api_keys.authenticate(connection, vault, revoked.secret) is None
