"""GBPrimePay's background callbacks: JSON or a form, never signed. They name the charge that is to be asked about."""

import hashlib
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from gateway.providers import gbprimepay_wire
from gateway.providers.base import NOT_JSON, Callback, CallbackRejected, ParsedCallback
from gateway.providers.gbprimepay_wire import BAHT_CODE, Misunderstood, Notice

FIELDS_MAX: Final = 100
"""No form of GBPrimePay's has as many."""


def parse(callback: Callback) -> ParsedCallback:
    """Whom to ask about, and when it happened.

    The event id holds a digest of the body: were it the transaction alone, whoever guessed one could send his own
    words first, and the true callback would pass for a duplicate.

    Raises:
        CallbackRejected: unreadable, in another currency, or with a key that is not the one of its reference.
    """
    try:
        said = _read(callback.body)
        key = _checked_key(said)
        happened_at = gbprimepay_wire.moment(said.date, said.time)
    except (*NOT_JSON, Misunderstood, ValueError) as error:
        raise CallbackRejected("malformed", str(error)) from None
    digest = hashlib.sha256(callback.body).hexdigest()[:32]
    return ParsedCallback(
        event_id=f"{said.gbp_reference_no}:{digest}",
        # By the whole key where they hand it back: it is known from before the charge.
        inquire=(key,),
        inquire_about=happened_at,
    )


def _read(body: bytes) -> Notice:
    if body.lstrip()[:1] == b"{":
        return msgspec.json.decode(body, type=Notice)
    pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=FIELDS_MAX, errors="strict")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Misunderstood("a field comes twice")
    return msgspec.convert(fields, Notice)


def _checked_key(said: Notice) -> str:
    gbprimepay_wire.satang(said.amount)
    if not gbprimepay_wire.REFERENCE.fullmatch(said.reference_no):
        raise Misunderstood("referenceNo is not 1 to 15 letters and digits")
    if not gbprimepay_wire.GBP_REFERENCE.fullmatch(said.gbp_reference_no):
        raise Misunderstood("gbpReferenceNo is missing or not of its shape")
    if said.currency_code != BAHT_CODE:
        raise Misunderstood(f"currency {said.currency_code!r} is not baht")
    return gbprimepay_wire.key_of(said.reference_no, said.reference_no, said.merchant_defined1)
