"""The sandbox's own seals of 2C2P: written apart from the gateway's, so that each is a check on the other."""

import base64
import binascii
import hashlib
import hmac
import os
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HS256: Final = {"alg": "HS256", "typ": "JWT"}
PS256: Final = {"alg": "PS256", "typ": "JWT"}
JWE: Final = {"alg": "RSA-OAEP", "enc": "A256GCM"}
TAG_BYTES: Final = 16

_OAEP: Final = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303 - its name
_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class BadSeal(Exception):
    """A token that nobody with the right key made."""


def jwt(claims: Any, key: str) -> str:
    """Claims as a JWT; decimals stand as numbers."""
    content = msgspec.json.Encoder(decimal_format="number").encode(claims)
    signed = _encode(msgspec.json.encode(HS256)) + "." + _encode(content)
    return signed + "." + _encode(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())


def unproved_claims(token: str) -> bytes:
    """What a JWT says, before anything is proved: only to learn whose key proves it.

    Raises:
        BadSeal: not a JWT at all.
    """
    parts = token.split(".")
    if len(parts) != len(("header", "claims", "signature")):
        raise BadSeal
    return _decode(parts[1])


def proved_claims(token: str, key: str) -> bytes:
    """What a JWT says.

    Raises:
        BadSeal: another algorithm or key.
    """
    signed, _, signature = token.rpartition(".")
    _check_algorithm(signed, HS256)
    expected = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(expected, _decode(signature)):
        raise BadSeal
    return unproved_claims(token)


def seal(plain: bytes, reader: RSAPublicKey, sender: RSAPrivateKey) -> bytes:
    """Encrypted for its reader, then signed by its sender."""
    content_key, nonce = os.urandom(32), os.urandom(12)
    header = _encode(msgspec.json.encode(JWE))
    sealed = AESGCM(content_key).encrypt(nonce, plain, header.encode())
    parts = [reader.encrypt(content_key, _OAEP), nonce, sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]]
    encrypted = ".".join([header, *map(_encode, parts)])
    signed = _encode(msgspec.json.encode(PS256)) + "." + _encode(encrypted.encode())
    return (signed + "." + _encode(sender.sign(signed.encode(), _PSS, hashes.SHA256()))).encode()


def unseal(body: bytes, reader: RSAPrivateKey) -> bytes:
    """The plain bytes inside; the signature around them is proved by `check_sender`, once it is known who sent them.

    Raises:
        BadSeal: not for this reader.
    """
    try:
        encrypted = unproved_claims(body.decode("ascii")).decode("ascii")
        header, content_key, nonce, sealed, tag = encrypted.split(".")
        if msgspec.json.decode(_decode(header)) != JWE:
            raise BadSeal
        opened = AESGCM(reader.decrypt(_decode(content_key), _OAEP))
        return opened.decrypt(_decode(nonce), _decode(sealed) + _decode(tag), header.encode())
    except (ValueError, InvalidTag, msgspec.DecodeError):
        raise BadSeal from None


def check_sender(body: bytes, sender: RSAPublicKey) -> None:
    """Prove who signed.

    Raises:
        BadSeal: somebody else.
    """
    signed, _, signature = body.decode("ascii").rpartition(".")
    _check_algorithm(signed, PS256)
    try:
        sender.verify(_decode(signature), signed.encode(), _PSS, hashes.SHA256())
    except InvalidSignature:
        raise BadSeal from None


def _check_algorithm(signed: str, header: dict[str, str]) -> None:
    try:
        said = msgspec.json.decode(_decode(signed.partition(".")[0]))
    except msgspec.DecodeError:
        raise BadSeal from None
    if not isinstance(said, dict) or said.get("alg") != header["alg"]:
        raise BadSeal


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise BadSeal from None
