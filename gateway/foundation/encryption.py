"""Encryption at rest: AES-256-GCM with a data key for each merchant, wrapped by the master key.

Layout of every ciphertext: version byte, key id (8 bytes), nonce (12 bytes), ciphertext with tag. The key id is a
hash of the key, so a wrong key is told from a damaged text, and keys can be rotated one ciphertext at a time. The
context (`"provider_credentials:pa_…"`) is authenticated but not stored: a ciphertext moved to another row does not
open. From the master key come three keys by HKDF, one a purpose: wrapping data keys, sealing the house's own data,
and look-ups by HMAC. Destroying a merchant's wrapped key makes that merchant's data unreadable and leaves books and
proofs intact.
"""

import hashlib
import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
_VERSION: Final = 1
_KEY_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_HEADER_BYTES: Final = 1 + _KEY_ID_BYTES + _NONCE_BYTES


class CannotOpen(Exception):
    """A ciphertext cannot be opened: another key, another context, or damaged bytes."""

    code = "cannot_open"
    retryable = False


class Vault:
    """Seals and opens with the keys under one master key.

    Args:
        master_key: 32 random bytes; whoever has it and the database reads everything.
    """

    def __init__(self, master_key: bytes) -> None:
        assert len(master_key) == KEY_BYTES
        self._wrapping_key = _derived(master_key, "wrap")
        self._house_key = _derived(master_key, "house")
        self._lookup_key = _derived(master_key, "lookup")

    def new_data_key(self) -> bytes:
        """A new data key, wrapped: store it with its owner."""
        return _seal(self._wrapping_key, os.urandom(KEY_BYTES), "data_key")

    def seal(self, wrapped_key: bytes, plaintext: bytes, *, context: str) -> bytes:
        """The plaintext under a data key.

        Args:
            wrapped_key: as `new_data_key` gave it.
            context: what and whose this is; opening asks for the same.
        """
        return _seal(self._unwrapped(wrapped_key), plaintext, context)

    def open(self, wrapped_key: bytes, sealed: bytes, *, context: str) -> bytes:
        """The plaintext of `seal`.

        Raises:
            CannotOpen: other key, other context or damaged.
        """
        return _open(self._unwrapped(wrapped_key), sealed, context)

    def seal_house(self, plaintext: bytes, *, context: str) -> bytes:
        """The plaintext under the house key: for what belongs to no merchant."""
        return _seal(self._house_key, plaintext, context)

    def open_house(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext of `seal_house`.

        Raises:
            CannotOpen: other key, other context or damaged.
        """
        return _open(self._house_key, sealed, context)

    def lookup(self, value: str, *, purpose: str) -> bytes:
        """32 bytes that stand for a value in equality look-ups, e.g. an API key, and tell nothing about it."""
        return hmac.digest(self._lookup_key, purpose.encode() + b"\x00" + value.encode(), "sha256")

    def _unwrapped(self, wrapped_key: bytes) -> bytes:
        return _open(self._wrapping_key, wrapped_key, "data_key")


def _derived(master_key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"quickkub " + purpose.encode()).derive(
        master_key
    )


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"quickkub key id\x00" + key).digest()[:_KEY_ID_BYTES]


def _seal(key: bytes, plaintext: bytes, context: str) -> bytes:
    header = bytes([_VERSION]) + _key_id(key)
    nonce = os.urandom(_NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, header + context.encode())


def _open(key: bytes, sealed: bytes, context: str) -> bytes:
    header, nonce = sealed[: 1 + _KEY_ID_BYTES], sealed[1 + _KEY_ID_BYTES : _HEADER_BYTES]
    if len(sealed) < _HEADER_BYTES or header[0] != _VERSION:
        raise CannotOpen("not a ciphertext of ours")
    if header[1:] != _key_id(key):
        raise CannotOpen(f"sealed under another key ({header[1:].hex()})")
    try:
        return AESGCM(key).decrypt(nonce, sealed[_HEADER_BYTES:], header + context.encode())
    except InvalidTag:
        raise CannotOpen("damaged, or sealed for another context") from None
