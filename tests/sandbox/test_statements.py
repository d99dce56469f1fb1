"""What the sandbox gives out as statements, fetched by the adapters, read by the parsers, held against its books."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import pytest
import pytest_asyncio

from gateway.providers.bank import Bank
from gateway.providers.base import Accepted, Declined, ProviderAccount, StatementUnavailable
from gateway.providers.http import ProviderHttp
from gateway.providers.omise import Omise
from gateway.providers.scb import Scb
from gateway.settlement.payout_files import BankAccount, PayoutOrder, Transfer
from gateway.settlement.payout_files.pain_001 import write
from reconciliation.statements.base import LineKind
from reconciliation.statements.registry import format_of

from .conftest import CREDENTIALS, Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[ProviderHttp]:
    """The adapters' own client."""
    async with ProviderHttp(timeout_seconds=10) as client:
        yield client


def account(sandbox: Sandbox, provider: str) -> ProviderAccount:
    return ProviderAccount(
        account_id=f"pa_test_{provider}",
        book_id=7,
        provider=provider,
        base_url=f"{sandbox.url}/{provider}",
        callback_url="",
        livemode=False,
        credentials=CREDENTIALS[provider],
    )


async def today(sandbox: Sandbox) -> date:
    return date.fromisoformat((await sandbox.books())["today"])


async def statement(sandbox: Sandbox, adapter, on: date) -> list:
    """The parsed files of a provider on a date."""
    files = await adapter.statements(account(sandbox, adapter.name), on)
    return [format_of(file.source).parse(file.content) for file in files]


def payout_file(execute_on: date, *, message_id: str = "MSG1", **amounts: int) -> bytes:
    order = PayoutOrder(
        message_id=message_id,
        created_at=datetime.now(UTC),
        execute_on=execute_on,
        debtor=BankAccount(bank_code="014", account_number="9990000001", holder="QUICKKUB CO LTD"),
        transfers=tuple(
            Transfer(
                end_to_end_id=name,
                amount_minor=amount,
                currency="THB",
                creditor=BankAccount(bank_code="004", account_number="1110001234", holder="TEST MERCHANT"),
            )
            for name, amount in amounts.items()
        ),
    )
    return write(order)


async def submit(sandbox: Sandbox, http: ProviderHttp, content: bytes, message_id: str = "MSG1"):
    return await Bank(http).submit_payment_file(account(sandbox, "bank"), message_id=message_id, content=content)


async def test_statements_foot_to_the_books_when_four_days_pass(sandbox, http):
    first_day = await today(sandbox)
    for ref1, amount in (("QK1", "1234.56"), ("QK2", "50.00")):
        await sandbox.create_qr(ref1, amount)
        await sandbox.control.pay(world="7", provider="scb", reference=ref1)
    card = (await sandbox.charge_card(12345)).json()
    await sandbox.omise("POST", f"/charges/{card['id']}/refunds", json={"amount": 2345})
    scanned = (await sandbox.charge_promptpay(156000)).json()
    await sandbox.control.pay(world="7", provider="omise", reference=scanned["id"])
    for days in (1, 2, 3, 4):
        await sandbox.pass_days(days)
    books = await sandbox.books()

    [bills] = await statement(sandbox, Scb(http), first_day)
    assert [line.amount_minor for line in bills.lines] == [123456, 5000]
    paid = [payment["transaction_id"] for charge in books["charges"][:2] for payment in charge["received"]]
    assert [line.references[0].value for line in bills.lines] == paid
    [none] = await statement(sandbox, Scb(http), first_day + timedelta(days=1))
    assert none.lines == ()

    transactions, transfers = await statement(sandbox, Omise(http), first_day)
    assert [line.amount_minor for line in transactions.lines] == [11862, -2345, 153246]
    assert transfers.lines == ()
    transactions, transfers = await statement(sandbox, Omise(http), first_day + timedelta(days=1))
    assert [line.amount_minor for line in transactions.lines] == [-162763]
    [transfer] = books["transfers"]
    assert (transfer["amount_minor"], transfer["fee_minor"], transfer["fee_vat_minor"]) == (162763, 3000, 210)
    assert [line.references[0].value for line in transfers.lines] == [transfer["id"]]
    assert books["omise_balance"] == {"total_minor": 0, "transferable_minor": 0}

    closing = 0
    found = []
    for number in range(4):
        [day] = await statement(sandbox, Bank(http), first_day + timedelta(days=number))
        assert day.balances[0].opening_minor == closing
        assert day.balances[0].number == f"{number + 1:05d}/001" or day.balances[0].number == f"{number + 1:05d}"
        closing = day.balances[0].closing_minor
        found.append([(line.kind, line.amount_minor) for line in day.lines])
    assert found == [
        [(LineKind.PAYMENT, 123456), (LineKind.PAYMENT, 5000), (LineKind.FEE, -400), (LineKind.VAT, -28)],
        [],
        [(LineKind.TRANSFER, 159553)],
        [],
    ]
    assert closing == books["bank_balance_minor"] == sum(line["amount_minor"] for line in books["bank_lines"])


async def test_statement_stays_the_same_bytes_when_fetched_again_later(sandbox, http):
    on = await today(sandbox)
    await sandbox.control.pay(world="7", provider="scb", reference="QKLOCAL", amount_minor=700)
    await sandbox.pass_days(1)
    adapters = (Scb(http), Bank(http))
    first = [await adapter.statements(account(sandbox, adapter.name), on) for adapter in adapters]
    await sandbox.pass_days(9)
    assert [await adapter.statements(account(sandbox, adapter.name), on) for adapter in adapters] == first


async def test_statement_is_not_available_when_the_day_is_not_over(sandbox, http):
    on = await today(sandbox)
    for adapter in (Scb(http), Bank(http)):
        for day in (on, on + timedelta(days=1), on - timedelta(days=1)):
            with pytest.raises(StatementUnavailable):
                await adapter.statements(account(sandbox, adapter.name), day)


async def test_bill_payment_file_is_cp874_with_thai_in_it_when_there_is_a_payment(sandbox, http):
    on = await today(sandbox)
    await sandbox.control.pay(world="7", provider="scb", reference="QKLOCAL", amount_minor=700)
    await sandbox.pass_days(1)
    [file] = await Scb(http).statements(account(sandbox, "scb"), on)
    records = file.content.split(b"\r\n")
    assert [len(record) for record in records] == [256, 256, 256, 0]
    assert "ผู้ชำระเงินทดสอบ".encode("cp874") in records[1]
    assert records[2].decode("cp874")[39:58] == "0000000000700000001"
    parameters = {"billerId": "099999999999901", "transactionDate": f"{on:%Y-%m-%d}"}
    answer = await sandbox.scb("GET", "/v1/payment/billpayment/statements", params=parameters)
    assert answer.headers.get_list("content-type") == ["text/plain; charset=cp874"], "one charset, the file's"


async def test_hold_of_seven_days_keeps_the_money_when_it_is_not_over(sandbox):
    await sandbox.control.configure(world="7", settings={"omise_hold_days": 7})
    await sandbox.charge_card(100_000)
    await sandbox.pass_days(6)
    books = await sandbox.books()
    assert (books["transfers"], books["omise_balance"]["transferable_minor"]) == ([], 0)
    await sandbox.pass_days(7)
    books = await sandbox.books()
    assert [transfer["amount_minor"] for transfer in books["transfers"]] == [100_000 - 3650 - 256]


async def test_transfer_by_hand_arrives_when_the_interval_is_manual(sandbox):
    settings = {"omise_hold_days": 0, "omise_transfer_interval": "manual", "omise_transfer_bank_days": 0}
    await sandbox.control.configure(world="7", settings=settings)
    await sandbox.charge_card(100_000)
    await sandbox.pass_days(3)
    assert (await sandbox.books())["transfers"] == []
    too_much = await sandbox.omise("POST", "/transfers", json={"amount": 96_095})
    assert (too_much.status_code, too_much.json()["code"]) == (400, "insufficient_balance")
    body = {"amount": 96_094, "idemp_key": "t1"}
    sent = (await sandbox.omise("POST", "/transfers", json=body)).json()
    assert (sent["net"], sent["total_fee"]) == (92_884, 3_210)
    again = (await sandbox.omise("POST", "/transfers", json=body)).json()
    assert (again["id"], again["paid"]) == (sent["id"], True)
    books = await sandbox.books()
    assert [line["amount_minor"] for line in books["bank_lines"]] == [92_884]
    assert books["bank_lines"][0]["description"] == f"OMISE TRANSFER {sent['id']}"


async def test_payouts_are_debited_on_their_day_and_come_back_when_returned(sandbox, http):
    on = await today(sandbox)
    await sandbox.control.add_fault(
        world="7", provider="bank", operation="payout", fault="payout_returned", amount_minor=3_000
    )
    content = payout_file(on + timedelta(days=1), po_test_1=5_000, po_test_2=3_000)
    assert isinstance(await submit(sandbox, http, content), Accepted)
    assert (await sandbox.books())["bank_lines"] == []
    await sandbox.pass_days(3)
    [day] = await statement(sandbox, Bank(http), on + timedelta(days=1))
    assert {(line.kind, line.amount_minor, line.references[0].value) for line in day.lines} == {
        (LineKind.PAYOUT, -5_000, "po_test_1"),
        (LineKind.PAYOUT, -3_000, "po_test_2"),
    }
    assert day.balances[0].closing_minor == -8_000
    [day] = await statement(sandbox, Bank(http), on + timedelta(days=2))
    assert [(line.kind, line.amount_minor, line.references[0].value) for line in day.lines] == [
        (LineKind.PAYOUT_RETURN, 3_000, "po_test_2")
    ]
    assert [payout["state"] for payout in (await sandbox.books())["payouts"]] == ["executed", "returned"]


async def test_payment_file_is_taken_once_when_sent_again(sandbox, http):
    on = await today(sandbox)
    content = payout_file(on, po_test_1=5_000)
    first = await submit(sandbox, http, content)
    assert await submit(sandbox, http, content) == first
    changed = await sandbox.bank("POST", "/payment-files", content=payout_file(on, po_test_1=6_000))
    assert (changed.status_code, changed.json()["code"]) == (409, "duplicate_message_id")
    same_order = payout_file(on, message_id="MSG2", po_test_1=5_000, po_test_2=1_000)
    assert isinstance(await submit(sandbox, http, same_order, "MSG2"), Declined)
    books = await sandbox.books()
    assert [line["amount_minor"] for line in books["bank_lines"]] == [-5_000]
    reference = books["payouts"][0]["file_reference"]
    told = (await sandbox.bank("GET", f"/payment-files/{reference}")).json()
    assert told["payments"] == [{"end_to_end_id": "po_test_1", "amount_minor": 5_000, "state": "executed"}]


async def test_payment_file_is_rejected_whole_when_anything_in_it_is_wrong(sandbox, http):
    good = payout_file(await today(sandbox), po_test_1=5_000, po_test_2=1_000)
    wrong = [
        b"not xml",
        good.replace(b"<CtrlSum>60.00", b"<CtrlSum>61.00"),
        good.replace(b"<NbOfTxs>2", b"<NbOfTxs>3"),
        good.replace(b"po_test_2", b"po_test_1"),
        good.replace(b"9990000001", b"9990000002"),
        good.replace(b'Ccy="THB">10.00', b'Ccy="USD">10.00'),
        good.replace(b'Ccy="THB">10.00', b'Ccy="THB">-10.00'),
    ]
    for content in wrong:
        assert content != good
        answer = await sandbox.bank("POST", "/payment-files", content=content)
        assert (answer.status_code, answer.json()["code"]) == (400, "file_rejected")
    stranger = await sandbox.http.post("/bank/v1/payment-files", content=good)
    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthorized")
    books = await sandbox.books()
    assert (books["payouts"], books["bank_lines"]) == ([], [])


async def test_books_add_up_when_thirty_payers_pay_at_once(sandbox):
    async def shop(number: int) -> None:
        charge = (await sandbox.charge_promptpay(2_000 + number)).json()
        await sandbox.control.pay(world="7", provider="omise", reference=charge["id"])
        await sandbox.create_qr(f"QK{number}", f"{number + 1}.00")
        await sandbox.control.pay(world="7", provider="scb", reference=f"QK{number}")

    await asyncio.gather(*(shop(number) for number in range(30)))
    books = await sandbox.books()
    received = {"scb": 0, "omise": 0}
    for charge in books["charges"]:
        received[charge["provider"]] += charge["received_minor"]
    assert received == {"scb": 100 * sum(range(1, 31)), "omise": 60_000 + sum(range(30))}
    assert books["bank_balance_minor"] == received["scb"]
    fees = sum(charge["fee_minor"] + charge["fee_vat_minor"] for charge in books["charges"])
    assert books["omise_balance"]["total_minor"] == received["omise"] - fees
    assert len({line["id"] for line in books["bank_lines"]}) == 30
