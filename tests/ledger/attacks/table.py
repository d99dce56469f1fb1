"""The attacks, a row each. `@month@` and `@next@` are the names of this and the next month: `2026_11`."""

from datetime import UTC, datetime

import asyncpg
import msgspec

from ledger.months import month_after

DENIED, REFUSED, DEPENDED_ON, THERE_ALREADY = "42501", "QK005", "2BP01", "23505"

UNGUARD = """DO $$ DECLARE t record; BEGIN
    FOR t IN SELECT tgrelid::regclass AS relation, tgname FROM pg_trigger
             WHERE tgname LIKE 'append_only%' AND tgparentid = 0 LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', t.relation, t.tgname);
    END LOOP; END $$"""
GUARD = UNGUARD.replace("DISABLE", "ENABLE ALWAYS")

RECOUNT = """UPDATE ledger.accounts AS a SET
    debits_posted = coalesce((SELECT sum(p.amount_minor) FROM ledger.postings AS p
                              WHERE p.book_id = 1000 AND p.debit_account = a.account_id), 0),
    credits_posted = coalesce((SELECT sum(p.amount_minor) FROM ledger.postings AS p
                               WHERE p.book_id = 1000 AND p.credit_account = a.account_id), 0),
    last_sequence = coalesce((SELECT max(p.sequence) FROM ledger.postings AS p
                              WHERE p.book_id = 1000 AND a.account_id IN (p.debit_account, p.credit_account)), 0)
WHERE a.book_id = 1000"""
EDIT_LAST_AMOUNT = """UPDATE ledger.postings SET amount_minor = amount_minor + 1,
    debit_balance_after = debit_balance_after + 1, credit_balance_after = credit_balance_after + 1
WHERE book_id = 1000 AND sequence = 5"""
SWAP_AMOUNTS = """UPDATE ledger.postings SET amount_minor = 507 - amount_minor,
    debit_balance_after = debit_balance_after - CASE sequence WHEN 4 THEN 493 ELSE 0 END,
    credit_balance_after = credit_balance_after - CASE sequence WHEN 4 THEN 493 ELSE 0 END
WHERE book_id = 1000 AND sequence IN (4, 5)"""
SWAP_KEYS = (
    """UPDATE ledger.entries AS e SET key = o.key FROM ledger.entries AS o
       WHERE e.book_id = 1000 AND o.book_id = 1000 AND e.sequence IN (4, 5) AND o.sequence = 9 - e.sequence""",
    """UPDATE ledger.idempotency_keys AS k SET sequence = e.sequence, recorded_at = e.recorded_at
       FROM ledger.entries AS e WHERE e.book_id = 1000 AND k.book_id = 1000 AND e.key = k.key""",
)
TAIL = tuple(
    f"DELETE FROM ledger.{table} WHERE book_id = 1000 AND {condition}"
    for table, condition in (
        ("blocks", "block_number = 4"),
        ("entries", "sequence = 5"),
        ("postings", "sequence = 5"),
        ("idempotency_keys", "sequence = 5"),
        ("entry_references", "sequence = 5"),
    )
)
COPIED_ENTRY = (
    """INSERT INTO ledger.entries SELECT (jsonb_populate_record(e, jsonb_build_object(
           'sequence', 6, 'block_number', 5, 'key', '00000000-0000-0000-0000-000000000006',
           'recorded_at', e.recorded_at + interval '1 microsecond'))).*
       FROM ledger.entries AS e WHERE e.sequence = 5""",
    """INSERT INTO ledger.postings SELECT (jsonb_populate_record(p, jsonb_build_object(
           'sequence', 6, 'recorded_at', p.recorded_at + interval '1 microsecond',
           'debit_balance_after', p.debit_balance_after + 7,
           'credit_balance_after', p.credit_balance_after + 7))).* FROM ledger.postings AS p WHERE p.sequence = 5""",
    """INSERT INTO ledger.idempotency_keys SELECT book_id, key, sequence, recorded_at
       FROM ledger.entries WHERE sequence = 6""",
)
FORGED_BLOCK = """INSERT INTO ledger.blocks SELECT (jsonb_populate_record(b, jsonb_build_object(
    'block_number', 5, 'first_sequence', 6, 'last_sequence', 6, 'previous_hash', b.hash, 'hash', sha256('forged'),
    'recorded_at', b.recorded_at + interval '1 microsecond'))).* FROM ledger.blocks AS b WHERE b.block_number = 4"""
WEAKER = """DO $do$ BEGIN EXECUTE replace(pg_get_functiondef(
    (SELECT oid FROM pg_proc WHERE proname = 'post_entries_v1')), 'current_setting(''transaction_isolation'')',
    '''read committed''::text'); END $do$"""


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """One attack.

    Attributes:
        by: role of the attacker.
        refused: SQLSTATE of its last statement; None = it succeeds.
        found: checks of `verify` that must fail afterwards, at least these.
    """

    name: str
    by: str
    statements: tuple[str, ...]
    refused: str | None = None
    found: frozenset[str] = frozenset()

    async def carry_out(self, attacker: asyncpg.Connection) -> None:
        this, following = (f"{month_after(datetime.now(UTC).date(), n):%Y_%m}" for n in (0, 1))
        for statement in self.statements:
            await attacker.execute(statement.replace("@month@", this).replace("@next@", following))


def refused(by: str, sqlstate: str, *statements: str) -> list[Attack]:
    """Single statements, each refused."""
    return [Attack(name=f"{by}: {each[:70]}", by=by, statements=(each,), refused=sqlstate) for each in statements]


def found(by: str, name: str, checks: str, *statements: str, unguarded: bool = True) -> Attack:
    """Something that succeeds, and the checks that find it."""
    around = (UNGUARD, *statements, GUARD) if unguarded else statements
    return Attack(name=f"{by}: {name}", by=by, statements=around, found=frozenset(checks.split()))


DDL = (
    "ALTER TABLE ledger.entries DETACH PARTITION ledger.entries_@month@",
    "ALTER TABLE ledger.entries DISABLE TRIGGER append_only",
    "ALTER TABLE ledger.entries_@month@ DISABLE TRIGGER append_only",
    "ALTER TABLE ledger.entries DISABLE TRIGGER ALL",
    "ALTER TABLE ledger.entries ENABLE REPLICA TRIGGER append_only",
    "DROP TRIGGER append_only ON ledger.entries",
    "DROP TRIGGER append_only_truncate ON ledger.entries_@month@",
    "DROP TABLE ledger.blocks_@month@",
    "DROP SCHEMA ledger CASCADE",
    "ALTER TABLE ledger.entries RENAME TO entries_of_old",
    "ALTER TABLE ledger.entries ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE ledger.postings ALTER COLUMN amount_minor TYPE numeric",
    "CREATE RULE swallow AS ON INSERT TO ledger.entries DO INSTEAD NOTHING",
    "ALTER FUNCTION ledger.refuse_change_v1() SECURITY DEFINER",
    "DROP FUNCTION ledger.create_month_v1",
    """CREATE OR REPLACE FUNCTION ledger.refuse_change_v1() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RETURN NEW; END $$""",
    "DROP FUNCTION ledger.post_entries_v1 CASCADE",
    "CREATE FUNCTION ledger.post_entries_v1() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
)
ROWS = (
    *(
        f"{verb} ledger.{table}{suffix}{tail}"
        for table in ("entries", "postings", "blocks")
        for suffix in ("", "_@month@")
        for verb, tail in (
            ("UPDATE", " SET book_id = 7"),
            ("UPDATE", " SET recorded_at = recorded_at + interval '40 days'"),
            ("DELETE FROM", " WHERE book_id = 1000"),
            ("TRUNCATE", ""),
        )
    ),
    "DELETE FROM ledger.idempotency_keys",
    "UPDATE ledger.idempotency_keys SET sequence = 1",
    "UPDATE ledger.entry_references SET value = 'other'",
    "UPDATE ledger.entry_caps SET drawable_minor = drawable_minor + 1",
    "DELETE FROM ledger.entry_caps",
    "DELETE FROM ledger.accounts",
    "UPDATE ledger.accounts SET owner = 'me' WHERE kind = 31",
    "UPDATE ledger.accounts SET book_id = 7",
    "UPDATE ledger.account_kinds SET floor_minor = NULL",
    "UPDATE ledger.entry_kinds SET mode = 'recording'",
    "UPDATE ledger.books SET mode = 'live'",
    "DELETE FROM ledger.ledger_acts",
    "MERGE INTO ledger.postings AS p USING (SELECT 1) AS u ON p.book_id = 1000 WHEN MATCHED THEN DELETE",
)
INSERTS = (
    "INSERT INTO ledger.entries SELECT * FROM ledger.entries",
    "INSERT INTO ledger.entries_@month@ SELECT * FROM ledger.entries",
    "INSERT INTO ledger.postings_@month@ SELECT * FROM ledger.postings",
    "INSERT INTO ledger.blocks_@month@ SELECT * FROM ledger.blocks",
    "INSERT INTO ledger.idempotency_keys SELECT * FROM ledger.idempotency_keys",
    "UPDATE ledger.accounts SET credits_posted = 0",
    "UPDATE ledger.accounts SET floor_minor = NULL",
)
ESCAPES = (
    "SET session_replication_role = replica",
    "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION ledger.refuse_change_v1()",
)
BY_APP_ONLY = (
    "SELECT 1 FROM ledger.books FOR UPDATE",  # would stop everybody's posting for as long as it likes
    "SELECT 1 FROM ledger.books FOR KEY SHARE",
    "LOCK TABLE ledger.books IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE ledger.books IN ROW EXCLUSIVE MODE",
    "SELECT ledger.guard_truncate_v1('books')",
    "CREATE TABLE public.books (book_id bigint)",
    "SELECT lo_import('/etc/passwd')",
    "COPY ledger.entries TO PROGRAM 'cat'",
)
REFUSALS = (
    *refused("app", DENIED, *ROWS, *DDL, *INSERTS, *ESCAPES, *BY_APP_ONLY),
    *refused("owner", REFUSED, *ROWS),
    *refused("owner", DENIED, *ESCAPES),
    *refused("owner", THERE_ALREADY, "INSERT INTO ledger.entries_@month@ SELECT * FROM ledger.entries"),
    *refused("owner", DEPENDED_ON, "DROP TRIGGER append_only ON ledger.entries_@month@"),
    *(
        Attack(
            name=f"superuser as replica: {each[:70]}",
            by="superuser",
            statements=("SET session_replication_role = replica", each),
            refused=REFUSED,
        )
        for each in ROWS
    ),
)
BEHIND_THE_FENCE = (
    *refused("owner", REFUSED, *DDL),
    *refused("superuser", REFUSED, *DDL),
    *refused(
        "owner",
        DENIED,
        "DROP FUNCTION ledger_fence.guard_ddl_v1() CASCADE",
        "DROP SCHEMA ledger_fence CASCADE",
        "DROP EVENT TRIGGER ledger_ddl_guard",
        "ALTER EVENT TRIGGER ledger_drop_guard DISABLE",
        "CREATE FUNCTION ledger_fence.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    ),
)

FOUND = (
    found(
        "owner",
        "posting put straight into a partition",
        "account_totals block_hashes",
        """INSERT INTO ledger.postings_@month@ SELECT (jsonb_populate_record(p, '{"line": 2}')).*
           FROM ledger.postings AS p WHERE p.sequence = 5""",
        unguarded=False,
    ),
    found(
        "owner",
        "posting put in twice",
        "account_totals block_hashes postings_whole",
        "INSERT INTO ledger.postings_@month@ SELECT * FROM ledger.postings WHERE sequence = 5",
        unguarded=False,
    ),
    found("owner", "entry put in without a block", "sequence_gapless", *COPIED_ENTRY, unguarded=False),
    found(
        "owner", "guard disabled", "guards", "ALTER TABLE ledger.entries DISABLE TRIGGER append_only", unguarded=False
    ),
    found(
        "owner",
        "guard of a partition disabled",
        "guards",
        "ALTER TABLE ledger.postings_@month@ DISABLE TRIGGER append_only",
        unguarded=False,
    ),
    found("owner", "guard dropped", "guards", "DROP TRIGGER append_only ON ledger.postings", unguarded=False),
    found(
        "owner",
        "guard no more for replicas",
        "guards",
        "ALTER TABLE ledger.blocks ENABLE TRIGGER append_only",
        unguarded=False,
    ),
    found(
        "owner",
        "empty month detached",
        "guards",
        "ALTER TABLE ledger.blocks DETACH PARTITION ledger.blocks_@next@",
        unguarded=False,
    ),
    found(
        "owner",
        "month detached, edited and attached again",
        "block_hashes",
        "ALTER TABLE ledger.postings DETACH PARTITION ledger.postings_@month@",
        EDIT_LAST_AMOUNT.replace("ledger.postings", "ledger.postings_@month@"),
        """DO $$ DECLARE first_on date := to_date('@month@', 'YYYY_MM'); BEGIN EXECUTE format(
               'ALTER TABLE ledger.postings ATTACH PARTITION ledger.postings_@month@ FOR VALUES FROM (%L) TO (%L)',
               first_on::timestamp AT TIME ZONE 'UTC', (first_on + interval '1 month') AT TIME ZONE 'UTC'); END $$""",
        RECOUNT,
        unguarded=False,
    ),
    found(
        "owner",
        "amount edited",
        "account_totals balances_after block_hashes",
        "UPDATE ledger.postings SET amount_minor = amount_minor + 1 WHERE sequence = 5",
    ),
    found("owner", "amount edited with every balance that follows", "block_hashes", EDIT_LAST_AMOUNT, RECOUNT),
    found("owner", "amounts of two rows swapped", "block_hashes", SWAP_AMOUNTS, RECOUNT),
    found("owner", "keys of two entries swapped", "block_hashes", *SWAP_KEYS),
    found("owner", "tail removed, accounts left alone", "account_totals", *TAIL),
    found("owner", "tail removed but for its block", "block_hashes sequence_gapless", *TAIL[1:], RECOUNT),
    found("owner", "tail removed but for its keys", "keys", *TAIL[:3], TAIL[4], RECOUNT),
    found("owner", "block forged on top", "block_hashes", *COPIED_ENTRY, FORGED_BLOCK, RECOUNT, unguarded=False),
    found(
        "owner", "block forged on top, accounts left alone", "account_totals block_hashes", *COPIED_ENTRY, FORGED_BLOCK
    ),
    found("owner", "right to write handed out", "guards", "GRANT UPDATE ON ledger.postings TO PUBLIC", unguarded=False),
    found(
        "superuser",
        "triggers off, amount edited with every balance that follows",
        "block_hashes",
        "SET session_replication_role = replica",
        UNGUARD,
        EDIT_LAST_AMOUNT,
        RECOUNT,
        GUARD,
        unguarded=False,
    ),
)
