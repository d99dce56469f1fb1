"""Layout 1 on three roads: `chain.py`, the stranger's verifier over the JSON of a proof, and PostgreSQL itself."""

import json
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain import SEALED_ENTRY_COLUMNS, SEALED_POSTING_COLUMNS, leaf_hash
from ledger.proofs import _shown_entry
from ledger.verify_proof import leaf_v1
from tests.ledger.test_chain import CHANGES, ENTRY, POSTING

BIGINT = st.integers(-(2**63), 2**63 - 1)
SMALLINT = st.integers(-(2**15), 2**15 - 1)
MOMENT = st.datetimes(timezones=st.just(UTC))
DAY = st.dates()
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
OF_COLUMN = {
    "recorded_at": MOMENT,
    "key": st.uuids(),
    "effective_on": DAY,
    "kind": SMALLINT,
    "caller": TEXT,
    "metadata": st.binary(max_size=20),
    "booked_on": DAY,
    "occurred_at": MOMENT,
    "hold_action": SMALLINT,
    "hold_expires_at": MOMENT,
    "line": SMALLINT,
    "reverses_line": SMALLINT,
    "available_on": DAY,
}


def rows(columns: tuple[str, ...], required: int) -> st.SearchStrategy[dict[str, Any]]:
    values = {name: OF_COLUMN.get(name, BIGINT) for name in columns}
    return st.fixed_dictionaries(
        {name: value if number < required else st.none() | value for number, (name, value) in enumerate(values.items())}
    )


ENTRIES = rows(SEALED_ENTRY_COLUMNS, 9)
POSTINGS = st.lists(rows(SEALED_POSTING_COLUMNS, 6), max_size=3, unique_by=lambda row: row["line"])
REFERENCES = st.lists(st.fixed_dictionaries({"scheme": TEXT, "value": TEXT}), max_size=3)


@settings(max_examples=200, deadline=None)
@given(ENTRIES, POSTINGS, REFERENCES)
def test_the_verifier_computes_from_json_what_the_chain_computes_from_rows(entry, postings, references):
    document = json.loads(msgspec.json.encode(_shown_entry(entry, postings, references)))
    assert leaf_v1(document, "it") == leaf_hash(entry, postings, references)


IN_SQL = r"""
SELECT sha256(
    '\x0001'::bytea || int8send($1::bigint) || int8send($2::bigint) || timestamptz_send($3::timestamptz)
    || int8send($4::bigint) || uuid_send($5::uuid) || date_send($6::date) || int2send($7::smallint)
    || int4send(octet_length(convert_to($8::text, 'UTF8'))) || convert_to($8::text, 'UTF8')
    || int4send(octet_length($9::bytea)) || $9::bytea || int4send(1) || int4send(1)
    || '\x01'::bytea || record_send(ROW(
        $10::date, $11::timestamptz, $12::bigint, $13::bigint, $14::bigint, $15::bigint, $16::bigint, $17::smallint,
        $18::bigint, $19::bigint, $20::bigint, $21::bigint, $22::timestamptz))
    || int2send($23::smallint) || int8send($24::bigint) || int8send($25::bigint) || int8send($26::bigint)
    || int8send($27::bigint) || int8send($28::bigint)
    || '\x01'::bytea || record_send(ROW($29::smallint, $30::date, $31::bigint))
    || int4send(octet_length(convert_to($32::text, 'UTF8'))) || convert_to($32::text, 'UTF8')
    || int4send(octet_length(convert_to($33::text, 'UTF8'))) || convert_to($33::text, 'UTF8'))
"""


async def test_postgresql_computes_the_same(app: asyncpg.Connection) -> None:
    hold = {"hold_debit_account": 7, "hold_credit_account": 8, "hold_amount_minor": 2**62, "hold_expires_at": None}
    posting = {**POSTING, "available_on": date(2026, 11, 24)}
    reference = {"scheme": "scb", "value": "ก"}
    for entry in ({**ENTRY, **CHANGES, **hold}, {**ENTRY, **hold, "hold_expires_at": datetime(2026, 1, 1, tzinfo=UTC)}):
        values = [entry[name] for name in SEALED_ENTRY_COLUMNS] + [posting[name] for name in SEALED_POSTING_COLUMNS]
        assert await app.fetchval(IN_SQL, *values, *reference.values()) == leaf_hash(entry, [posting], [reference])
