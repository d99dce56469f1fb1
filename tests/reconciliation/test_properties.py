"""For any day at all: every line is accounted for, amounts foot, nothing is booked twice.

Random payments, refunds, off-by-one lines, strays and gaps, over both providers; the same day is run twice.
"""

import asyncio
from itertools import count

import asyncpg
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.balances import balances
from ledger.money import half_up
from tests.conftest import ClonedDatabase
from tests.reconciliation.books import BANK_ACCOUNT, DAY, NEXT_DAY, RECEIVABLE_OMISE, RECEIVABLE_SCB, Books
from tests.reconciliation.conftest import Ids, bring_in, reconciliation_of
from tests.reconciliation.files import bill_file, mt940_statement, omise_list, omise_transaction, omise_transfer, utc

NOW = utc("2026-11-24T05:00:00")


class Payment(msgspec.Struct, frozen=True):
    """What happened, and what is wrong with how it is told."""

    amount_minor: int
    in_books: bool
    on_statement: bool
    at_bank: bool
    off_minor: int


PAYMENTS = st.builds(
    Payment,
    amount_minor=st.integers(2_000, 15_000_000),
    in_books=st.booleans(),
    on_statement=st.booleans(),
    at_bank=st.booleans(),
    off_minor=st.sampled_from([0, 0, 0, 0, -1, 1]),
)


def net_of(payment: Payment) -> int:
    fee = half_up(payment.amount_minor, 36_500)
    return payment.amount_minor - fee - half_up(fee, 70_000) + payment.off_minor


def day_of(scb: list[Payment], omise: list[Payment]) -> tuple[list[tuple[str, str, int]], dict[str, bytes]]:
    """What goes into the books as (provider, id, amount), and the files by source."""
    booked, details, credits_, items = [], [], [], []
    for number, payment in enumerate(scb):
        name = f"T{number}"
        booked += [("scb", name, payment.amount_minor)] * payment.in_books
        told = payment.amount_minor + payment.off_minor
        details += [{"ref1": f"Q{name}", "amount_minor": told, "transaction_id": name}] * payment.on_statement
        credits_ += [(payment.amount_minor, f"BILLPAY Q{name} {name}")] * payment.at_bank
    for number, payment in enumerate(omise):
        name = f"chrg_test_{number}"
        booked += [("omise", name, payment.amount_minor)] * payment.in_books
        items += [omise_transaction(f"trxn_test_{number}", name, net_of(payment))] * payment.on_statement
    files = {"thai_bill_payment": bill_file(details), "omise_transactions": omise_list(items)}
    if (transfer_minor := sum(item["amount"] for item in items)) > 3_210:
        files["omise_transfers"] = omise_list([omise_transfer("trsf_test_1", transfer_minor)])
        credits_.append((transfer_minor - 3_210, "OMISE TRANSFER trsf_test_1"))
    return booked, {**files, "mt940": mt940_statement(credits_, on=DAY).encode()}


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(scb=st.lists(PAYMENTS, max_size=6), omise=st.lists(PAYMENTS, max_size=6))
def test_every_line_is_accounted_for_and_nothing_is_booked_twice(database, scb, omise):
    asyncio.run(check(database, scb, omise))


BOOK_IDS = count(2_000)


async def check(database: ClonedDatabase, scb: list[Payment], omise: list[Payment]) -> None:
    book_id, ids = next(BOOK_IDS), Ids()
    booked, files = day_of(scb, omise)
    connection = await asyncpg.connect(database.app_dsn)
    try:
        books = Books(connection, book_id)
        await books.open()
        for provider, name, amount_minor in booked:
            await books.captured(provider, name, amount_minor)
        for source, content in files.items():
            await bring_in(connection, ids, source, content, book_id=book_id)
        engine = reconciliation_of(database, books, ids)
        first = await engine.run(book_id=book_id, business_date=NEXT_DAY, now=NOW)
        calls = books.calls
        second = await engine.run(book_id=book_id, business_date=NEXT_DAY, now=NOW)
        assert (second, books.calls) == (first, calls)
        found = await balances(connection, book_id, [RECEIVABLE_SCB, RECEIVABLE_OMISE, BANK_ACCOUNT])
    finally:
        await connection.close()

    agreed = [each for each in scb if each.in_books and each.on_statement and not each.off_minor]
    told = [each for each in omise if each.on_statement]
    clean = bool(told) and all(each.in_books and not each.off_minor for each in told)
    transferred = clean and sum(map(net_of, told)) > 3_210
    by_source = {source.source: source for source in first.sources}
    for source in first.sources:
        assert source.matched.count + source.unmatched.count == source.lines.count
        assert source.matched.amount_minor + source.unmatched.amount_minor == source.lines.amount_minor
    if scb_lines := by_source.get("thai_bill_payment"):
        assert scb_lines.matched.count == len(agreed)
    booked_minor = sum(each.amount_minor for each in agreed if each.at_bank)
    settled_minor = sum(each.amount_minor for each in told) if transferred else 0
    transfer_minor = sum(map(net_of, told)) - 3_210 if transferred else 0
    captured = {name: sum(a for provider, _, a in booked if provider == name) for name in ("scb", "omise")}
    assert found[BANK_ACCOUNT].balance_minor == booked_minor + transfer_minor
    assert found[RECEIVABLE_SCB].balance_minor == captured["scb"] - booked_minor
    assert found[RECEIVABLE_OMISE].balance_minor == captured["omise"] - settled_minor
    assert all(provider.remainder_minor == 0 for provider in first.providers)
    assert (first.breaks == ()) == (
        all(each.in_books == each.on_statement == each.at_bank and not each.off_minor for each in scb if _told(each))
        and all(each.in_books == each.on_statement and not each.off_minor for each in omise if _told(each))
        and (not told or transferred)
    )


def _told(payment: Payment) -> bool:
    return payment.in_books or payment.on_statement or payment.at_bank
