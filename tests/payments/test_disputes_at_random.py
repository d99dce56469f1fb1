"""Whatever comes in whatever order – receipts, disputes at every stage, acceptances, offers – books and rows agree."""

import contextlib
import random
from collections import Counter

import pytest
from msgspec.structs import replace

from gateway.foundation.ids import new_id
from gateway.payments.dispute_records import disputes_of
from gateway.payments.errors import PaymentNotCaptured, Refused
from gateway.providers.base import FactKind, FactSource
from gateway.providers.dispute_terms import DisputeStage
from ledger.balances import all_balances
from ledger.chart_of_accounts import AccountKind
from tests.payments.conftest import Asked
from tests.payments.test_accepting import accept, offer
from tests.payments.test_disputed_held import AGAIN, charge_of, ties_out
from tests.payments.test_disputes_money import CARD_ASKED, LOST, OPENED, WITHDRAWN, WON, fact_of

KINDS = (OPENED, WITHDRAWN, WON, LOST, FactKind.DISPUTE_UNDER_REVIEW)
STAGES = (DisputeStage.DISPUTE, DisputeStage.PREARBITRATION)
CASES = {"a": (0, 600_00), "b": (0, 400_00), "c": (1, 1_000_00)}
"""Which attempt's charge they are about, and how much."""
NEVER_BELOW_ZERO = {AccountKind.PAYER_REFUNDABLE, AccountKind.PAYER_RECEIVABLE, AccountKind.DISPUTE_HOLD}


async def captured(house, merchant, intent, name):
    """The first attempt, which we thought not made, brought 600 baht."""
    asked = Asked(provider_key=await charge_of(house, intent), amount_minor=600_00)
    transaction = f"{name}_{intent.id}"
    fact = house.omise.fact(
        asked, FactKind.CAPTURED, intent.created_at, transaction=transaction, source=FactSource.CALLBACK
    )
    await house.applier.apply(fact, book_id=merchant.book_id)


async def news(house, merchant, intent, case, **said):
    number, amount = CASES[case]
    fact = await fact_of(house, merchant, intent, reference=f"{case} {intent.id}", amount=amount, **said)
    told = replace(fact, provider_reference=await charge_of(house, intent, number))
    await house.applier.apply(told, book_id=merchant.book_id)


async def check(house, merchant, intent):
    await ties_out(house, merchant)
    async with house.database.ledger_pool.acquire() as connection:
        balances = await all_balances(connection, merchant.book_id)
    assert [each for each in balances if each.account.kind in NEVER_BELOW_ZERO and each.balance_minor < 0] == []
    async with house.database.read() as connection:
        rows = await disputes_of(connection, merchant.book_id, [intent.id])
    holds = Counter({merchant.account_id: 0, intent.id: 0})
    for row in rows:
        payers_minor = row.payer_taken_minor - row.payer_withdrawn_minor
        holds += Counter({intent.id: payers_minor, merchant.account_id: row.held_minor - payers_minor})
    held = {
        each.account.owner: each.balance_minor for each in balances if each.account.kind is AccountKind.DISPUTE_HOLD
    }
    assert {owner: minor for owner, minor in held.items() if minor} == {key: at for key, at in holds.items() if at}


@pytest.mark.parametrize("seed", range(16))
async def test_books_and_rows_agree_after_every_step(house, merchant, seed):
    chance = random.Random(seed)
    house.omise.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, CARD_ASKED)
    await house.intents.confirm(merchant, intent.id, AGAIN, attempt_id=new_id("att", livemode=False))
    for _ in range(30):
        with contextlib.suppress(PaymentNotCaptured, Refused):
            match chance.choices(["captured", "news", "accept", "offer"], [2, 9, 2, 1])[0]:
                case "captured":
                    await captured(house, merchant, intent, chance.choice("xy"))
                case "news":
                    case = chance.choice(list(CASES))
                    await news(house, merchant, intent, case, kind=chance.choice(KINDS), stage=chance.choice(STAGES))
                case "accept":
                    await accept(house, merchant, intent)
                case _:
                    await offer(house, merchant, intent)
        await check(house, merchant, intent)
