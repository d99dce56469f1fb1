"""Who pays, as keyed hashes: the same payer has the same one everywhere in the house, and nobody can read it back."""

import ipaddress
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.encryption import Vault
from gateway.merchants import customers
from gateway.payments.errors import InvalidRequest
from gateway.payments.records import IntentRow
from gateway.payments.requests import Payer

LAST_CHARACTERS: Final = 4
_SHOWN_FROM_LENGTH: Final = 8
"""Of a shorter value the last four characters would be most of it."""


class PayerKind(StrEnum):
    """By what a payer is known."""

    IP = "ip"
    CARD_FINGERPRINT = "card_fingerprint"
    PAYER_ACCOUNT = "payer_account"
    EMAIL = "email"
    CUSTOMER = "customer"


Marks = Mapping[PayerKind, bytes]
"""What is known of a payer, as look-ups."""


def canonical(kind: PayerKind, value: str) -> str:
    """The value in the one form in which it is compared.

    Raises:
        InvalidRequest: an address that is none.
    """
    value = value.strip()
    if kind is PayerKind.EMAIL:
        return customers.canonical_email(value)
    if kind is not PayerKind.IP:
        return value
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise InvalidRequest("parameter_invalid", "not an IP address", param="value") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def lookup_of(vault: Vault, kind: PayerKind, value: str) -> bytes:
    """What stands for the value in every table.

    Raises:
        InvalidRequest: as `canonical`.
    """
    if kind is PayerKind.EMAIL:
        return customers.email_lookup(vault, value)
    return vault.lookup(canonical(kind, value), purpose=f"payer_{kind}")


def last_characters_of(kind: PayerKind, value: str) -> str:
    """So much of the value as lets a person tell entries apart; nothing of a short one."""
    value = canonical(kind, value)
    return value[-LAST_CHARACTERS:] if len(value) >= _SHOWN_FROM_LENGTH else ""


async def marks_of(connection: AsyncConnection, vault: Vault, intent: IntentRow, payer: Payer | None) -> Marks:
    """All that is known of the payer of an attempt.

    Raises:
        InvalidRequest: as `canonical`; it names `payer.ip`.
    """
    given = {} if payer is None else _given(payer)
    try:
        marks = {kind: lookup_of(vault, kind, value) for kind, value in given.items()}
    except InvalidRequest as error:
        raise InvalidRequest(error.code, error.detail, param="payer.ip") from None
    if intent.customer_id is not None:
        marks[PayerKind.CUSTOMER] = lookup_of(vault, PayerKind.CUSTOMER, intent.customer_id)
        email = await customers.email_lookup_of(connection, book_id=intent.book_id, customer_id=intent.customer_id)
        if email is not None:
            marks[PayerKind.EMAIL] = email
    return marks


def _given(payer: Payer) -> dict[PayerKind, str]:
    values = {
        PayerKind.IP: payer.ip,
        PayerKind.CARD_FINGERPRINT: payer.card_fingerprint,
        PayerKind.PAYER_ACCOUNT: payer.account_hash,
    }
    return {kind: value for kind, value in values.items() if value is not None}
