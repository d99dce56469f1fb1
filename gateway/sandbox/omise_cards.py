"""Omise's card vault: single-use tokens for published test cards."""

from collections.abc import Mapping
from typing import Any

from gateway.sandbox.cards import CardRefused, keep_token
from gateway.sandbox.omise_objects import refuse, token_object
from gateway.sandbox.wire import Answer, json_answer, omise_id
from gateway.sandbox.world import World


async def create_token(world: World, fields: Mapping[str, Any]) -> Answer:
    """`POST /tokens`: a single-use token for a published test card.

    Raises:
        Refusal: `invalid_card`; nothing of the number is kept, and the message does not repeat it.
    """
    card = fields.get("card")
    if not isinstance(card, Mapping):
        refuse(400, "bad_request", "card is missing")
    try:
        row = await keep_token(
            world,
            token_id=omise_id("tokn"),
            card_id=omise_id("card"),
            number=card.get("number"),
            name=card.get("name"),
            month=card.get("expiration_month"),
            year=card.get("expiration_year"),
        )
    except CardRefused as refused:
        refuse(400, "invalid_card", str(refused))
    return json_answer(token_object(row))
