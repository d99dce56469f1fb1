"""A provider's credit that names its batch: proved against the lines that it pays for, to the satang, or not booked."""

from datetime import date

import asyncpg
import pytest

from ledger.balances import balances
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, ExternalReference
from reconciliation.breaks import BreakKind
from tests.reconciliation.books import BANK_ACCOUNT, BOOK, DAY, NEXT_DAY, entry_key
from tests.reconciliation.files import mt940_statement, utc

NOW = utc("2026-11-24T05:00:00")
THIRD_DAY = date(2026, 11, 25)
RECEIVABLE = {
    provider: AccountRef(AccountKind.PROVIDER_RECEIVABLE, provider, "THB") for provider in ("kbank", "truemoney")
}


def kbank_report(*details: tuple[str, int, int, int], on: date = DAY, batch: str = "", paid: tuple = ()) -> bytes:
    """Each detail: transaction, gross, fee, VAT; `paid`: batch, gross, fee and VAT of a payment to the bank."""
    rows, day = [f"H,kbank_settlement,1,KB1,{on:%d/%m/%Y}"], f"{on:%d/%m/%Y}"
    for number, (name, *amounts) in enumerate(details, start=1):
        word = "PAYMENT" if amounts[0] > 0 else "VOID"
        rows.append(f"D,{number},{word},QR,{name},order,,{day},09:00:00,{_amounts(*amounts)},{batch}")
    if paid:
        rows.append(f"S,{paid[0]},{day},{_amounts(*paid[1:])}")
    sums = [sum(column) for column in zip(*(amounts for _, *amounts in details), strict=True)] or [0, 0, 0]
    rows.append(f"T,{len(details)},{_amounts(*sums)}")
    return "".join(f"{row}\r\n" for row in rows).encode()


def truemoney_file(*rows: tuple[str, int, int, int], on: date = DAY, settles_on: date = NEXT_DAY) -> bytes:
    """Each row: payment, gross, fee, VAT; below zero is a refund."""
    head = "settlement_date,transaction_date,payment_id,isv_payment_ref,type,amount,fee,vat,net,status"
    lines = [
        f"{settles_on} 00:00:00,{on} 10:00:00,{name},QK{name},{'PAYMENT' if gross > 0 else 'REFUND'},"
        f"{_amounts(gross, fee, vat)},SUCCESS"
        for name, gross, fee, vat in rows
    ]
    return "".join(f"{line}\r\n" for line in (head, *lines)).encode()


def _amounts(gross: int, fee: int, vat: int) -> str:
    values = (gross, fee, vat, gross - fee - vat)
    return ",".join(f"{'-' if value < 0 else ''}{abs(value) // 100}.{abs(value) % 100:02d}" for value in values)


def bank(amount_minor: int, text: str, *, on: date = NEXT_DAY, opening_minor: int = 0) -> bytes:
    return mt940_statement([(amount_minor, text)], on=on, opening_minor=opening_minor).encode()


@pytest.fixture
def run(reconciliation):
    async def reconcile(on: date = NEXT_DAY):
        return await reconciliation.run(book_id=BOOK, business_date=on, now=NOW)

    return reconcile


async def balance(connection: asyncpg.Connection, account: AccountRef) -> int:
    return (await balances(connection, BOOK, [account]))[account].balance_minor


def open_batch(result):
    (found,) = [each for each in result.breaks if each.subject.startswith("batch:")]
    return found


async def test_a_named_batch_pays_for_the_lines_that_name_it(connection, books, bring, run):
    await books.captured("kbank", "T1", 100_00)
    await books.captured("kbank", "T2", 200_00)
    await books.captured("kbank", "T9", 50_00)
    await bring("kbank_settlement", kbank_report(("T1", 100_00, 80, 6), ("T2", 200_00, 160, 11), batch="B1"))
    await bring("kbank_settlement", kbank_report(("T9", 50_00, 40, 3), batch="B2", paid=("B1", 300_00, 240, 17)))
    await bring("mt940", bank(297_43, "KBANK SETTLEMENT B1"))
    result = await run()
    (group,) = result.groups
    assert (group.kind, group.provider, group.transfer_reference, group.bank_minor) == (
        "net_batch",
        "kbank",
        "B1",
        297_43,
    )
    assert (group.payments_minor, group.refunds_minor, group.fee_minor, group.vat_minor) == (300_00, 0, 2_40, 17)
    entry = books.posted[-1]
    assert (entry.kind, entry.effective_on) == (EntryKind.PROVIDER_SETTLED, NEXT_DAY)
    assert [(posting.debit.kind, posting.amount_minor) for posting in entry.postings] == [
        (AccountKind.BANK, 297_43),
        (AccountKind.PROVIDER_FEE_EXPENSE, 2_40),
        (AccountKind.INPUT_VAT, 17),
    ]
    assert ExternalReference("kbank", "B1") in entry.references
    assert entry.key == entry_key(group.group_id, "settled")
    assert await balance(connection, RECEIVABLE["kbank"]) == 50_00, "what no credit has paid for yet"
    assert await balance(connection, BANK_ACCOUNT) == 297_43
    assert [(bank.remainder_minor, bank.tied) for bank in result.banks] == [(0, True)]
    assert [provider.remainder_minor for provider in result.providers] == [0]


async def test_what_names_no_batch_is_paid_by_the_day_on_which_it_is_due(connection, books, bring, run):
    for name, amount_minor in (("1", 100_00), ("2", 200_00), ("3", 300_00)):
        await books.captured("truemoney", name, amount_minor)
    await bring("truemoney_settlement", truemoney_file(("1", 100_00, 200, 14), ("2", 200_00, 400, 28)))
    later = truemoney_file(("3", 300_00, 600, 42), on=NEXT_DAY, settles_on=THIRD_DAY)
    await bring("truemoney_settlement", later)
    await bring("mt940", bank(293_58, "TRUEMONEY SETTLEMENT B1"))
    await bring("mt940", bank(293_58, "TRUEMONEY SETTLEMENT B2", on=THIRD_DAY, opening_minor=293_58))
    (first,) = (await run()).groups
    assert (first.transfer_reference, first.payments_minor, first.fee_minor, first.vat_minor) == ("B1", 300_00, 600, 42)
    assert await balance(connection, RECEIVABLE["truemoney"]) == 300_00
    (second,) = (await run(THIRD_DAY)).groups
    assert (second.transfer_reference, second.line_count) == ("B2", 2), "the payment and the bank's line"
    assert await balance(connection, RECEIVABLE["truemoney"]) == 0
    calls = books.calls
    assert (await run(THIRD_DAY)).breaks == ()
    assert books.calls == calls, "a run that is run again posts nothing"


@pytest.mark.parametrize("off", [-1, 1])
async def test_nothing_is_booked_when_the_credit_is_a_satang_off(connection, books, bring, run, off):
    await books.captured("truemoney", "1", 100_00)
    await bring("truemoney_settlement", truemoney_file(("1", 100_00, 200, 14)))
    await bring("mt940", bank(97_86 + off, "TRUEMONEY SETTLEMENT B1"))
    calls = books.calls
    result = await run()
    assert (result.groups, books.calls) == ((), calls)
    assert await balance(connection, RECEIVABLE["truemoney"]) == 100_00
    found = open_batch(result)
    assert (found.kind, found.amount_minor, found.provider) == (BreakKind.AMOUNT_DIFFERS, off, "truemoney")
    assert "the 1 lines that it should pay for make 97.86: nothing was booked" in found.reason


async def test_nothing_is_booked_when_the_provider_says_another_amount_than_the_bank(books, bring, run):
    await books.captured("kbank", "T1", 100_00)
    await bring("kbank_settlement", kbank_report(("T1", 100_00, 80, 6), batch="B1", paid=("B1", 100_00, 80, 7)))
    await bring("mt940", bank(99_14, "KBANK SETTLEMENT B1"))
    calls = books.calls
    result = await run()
    assert (result.groups, books.calls) == ((), calls)
    assert (open_batch(result).kind, open_batch(result).amount_minor) == (BreakKind.AMOUNT_DIFFERS, 1)
    assert "kbank says that it paid 99.13" in open_batch(result).reason


async def test_nothing_is_booked_before_all_of_its_lines_are_in_our_books(books, bring, run):
    await books.captured("truemoney", "1", 100_00)
    await bring("truemoney_settlement", truemoney_file(("1", 100_00, 200, 14), ("2", 200_00, 400, 28)))
    await bring("mt940", bank(293_58, "TRUEMONEY SETTLEMENT B1"))
    result = await run()
    assert result.groups == ()
    assert (open_batch(result).kind, open_batch(result).amount_minor) == (BreakKind.MISSING_IN_LEDGER, 293_58)
    assert "1 of its 2 lines are not in our books" in open_batch(result).reason
    await books.captured("truemoney", "2", 200_00)
    result = await run()
    assert (len(result.groups), result.breaks) == (1, ())


async def test_a_credit_waits_for_the_providers_statement_and_is_late_after_t_plus_2(books, bring, run):
    await books.captured("truemoney", "1", 100_00)
    await bring("mt940", bank(97_86, "TRUEMONEY SETTLEMENT B1"))
    assert open_batch(await run()).kind is BreakKind.TIMING
    assert open_batch(await run(date(2026, 11, 30))).kind is BreakKind.MISSING_AT_PROVIDER
    await bring("truemoney_settlement", truemoney_file(("1", 100_00, 200, 14)))
    result = await run(date(2026, 11, 30))
    assert (len(result.groups), result.breaks) == (1, ())


async def test_the_providers_word_for_a_payment_may_come_after_it_was_booked(books, bring, run):
    await books.captured("kbank", "T1", 100_00)
    await bring("kbank_settlement", kbank_report(("T1", 100_00, 80, 6), batch="B1"))
    await bring("mt940", bank(99_14, "KBANK SETTLEMENT B1"))
    assert len((await run()).groups) == 1
    await bring("kbank_settlement", kbank_report(on=NEXT_DAY, paid=("B1", 100_00, 80, 6)))
    result = await run()
    assert (result.breaks, result.unmatched.count) == ((), 0)


async def test_a_batch_that_is_paid_twice_is_booked_once(connection, books, bring, run):
    await books.captured("kbank", "T1", 100_00)
    await bring("kbank_settlement", kbank_report(("T1", 100_00, 80, 6), batch="B1"))
    twice = [(99_14, "KBANK SETTLEMENT B1")] * 2
    await bring("mt940", mt940_statement(twice, on=NEXT_DAY).encode())
    result = await run()
    assert len(result.groups) == 1
    assert await balance(connection, BANK_ACCOUNT) == 99_14
    assert (open_batch(result).kind, open_batch(result).amount_minor) == (BreakKind.TIMING, 99_14)
    assert (await run(THIRD_DAY)).groups == ()


async def test_a_void_of_a_batch_takes_its_fee_back(books, bring, run):
    charge = await books.captured("kbank", "T1", 100_00)
    await books.captured("kbank", "T2", 200_00)
    await books.refunded(charge, "V1", 100_00, provider="kbank")
    details = (("T1", 100_00, 80, 6), ("T2", 200_00, 160, 11), ("V1", -100_00, -80, -6))
    await bring("kbank_settlement", kbank_report(*details, batch="B1"))
    await bring("mt940", bank(198_29, "KBANK SETTLEMENT B1"))
    result = await run()
    (group,) = result.groups
    assert (group.payments_minor, group.refunds_minor, group.fee_minor, group.vat_minor) == (300_00, 100_00, 1_60, 11)
    assert (result.breaks, result.unmatched.count) == ((), 0)


async def test_a_run_that_died_after_posting_books_a_batch_once(connection, books, bring, run):
    await books.captured("truemoney", "1", 100_00)
    await bring("truemoney_settlement", truemoney_file(("1", 100_00, 200, 14)))
    await bring("mt940", bank(97_86, "TRUEMONEY SETTLEMENT B1"))
    await run()
    posted = len(books.posted)
    await connection.execute("UPDATE reconciliation.settled_groups SET entry_sequence = NULL")
    await run()
    assert len(books.posted) == posted
    assert await balance(connection, BANK_ACCOUNT) == 97_86
