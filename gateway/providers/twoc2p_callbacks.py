"""2C2P's calls: a payment's notification (a signed JWT in JSON) and the end of a refund (a form)."""

from typing import Final
from urllib.parse import parse_qs

import msgspec

from gateway.providers import twoc2p_jose as jose
from gateway.providers import twoc2p_maintenance as maintenance
from gateway.providers import twoc2p_wire as wire
from gateway.providers.base import (
    NOT_JSON,
    Callback,
    CallbackRejected,
    Fact,
    FactKind,
    FactSource,
    ParsedCallback,
    ProviderAccount,
)
from gateway.providers.twoc2p_maintenance import Keys
from gateway.providers.twoc2p_wire import Misunderstood

REFUND_FIELD: Final = b"notifyResponse="
"""ASSUMED: its token is sealed and signed as every maintenance answer is, and holds the same XML."""


def parse(account: ProviderAccount, callback: Callback) -> ParsedCallback:
    """Check and read a callback.

    Raises:
        CallbackRejected: forged, unreadable, of another merchant, or with a word that is not known.
    """
    if callback.body.startswith(REFUND_FIELD):
        return _refund(account, callback)
    return _payment(account, callback)


def _payment(account: ProviderAccount, callback: Callback) -> ParsedCallback:
    try:
        payload = msgspec.json.decode(callback.body, type=wire.Envelope).payload
    except NOT_JSON as error:
        raise CallbackRejected("malformed", str(error)) from None
    try:
        claims = jose.verify_hs256(payload, account.credentials["secret_key"])
    except jose.NotGenuine as error:
        raise CallbackRejected("signature_invalid", str(error)) from None
    try:
        said = msgspec.json.decode(claims, type=wire.Transaction)
    except NOT_JSON as error:
        raise CallbackRejected("malformed", str(error)) from None
    if said.merchant_id != account.credentials["merchant_id"]:
        raise CallbackRejected("malformed", "the notification is of another merchant")
    if not wire.KEY.fullmatch(said.invoice_no):
        raise CallbackRejected("malformed", "the notification names no invoice of ours")
    if said.resp_code == wire.CHARGEBACK:
        raise CallbackRejected("unknown_status", "a chargeback is a person's to decide")
    if wire.kind_of(said.resp_code) is None:
        raise CallbackRejected("unknown_status", f"respCode {said.resp_code!r}")
    event_id = f"{said.invoice_no}:{said.tran_ref or ''}:{said.resp_code}"
    if said.amount is None:
        # Signed, but not telling how much: worth a question.
        return ParsedCallback(event_id=event_id, inquire=(said.invoice_no,))
    try:
        fact = wire.charge_fact(said, FactSource.CALLBACK, callback.received_at)
    except Misunderstood as error:
        raise CallbackRejected("malformed", str(error)) from None
    return ParsedCallback(event_id=event_id, facts=(fact,))


def _refund(account: ProviderAccount, callback: Callback) -> ParsedCallback:
    """The end of a refund; it is known by 2C2P's reference, for the answer bears no key of ours."""
    try:
        keys = Keys.of(account.credentials)
        (token,) = parse_qs(callback.body.decode("ascii"), strict_parsing=True)["notifyResponse"]
    except (ValueError, KeyError):
        raise CallbackRejected("malformed", "not a refund's notification") from None
    try:
        reply = maintenance.open_sealed(token.encode(), keys)
    except Misunderstood as error:
        raise CallbackRejected("signature_invalid", str(error)) from None
    kind = maintenance.REFUND_KINDS.get(reply.status)
    if reply.process_type != maintenance.REFUND or kind is None or not reply.refund_reference:
        raise CallbackRejected("unknown_status", f"{reply.process_type!r} with status {reply.status!r}")
    try:
        fact = Fact(
            provider=wire.NAME,
            kind=kind,
            provider_reference=reply.refund_reference,
            provider_transaction_id=reply.refund_reference,
            amount_minor=wire.satang(reply.amount),
            currency=wire.CURRENCY,
            occurred_at=reply.stamped_at,
            source=FactSource.CALLBACK,
            failure_code="refund_failed" if kind is FactKind.REFUND_FAILED else None,
        )
    except Misunderstood as error:
        raise CallbackRejected("malformed", str(error)) from None
    event_id = f"{reply.invoice_no}:{reply.refund_reference}:{reply.status}"
    return ParsedCallback(event_id=event_id, facts=(fact,))
