"""The command line writes the reports and the export of a book, and says so when there is nothing to write."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from gateway.commands.reports import export, reports
from gateway.commands.settlement import settlement
from tests.settlement.shops import MONDAY, TUESDAY


@pytest.fixture
async def command(database, endpoints, shop, monkeypatch):
    """Runs a command as the operator does, on the shop's database."""
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("AUDITOR_DATABASE_URL", database.auditor_dsn)
    monkeypatch.setenv("REDIS_URL", endpoints.redis_url)
    monkeypatch.setenv("MASTER_KEY", bytes(range(32)).hex())

    async def run(group, *arguments):
        # In a thread, because a command has an event loop of its own.
        return await asyncio.to_thread(CliRunner().invoke, group, [str(each) for each in arguments])

    return run


@pytest.fixture
async def settled(shop):
    await shop.capture(1_000_00, available_on=MONDAY)
    await shop.run.run(shop.book_id, MONDAY)


@pytest.mark.usefixtures("settled")
async def test_reports_of_a_book_are_written(command, shop, tmp_path):
    result = await command(reports, "write", shop.book_id, "--out", tmp_path, "--from", MONDAY, "--to", TUESDAY)
    assert result.exit_code == 0, result.output
    [settled] = await shop.settlements()
    names = ["payouts", "trial_balance", f"merchant_settlement-{settled['settlement_id']}"]
    kinds = ("csv", "json", "manifest.json")
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{kind}" for name in names for kind in kinds}
    document = json.loads((tmp_path / "payouts.json").read_bytes())
    assert document["control_total"] == "1000.00 THB"


@pytest.mark.usefixtures("settled")
async def test_export_is_written_by_a_login_that_may_only_read(command, shop, tmp_path):
    result = await command(export, "audit", shop.book_id, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "3 entries through sequence 3, 3000.00 THB" in result.output
    assert json.loads((tmp_path / "manifest.json").read_bytes())["counts"]["entries"] == 3


@pytest.mark.usefixtures("settled")
async def test_payout_files_are_written_as_the_bank_got_them(command, shop, tmp_path):
    result = await command(settlement, "files", shop.book_id, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    [(message_id, content)] = shop.bank.files
    assert (tmp_path / f"{message_id}.xml").read_bytes() == content


async def test_nothing_is_written_of_a_book_without_entries(command, shop, tmp_path):
    result = await command(export, "audit", shop.book_id, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()
    result = await command(reports, "write", 4711, "--out", tmp_path / "out")
    assert (result.exit_code, "there is no book 4711" in result.output) == (1, True)
