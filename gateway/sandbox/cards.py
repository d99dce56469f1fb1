"""Cards of the sandbox: the published test numbers and no others; of a card its brand and last digits are kept."""

from datetime import date
from typing import Any, Final

import msgspec

from gateway.sandbox.wire import Row, whole_number
from gateway.sandbox.world import World

DECEMBER: Final = 12


class TestCard(msgspec.Struct, frozen=True):
    """What a published test number stands for; `failure_code` None = its charges succeed."""

    brand: str
    failure_code: str | None = None


class CardRefused(Exception):
    """The card is not taken; the message does not repeat its number."""


_FAILING: Final = {
    "insufficient_fund": ("4111111111140011", "5555551111110011", "3530111111190011"),
    "stolen_or_lost_card": ("4111111111130012", "5555551111100012"),
    "payment_rejected": ("4111111111110014", "5555551111180014", "3530111111160014", "4444333322221111"),
}
_SUCCEEDING: Final = (
    "4242424242424242",
    "4111111111111111",
    "5555555555554444",
    "5454545454545454",
    "3530111333300000",
    "3566111111111113",
    "378282246310005",
    "3562808775869340",
    "4535017710535741",
    "4918914107195005",
)


def _brand(number: str) -> str:
    return {"4": "Visa", "5": "MasterCard"}.get(number[0]) or ("JCB" if number.startswith("35") else "American Express")


PUBLISHED_TEST_CARDS: Final = {number: TestCard(_brand(number)) for number in _SUCCEEDING} | {
    number: TestCard(_brand(number), code) for code, numbers in _FAILING.items() for number in numbers
}
"""The only numbers that any vault takes; those that fail do so by the word of Omise's documents."""


async def keep_token(
    world: World, *, token_id: str, card_id: str, number: Any, name: Any, month: Any, year: Any
) -> Row:
    """A single-use token for a published test card: a row of `sandbox.card_tokens`.

    Raises:
        CardRefused: nothing of the number is kept.
    """
    text = str(number or "").replace(" ", "")
    known = PUBLISHED_TEST_CARDS.get(text)
    if known is None:
        raise CardRefused("number is invalid: test mode takes published test cards only")
    if not str(name or "").strip():
        raise CardRefused("name can't be blank")
    expires_in, expires_of = whole_number(month), whole_number(year)
    if expires_in is None or expires_of is None or not 1 <= expires_in <= DECEMBER:
        raise CardRefused("expiration date is invalid")
    if date(world.today.year, world.today.month, 1) > date(min(max(expires_of, 1), date.max.year), expires_in, 1):
        raise CardRefused("expiration date cannot be in the past")
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.card_tokens (world, id, card_id, brand, last_digits, expiration_month, expiration_year,"
        " failure_code, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *",
        world.name,
        token_id,
        card_id,
        known.brand,
        text[-4:],
        expires_in,
        expires_of,
        known.failure_code,
        world.now,
    )
    assert row is not None
    return row


async def use_token(world: World, token_id: str) -> Row | None:
    """The token, used up now; None where there is none or it was used before."""
    return await world.connection.fetchrow(
        "UPDATE sandbox.card_tokens SET used = true WHERE world = $1 AND id = $2 AND NOT used RETURNING *",
        world.name,
        token_id,
    )
