-- What a call of posting answers. refusals[i] (0 = in the books, else a number of refusals.py), sequences[i], posted_at for
-- what is new, replayed_at[i] for what an earlier call had posted (NULL array: no replay), breaches[i] (bits, see encoding.py;
-- NULL array: none), found_ids[n] (number of the n-th named account where it was there before), posted_minor by posting
-- (NULL array: as asked).
-- statement
CREATE TYPE ledger.answer_v1 AS (
    refusals smallint[], sequences bigint[], posted_at timestamptz,
    replayed_at timestamptz[], breaches smallint[], found_ids bigint[], posted_minor bigint[])
-- What a call looks up before it decides, as arrays side by side.
-- statement
CREATE TYPE ledger.reversed_v1 AS (
    sequences bigint[], drawable boolean[], first_line integer[], line_count integer[],
    debits bigint[], credits bigint[], left_minor bigint[])
-- statement
CREATE TYPE ledger.held_v1 AS (
    sequences bigint[], debits bigint[], credits bigint[], amounts bigint[], expires_at timestamptz[], resolved boolean[])
