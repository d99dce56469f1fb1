-- What a call looks up before it decides, as arrays side by side.
-- statement
CREATE TYPE ledger.reversed_v1 AS (
    sequences bigint[], drawable boolean[], first_line integer[], line_count integer[],
    debits bigint[], credits bigint[], left_minor bigint[])
-- statement
CREATE TYPE ledger.held_v1 AS (
    sequences bigint[], debits bigint[], credits bigint[], amounts bigint[], expires_at timestamptz[], resolved boolean[])
