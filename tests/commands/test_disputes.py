"""`quickkub disputes`: a letter is stated on the command line, with a reason, and money follows once."""

import asyncio
import re

import pytest
from click.testing import CliRunner

from gateway.cli import group
from gateway.foundation.database import Database
from gateway.payments.requests import SubmitEvidence
from tests.payments.conftest import House
from tests.payments.test_disputes import QR_ASKED


@pytest.fixture
async def house(database):
    opened = await Database.open(database.app_dsn, pool_size=4)
    house = House(opened)
    yield house
    await house.close()
    await opened.close()


@pytest.fixture
def quickkub(database, valkey_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", valkey_url)
    monkeypatch.setenv("MASTER_KEY", bytes(range(32)).hex())

    async def run(*arguments, code=0, of="disputes"):
        # In a thread, because a command has an event loop of its own.
        arguments = [str(each) for each in arguments]
        result = await asyncio.to_thread(CliRunner().invoke, group, [of, *arguments])
        assert result.exit_code == code, result.output
        return result.output

    return run


async def test_a_letter_is_stated_once_and_its_outcome_follows(house, quickkub):
    merchant = await house.new_merchant()
    intent = await house.intents.create(merchant, QR_ASKED)
    book = merchant.book_id
    stated = ("open", book, intent.id, "--reference", "case 7", "--amount", "40000", "--due", "2999-01-01T09:00")
    assert "payment_not_captured" in await quickkub(*stated, "--reason", "letter", code=1)
    await house.pay(merchant, intent, house.scb)
    paid = await house.balances(merchant)

    assert "--reason" in await quickkub(*stated, code=2)
    assert "must not be empty" in await quickkub(*stated, "--reason", " ", code=2)
    opened = await quickkub(*stated, "--reason", "letter of the bank")
    dispute_id = re.search(r"dp_test_\w+", opened)[0]
    assert "400.00 THB  dispute  needs_response  until 2999-01-01 09:00 UTC" in opened
    assert "known already" in await quickkub(*stated, "--reason", "letter of the bank")
    assert (await house.balances(merchant))["dispute_hold"] == 400_00
    assert dispute_id in await quickkub("list", book)

    evidence = SubmitEvidence(text={"product_description": "a red bicycle"})
    await house.disputes.submit_evidence(merchant, dispute_id, evidence)
    shown = await quickkub("evidence", book, dispute_id, "--reason", "to be sent to the bank")
    assert "product_description: a red bicycle" in shown

    taken = await quickkub("record", book, dispute_id, "funds-withdrawn", "--reason", "statement of the day")
    assert "under_review" in taken
    assert "dispute_hold" not in await house.balances(merchant)
    assert "won" in await quickkub("record", book, dispute_id, "won", "--reason", "second letter")
    assert await house.balances(merchant) == paid
    assert "not_found" in await quickkub("record", book, "dp_test_none", "won", "--reason", "typing error", code=1)
    acts = await house.rows(
        "SELECT act, reason FROM gateway.operator_acts WHERE subject = $1 ORDER BY act_id", dispute_id
    )
    assert [(act["act"], act["reason"]) for act in acts] == [
        ("dispute.opened", "letter of the bank"),
        ("dispute.evidence_read", "to be sent to the bank"),
        ("dispute.funds_withdrawn", "statement of the day"),
        ("dispute.won", "second letter"),
    ]


async def test_a_letter_about_a_payment_that_was_paid_twice_is_told_what_it_can_be_about(house, quickkub):
    merchant = await house.new_merchant()
    intent = await house.intents.create(merchant, QR_ASKED)
    for transaction in ("txn_1", "txn_2"):
        await house.pay(merchant, intent, house.scb, transaction=transaction)
    stated = ("open", merchant.book_id, intent.id, "--reference", "case 7", "--reason", "letter")
    said = await quickkub(*stated, code=1)
    assert "receipt_ambiguous: name one with --receipt" in said
    assert [name in said for name in ("txn_1", "txn_2", "1000.00 of it held")] == [True] * 3
    assert await house.rows("SELECT FROM gateway.disputes") == []
    offered = await quickkub("offer", merchant.book_id, intent.id, "--reason", "paid twice", of="claims")
    assert await quickkub("list", merchant.book_id, "--disputed", of="claims") == ""
    assert "1000.00 THB (1000.00 held)" in await quickkub(*stated, "--receipt", "txn_2")
    assert "payer_refundable" not in await house.balances(merchant)
    listed = await quickkub("list", merchant.book_id, "--disputed", of="claims")
    assert "DISPUTED since " in listed
    assert listed.split()[0] in offered
