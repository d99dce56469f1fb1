"""The legal moves stand twice, in code and in the database, and never differ."""

import asyncpg

from gateway.payments.states import (
    AttemptStatus,
    ClaimState,
    DisputeStatus,
    IntentStatus,
    LinkStatus,
    RefundStatus,
    legal_moves,
)


async def test_legal_moves_of_the_database_are_those_of_the_code(database):
    connection = await asyncpg.connect(database.app_dsn)
    try:
        rows = await connection.fetch("SELECT object, from_status, to_status FROM gateway.legal_moves")
    finally:
        await connection.close()
    assert {tuple(row) for row in rows} == legal_moves()


def test_every_move_is_between_states_that_exist():
    states = {
        "intent": set(IntentStatus),
        "attempt": set(AttemptStatus),
        "refund": set(RefundStatus),
        "claim": set(ClaimState),
        "payment_link": set(LinkStatus),
        "dispute": set(DisputeStatus),
    }
    for subject, before, after in legal_moves():
        assert {before, after} <= states[subject]
        assert before != after


def test_nothing_leads_out_of_a_conflict():
    assert not [move for move in legal_moves() if move[1] == "conflicted"]
