"""Exchange and revaluation: each currency adds to zero by itself, nothing is lost, the house is never the worse for it.

Method: random amounts, rates and pairs (JPY without digits, KWD with three); the exact value is computed once more with
fractions from the quoted text, and every posting is netted per account.
"""

import json
from collections import Counter
from datetime import date
from fractions import Fraction
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.account_listing import RollUpBy, roll_up
from ledger.balances import balances, trial_balance
from ledger.chart_of_accounts import AccountKind as K
from ledger.journal import AccountRef, EntryKind, EntryMode, JournalEntry, Posted, Refused, mode_of
from ledger.money import CURRENCY_EXPONENTS
from ledger.posting import post_entries
from ledger.posting_rules.fx import FxFixed, FxRate, amounts_at, exchanged, revalued
from ledger.refusals import Refusal
from tests.ledger.entries import BOOK, received

KEY, VALUED, DAY = UUID(int=1), UUID(int=2), date(2026, 11, 23)
CURRENCIES = sorted(CURRENCY_EXPONENTS)
PAIRS = st.permutations(CURRENCIES).map(lambda order: (order[0], order[1]))
RATES = st.decimals(min_value="0.000001", max_value="100000", places=6).map(lambda rate: format(rate, "f"))
AMOUNTS = st.integers(1, 10**13)


def customer(currency: str) -> AccountRef:
    return AccountRef(K.MERCHANT_AVAILABLE, "merchant", currency)


def position(currency: str) -> AccountRef:
    return AccountRef(K.FX_POSITION, "treasury", currency)


def rounding(currency: str) -> AccountRef:
    return AccountRef(K.ROUNDING, "-", currency)


def credits_of(entry: JournalEntry) -> Counter[AccountRef]:
    """What each account gains on its credit side."""
    totals: Counter[AccountRef] = Counter()
    for posting in entry.postings:
        assert posting.amount_minor > 0
        assert posting.debit.currency == posting.credit.currency
        totals[posting.credit] += posting.amount_minor
        totals[posting.debit] -= posting.amount_minor
    return totals


def exact_bought(rate: FxRate, sold_minor: int) -> Fraction:
    whole = Fraction(sold_minor, 10 ** CURRENCY_EXPONENTS[rate.sold]) * Fraction(rate.text)
    return whole * 10 ** CURRENCY_EXPONENTS[rate.bought]


def exchange(rate: FxRate, fixed: FxFixed, amount_minor: int) -> tuple[JournalEntry, Counter[AccountRef]]:
    entry = exchanged(
        key=KEY,
        rate=rate,
        amounts=amounts_at(rate, fixed=fixed, amount_minor=amount_minor),
        giver=customer(rate.sold),
        taker=customer(rate.bought),
        position="treasury",
        effective_on=DAY,
        caller="op_1",
    )
    return entry, credits_of(entry)


def is_exchangeable(rate: FxRate, fixed: FxFixed, amount_minor: int) -> bool:
    try:
        amounts_at(rate, fixed=fixed, amount_minor=amount_minor)
    except ValueError:
        return False
    return True


@given(pair=PAIRS, text=RATES, fixed=st.sampled_from(FxFixed), amount=AMOUNTS)
def test_exchange_adds_to_zero_in_each_currency_and_loses_nothing(
    pair: tuple[str, str], text: str, fixed: FxFixed, amount: int
) -> None:
    rate = FxRate(sold=pair[0], bought=pair[1], text=text)
    assume(is_exchangeable(rate, fixed, amount))
    entry, gained = exchange(rate, fixed, amount)
    for currency in pair:
        assert sum(minor for account, minor in gained.items() if account.currency == currency) == 0
    sold, bought = -gained[customer(rate.sold)], gained[customer(rate.bought)]
    moved = {rate.sold: gained[position(rate.sold)], rate.bought: -gained[position(rate.bought)]}
    assert amount == (sold if fixed is FxFixed.SOLD else bought)
    if fixed is FxFixed.SOLD:
        exact, following = exact_bought(rate, sold), rate.bought
        assert bought <= exact < bought + 1, "the customer gets the exact amount rounded down"
        assert moved == {rate.sold: sold, rate.bought: bought + gained[rounding(rate.bought)]}
    else:
        exact, following = bought / exact_bought(rate, 1), rate.sold
        assert sold - 1 < exact <= sold, "the customer gives the exact amount rounded up"
        assert moved == {rate.sold: sold - gained[rounding(rate.sold)], rate.bought: bought}
    assert gained[rounding(following)] in {0, 1}
    unposted = Fraction(json.loads(entry.metadata)["unposted_minor"])
    assert moved[following] + unposted == exact, "what was not posted is said, to the last digit"
    assert abs(unposted) <= Fraction(1, 2)


def test_exchange_of_baht_into_yen_and_dinars_by_hand() -> None:
    yen = FxRate(sold="THB", bought="JPY", text="4.3217")
    entry, gained = exchange(yen, FxFixed.SOLD, 100_01)  # ฿100.01 × 4.3217 = ¥432.213217
    assert entry.kind is EntryKind.FX_EXCHANGED
    assert mode_of(entry.kind) is EntryMode.AUTHORISING
    assert gained == {customer("THB"): -100_01, position("THB"): 100_01, position("JPY"): -432, customer("JPY"): 432}
    dinars = FxRate.of_ppm("THB", "KWD", 9_455)
    assert dinars.text == "0.009455"
    _, gained = exchange(dinars, FxFixed.SOLD, 100_00)  # KD 0.9455: the position gives 0.946, the customer gets 0.945
    assert gained == {
        customer("THB"): -100_00,
        position("THB"): 100_00,
        position("KWD"): -946,
        customer("KWD"): 945,
        rounding("KWD"): 1,
    }
    _, gained = exchange(dinars, FxFixed.BOUGHT, 1_000)  # ฿105.7641…: the customer gives 105.77
    assert gained == {
        customer("THB"): -105_77,
        position("THB"): 105_76,
        rounding("THB"): 1,
        position("KWD"): -1_000,
        customer("KWD"): 1_000,
    }


def test_there_and_back_never_gains() -> None:
    there, back = FxRate(sold="THB", bought="USD", text="0.03"), FxRate(sold="USD", bought="THB", text="33.333333")
    for sold in range(34, 2_000):
        bought = amounts_at(there, fixed=FxFixed.SOLD, amount_minor=sold).bought_minor
        assert amounts_at(back, fixed=FxFixed.SOLD, amount_minor=bought).bought_minor <= sold


@pytest.mark.parametrize(
    ("fixed", "amount"),
    [(FxFixed.SOLD, 33), (FxFixed.SOLD, 0), (FxFixed.SOLD, -1), (FxFixed.BOUGHT, 2**63 - 1), (FxFixed.BOUGHT, 0)],
)
def test_amount_that_comes_to_nothing_or_too_much_is_no_exchange(fixed: FxFixed, amount: int) -> None:
    with pytest.raises(ValueError, match="cannot be exchanged"):
        amounts_at(FxRate(sold="THB", bought="USD", text="0.03"), fixed=fixed, amount_minor=amount)


@pytest.mark.parametrize("text", ["0", "0.000", "-1", "1e3", "1,5", "", ".5", "1.", "٣", "NaN", " 1", "1\n"])
def test_rate_that_is_no_plain_decimal_above_zero_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate above zero"):
        FxRate(sold="THB", bought="USD", text=text)


@pytest.mark.parametrize("pair", [("THB", "THB"), ("THB", "XXX")])
def test_rate_of_no_pair_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="pair of currencies"):
        FxRate(sold=pair[0], bought=pair[1], text="1")


def revaluation(home_minor: int, foreign_minor: dict[str, int], rates: dict[str, str]) -> JournalEntry | None:
    return revalued(
        key=VALUED,
        position="treasury",
        home_currency="THB",
        home_minor=home_minor,
        foreign_minor=foreign_minor,
        rates={currency: FxRate(sold=currency, bought="THB", text=text) for currency, text in rates.items()},
        effective_on=DAY,
        caller="op_1",
    )


def test_revaluation_by_hand() -> None:
    result = AccountRef(K.FX_GAIN_LOSS)
    rose = revaluation(-3_500_00, {"USD": 100_00}, {"USD": "36"})
    fell = revaluation(-3_500_00, {"USD": 100_00}, {"USD": "34.99999"})
    short = revaluation(3_500_00, {"USD": -100_00}, {"USD": "36"})
    assert rose is not None
    assert fell is not None
    assert short is not None
    assert credits_of(rose) == {position("THB"): -100_00, result: 100_00}
    assert credits_of(fell) == {position("THB"): 1, result: -1}
    assert credits_of(short) == {position("THB"): 100_00, result: -100_00}
    assert (rose.kind, json.loads(rose.metadata)) == (EntryKind.FX_REVALUED, {"rates": {"USD": "36"}})
    assert revaluation(-3_500_00, {"USD": 100_00}, {"USD": "35"}) is None
    assert revaluation(0, {}, {}) is None
    with pytest.raises(ValueError, match="beyond bigint"):
        revaluation(0, {"JPY": 10**12}, {"JPY": "100000"})


@given(
    home=st.integers(-(10**13), 10**13),
    foreign=st.dictionaries(st.sampled_from(["USD", "JPY", "KWD"]), st.integers(-(10**10), 10**10)),
    texts=st.fixed_dictionaries({"USD": RATES, "JPY": RATES, "KWD": RATES}),
)
def test_position_is_worth_nothing_at_the_rates_it_was_revalued_at(
    home: int, foreign: dict[str, int], texts: dict[str, str]
) -> None:
    value = sum(
        (
            exact_bought(FxRate(sold=currency, bought="THB", text=texts[currency]), minor)
            for currency, minor in foreign.items()
        ),
        Fraction(0),
    )
    entry = revaluation(home, foreign, texts)
    gained = credits_of(entry) if entry else Counter()
    assert set(gained) <= {position("THB"), AccountRef(K.FX_GAIN_LOSS)}
    assert 0 <= home + gained[position("THB")] + value < 1, "prudent by less than one minor unit"
    assert gained[AccountRef(K.FX_GAIN_LOSS)] == -gained[position("THB")]
    assert revaluation(home + gained[position("THB")], foreign, texts) is None, "doing it again changes nothing"


async def test_books_hold_an_exchange_and_its_revaluation(app: asyncpg.Connection) -> None:
    baht, dollars = customer("THB"), customer("USD")
    rate = FxRate(sold="THB", bought="USD", text="0.0301")
    funded = received(3_500_00, to=baht)
    entry, gained = exchange(rate, FxFixed.SOLD, 3_500_00)
    results = await post_entries(app, BOOK, [funded, entry, entry])
    assert [isinstance(each, Posted) and each.replayed for each in results] == [False, False, True]
    found = await balances(app, BOOK, [baht, dollars, position("THB"), position("USD")])
    assert {account: each.balance_minor for account, each in found.items()} == {
        baht: 0,
        dollars: 105_35,
        position("THB"): 3_500_00,
        position("USD"): -105_35,
    }
    assert gained[dollars] == 105_35
    valued = revaluation(
        found[position("THB")].balance_minor, {"USD": found[position("USD")].balance_minor}, {"USD": "34"}
    )
    assert valued is not None
    [posted] = await post_entries(app, BOOK, [valued])
    assert isinstance(posted, Posted)
    rows = {row.account: row.closing_minor for row in await trial_balance(app, BOOK)}
    assert (rows[position("THB")], rows[AccountRef(K.FX_GAIN_LOSS)]) == (105_35 * 34, 3_500_00 - 105_35 * 34)
    for currency in ("THB", "USD"):
        of_currency = await roll_up(app, BOOK, by=RollUpBy.KIND, currency=currency)
        assert sum(each.debits_minor for each in of_currency) == sum(each.credits_minor for each in of_currency)
    overdrawn, _ = exchange(rate, FxFixed.SOLD, 34)
    again = msgspec.structs.replace(overdrawn, key=UUID(int=9))
    assert await post_entries(app, BOOK, [again]) == [Refused(key=again.key, refusal=Refusal.BELOW_FLOOR)]
