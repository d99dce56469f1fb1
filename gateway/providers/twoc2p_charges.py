"""Charges at 2C2P: what is asked for, and what the payer must do by the flow code of the answer."""

import hashlib
import uuid
from decimal import Decimal
from typing import Any, Final

from gateway.foundation.clock import BANGKOK
from gateway.providers import twoc2p_wire as wire
from gateway.providers.base import (
    Accepted,
    ChargeRequest,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Method,
    NextAction,
    Outcome,
    ProviderAccount,
    Unknown,
)
from gateway.providers.emvco import QrMalformed, unseal
from gateway.providers.twoc2p_wire import Done, Misunderstood
from ledger.money import to_text

CHANNELS: Final = {
    Method.PROMPTPAY: ("QR", "PPQR"),
    Method.CARD: ("CC", "CC"),
    Method.TRUEMONEY: ("DPAY", "TRUEMONEY"),
    Method.SHOPEEPAY: ("QR", "SHPQR"),
    Method.RABBIT_LINEPAY: ("DPAY", "LINE"),
}
"""paymentChannel and channelCode. ASSUMED: which paymentChannel a wallet is of; the channel codes are published."""
QR_METHODS: Final = frozenset({Method.PROMPTPAY, Method.SHOPEEPAY})
QR_TYPE: Final = "RAW"
"""ASSUMED: `data` is then the text of the QR itself. A Thai QR that does not say our amount is not shown."""
QR_AMOUNT: Final = "54"
LOCALE: Final = "en"
NONCE_CHARACTERS: Final = 32
CLIENT_NAMESPACE: Final = uuid.NAMESPACE_URL
REQUEST_REFUSALS: Final = frozenset(
    {f"610{digit}" for digit in range(1, 8)}
    | {f"900{digit}" for digit in range(4, 10)}
    | {"9010", "9057", "9058", "9059", "9060"}
)
"""Request errors, bad fields and channel errors: nothing was made."""
KNOWN_INVOICE: Final = frozenset({"5005", "9015"})
TOKEN_ERRORS: Final = frozenset({"9038", "9040", "9041"})
REDIRECTS: Final = frozenset({"1000", "1001"})
APPS: Final = frozenset({"1002", "1004"})
SHOW_QR: Final = "1005"
WAITS: Final = frozenset({"0001", "1003", "2001"})
ENDED: Final = frozenset({wire.FINISHED, wire.SUCCESS})


def not_for_us(request: ChargeRequest) -> Declined | None:
    """Why the request cannot be made at 2C2P at all; None where it can."""
    if request.method not in CHANNELS or request.currency != wire.CURRENCY:
        return Declined(failure_code="method_not_supported", provider_code="", message="not a method of 2C2P in THB")
    if request.capture_later:
        return Declined(failure_code="capture_not_supported", provider_code="", message="2C2P settles by itself")
    if request.method is Method.CARD and not request.card_token:
        return Declined(failure_code="invalid_request", provider_code="", message="a card needs its token")
    return None


def token_fields(account: ProviderAccount, request: ChargeRequest) -> dict[str, Any]:
    """Every field follows from the request: another body under the same idempotency id would be refused."""
    asked = to_text(request.amount_minor, request.currency)
    fields: dict[str, Any] = {
        "merchantID": account.credentials["merchant_id"],
        "invoiceNo": request.provider_key,
        "description": request.description or request.provider_key,
        "amount": Decimal(asked),
        "currencyCode": request.currency,
        "paymentChannel": [CHANNELS[request.method][0]],
        wire.ASKED_FIELD: asked,
        "idempotencyID": request.provider_key,
        "nonceStr": hashlib.sha256(request.provider_key.encode()).hexdigest()[:NONCE_CHARACTERS],
        "locale": LOCALE,
    }
    if request.method is Method.CARD:
        fields["request3DS"] = "Y"
    if request.expires_at is not None:
        fields["paymentExpiry"] = request.expires_at.astimezone(BANGKOK).strftime(wire.EXPIRY_FORMAT)
    if request.return_url is not None:
        fields["frontendReturnUrl"] = request.return_url
    if account.callback_url:
        fields["backendReturnUrl"] = account.callback_url
    return fields


def payment_fields(request: ChargeRequest, token: str) -> dict[str, Any]:
    """Of Do Payment: which channel, and what it needs."""
    data: dict[str, Any] = {}
    if request.method in QR_METHODS:
        data["qrType"] = QR_TYPE
    if request.method is Method.CARD:
        data["securePayToken"] = request.card_token
    fields: dict[str, Any] = {
        "paymentToken": token,
        "clientID": str(uuid.uuid5(CLIENT_NAMESPACE, request.provider_key)),
        "locale": LOCALE,
        "payment": {"code": {"channelCode": CHANNELS[request.method][1]}, "data": data},
    }
    if request.return_url is not None:
        fields["responseReturnUrl"] = request.return_url
    return fields


def refused(code: str, message: str, references: tuple[str, ...] = ()) -> Declined:
    """What 2C2P did not make because of what the request holds."""
    return Declined(failure_code="invalid_request", provider_code=code, message=message, provider_references=references)


def started(request: ChargeRequest, done: Done, references: tuple[str, ...]) -> Outcome:
    """What Do Payment's flow code means."""
    code = done.resp_code
    action = _next_action(request, done)
    if action is not None:
        fact = _own_fact(request, FactKind.PENDING)
        return Accepted(provider_references=references, facts=(fact,), next_action=action)
    kind = wire.kind_of(code)
    if kind is FactKind.EXPIRED:
        return Accepted(provider_references=references, facts=(_own_fact(request, kind),))
    if kind is FactKind.DECLINED:
        return Declined(
            failure_code=wire.our_failure_code(code),
            provider_code=code,
            message=done.resp_desc or "",
            provider_references=references,
            facts=(_own_fact(request, kind, code),),
        )
    return Unknown(reason=f"respCode {code} without what the payer needs")


def _own_fact(request: ChargeRequest, kind: FactKind, code: str | None = None) -> Fact:
    """A fact without an id of 2C2P's."""
    return Fact(
        provider=wire.NAME,
        kind=kind,
        provider_reference=request.provider_key,
        provider_transaction_id=request.provider_key,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=FactSource.RESPONSE,
        failure_code=None if code is None else wire.our_failure_code(code),
        provider_code=code,
    )


def _next_action(request: ChargeRequest, done: Done) -> NextAction | None:
    """What the payer must do; None where the code or its data do not say."""
    code, data, expires_at = done.resp_code, done.data or "", request.expires_at
    action = None
    if code in WAITS:
        action = NextAction(type="wait", expires_at=expires_at)
    elif code == SHOW_QR and data and request.method in QR_METHODS:
        if request.method is not Method.PROMPTPAY or _says_amount(data, request.amount_minor):
            action = NextAction(type="display_qr_code", qr_data=data, expires_at=expires_at)
    elif code in REDIRECTS and data.startswith(("https://", "http://")):
        action = NextAction(type="redirect", redirect_url=data, expires_at=expires_at)
    elif code in APPS and data:
        action = NextAction(type="open_app", redirect_url=data, expires_at=expires_at)
    return action


def _says_amount(text: str, amount_minor: int) -> bool:
    try:
        return wire.satang(dict(unseal(text)).get(QR_AMOUNT)) == amount_minor
    except (QrMalformed, Misunderstood):
        return False
