"""An account with the invented Bangkok Bank; its key is the one of the published test vectors."""

import hashlib

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.providers.base import ProviderAccount

PRIMES_AFTER = {"p": 244, "q": 948}
"""How far the primes of the key lie behind the number that is made of their label."""


def merchant_key() -> rsa.RSAPrivateKey:
    primes = []
    for name, offset in PRIMES_AFTER.items():
        label = f"quickkub-bbl-merchant/{name}"
        raw = b"".join(hashlib.sha512(f"{label}|{part}".encode()).digest() for part in range(2))
        primes.append((int.from_bytes(raw, "big") | (3 << 1022) | 1) + offset)
    p, q = primes
    exponent = 65537
    d = pow(exponent, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(exponent, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


CREDENTIALS = {
    "consumer_key": "quickkub-consumer",
    "consumer_secret": "quickkub-secret",
    "private_key": merchant_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    "biller_id": "099999999999901",
    "merchant_name": "QUICKKUB",
    "merchant_id": "9999",
    "login_id": "quickkub",
    "password": "invented-password",
    "secure_hash_secret": "invented-secure-hash-secret",
}


def account_at(url: str, **credentials: str | None) -> ProviderAccount:
    """The account; a credential that is None is left out."""
    merged = {**CREDENTIALS, **credentials}
    return ProviderAccount(
        account_id="pa_test_bbl",
        book_id=7,
        provider="bbl",
        base_url=url,
        callback_url="http://127.0.0.1:1/v1/callbacks/x/y",
        livemode=False,
        credentials={name: value for name, value in merged.items() if value is not None},
    )
