"""A house with its bank: what a test needs around one payment whose money its payer claims."""

from gateway.payments.claims import HeldMoney
from gateway.payments.requests import CreateIntent, CreateRefund
from gateway.providers.base import Method
from gateway.settlement.confirmations import Confirmations
from gateway.settlement.payout_files import BankAccount
from gateway.settlement.runs import SettlementRun
from gateway.webhooks import events
from reconciliation.runs import PayoutSeen
from tests.payments.conftest import VAULT, clock_of

QR_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.PROMPTPAY)
ACCOUNT = BankAccount(bank_code="004", account_number="1234567890", holder="A payer")
OTHER = BankAccount(bank_code="002", account_number="9876543210", holder="Somebody else")
TWO_PAID = {"provider_receivable": 2_000_00, "merchant_pending": 1_964_68, "fee_income": 33_00, "output_vat": 2_32}


class Desk:
    """The use cases, and what the tests ask again and again."""

    def __init__(self, house, merchant, bank):
        self.house, self.merchant, self.bank = house, merchant, bank
        self.run = SettlementRun(database=house.database, ledger=house.ledger, vault=VAULT, bank=bank)
        self.claims = self.run.claims.claims
        self.confirmations = Confirmations(house.database, self.run.claims)
        self.held = HeldMoney(house.database, VAULT, clock_of=clock_of, record_events=events.record)
        self.book_id = merchant.book_id

    async def paid(self, **pays):
        intent = await self.house.intents.create(self.merchant, QR_ASKED)
        await self.house.pay(self.merchant, intent, self.house.scb, transaction=f"txn_{intent.id}", **pays)
        return await self.house.intents.get(self.merchant, intent.id)

    async def refund(self, intent, amount=400_00):
        return await self.house.refunds.create(
            self.merchant, CreateRefund(payment_intent=intent.id, amount=amount, via="claim")
        )

    async def row(self, claim_id):
        [row] = await self.house.rows("SELECT * FROM gateway.refund_claims WHERE claim_id = $1", claim_id)
        return row

    async def sent(self):
        return await self.run.pay_out(self.book_id, self.merchant.clock.today())

    async def seen(self, claim_id, **changes):
        claim = await self.row(claim_id)
        fields = {
            "end_to_end_id": claim["end_to_end_id"],
            "amount_minor": claim["amount_minor"],
            "currency": "THB",
            "bank": "scb_main",
            "line_id": f"line_{claim_id}",
            "value_on": self.merchant.clock.today(),
            "returned": False,
            "booked": False,
        }
        return await self.confirmations.confirm(self.book_id, PayoutSeen(**{**fields, **changes}))

    async def balances(self):
        return await self.house.balances(self.merchant)

    async def moves(self, subject_id):
        rows = await self.house.rows(
            "SELECT to_status, actor FROM gateway.state_moves WHERE subject_id = $1 ORDER BY version", subject_id
        )
        return [(row["to_status"], row["actor"]) for row in rows]
