"""A book with a bit of everything, made by the posting rules: two providers, two merchants, two months."""

from collections.abc import Iterator
from datetime import date, timedelta
from uuid import UUID, uuid5

from ledger.journal import ExternalReference, JournalEntry, Posted
from ledger.posting import Ledger
from ledger.posting_rules import payments, payouts, refunds, settlement
from ledger.posting_rules.fees_and_tax import NO_FEE, Fee, fee_on

BOOK = 1000
FIRST_DAY = date(2026, 10, 30)
SHOP, OTHER_SHOP = "acct_01k8shop", "acct_01k8other"
SCB_MAIN = "scb_main"
SPACE = UUID(int=0)


def key(name: str) -> UUID:
    return uuid5(SPACE, name)


def captured(number: int, amount_minor: int, *, day: date, merchant: str = SHOP, provider: str = "scb") -> JournalEntry:
    return payments.payment_captured(
        key=key(f"captured {number}"),
        provider=provider,
        merchant=merchant,
        amount_minor=amount_minor,
        currency="THB",
        fee=fee_on(amount_minor, rate_ppm=16_500, fixed_minor=0, effective_on=day),
        available_on=day + timedelta(days=1),
        effective_on=day,
        references=(
            ExternalReference("payment_intent", f"pi_test_{number}"),
            ExternalReference(provider, f'qk,"{number}"'),
        ),
        metadata=b"\x00\xff",
        caller=merchant,
    )


def entries() -> Iterator[JournalEntry]:
    common = {"currency": "THB", "metadata": b"", "caller": "system"}
    for number in range(1, 13):
        # Later entries are of earlier days at times: order of sequence is not order of business dates.
        day = FIRST_DAY + timedelta(days=(number * 5) % 7)
        yield captured(number, number * 1_000_01, day=day, merchant=SHOP if number % 3 else OTHER_SHOP)
    yield payments.payer_money_held(
        key=key("held"), provider="scb", intent="pi_test_13", amount_minor=50_00, effective_on=FIRST_DAY,
        references=(), **common,
    )  # fmt: skip
    yield refunds.refund_reserved(
        key=key("refund"), captured_key=key("captured 12"), merchant=OTHER_SHOP, amount_minor=500_00,
        pending_until=FIRST_DAY + timedelta(days=5), effective_on=FIRST_DAY + timedelta(days=4), **common,
    )  # fmt: skip
    yield refunds.refund_succeeded(
        key=key("refunded"), provider="scb", merchant=OTHER_SHOP, amount_minor=500_00,
        effective_on=FIRST_DAY + timedelta(days=4), references=(), **common,
    )  # fmt: skip
    yield settlement.provider_settled(
        key=key("settled"), provider="scb", bank=SCB_MAIN, received_minor=20_000_00,
        fee=Fee(amount_minor=100_00, vat_minor=7_00), effective_on=FIRST_DAY + timedelta(days=6), references=(),
        **common,
    )  # fmt: skip
    yield settlement.became_available(
        key=key("available"), merchant=SHOP, amount_minor=1_500_00, currency="THB",
        available_on=FIRST_DAY + timedelta(days=2), effective_on=FIRST_DAY + timedelta(days=6), caller="system",
    )  # fmt: skip
    yield payouts.payout_requested(
        key=key("payout"), merchant=SHOP, amount_minor=1_500_00, fee=NO_FEE,
        effective_on=FIRST_DAY + timedelta(days=6), **common,
    )  # fmt: skip
    yield payouts.payout_paid(
        key=key("paid"), merchant=SHOP, bank=SCB_MAIN, amount_minor=1_500_00,
        effective_on=FIRST_DAY + timedelta(days=6), references=(), **common,
    )  # fmt: skip


async def post_all(ledger: Ledger) -> list[Posted]:
    """One entry a block, so that a cut may fall anywhere."""
    posted = []
    for entry in entries():
        result = await ledger.post(BOOK, entry)
        assert isinstance(result, Posted), result
        posted.append(result)
    return posted
