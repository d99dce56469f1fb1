"""The card vault: takes the published test numbers and no others, and keeps of a card its brand and last digits."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final, NoReturn

import msgspec

from gateway.sandbox.omise_objects import refuse, token_object
from gateway.sandbox.wire import Answer, json_answer, omise_id, whole_number
from gateway.sandbox.world import World

DECEMBER: Final = 12


class TestCard(msgspec.Struct, frozen=True):
    """What a published test number stands for; `failure_code` None = its charges succeed."""

    brand: str
    failure_code: str | None = None


_FAILING: Final = {
    "insufficient_fund": ("4111111111140011", "5555551111110011", "3530111111190011"),
    "stolen_or_lost_card": ("4111111111130012", "5555551111100012"),
    "payment_rejected": ("4111111111110014", "5555551111180014", "3530111111160014"),
}
_SUCCEEDING: Final = (
    "4242424242424242",
    "4111111111111111",
    "5555555555554444",
    "5454545454545454",
    "3530111333300000",
    "3566111111111113",
    "378282246310005",
)


def _brand(number: str) -> str:
    return {"4": "Visa", "5": "MasterCard"}.get(number[0]) or ("JCB" if number.startswith("35") else "American Express")


PUBLISHED_TEST_CARDS: Final = {number: TestCard(_brand(number)) for number in _SUCCEEDING} | {
    number: TestCard(_brand(number), code) for code, numbers in _FAILING.items() for number in numbers
}
"""The only numbers that the vault takes."""


async def create_token(world: World, fields: Mapping[str, Any]) -> Answer:
    """`POST /tokens`: a single-use token for a published test card.

    Raises:
        Refusal: `invalid_card`; nothing of the number is kept, and the message does not repeat it.
    """
    card = fields.get("card")
    if not isinstance(card, Mapping):
        refuse(400, "bad_request", "card is missing")
    number = str(card.get("number", "")).replace(" ", "")
    known = PUBLISHED_TEST_CARDS.get(number)
    if known is None:
        _refuse_card("number is invalid: test mode takes published test cards only")
    if not str(card.get("name", "")).strip():
        _refuse_card("name can't be blank")
    month, year = whole_number(card.get("expiration_month")), whole_number(card.get("expiration_year"))
    if month is None or year is None or not 1 <= month <= DECEMBER:
        _refuse_card("expiration date is invalid")
    if date(world.today.year, world.today.month, 1) > date(min(max(year, 1), date.max.year), month, 1):
        _refuse_card("expiration date cannot be in the past")
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.card_tokens (world, id, card_id, brand, last_digits, expiration_month, expiration_year,"
        " failure_code, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *",
        world.name,
        omise_id("tokn"),
        omise_id("card"),
        known.brand,
        number[-4:],
        month,
        year,
        known.failure_code,
        world.now,
    )
    assert row is not None
    return json_answer(token_object(row))


def _refuse_card(message: str) -> NoReturn:
    refuse(400, "invalid_card", message)
