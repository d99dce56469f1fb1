"""Tokens for payers, who have no key: whoever holds one may do the one thing that it stands for.

A token is derived from the id of its object by a secret key, so that it can be shown again and need not be kept; what
is stored is a keyed hash, by which it is found. How long a look-up takes tells nothing of how near a guess was.
"""

import hmac
from base64 import urlsafe_b64encode
from typing import Final

from gateway.foundation.encryption import Vault

_TOKEN: Final = "payer_token"  # noqa: S105 -- the purpose of a key, no token
_HASH: Final = "payer_token_hash"


def token_of(vault: Vault, identifier: str) -> str:
    """The token of an object: 256 bits that nobody without the master key can tell."""
    return urlsafe_b64encode(vault.lookup(identifier, purpose=_TOKEN)).decode().rstrip("=")


def hash_of(vault: Vault, token: str) -> bytes:
    """What is stored of a token."""
    return vault.lookup(token, purpose=_HASH)


def opens(vault: Vault, token: str, identifier: str) -> bool:
    """Whether the token is that of the object; in constant time."""
    return hmac.compare_digest(token_of(vault, identifier).encode(), token.encode())
