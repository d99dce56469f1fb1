"""Credentials that open nothing: what adapters invent for test accounts."""

import secrets
import string
from typing import Final

DIGITS: Final = string.digits
UPPER: Final = string.ascii_uppercase + string.digits
LOWER: Final = string.ascii_lowercase + string.digits


def invented(alphabet: str, length: int) -> str:
    """Random text of that length."""
    return "".join(secrets.choice(alphabet) for _ in range(length))
