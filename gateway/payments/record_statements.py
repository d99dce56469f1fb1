"""Statements of `records.py`, built once: to put a statement together takes longer than to send it.

Those that look for `wanted` take one array, so that the statement is the same for any number of values.
"""

from typing import Any, Final

from sqlalchemy import Integer, Select, Table, bindparam, column, select, text

from gateway.foundation.reads import any_of
from gateway.foundation.statements import Statement
from gateway.payments.tables import attempts, facts, refunds

SCHEDULE_COLUMNS: Final = ("asks", "due_at", "leased_until")
INSERT_MOVES: Final = text("""
    INSERT INTO gateway.state_moves
        (book_id, subject_id, version, object, from_status, to_status, actor, reason, fact_id, moved_at)
    SELECT CAST(:moves_of_book AS bigint), new.subject_id, new.version, new.object, new.from_status, new.to_status,
           new.actor, new.reason, new.fact_id, CAST(:moved_at AS timestamptz)
    FROM json_to_recordset(CAST(:moves AS json))
         AS new (subject_id text, version integer, object text, from_status text, to_status text, actor text,
                 reason text, fact_id text)
    JOIN gateway.legal_moves AS legal
      ON legal.object = new.object AND legal.from_status = new.from_status AND legal.to_status = new.to_status
    RETURNING version
""").columns(column("version", Integer))


def _select_from(table: Table, name: str) -> Select[Any]:
    return select(table).where(table.c.book_id == bindparam("of_book"), table.c[name] == any_of("wanted"))


LOCK_INTENTS: Final = Statement(
    text("""
    WITH spoken AS MATERIALIZED (
        SELECT provider, reference, intent_id, attempt_id, refund_id
        FROM gateway.provider_references
        WHERE book_id = :of_book AND reference = ANY(CAST((SELECT CAST(:spoken_references AS text[])) AS text[])))
    SELECT CAST(to_json(intent) AS text) AS intent,
           (SELECT CAST(json_agg(spoken) AS text) FROM spoken WHERE spoken.intent_id = intent.intent_id) AS spoken
    FROM gateway.payment_intents AS intent
    WHERE intent.book_id = :of_book
      AND intent.intent_id
        = ANY(CAST((SELECT CAST(:wanted AS text[])) AS text[]) || ARRAY(SELECT spoken.intent_id FROM spoken))
    ORDER BY intent.intent_id
    FOR UPDATE OF intent
""")
)
"""Intents by their ids, and those that provider references stand for, each with what is known of these references."""
ATTEMPTS_OF: Final = _select_from(attempts, "intent_id").order_by(attempts.c.created_at, attempts.c.attempt_id)
ATTEMPTS_BY_ID: Final = _select_from(attempts, "attempt_id")
FACTS_OF: Final = _select_from(facts, "intent_id")
REFUNDS_BY_ID: Final = _select_from(refunds, "refund_id")
INTENT_WITH_LATEST: Final = Statement(
    text("""
    SELECT CAST(to_json(intent) AS text) AS intent, CAST(to_json(attempt) AS text) AS latest
    FROM gateway.payment_intents AS intent
    LEFT JOIN gateway.payment_attempts AS attempt
      ON attempt.book_id = intent.book_id AND attempt.attempt_id = intent.latest_attempt_id
    WHERE intent.book_id = :book_id AND intent.account_id = :account_id AND intent.intent_id = :intent_id
""")
)
