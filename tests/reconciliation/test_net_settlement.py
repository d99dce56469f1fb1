"""Net settlement: to the satang or not at all, and each thing once."""

from datetime import date

import pytest

from ledger.balances import balances
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, ExternalReference
from reconciliation.errors import UnknownBankAccount
from reconciliation.expectations import follow_feed
from reconciliation.matching import run_passes
from reconciliation.net_settlement import form_groups, open_transfers, post_groups
from tests.reconciliation.books import (
    BANK,
    BANK_ACCOUNT,
    BOOK,
    NEXT_DAY,
    RECEIVABLE_OMISE,
    RECEIVABLE_SCB,
    entry_key,
)
from tests.reconciliation.files import (
    BANK_ACCOUNT as STATEMENT_ACCOUNT,
)
from tests.reconciliation.files import (
    bill_file,
    mt940_statement,
    omise_list,
    omise_transaction,
    omise_transfer,
)

BANKS = {STATEMENT_ACCOUNT: BANK}
NET_MINOR = 11_862 + 153_246 - 5_000
"""Two charges net of fee and VAT, less a refund."""


@pytest.fixture
def settle(connection, books, ids):
    async def run(*, banks=BANKS, through=NEXT_DAY):
        await follow_feed(connection, BOOK)
        await run_passes(connection, book_id=BOOK, through=through, run_id="rec_1")
        formed = await form_groups(connection, book_id=BOOK, through=through, run_id="rec_1", new_id=ids)
        posted = await post_groups(connection, book_id=BOOK, banks=banks, post=books.post, entry_key=entry_key)
        return formed, posted

    return run


async def _balance(connection, account):
    return (await balances(connection, BOOK, [account]))[account].balance_minor


@pytest.fixture
async def omise_day(books, bring):
    """Two charges and a refund in the books and on Omise's balance, all transferable the next morning."""
    first = await books.captured("omise", "chrg_test_1", 12_345)
    await books.captured("omise", "chrg_test_2", 156_000)
    await books.refunded(first, "rfnd_test_1", 5_000)
    items = [
        omise_transaction("trxn_test_1", "chrg_test_1", 11_862),
        omise_transaction("trxn_test_2", "chrg_test_2", 153_246),
        omise_transaction("trxn_test_3", "rfnd_test_1", 5_000, direction="debit"),
        omise_transaction("trxn_test_4", "chrg_test_9", 777, transferable_at="2026-11-24T02:00:01Z"),
    ]
    await bring("omise_transactions", omise_list(items))


def _bank(amount_minor, text="OMISE TRANSFER trsf_test_1"):
    return mt940_statement([(amount_minor, text)], on=NEXT_DAY).encode()


@pytest.mark.usefixtures("omise_day")
async def test_many_lines_are_settled_by_one_credit_to_the_satang(connection, books, bring, settle):
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", NET_MINOR)]))
    await bring("mt940", _bank(NET_MINOR - 3_210))
    assert await settle() == (1, 1)
    group = await connection.fetchrow("SELECT * FROM reconciliation.settled_groups")
    assert {name: group[name] for name in dict(group) if name.endswith("_minor")} == {
        "payments_minor": 168_345,
        "refunds_minor": 5_000,
        "fee_minor": 451 + 2_574,
        "vat_minor": 32 + 180,
        "transfer_fee_minor": 3_000,
        "transfer_vat_minor": 210,
        "bank_minor": 156_898,
    }
    assert await connection.fetchval("SELECT count(*) FROM reconciliation.settled_items") == 3
    entry = books.posted[-1]
    assert (entry.kind, entry.effective_on) == (EntryKind.PROVIDER_SETTLED, NEXT_DAY)
    assert [(posting.debit.kind, posting.amount_minor) for posting in entry.postings] == [
        (AccountKind.BANK, 156_898),
        (AccountKind.PROVIDER_FEE_EXPENSE, 6_025),
        (AccountKind.INPUT_VAT, 422),
    ]
    assert ExternalReference("omise", "trsf_test_1") in entry.references
    assert entry.key == entry_key(group["group_id"], "settled")
    assert await _balance(connection, RECEIVABLE_OMISE) == 0
    assert await _balance(connection, BANK_ACCOUNT) == 156_898


@pytest.mark.usefixtures("omise_day")
async def test_a_second_run_posts_nothing_new(connection, books, bring, settle):
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", NET_MINOR)]))
    await bring("mt940", _bank(NET_MINOR - 3_210))
    await settle()
    calls = books.calls
    assert await settle() == (0, 0)
    assert books.calls == calls


@pytest.mark.usefixtures("omise_day")
async def test_a_group_is_posted_once_when_the_run_died_after_posting(connection, books, bring, settle):
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", NET_MINOR)]))
    await bring("mt940", _bank(NET_MINOR - 3_210))
    await settle()
    await connection.execute("UPDATE reconciliation.settled_groups SET entry_sequence = NULL")
    posted = len(books.posted)
    assert await settle() == (0, 1)
    assert len(books.posted) == posted
    assert await _balance(connection, BANK_ACCOUNT) == 156_898


@pytest.mark.usefixtures("omise_day")
@pytest.mark.parametrize("off", [-1, 1])
async def test_nothing_is_posted_when_the_transfer_is_a_satang_off(connection, books, bring, settle, off):
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", NET_MINOR + off)]))
    await bring("mt940", _bank(NET_MINOR + off - 3_210))
    calls = books.calls
    assert await settle() == (0, 0)
    assert books.calls == calls
    (transfer,) = await open_transfers(connection, book_id=BOOK, through=NEXT_DAY)
    assert (transfer.difference_minor, transfer.item_count, transfer.unmatched_count) == (off, 3, 0)
    assert await _balance(connection, BANK_ACCOUNT) == 0


@pytest.mark.usefixtures("omise_day")
async def test_nothing_is_posted_when_a_line_of_the_transfer_is_not_in_our_books(bring, settle):
    stray = omise_transaction("trxn_test_5", "chrg_test_8", 1_000)
    await bring("omise_transactions", omise_list([stray]))
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", NET_MINOR + 1_000)]))
    await bring("mt940", _bank(NET_MINOR + 1_000 - 3_210))
    assert await settle() == (0, 0)


@pytest.mark.usefixtures("omise_day")
async def test_nothing_is_posted_before_the_bank_shows_the_money(bring, settle):
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", NET_MINOR)]))
    assert await settle() == (0, 0)
    await bring("mt940", _bank(NET_MINOR - 3_210))
    assert await settle() == (1, 1)


@pytest.mark.usefixtures("omise_day")
async def test_each_transfer_pays_for_what_became_available_since_the_last(books, bring, settle, connection):
    await books.captured("omise", "chrg_test_9", 10_000, on=NEXT_DAY)
    late = omise_transaction(
        "trxn_test_6", "chrg_test_9", 9_823, created_at="2026-11-24T01:00:00Z", transferable_at="2026-11-24T17:00:00Z"
    )
    await bring("omise_transactions", omise_list([late]))
    second = omise_transfer("trsf_test_2", 9_823 + 777, created_at="2026-11-24T17:00:00Z")
    await bring("omise_transfers", omise_list([second, omise_transfer("trsf_test_1", NET_MINOR)]))
    await bring("mt940", _bank(NET_MINOR - 3_210))
    assert await settle(through=date(2026, 11, 25)) == (1, 1)
    (waiting,) = await open_transfers(connection, book_id=BOOK, through=date(2026, 11, 25))
    assert (waiting.item_count, waiting.unmatched_count, waiting.difference_minor) == (2, 1, 0)


async def test_direct_credits_of_a_day_make_one_entry_and_a_late_one_another(connection, books, bring, settle):
    amounts = [123_456, 500, 500]
    for number, amount_minor in enumerate(amounts):
        await books.captured("scb", f"qk0{number}", amount_minor)
    details = [
        {"ref1": f"QK{number}", "amount_minor": amount_minor, "transaction_id": f"qk0{number}"}
        for number, amount_minor in enumerate(amounts)
    ]
    await bring("thai_bill_payment", bill_file([*details, {"ref1": "QK9", "amount_minor": 9, "transaction_id": "x"}]))
    credits_ = [(amount, f"BILLPAY QK{number} qk0{number}") for number, amount in enumerate(amounts)]
    await bring("mt940", mt940_statement([*credits_, (9, "BILLPAY QK9 x")]).encode())
    assert await settle() == (1, 1)
    assert await _balance(connection, BANK_ACCOUNT) == 124_456
    assert await _balance(connection, RECEIVABLE_SCB) == 0
    await books.captured("scb", "x", 9)
    assert await settle() == (1, 1)
    assert await _balance(connection, BANK_ACCOUNT) == 124_465
    assert [entry.effective_on for entry in books.posted if entry.kind is EntryKind.PROVIDER_SETTLED] == [
        date(2026, 11, 23)
    ] * 2


async def test_the_billers_fee_is_booked_with_its_vat(connection, books, bring, settle):
    lines = [(-2_400, "BILLPAY FEE 12 ITEMS"), (-168, "BILLPAY FEE VAT 12 ITEMS")]
    await bring("mt940", mt940_statement(lines, opening_minor=5_000).encode())
    assert await settle() == (1, 1)
    entry = books.posted[-1]
    assert entry.kind is EntryKind.PROVIDER_FEE_CHARGED
    assert [(posting.debit.kind, posting.credit, posting.amount_minor) for posting in entry.postings] == [
        (AccountKind.PROVIDER_FEE_EXPENSE, BANK_ACCOUNT, 2_400),
        (AccountKind.INPUT_VAT, BANK_ACCOUNT, 168),
    ]
    assert await _balance(connection, AccountRef(AccountKind.INPUT_VAT, "-", "THB")) == 168


@pytest.mark.parametrize(
    "lines",
    [
        [(-2_400, "BILLPAY FEE 12 ITEMS"), (-169, "BILLPAY FEE VAT 12 ITEMS")],
        [(-2_400, "BILLPAY FEE 12 ITEMS")],
        [(-168, "BILLPAY FEE VAT 12 ITEMS")],
    ],
)
async def test_no_fee_is_booked_when_its_vat_is_not_the_laws(books, bring, settle, lines):
    await bring("mt940", mt940_statement(lines, opening_minor=5_000).encode())
    assert await settle() == (0, 0)
    assert books.calls == 0


async def test_nothing_is_posted_when_the_bank_account_is_not_ours(books, bring, settle):
    lines = [(-2_400, "BILLPAY FEE 12 ITEMS"), (-168, "BILLPAY FEE VAT 12 ITEMS")]
    await bring("mt940", mt940_statement(lines, opening_minor=5_000).encode())
    with pytest.raises(UnknownBankAccount):
        await settle(banks={})
    assert books.calls == 0
