"""`quickkub limits`: set, shown, blocked and lifted, under a name and a reason."""

import asyncio
import re

import asyncpg
import pytest

from tests.commands.test_merchants import quickkub

__all__ = ["quickkub"]


@pytest.fixture
def account_id(quickkub):
    created = quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    return re.search(r"acct_\w+", created)[0]


def acts(database):
    async def read():
        connection = await asyncpg.connect(database.superuser_dsn)
        rows = await connection.fetch(
            "SELECT actor, act, reason FROM gateway.operator_acts WHERE act NOT LIKE 'merchant%' ORDER BY act_id"
        )
        await connection.close()
        return [tuple(row) for row in rows]

    return asyncio.run(read())


def test_limits_are_set_shown_and_on_record(quickkub, account_id, database):
    who = ("--actor", "op_somebody", "--reason", "contract")
    assert "no limits" in quickkub("limits", "show", account_id)
    first = quickkub("limits", "set", account_id, "--method", "card", "--day-max", "500000", *who)
    assert re.search(r"version +1\n", first)
    second = quickkub("limits", "set", account_id, "--method", "card", "--day-payments-max", "20", *who)
    assert re.search(r"version +2\n", second)
    shown = quickkub("limits", "show", account_id)
    assert re.search(r"THB card +v2 +day_payments_max=20\n", shown)
    assert "no limits" in quickkub("limits", "show", account_id, "--mode", "test")
    quickkub(
        *("limits", "velocity", account_id, "--payer", "ip", "--counting", "declines"),
        *("--seconds", "3600", "--most", "5", *who),
    )
    assert re.search(r"ip +at most 5 declines in 3600 s", quickkub("limits", "show", account_id))
    assert acts(database) == [
        ("op_somebody", "limits.set", "contract"),
        ("op_somebody", "limits.set", "contract"),
        ("op_somebody", "velocity_rule.set", "contract"),
    ]


def test_wrong_limits_are_refused_in_a_sentence(quickkub, account_id, database):
    assert "reason" in quickkub("limits", "set", account_id, code=2)
    wrong = quickkub(
        "limits", "set", account_id, "--payment-min", "2", "--payment-max", "1", "--reason", "typing", code=1
    )
    assert "above the greatest" in wrong
    missing = quickkub("limits", "set", "acct_nobody", "--reason", "typing", code=1)
    assert "there is no account acct_nobody" in missing
    assert acts(database) == []


def test_the_house_blocks_a_payer_and_lifts_it(quickkub, database):
    blocked = quickkub("limits", "block", "--kind", "ip", "--value", "203.0.113.77", "--reason", "court order")
    block_id = re.search(r"blk_\w+", blocked)[0]
    listed = quickkub("limits", "blocked")
    assert block_id in listed
    assert "203.0.113.77" not in listed
    assert "not an IP" in quickkub("limits", "block", "--kind", "ip", "--value", "x", "--reason", "typing", code=1)
    assert block_id in quickkub("limits", "unblock", block_id, "--reason", "lifted")
    assert "not an entry in force" in quickkub("limits", "unblock", block_id, "--reason", "lifted", code=1)
    assert [act[1:] for act in acts(database)] == [
        ("payer.blocked", "court order"),
        ("payer.unblocked", "lifted"),
    ]
