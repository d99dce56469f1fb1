"""The two compact serialisations that 2C2P speaks, over `cryptography`: JWS (HS256, PS256) and JWE (RSA-OAEP, A256GCM).

Each function takes the one algorithm that its place on the wire has; a header that names another, or asks for an
extension, is not genuine. What cannot be proved is never returned.
"""

import base64
import binascii
import hmac
import re
import secrets
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.providers.base import NOT_JSON

JWT_HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
JWS_HEADER: Final = b'{"alg":"PS256","typ":"JWT"}'
JWE_HEADER: Final = b'{"alg":"RSA-OAEP","enc":"A256GCM"}'
"""Exactly these bytes are documented."""
KEY_BYTES: Final = 32
IV_BYTES: Final = 12
TAG_BYTES: Final = 16

_JWS_PARTS: Final = 3
_JWE_PARTS: Final = 5
_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
# SHA-1 is in the name RSA-OAEP itself (RFC 7518, 4.3); it is a mask here and no signature.
_OAEP: Final = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303 - its name
_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class NotGenuine(Exception):
    """The token is not what its sender would have made; the message says why and holds nothing of it."""


class _Header(msgspec.Struct, frozen=True):
    alg: str
    enc: str | None = None
    crit: msgspec.Raw | None = None
    zip: str | None = None


def sign_hs256(claims: bytes, key: str) -> str:
    """A JWT over JSON bytes; the key is the text of the secret as UTF-8."""
    signed = f"{_encoded(JWT_HEADER)}.{_encoded(claims)}"
    return f"{signed}.{_encoded(hmac.digest(key.encode(), signed.encode(), 'sha256'))}"


def verify_hs256(token: str, key: str) -> bytes:
    """The JSON bytes of a JWT.

    Raises:
        NotGenuine: malformed, another algorithm, or not signed with the key.
    """
    header, claims, signature = _parts(token, _JWS_PARTS)
    _check_header(header, alg="HS256")
    signed = token.rpartition(".")[0]
    if not hmac.compare_digest(hmac.digest(key.encode(), signed.encode(), "sha256"), signature):
        raise NotGenuine("the signature does not fit")
    return claims


def sign_ps256(payload: bytes, key: RSAPrivateKey) -> str:
    """A JWS over any bytes."""
    signed = f"{_encoded(JWS_HEADER)}.{_encoded(payload)}"
    return f"{signed}.{_encoded(key.sign(signed.encode(), _PSS, hashes.SHA256()))}"


def verify_ps256(token: str, key: RSAPublicKey) -> bytes:
    """The payload of a JWS.

    Raises:
        NotGenuine: malformed, another algorithm, or not signed with the key.
    """
    header, payload, signature = _parts(token, _JWS_PARTS)
    _check_header(header, alg="PS256")
    try:
        key.verify(signature, token.rpartition(".")[0].encode(), _PSS, hashes.SHA256())
    except InvalidSignature:
        raise NotGenuine("the signature does not fit") from None
    return payload


def encrypt(plain: bytes, key: RSAPublicKey) -> str:
    """A JWE that only the holder of the private key reads."""
    content_key, iv = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(IV_BYTES)
    header = _encoded(JWE_HEADER)
    sealed = AESGCM(content_key).encrypt(iv, plain, header.encode())
    parts = (key.encrypt(content_key, _OAEP), iv, sealed[:-TAG_BYTES], sealed[-TAG_BYTES:])
    return ".".join([header, *(_encoded(part) for part in parts)])


def decrypt(token: str, key: RSAPrivateKey) -> bytes:
    """The plain bytes of a JWE.

    Raises:
        NotGenuine: malformed, other algorithms, for another key, or changed on its way.
    """
    header, content_key, iv, ciphertext, tag = _parts(token, _JWE_PARTS)
    _check_header(header, alg="RSA-OAEP", enc="A256GCM")
    if (len(iv), len(tag)) != (IV_BYTES, TAG_BYTES):
        raise NotGenuine("nonce or tag has a wrong length")
    try:
        opened = key.decrypt(content_key, _OAEP)
        if len(opened) != KEY_BYTES:
            raise NotGenuine("it cannot be opened")
        return AESGCM(opened).decrypt(iv, ciphertext + tag, token.partition(".")[0].encode())
    except (ValueError, InvalidTag):
        # One word for every reason: which step failed is nobody's business.
        raise NotGenuine("it cannot be opened") from None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _parts(token: str, count: int) -> list[bytes]:
    parts = token.split(".")
    if len(parts) != count or not all(_PART.fullmatch(part) for part in parts):
        raise NotGenuine(f"not {count} parts of base64url")
    try:
        return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts]
    except binascii.Error:
        raise NotGenuine(f"not {count} parts of base64url") from None


def _check_header(header: bytes, *, alg: str, enc: str | None = None) -> None:
    try:
        said = msgspec.json.decode(header, type=_Header)
    except NOT_JSON:
        raise NotGenuine("the header is not JSON") from None
    if (said.alg, said.enc, said.crit, said.zip) != (alg, enc, None, None):
        raise NotGenuine("the header names another algorithm or an extension")
