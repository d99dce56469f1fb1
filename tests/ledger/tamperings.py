"""What can be done to the books of test_verification.py past the guards, and which checks find it."""

from ledger.verification import SCANS

TAMPERINGS = {
    "entry deleted": (
        "DELETE FROM ledger.entries WHERE sequence = 2",
        {"block_hashes", "keys", "postings_whole", "sequence_gapless"},
    ),
    "last entry deleted": (
        "DELETE FROM ledger.entries WHERE sequence = 5",
        {"account_totals", "block_hashes", "keys", "sequence_gapless"},
    ),
    "tail cut off with its block": (
        "DELETE FROM ledger.blocks WHERE block_number = 3",
        {"keys", "sequence_gapless"},
    ),
    "row beyond the head": (
        "INSERT INTO ledger.entry_references VALUES (1000, 'scb', 'late', 6)",
        {"sequence_gapless"},
    ),
    "posting deleted": (
        "DELETE FROM ledger.postings WHERE sequence = 1 AND line = 1",
        {"account_totals", "balances_after", "block_hashes", "postings_whole"},
    ),
    "posting moved in time": (
        "UPDATE ledger.postings SET recorded_at = recorded_at + interval '1 second' WHERE sequence = 5",
        {"postings_whole"},
    ),
    "posting to nobody": (
        "UPDATE ledger.postings SET debit_account = 99 WHERE sequence = 5",
        {"account_totals", "balances_after", "block_hashes", "postings_whole"},
    ),
    "available_on taken away": (
        "UPDATE ledger.postings SET available_on = NULL WHERE sequence = 1 AND line = 2",
        {"postings_whole", "block_hashes"},
    ),
    "amount changed": (
        "UPDATE ledger.postings SET amount_minor = 8 WHERE sequence = 5",
        {"balances_after", "account_totals", "block_hashes"},
    ),
    "amount changed with all that follows from it": (
        """UPDATE ledger.postings SET amount_minor = 8, debit_balance_after = debit_balance_after + 1,
               credit_balance_after = credit_balance_after + 1 WHERE sequence = 5;
           UPDATE ledger.accounts SET debits_posted = debits_posted + 1 WHERE kind = 11;
           UPDATE ledger.accounts SET credits_posted = credits_posted + 1 WHERE kind = 31""",
        {"block_hashes"},
    ),
    "balance after changed": (
        "UPDATE ledger.postings SET debit_balance_after = 0 WHERE sequence = 2",
        {"balances_after", "block_hashes"},
    ),
    "account total changed": (
        "UPDATE ledger.accounts SET credits_posted = credits_posted + 1 WHERE kind = 31",
        {"account_totals", "trial_balance_zero"},
    ),
    "last sequence of an account changed": (
        "UPDATE ledger.accounts SET last_sequence = 1 WHERE kind = 31",
        {"account_totals"},
    ),
    "business date changed": (
        "UPDATE ledger.entries SET effective_on = effective_on + 1 WHERE sequence = 2",
        {"block_hashes"},
    ),
    "metadata changed": ("UPDATE ledger.entries SET metadata = 'x' WHERE sequence = 2", {"block_hashes"}),
    "caller changed": ("UPDATE ledger.entries SET caller = 'acct_2' WHERE sequence = 2", {"block_hashes"}),
    "entry moved to another block": (
        "UPDATE ledger.entries SET block_number = 2 WHERE sequence = 2",
        {"block_chain", "block_hashes"},
    ),
    "block renumbered": (
        "UPDATE ledger.blocks SET block_number = 7 WHERE block_number = 2",
        {"block_chain", "block_hashes"},
    ),
    "block forged": (
        "UPDATE ledger.blocks SET hash = sha256('x') WHERE block_number = 2",
        {"block_chain", "block_hashes"},
    ),
    "block lies about its range": (
        "UPDATE ledger.blocks SET last_sequence = 9223372036854775807 WHERE block_number = 3",
        {"sequence_gapless", "block_hashes"},
    ),
    "block lies about its beginning": (
        "UPDATE ledger.blocks SET first_sequence = -9223372036854775808 WHERE block_number = 2",
        {"block_chain", "block_hashes"},
    ),
    "block number at the end of its type": (
        "UPDATE ledger.blocks SET block_number = 9223372036854775807 WHERE block_number = 2",
        {"block_chain", "block_hashes"},
    ),
    "account of no kind": (
        "UPDATE ledger.accounts SET kind = 99 WHERE kind = 60",
        {"postings_whole"},
    ),
    "incarnation taken back": (
        "UPDATE ledger.blocks SET incarnation = 0 WHERE block_number = 3",
        {"block_chain", "block_hashes"},
    ),
    "reference added": ("INSERT INTO ledger.entry_references VALUES (1000, 'scb', 'z', 2)", {"block_hashes"}),
    "reference deleted": ("DELETE FROM ledger.entry_references WHERE value = 'b'", {"block_hashes"}),
    "key deleted": ("DELETE FROM ledger.idempotency_keys WHERE sequence = 2", {"keys"}),
    "key invented": (
        "INSERT INTO ledger.idempotency_keys VALUES (1000, gen_random_uuid(), 2, now())",
        {"keys"},
    ),
    "cap widened": (
        "UPDATE ledger.entry_caps SET drawable_minor = 2000 WHERE sequence = 1",
        {"caps"},
    ),
    "draw forgotten": ("UPDATE ledger.entry_caps SET drawn_minor = 0 WHERE sequence = 1", {"caps"}),
    "cap deleted": ("DELETE FROM ledger.entry_caps WHERE sequence = 1", {"caps"}),
    "floor of a kind removed": ("UPDATE ledger.account_kinds SET floor_minor = NULL WHERE kind = 31", {"kinds"}),
    "kind made authorising": (
        "UPDATE ledger.entry_kinds SET mode = 'authorising' WHERE kind = 100",
        {"kinds"},
    ),
}


EVERY_SCAN = {scan.name for scan in SCANS} - {"account_days"}
"""Where Python cannot hold what a row says, nothing of its range is vouched for."""

RARE_TAMPERINGS = {
    "hold widened": (
        "UPDATE ledger.holds SET amount_minor = 7 WHERE sequence = 10",
        {"account_totals", "block_hashes"},
    ),
    "hold that never ends": (
        "UPDATE ledger.holds SET expires_at = 'infinity' WHERE sequence = 10",
        {"block_hashes"},
    ),
    "hold beyond the calendar": (
        "UPDATE ledger.holds SET expires_at = '20000-01-01' WHERE sequence = 10",
        EVERY_SCAN,
    ),
    "hold deleted": (
        "DELETE FROM ledger.holds WHERE sequence = 10",
        {"account_totals", "block_hashes", "holds_resolved_once"},
    ),
    "hold invented": (
        "INSERT INTO ledger.holds SELECT book_id, 5, debit_account, credit_account, 1, NULL FROM ledger.holds LIMIT 1",
        {"account_totals", "block_hashes", "holds_resolved_once"},
    ),
    "held sum changed": ("UPDATE ledger.accounts SET debits_held = 0 WHERE kind = 31", {"account_totals"}),
    "resolution deleted": (
        "DELETE FROM ledger.hold_resolutions WHERE hold = 6",
        {"holds_resolved_once"},
    ),
    "resolution invented": (
        "INSERT INTO ledger.hold_resolutions VALUES (1000, 10, 3, 0, 12)",
        {"holds_resolved_once"},
    ),
    "resolution of another amount": (
        "UPDATE ledger.hold_resolutions SET posted_minor = 40 WHERE hold = 6",
        {"holds_resolved_once"},
    ),
    "hold expired that was released": (
        "UPDATE ledger.hold_resolutions SET action = 4 WHERE hold = 8",
        {"holds_resolved_once"},
    ),
    "hold resolved twice": (
        "UPDATE ledger.entries SET hold = 6 WHERE sequence = 9",
        {"account_totals", "block_hashes", "holds_resolved_once"},
    ),
    "reversal of another line": (
        "UPDATE ledger.postings SET reverses_line = 2 WHERE sequence = 13",
        {"block_hashes", "reversals"},
    ),
    "reversal that does not say so": (
        "UPDATE ledger.entries SET reverses = NULL WHERE sequence = 13",
        {"block_hashes", "reversals"},
    ),
    "reversal of an entry with other accounts": (
        "UPDATE ledger.entries SET reverses = 7 WHERE sequence = 13",
        {"block_hashes", "reversals"},
    ),
    "reversal beyond the line": (
        """UPDATE ledger.postings SET amount_minor = 501, debit_balance_after = debit_balance_after - 251,
               credit_balance_after = credit_balance_after - 251 WHERE sequence = 13;
           UPDATE ledger.accounts SET credits_posted = credits_posted + 251 WHERE kind = 11;
           UPDATE ledger.accounts SET debits_posted = debits_posted + 251 WHERE kind = 31""",
        {"block_hashes", "reversals"},
    ),
    "reversal of what can still be drawn": (
        """UPDATE ledger.entries SET drawable_minor = 500 WHERE sequence = 2;
           INSERT INTO ledger.entry_caps VALUES (1000, 2, 500, 0)""",
        {"block_hashes", "reversals"},
    ),
    "reversal that draws less than it undoes": (
        """UPDATE ledger.entries SET drawable_minor = 500 WHERE sequence = 2;
           UPDATE ledger.entries SET draws_on = 2, drawn_minor = 249 WHERE sequence = 13;
           INSERT INTO ledger.entry_caps VALUES (1000, 2, 500, 249)""",
        {"block_hashes", "reversals"},
    ),
    "entry taken out of its group": (
        "UPDATE ledger.entries SET group_first = NULL WHERE sequence = 11",
        {"block_hashes", "groups"},
    ),
    "entry put into a group": (
        "UPDATE ledger.entries SET group_first = 11 WHERE sequence = 5",
        {"block_hashes", "groups"},
    ),
    "entry with references deleted": (
        "DELETE FROM ledger.entries WHERE sequence = 12",
        {"block_hashes", "keys", "postings_whole", "references", "sequence_gapless"},
    ),
    "number beyond its type": (
        "UPDATE ledger.postings SET debit_balance_after = -9223372036854775807 WHERE sequence = 11",
        {"balances_after", "block_hashes"},
    ),
    "key beyond the head": (
        "INSERT INTO ledger.idempotency_keys VALUES (1000, gen_random_uuid(), 99, now())",
        {"keys"},
    ),
    "block made empty": (
        "UPDATE ledger.blocks SET last_sequence = first_sequence - 1 WHERE last_sequence = 5",
        {"block_chain", "block_hashes"},
    ),
    "incarnation begun with entries": (
        "UPDATE ledger.blocks SET incarnation = 2 WHERE last_sequence = 13",
        {"block_chain", "block_hashes"},
    ),
}
