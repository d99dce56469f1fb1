"""Signatures of webhooks by the Standard Webhooks specification: `v1,` and HMAC-SHA256 over `id.timestamp.body`."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64


class SecretInvalid(ValueError):
    """A webhook secret is `whsec_` and 24 to 64 bytes in base64."""

    code = "webhook_secret_invalid"
    retryable = False


def new_secret() -> str:
    """A new random secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The key inside a secret.

    Raises:
        SecretInvalid: wrong prefix, not base64, or too short or long.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretInvalid("a webhook secret is whsec_ and base64") from None
    if not secret.startswith(PREFIX) or not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise SecretInvalid(f"a webhook secret is whsec_ and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return key


def signed_headers(signing_secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery.

    Args:
        signing_secrets: one; two while the secret rotates, and the consumer may know either.
        message_id: the event's id: the same on every attempt.
        timestamp: of this attempt, seconds since 1970, real time.
        body: the exact bytes sent.
    """
    message = f"{message_id}.{timestamp}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.digest(key_of(secret), message, "sha256")).decode() for secret in signing_secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
