"""What is in the way of a command is one sentence and exit code 1 or 2, never a traceback and never silence."""

import sys

import pytest

from gateway import cli


@pytest.fixture
def environment(database, valkey_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", valkey_url)
    monkeypatch.setenv("MASTER_KEY", "07" * 32)
    return monkeypatch


@pytest.fixture
def said(environment, capsys):
    """What a command that must end with an error says."""

    def run(*arguments, code=1):
        environment.setattr(sys, "argv", ["quickkub", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
        return " ".join(capsys.readouterr().err.split())

    return run


@pytest.mark.parametrize(
    "command",
    [
        "ledger balance --book",
        "ledger trial-balance --book",
        "ledger entries --book",
        "ledger verify --book",
        "reconciliation run",
        "reconciliation breaks",
        f"reconciliation import {__file__}",
        "settlement run",
        "settlement files --out nowhere",
        "reports write --out nowhere",
        "export audit --out nowhere",
    ],
)
def test_a_book_that_is_not_there_is_not_an_empty_one(said, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = command.split()
    arguments = [*words[:2], "777", "mt940", words[2]] if "import" in words else [*words, "777"]
    assert "there is no book 777" in said(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["ledger", "balance", "--book", "0"], "is not in the range"),
        (["ledger", "verify", "--book", str(2**63)], "is not in the range"),
        (["ledger", "entries", "--limit", "-5"], "is not in the range"),
        (["settlement", "run", str(2**63)], "is not in the range"),
        (["merchants", "create", "--name", " ", "--email", "shop@example.test"], "must not be empty"),
        (["merchants", "create", "--name", "Shop", "--email", "nonsense"], "is not an e-mail address"),
        (["merchants", "keys", "roll", "key_1", "--hours", "-1", "--reason", "x"], "is not in the range"),
        (["operators", "create", "--name", "Tester", "--days", "-1"], "is not in the range"),
        (["operators", "create", "--name", "Tester", "--scope", "all"], "'ledger:read'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_named(said, arguments, what):
    assert what in said(*arguments, code=2)


def test_an_account_that_is_not_there_has_no_list_of_keys(said):
    assert "there is no account acct_1" in said("merchants", "keys", "list", "acct_1")


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("postgresql://app:planted@127.0.0.1:1/quickkub", "a server does not answer"),
        ("postgresql://app:planted@nobody.invalid/quickkub", "a server does not answer"),
        ("mysql://app:planted@127.0.0.1/quickkub", "the address of the database cannot be read"),
    ],
)
def test_a_database_that_cannot_be_reached_is_said_in_a_sentence(said, environment, address, what):
    environment.setenv("DATABASE_URL", address)
    for command in (["merchants", "list"], ["ledger", "balance"], ["database", "check"]):
        text = said(*command)
        assert text.startswith(f"quickkub: {what}")
        assert "planted" not in text


def test_a_database_that_is_not_there_is_said_in_a_sentence(said, environment, database):
    path, _, query = database.app_dsn.partition("?")
    environment.setenv("DATABASE_URL", f"{path.rpartition('/')[0]}/no_such_database?{query}")
    assert said("merchants", "list").startswith("quickkub: PostgreSQL refuses: ")


def test_a_file_in_the_way_is_named(said, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("already here")
    cli.group(["merchants", "create", "--name", "Shop", "--email", "shop@example.test"], standalone_mode=False)
    assert said("reports", "write", "1", "--out", str(taken)) == f"quickkub: {taken}: File exists"


def test_the_owner_of_one_database_never_migrates_another(said, environment, database, tmp_path):
    environment.delenv("DATABASE_URL")
    environment.setenv("DATABASE_OWNER_URL", database.owner_dsn)
    environment.setenv("QUICKKUB_HOME", str(tmp_path / "home"))
    assert "set DATABASE_URL too" in said("database", "migrate")
    assert not (tmp_path / "home").exists()
