"""Omise's charge object, the longest of them."""

from collections.abc import Sequence
from typing import Any

from gateway.foundation.clock import business_date_of
from gateway.sandbox.omise_objects import (
    REFUNDABLE_METHODS,
    card_object,
    list_object,
    refund_object,
    source_object,
)
from gateway.sandbox.wire import Row, utc_text
from gateway.sandbox.world import World, WorldSettings


def charge_object(
    charge: Row,
    *,
    token: Row | None,
    source: Row | None,
    refunds: Sequence[Row],
    settings: WorldSettings,
    voidable: bool,
    sandbox_url: str,
) -> dict[str, Any]:
    """A charge with everything that hangs on it; fees are known once it is captured."""
    return {
        "object": "charge",
        "id": charge["id"],
        "location": f"/charges/{charge['id']}",
        "livemode": False,
        **_amounts(charge, settings),
        "currency": charge["currency"],
        "ip": None,
        "refunds": list_object(
            [refund_object(refund) for refund in refunds],
            f"/charges/{charge['id']}/refunds",
            len(refunds),
            limit=20,
            offset=0,
        ),
        "metadata": charge["metadata"],
        "card": card_object(token) if token is not None else None,
        "source": source_object(source, charge, sandbox_url) if source is not None else None,
        "customer": None,
        "dispute": None,
        "link": None,
        "schedule": None,
        "transaction": charge["transaction_id"],
        "description": charge["description"],
        "failure_code": charge["failure_code"],
        "failure_message": charge["failure_message"],
        "status": charge["status"],
        "authorize_uri": None,
        "return_uri": charge["return_uri"],
        "webhook_endpoints": charge["webhook_endpoints"],
        "created_at": utc_text(charge["created_at"]),
        "paid_at": utc_text(charge["paid_at"]),
        "expires_at": utc_text(charge["expires_at"]),
        "expired_at": utc_text(charge["expired_at"]),
        "reversed_at": utc_text(charge["reversed_at"]),
        "zero_interest_installments": False,
        **_state(charge, voidable=voidable),
        "approval_code": None,
        "acquirer_reference_number": None,
    }


def _amounts(charge: Row, settings: WorldSettings) -> dict[str, Any]:
    rate_ppm = settings.omise_card_rate_ppm if charge["method"] == "card" else settings.omise_promptpay_rate_ppm
    return {
        "amount": charge["amount_minor"],
        "net": (charge["captured_minor"] or charge["amount_minor"]) - charge["fee_minor"] - charge["fee_vat_minor"],
        "fee": charge["fee_minor"],
        "fee_vat": charge["fee_vat_minor"],
        "interest": 0,
        "interest_vat": 0,
        "funding_amount": charge["amount_minor"],
        "funding_currency": charge["currency"],
        "refunded_amount": charge["refunded_minor"],
        "authorized_amount": charge["amount_minor"] if charge["authorized"] else 0,
        "captured_amount": charge["captured_minor"],
        "transaction_fees": {
            "fee_flat": "0.0",
            "fee_rate": _percent(rate_ppm),
            "vat_rate": _percent(settings.vat_rate_ppm),
        },
        "platform_fee": {"fixed": None, "amount": None, "percentage": None},
    }


def _state(charge: Row, *, voidable: bool) -> dict[str, bool]:
    paid = charge["status"] == "successful"
    left_minor = charge["captured_minor"] - charge["refunded_minor"]
    refundable = paid and left_minor > 0 and charge["method"] in REFUNDABLE_METHODS
    capturable = charge["authorized"] and charge["status"] == "pending"
    return {
        "authorized": charge["authorized"],
        "capturable": capturable,
        "capture": charge["capture"],
        "disputable": paid and charge["method"] == "card",
        "refundable": refundable,
        "partially_refundable": refundable,
        "can_perform_void": refundable and voidable and charge["refunded_minor"] == 0,
        "reversed": charge["status"] == "reversed",
        "reversible": capturable,
        "voided": charge["voided"],
        "paid": paid,
        "expired": charge["status"] == "expired",
    }


def _percent(rate_ppm: int) -> str:
    """36500 → `3.65`, 70000 → `7.0`."""
    whole, rest = divmod(rate_ppm, 10_000)
    return f"{whole}.{f'{rest:04d}'.rstrip('0') or '0'}"


async def read_charge(world: World, charge: Row) -> dict[str, Any]:
    """The charge object of a row of `sandbox.charges`, with its card or source and its refunds."""
    connection = world.connection
    token = source = None
    if charge["card_token_id"]:
        token = await connection.fetchrow(
            "SELECT * FROM sandbox.card_tokens WHERE world = $1 AND id = $2", world.name, charge["card_token_id"]
        )
    if charge["source_id"]:
        source = await connection.fetchrow(
            "SELECT * FROM sandbox.sources WHERE world = $1 AND id = $2", world.name, charge["source_id"]
        )
    refunds = await connection.fetch(
        "SELECT * FROM sandbox.refunds WHERE world = $1 AND charge_id = $2 ORDER BY created_at, id",
        world.name,
        charge["id"],
    )
    return charge_object(
        charge,
        token=token,
        source=source,
        refunds=refunds,
        settings=world.settings,
        voidable=charge["paid_at"] is not None and business_date_of(charge["paid_at"]) == world.today,
        sandbox_url=world.sandbox_url,
    )
