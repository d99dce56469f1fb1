"""`quickkub merchants` and `quickkub operators`: accounts and keys from the command line, every change on record."""

import re

import pytest
from click.testing import CliRunner

from gateway.cli import group


@pytest.fixture
def quickkub(database, valkey_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", valkey_url)
    monkeypatch.setenv("MASTER_KEY", "07" * 32)

    def run(*arguments, code=0):
        result = CliRunner().invoke(group, arguments)
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_a_merchant_is_opened_listed_and_its_key_rolled_and_revoked(quickkub):
    created = quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    account_id = re.search(r"acct_\w+", created)[0]
    assert re.search(r"test key +sk_test_\w{40}\n", created)
    assert re.search(r"live key +sk_live_\w{40}\n", created)
    assert account_id in quickkub("merchants", "list")
    assert "Test shop" in quickkub("merchants", "list")

    key_id = re.search(r"key_test_\w+", quickkub("merchants", "keys", "list", account_id))[0]
    rolled = quickkub("merchants", "keys", "roll", key_id, "--hours", "1", "--reason", "staff left")
    assert re.search(r"secret +sk_test_\w{40}\n", rolled)
    assert "revoked" in quickkub("merchants", "keys", "revoke", key_id, "--reason", "leaked")
    assert "not a key in force" in quickkub("merchants", "keys", "revoke", key_id, "--reason", "again", code=1)
    listed = quickkub("merchants", "keys", "list", account_id).splitlines()
    assert [("revoked" in line and key_id in line) for line in listed].count(True) == 1
    assert len(listed) == 3


def test_an_operator_gets_a_key_that_expires(quickkub):
    created = quickkub("operators", "create", "--name", "Tester", "--days", "7", "--reason", "first day")
    assert re.search(r"key +ok_\w{40}\n", created)
    assert re.search(r"expires +\d{4}-\d{2}-\d{2}", created)
    assert "Tester" in quickkub("operators", "list")
