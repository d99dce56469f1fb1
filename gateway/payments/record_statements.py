"""Statements of `records.py`, built once: to put a statement together takes longer than to send it.

Those that look for `wanted` take one array, so that the statement is the same for any number of values.
"""

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Insert,
    Select,
    Table,
    Text,
    Update,
    and_,
    any_,
    bindparam,
    cast,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from gateway.payments.tables import attempts, facts, intents, provider_references, refunds

SCHEDULE_COLUMNS: Final = ("asks", "due_at", "leased_until")
NEW: Final = "new_"
"""Before the names of columns in the parameters of `replace_in`."""
INSERT_MOVES: Final = text("""
    INSERT INTO gateway.state_moves
        (book_id, subject_id, version, object, from_status, to_status, actor, reason, fact_id, moved_at)
    SELECT CAST(:book_id AS bigint), new.subject_id, new.version, new.object, new.from_status, new.to_status,
           new.actor, new.reason, new.fact_id, CAST(:moved_at AS timestamptz)
    FROM unnest(CAST(:subject_ids AS text[]), CAST(:versions AS integer[]), CAST(:objects AS text[]),
                CAST(:from_statuses AS text[]), CAST(:to_statuses AS text[]), CAST(:actors AS text[]),
                CAST(:reasons AS text[]), CAST(:fact_ids AS text[]))
         AS new (subject_id, version, object, from_status, to_status, actor, reason, fact_id)
    JOIN gateway.legal_moves AS legal
      ON legal.object = new.object AND legal.from_status = new.from_status AND legal.to_status = new.to_status
""")


def _select_from(table: Table, column: str) -> Select[Any]:
    wanted = any_(cast(bindparam("wanted"), ARRAY(Text)))
    return select(table).where(table.c.book_id == bindparam("of_book"), table.c[column] == wanted)


LOCK_INTENTS: Final = _select_from(intents, "intent_id").order_by(intents.c.intent_id).with_for_update()
ATTEMPTS_OF: Final = _select_from(attempts, "intent_id").order_by(attempts.c.created_at, attempts.c.attempt_id)
ATTEMPTS_BY_ID: Final = _select_from(attempts, "attempt_id")
FACTS_OF: Final = _select_from(facts, "intent_id")
REFUNDS_BY_ID: Final = _select_from(refunds, "refund_id")
REFERENCES: Final = _select_from(provider_references, "reference")
ADD_REFERENCE: Final = upsert(provider_references).on_conflict_do_nothing()
INTENT_COLUMNS: Final = tuple(str(column.name) for column in intents.c)
ATTEMPT_COLUMNS: Final = tuple(str(column.name) for column in attempts.c)
INTENT_WITH_LATEST: Final = (
    select(*intents.c, *attempts.c)
    .outerjoin(
        attempts, (attempts.c.book_id == intents.c.book_id) & (attempts.c.attempt_id == intents.c.latest_attempt_id)
    )
    .where(
        intents.c.book_id == bindparam("book_id"),
        intents.c.account_id == bindparam("account_id"),
        intents.c.intent_id == bindparam("intent_id"),
    )
)


@cache
def insert_into(table: Table) -> Insert:
    """INSERT of rows."""
    return insert(table)


@cache
def replace_in(table: Table) -> Update:
    """UPDATE of a row by its key; all but the columns of the schedule."""
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.columns if column.name not in {*keys, *SCHEDULE_COLUMNS}]

    def new(name: str) -> BindParameter[Any]:
        return bindparam(f"{NEW}{name}", type_=table.c[name].type)

    return (
        update(table)
        .where(and_(*(table.c[name] == new(name) for name in keys)))
        .values({name: new(name) for name in others})
    )
