"""How TrueMoney and the merchant prove what they say: RSA over the time and the raw bytes, the same both ways.

The signed text is `Timestamp + body`, without a separator, as the bytes came; nothing is ever written anew to check it.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

SIGNATURE_HEADER: Final = "content-signature"
TIMESTAMP_HEADER: Final = "timestamp"
SIGNATURE_PREFIX: Final = "digest-alg=RSA-SHA; key-id=KEY:RSA:rsf.org; data="
SIGNATURE_DATA: Final = "data="
TOLERANCE_SECONDS: Final = 300
"""ASSUMED: the time is signed, how old it may be is not told; five minutes is what others allow."""
TIMESTAMP_LENGTH_MAX: Final = 12
KEY_BITS: Final = 2048
PUBLIC_EXPONENT: Final = 65_537
SANDBOX_PUBLIC_KEY: Final = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA6umHZkCHOW4lBvwBOH9j
iGYqMe5jYGo7xoVHamr1LMC3m20LsQ2ep19nbXRwo4sPwVbXfXp9eXVhZ1sSRyMb
eoIBVlPaiDk00Z5to6acrMyb+Zk6Jr6Q6K25LU5hyxPBpc8RkcASzDTjVsQRbLsP
d/aGJl5q4dxMSZdC+BChy398Tl6HMvJhoturJqhV/g/3IDim/85n5O+X4xK08tYC
U8Z+a89hHFCHvAOLiGwGtnErg2hRUMIhRDiMnsWSBoQDKn+5JpMQBBlwyoVcptZK
U1u+EVIf9vgXIncOEUlqChCeFm8hvnvhwRRbSRKOxXGh+DW08Q0sZCZY+ApTQddy
lwIDAQAB
-----END PUBLIC KEY-----
"""
"""Of the key with which our sandbox signs as TrueMoney; only test accounts trust it."""


class KeyUnreadable(Exception):
    """A key among the credentials is no RSA key in PEM; the message does not repeat it."""


class NotProved(Exception):
    """The bytes are not TrueMoney's, or not of now; `code` is that of a rejected callback."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Keys(msgspec.Struct, frozen=True):
    """An account's keys: the merchant's own, and TrueMoney's public one."""

    ours: RSAPrivateKey
    theirs: RSAPublicKey

    def __repr__(self) -> str:
        """No key reaches a log."""
        return "Keys(…)"


def open_keys(credentials: Mapping[str, str]) -> Keys:
    """The keys of an account.

    Raises:
        KeyUnreadable: one is missing or is something else.
    """
    try:
        # Not checked number by number on each call: that takes 60 ms, and TrueMoney refuses what a wrong key signs.
        ours = load_pem_private_key(
            credentials["private_key"].encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
        theirs = load_pem_public_key(credentials["provider_public_key"].encode())
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnreadable(f"a key of the account cannot be read: {type(error).__name__}") from None
    if not isinstance(ours, RSAPrivateKey) or not isinstance(theirs, RSAPublicKey):
        raise KeyUnreadable("a key of the account is not an RSA key")
    return Keys(ours, theirs)


def signed_headers(keys: Keys, body: bytes, now: datetime) -> dict[str, str]:
    """The two headers that prove a body of ours at this (real) time."""
    timestamp = str(int(now.timestamp()))
    signature = keys.ours.sign(timestamp.encode() + body, PKCS1v15(), SHA256())
    return {
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: SIGNATURE_PREFIX + base64.b64encode(signature).decode(),
    }


def check(keys: Keys, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Prove that TrueMoney said this, not long ago.

    Args:
        keys: of the account.
        headers: any case.
        body: raw bytes.
        now: real time.

    Raises:
        NotProved: `signature_invalid` or `timestamp_outside_tolerance`.
    """
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, header = given.get(TIMESTAMP_HEADER, ""), given.get(SIGNATURE_HEADER, "")
    _, found, data = header.partition(SIGNATURE_DATA)
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= TIMESTAMP_LENGTH_MAX and found):
        raise NotProved("signature_invalid", "signature or timestamp is missing")
    try:
        signature = base64.b64decode(data, validate=True)
        keys.theirs.verify(signature, timestamp.encode() + body, PKCS1v15(), SHA256())
    except (binascii.Error, ValueError, InvalidSignature):
        raise NotProved("signature_invalid", "the signature does not fit the body") from None
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise NotProved("timestamp_outside_tolerance", f"signed at {timestamp}")
