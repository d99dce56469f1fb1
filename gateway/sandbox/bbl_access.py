"""Who may call Bangkok Bank's sandbox: HTTP Basic, and the merchant's signature over the fields of a request."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.foundation.clock import real_now
from gateway.sandbox.wire import AnyRequest

SIGNATURE_SECONDS_MAX: Final = 24 * 60 * 60
CLOCK_SKEW_SECONDS: Final = 300


def basic(request: AnyRequest) -> tuple[str, str]:
    """User and password of HTTP Basic; empty where there are none."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    user, _, password = text.partition(":")
    return user, password


def is_signed(private_key: str, token: str, fields: Mapping[str, Any]) -> bool:
    """Whether the JWT is the merchant's, lives, and claims exactly the fields of the request."""
    try:
        header, claims, signature = (_unbase64url(part) for part in token.split("."))
        signing_input = token.rpartition(".")[0].encode()
        key = load_pem_private_key(private_key.encode(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey), "registered as RSA"
        key.public_key().verify(signature, signing_input, padding.PKCS1v15(), hashes.SHA256())
        said = msgspec.json.decode(claims, type=dict[str, Any])
        head = msgspec.json.decode(header, type=dict[str, Any])
    except (ValueError, binascii.Error, InvalidSignature, msgspec.DecodeError):
        return False
    issued_at, ends_at, identifier = said.pop("iat", None), said.pop("exp", None), said.pop("jti", None)
    if not isinstance(issued_at, int) or not isinstance(ends_at, int) or not isinstance(identifier, str):
        return False
    now = int(real_now().timestamp())
    lives = issued_at <= now + CLOCK_SKEW_SECONDS and now < ends_at <= issued_at + SIGNATURE_SECONDS_MAX
    return head == {"typ": "JWT", "alg": "RS256"} and lives and bool(identifier) and said == dict(fields)


def _unbase64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
