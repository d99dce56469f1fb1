"""The webhook of TrueMoney's product for small shops: a transfer from wallet to wallet, told in a JWT under HS256.

Another scheme than the ISV API and not part of its adapter: no charge is asked for, so a transfer is found by its
amount and message alone. This only proves who says it; the payer's number stays in the sealed raw body.
"""

import base64
import binascii
import hmac
from datetime import datetime
from typing import Annotated, Final

import msgspec

from gateway.providers.base import NOT_JSON, CallbackRejected

ALGORITHM: Final = "HS256"
P2P: Final = "P2P"
PARTS: Final = 3


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer that came in.

    Attributes:
        issued_at_seconds: `lat`, as TrueMoney spells it: when the token was made, epoch seconds.
    """

    event_type: str
    received_at: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="received_time")
    amount_minor: Annotated[int, msgspec.Meta(gt=0, lt=2**53)] = msgspec.field(name="amount")
    issued_at_seconds: int = msgspec.field(name="lat")
    message: str = ""


class _Body(msgspec.Struct, frozen=True):
    message: str


class _Header(msgspec.Struct, frozen=True):
    alg: str


def read_transfer(secret: str, body: bytes) -> Transfer:
    """Check and read a webhook.

    Args:
        secret: as the merchant's app shows it.
        body: raw bytes, `{"message": "<JWT>"}`.

    Raises:
        CallbackRejected: `signature_invalid`, `malformed`, or `unknown_status` for an event that is not a transfer.
    """
    try:
        parts = msgspec.json.decode(body, type=_Body).message.split(".")
        if len(parts) != PARTS:
            raise CallbackRejected("malformed", "the message is no JWT")
        header, claims, signature = (_opened(part) for part in parts)
        # Before the signature: a token may not choose how it is checked.
        if msgspec.json.decode(header, type=_Header).alg != ALGORITHM:
            raise CallbackRejected("signature_invalid", f"not signed with {ALGORITHM}")
        expected = hmac.digest(secret.encode(), f"{parts[0]}.{parts[1]}".encode(), "sha256")
        if not hmac.compare_digest(expected, signature):
            raise CallbackRejected("signature_invalid", "the signature does not fit")
        transfer = msgspec.json.decode(claims, type=Transfer)
    except (*NOT_JSON, binascii.Error, UnicodeEncodeError) as error:
        raise CallbackRejected("malformed", str(error)) from None
    if transfer.event_type != P2P:
        raise CallbackRejected("unknown_status", f"event {transfer.event_type!r}")
    return transfer


def _opened(part: str) -> bytes:
    return base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
