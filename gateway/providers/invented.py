"""Credentials that open nothing: what adapters invent for test accounts."""

import secrets
import string
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DIGITS: Final = string.digits
UPPER: Final = string.ascii_uppercase + string.digits
LOWER: Final = string.ascii_lowercase + string.digits


def invented(alphabet: str, length: int) -> str:
    """Random text of that length."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


@cache
def invented_rsa_key() -> str:
    """A private key in PEM, one for all test accounts of the process: making one keeps everybody waiting for long."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
