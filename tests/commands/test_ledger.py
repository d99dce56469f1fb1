"""`quickkub ledger …`: what is printed is what the books hold, as a table and as JSON; a no is one sentence."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from click.testing import CliRunner

from gateway.cli import group
from gateway.foundation.settings import SettingsInvalid
from ledger.accounts import open_book
from ledger.balances import balances
from ledger.feed import head
from ledger.holds import place_hold
from ledger.journal import EntryKind, ExternalReference
from ledger.posting import post_entries
from ledger.verify_proof import leaf_v1
from tests.ledger.entries import AVAILABLE, BOOK, DAY, FEES, PAYOUTS, entry, paid_out, posting, received

KEY = bytes(range(32))
FIRST = received(12_345, references=(ExternalReference("scb", "qk1"),), metadata=b"\x00\xff")
HOLD = place_hold(
    key=uuid4(),
    posting=posting(AVAILABLE, PAYOUTS, 45),
    effective_on=DAY,
    expires_at=datetime(2026, 1, 1, tzinfo=UTC),
)
ACT = ("--actor", "op_1", "--reason", "test")


@pytest.fixture
async def app(database):
    connection = await asyncpg.connect(database.app_dsn)
    await open_book(connection, BOOK, code="test", mode="test")
    await post_entries(connection, BOOK, [FIRST, paid_out(300), HOLD])
    yield connection
    await connection.close()


@pytest.fixture
async def command(app, database, endpoints, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", endpoints.redis_url)
    monkeypatch.setenv("MASTER_KEY", KEY.hex())

    async def run(*arguments, book=BOOK):
        words = ["ledger", *(str(each) for each in arguments), "--book", str(book)]
        done = await asyncio.to_thread(CliRunner().invoke, group, words)
        assert done.exception is None or isinstance(done.exception, SystemExit | SettingsInvalid), done.exception
        return done.exit_code, done.stdout + (done.stderr if done.exit_code else "")

    return run


async def test_balances_now_then_and_on_a_date(command):
    code, text = await command("balance", "merchant_available:merchant", "--json")
    [account] = json.loads(text)
    assert code == 0
    assert account == {
        "kind": "merchant_available",
        "owner": "merchant",
        "currency": "THB",
        "balance_minor": 12_045,
        "held_debits_minor": 45,
        "held_credits_minor": 0,
        "available_minor": 12_000,
    }
    for options, expected in (
        (("--at", 1), 12_345),
        (("--at", 0), 0),
        (("--on", "2026-11-22"), 0),
        (("--on", "2026-11-23"), 12_045),
    ):
        code, text = await command("balance", "merchant_available:merchant", *options, "--json")
        assert (code, json.loads(text)[0]["balance_minor"]) == (0, expected), options
    code, text = await command("balance")
    assert code == 0
    assert "120.45" in text
    assert (await command("balance", "--at", 1, "--on", "2026-11-23"))[0] == 2
    code, text = await command("balance", "nothing:x")
    assert (code, "is no kind of account" in text) == (2, True)


async def test_trial_balance_foots(command):
    code, text = await command("trial-balance")
    assert code == 0
    assert text.splitlines()[-1] == "closing THB: debit 123.45, credit 123.45"
    code, text = await command("trial-balance", "--axis", "effective", "--json")
    assert {row["kind"]: row["closing_minor"] for row in json.loads(text)} == {
        "bank": 12_345,
        "merchant_available": 12_045,
        "payouts_in_transit": 300,
    }


async def test_entries_by_key_and_by_what_others_call_them(command):
    code, text = await command("entries", "--json")
    assert code == 0
    assert [entry["sequence"] for entry in json.loads(text)] == [1, 2, 3]
    for option in (("--key", FIRST.key), ("--reference", "scb=qk1")):
        code, text = await command("entries", *option, "--json")
        [entry] = json.loads(text)
        assert (entry["sequence"], entry["metadata"], entry["postings"][0]["amount_minor"]) == (1, "00ff", 12_345)
    code, text = await command("entries", "--key", uuid4())
    assert (code, text) == (0, f"book {BOOK} has no such entry\n")
    assert (await command("entries", "--reference", "scb"))[0] == 2


async def test_statement_runs_from_page_to_page(command):
    code, text = await command("statement", "merchant_available:merchant", "--limit", 1, "--json")
    first = json.loads(text)
    assert (code, first["opening_minor"], first["closing_minor"]) == (0, 0, 12_045)
    assert [line["balance_minor"] for line in first["lines"]] == [12_345]
    code, text = await command("statement", "merchant_available:merchant", "--cursor", first["next"], "--json")
    second = json.loads(text)
    assert ([line["balance_minor"] for line in second["lines"]], second["next"]) == ([12_045], None)
    assert (await command("statement", "merchant_available:merchant", "--cursor", "x"))[0] == 2


async def test_accounts_are_listed_limited_frozen_and_closed_on_the_record(app, command):
    code, text = await command("accounts", "list", "--kind", "bank", "--json")
    assert (code, [(each["owner"], each["balance_minor"]) for each in json.loads(text)]) == (0, [("main", 12_345)])
    code, text = await command("accounts", "roll-up", "--by", "class", "--json")
    assert {each["name"]: each["balance_minor"] for each in json.loads(text)} == {"asset": 12_345, "liability": 12_345}
    code, text = await command("accounts", "open", "bank:second:USD", "bank:main", "--json")
    assert (code, [(each["owner"], each["number"]) for each in json.loads(text)]) == (0, [("second", 4), ("main", 1)])
    assert (await command("accounts", "close", "bank:second:USD", *ACT))[0] == 0
    code, text = await command("accounts", "close", "bank:main", *ACT)
    assert (code, "refused: balance_not_zero" in text) == (1, True)
    assert (await command("accounts", "limit", "bank:main", "--ceiling-minor", 20_000, *ACT))[0] == 0
    assert (await command("accounts", "freeze", "bank:main", "--debits", "--no-credits", *ACT))[0] == 0
    code, text = await command("accounts", "list", "--owner", "main")
    assert "debits frozen" in text
    code, text = await command("accounts", "list", "--owner", "nobody")
    assert (code, text) == (0, f"book {BOOK} has no such account\n")
    assert await app.fetchval("SELECT count(*) FROM ledger.ledger_acts WHERE actor = 'op_1'") == 3


async def test_period_is_closed_in_two_steps_and_reopened(command):
    period = ("--from", "2026-11-01", "--to", "2026-11-30")
    assert "has no periods" in (await command("periods"))[1]
    assert (await command("define-period", *period, *ACT))[0] == 0
    code, text = await command("close-period", "--to", "2026-11-30", "--step", "close", *ACT)
    assert (code, "refused: period_not_closing" in text) == (1, True)
    for step, state in (("begin", "closing"), ("close", "closed"), ("reopen", "open")):
        code, text = await command("close-period", "--to", "2026-11-30", "--step", step, *ACT, "--json")
        assert (code, json.loads(text)["state"]) == (0, state)
        assert json.loads((await command("periods", "--json"))[1]) == [json.loads(text)]
    code, text = await command("close-year", "--to", "2026-11-30", "--actor", "op_1")
    assert (code, text) == (0, f"book {BOOK} has no income or expense through 2026-11-30\n")


async def test_hold_is_shown_and_expired(command):
    code, text = await command("hold", HOLD.key, "--json")
    assert (code, json.loads(text)["state"], json.loads(text)["amount_minor"]) == (0, "open", 45)
    assert await command("expire-holds") == (0, f"book {BOOK}: 1 holds expired\n")
    assert await command("expire-holds") == (0, f"book {BOOK}: 0 holds expired\n")
    assert json.loads((await command("hold", HOLD.key, "--json"))[1])["state"] == "expire"
    assert (await command("hold", uuid4()))[0] == 1


async def test_verify_says_what_it_looked_at(app, command):
    code, text = await command("verify", "--json")
    report = json.loads(text)
    assert (code, report["passed"], report["head"]) == (0, True, await head(app, BOOK))
    assert {"block_hashes", "account_days", "code"} <= {check["name"] for check in report["checks"]}
    code, text = await command("verify")
    assert (code, text.splitlines()[-1].endswith("verified")) == (0, True)
    assert "there is no book 77" in (await command("verify", book=77))[1]


async def test_export_gives_every_entry_once_a_line_each(app, command, tmp_path):
    await post_entries(app, BOOK, [received(1) for _ in range(2_500)])
    file = tmp_path / "entries.jsonl"
    code, text = await command("export", "--out", file)
    assert (code, text) == (0, f"2503 entries of book {BOOK} are in {file}\n")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, 2_504))
    assert lines[2]["hold_action"] == "place"
    assert all(leaf_v1(line["sealed"], "an entry").hex() == line["leaf"] for line in lines)
    stored = await app.fetchval("SELECT count(DISTINCT block_number) FROM ledger.entries WHERE book_id = $1", BOOK)
    assert len({line["sealed"]["block_number"] for line in lines}) == stored
    before = file.read_bytes()
    code, text = await command("export", "--out", file, book=BOOK + 1)
    assert (code, file.read_bytes()) == (1, before), "a book that is not there empties no file"
    code, text = await command("export", "--from", 2, "--to", 3)
    assert [json.loads(line)["sequence"] for line in text.splitlines()] == [2, 3]


async def test_year_is_closed_while_its_last_period_is_closing_and_again_after_an_adjustment(app, command):
    fee, adjusted = (entry(posting(AVAILABLE, FEES, n), effective_on=DAY) for n in (30, 5))
    await post_entries(app, BOOK, [fee])
    close = ("close-year", "--to", "2026-11-30", "--actor", "op_1", "--post")
    await command("define-period", "--from", "2026-11-01", "--to", "2026-11-30", *ACT)
    code, text = await command(*close)
    assert (code, "no period of book 1000 that ends on 2026-11-30 is closing" in text) == (1, True)
    await command("close-period", "--to", "2026-11-30", "--step", "begin", *ACT)
    assert await command(*close) == (
        0,
        "fee_income:merchant ← retained_earnings:-  0.30 THB\nposted as entry 5\n",
    )
    nothing = (0, f"book {BOOK} has no income or expense through 2026-11-30\n")
    assert await command(*close) == nothing
    adjusted = msgspec.structs.replace(adjusted, kind=EntryKind.PERIOD_ADJUSTED)
    await post_entries(app, BOOK, [adjusted])
    code, text = await command(*close, "--json")
    [line] = json.loads(text)["postings"]
    assert (code, line["amount_minor"], json.loads(text)["posted"]) == (0, 5, [7])
    assert await command(*close) == nothing
    assert (await balances(app, BOOK, [FEES]))[FEES].balance_minor == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("balance", "bank:main:ABC"), "'ABC' is no currency; one of THB,"),
        (("balance", "bank:main:thb"), "'thb' is no currency"),
        (("accounts", "open", "bank:two\nlines"), "all of them to be read"),
        (("accounts", "open", "bank:" + "x" * 201), "at most 200 bytes"),
        (("accounts", "list", "--currency", "ABC"), "Invalid value for '--currency'"),
        (("balance", "--on", "2026-1-5"), "is not a date such as 2026-11-23"),
        (("balance", "--on", "20260105"), "is not a date such as 2026-11-23"),
        (("trial-balance", "--from", "2026-12-05", "--to", "2026-12-01"), "the dates end at 2026-12-01, before"),
        (("entries", "--key", str(FIRST.key), "--reference", "scb=qk1"), "say either --key or --reference"),
        (("export", "--from", "3", "--to", "2"), "the range ends at 2, before it begins at 3"),
        (("export", "--from", "0"), "Invalid value for '--from'"),
        (("accounts", "close", "bank:main", "--actor", " ", "--reason", "x"), "must not be empty"),
        (("define-period", "--from", "2026-11-01", "--to", "2026-11-30", "--actor", "x", "--reason", ""), "be empty"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_is_asked(app, command, arguments, said):
    code, text = await command(*arguments)
    assert (code, said in " ".join(text.replace("│", " ").split())) == (2, True), text
    assert await app.fetchval("SELECT count(*) FROM ledger.accounts WHERE book_id = $1", BOOK) == 3


async def test_nothing_is_said_of_an_entry_that_is_not_there_yet(command):
    for words in (
        ("balance", "bank:main", "--at", 4),
        ("accounts", "roll-up", "--at", 4),
        ("trial-balance", "--cut", 4),
        ("statement", "bank:main", "--after", 4),
    ):
        code, text = await command(*words)
        assert (code, f"book {BOOK} has entries through 3; 4 is not there yet" in text) == (1, True), words


async def test_page_of_entries_says_where_the_next_one_begins(command):
    assert (await command("entries", "--limit", 2))[1].splitlines()[-1] == "more: --after 2"
    assert "more" not in (await command("entries", "--limit", 3))[1]
    assert await command("export", "--from", 4) == (0, "")


async def test_database_without_books_is_said_plainly(command, database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.superuser_dsn.replace(database.name, "postgres"))
    code, text = await command("balance")
    assert (code, "there are no books in this database: quickkub database migrate" in text) == (1, True)


async def test_account_that_is_not_open_is_said_to_be_none(command):
    words = ["ledger", "balance", "bank:main", "bank:mian", "--book", str(BOOK), "--json"]
    done = await asyncio.to_thread(CliRunner().invoke, group, words)
    assert (done.exit_code, [each["balance_minor"] for each in json.loads(done.stdout)]) == (0, [12_345, 0])
    assert done.stderr == "bank:mian is not open: nothing was ever posted to it\n"
    assert (await command("accounts", "open", "bank:psp:scb:THB"))[1].startswith("bank:psp:scb:THB is account 4")
    code, text = await command("balance", "clearing:book:101", "--json")
    assert (code, json.loads(text)[0]["owner"]) == (0, "book:101")
