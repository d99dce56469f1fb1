"""TrueMoney's words and signatures as the sandbox writes and reads them; refusals end in an answer of its own shape."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.foundation.clock import BANGKOK, real_now
from gateway.sandbox.wire import Answer, Refusal, json_answer

TOLERANCE_SECONDS: Final = 300
"""ASSUMED, either way."""
PREFIX: Final = "digest-alg=RSA-SHA; key-id=KEY:RSA:rsf.org; data="
TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
SIGNING_KEY: Final = """-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDq6YdmQIc5biUG
/AE4f2OIZiox7mNgajvGhUdqavUswLebbQuxDZ6nX2dtdHCjiw/BVtd9en15dWFn
WxJHIxt6ggFWU9qIOTTRnm2jppyszJv5mTomvpDorbktTmHLE8GlzxGRwBLMNONW
xBFsuw939oYmXmrh3ExJl0L4EKHLf3xOXocy8mGi26smqFX+D/cgOKb/zmfk75fj
ErTy1gJTxn5rz2EcUIe8A4uIbAa2cSuDaFFQwiFEOIyexZIGhAMqf7kmkxAEGXDK
hVym1kpTW74RUh/2+Bcidw4RSWoKEJ4WbyG+e+HBFFtJEo7FcaH4NbTxDSxkJlj4
ClNB13KXAgMBAAECggEBAIOlIYrtCJrnnfp/CVQXF7ldv7HBrZFfl2YWVMJPdFyD
F6IThyTOxCV58qVFRsZv7QFlYFfiaCTD4jUgtWqGQyTxbDxru6Dxpib+yOSYP18b
PyGufAcwblbm3EqGjYlX5gK8u1TZte8YiHqcYEN1xSJuVhl0eiNe6KWpDg+kindW
RHolcUVWqIPuMb6HNx2lY/fP7w6sNHqUy82N7eunhWn86bo9Fv4LL/bVot66qt/i
jXMVKJP+VIj+ki75Fst7TQCzMhziDPFk8qWruuyDp4f6JKIXml9Axjgk3uAylraD
vDNUkGCm93u1KJ1y+fPMZK1895ToZWvyruXyK80GIKECgYEA+JaIYphM3MqTB8oo
89pZxLRBdzlopwt1/9ca8cFym+2N5H4PFfJlvPlHHTlWk76lgIZAZVeZcpiqp8e0
813Id1Elp3tqxcsasQou1CN68s1LeBZy3Zpd7xegLk2sG3D8VLDrMPYGqHa+xjX8
vOemjnN3aWSBcw1OYLsy8KBAfxECgYEA8eqb7HkwexbYOsXubjL8t/qrkrxbvGIM
0ad8Mh84cPZ6JwV+UVFP8+Dta6okA05bfBveun8mi7KX9TWr67Zb5VIHMWBLcU8r
Jl1OwdXnEbYT3aVp+tjR2moE0o4JgiSaAgNDU9SHNNMb5oMJ8k0NM1wi9d0GjZyh
SdI6uLMgpycCgYBoDlMOumPKND2xkAzubmMPNMkGiBBnhCOjsT4FHo3D+X9guufD
rxCpNstuzzaPZ8lNcGT6Rt3jm0YsLytuh75HO7+ASOgb3XXRz8pkYGmxwv+pR/RT
EK/rSj9xwm+dmQD2zovUldeZowMeYzDlPi55CJpekoShTVuWoCWlld8JkQKBgAWl
zoIUyjb1b5LfsBNOiWvaJEtGrnWVbGswl8urwuuQNYXXsP1BArbU13YeAL07BRO+
qtJ7yXCVeMq2uA7GsRqHcbeLYfeBO6anowEPd1eIgqo4BGNg0HVi6D3qJvqs1BOb
8+RvH8Dx9MLK6F6Jwfci/YXz5QVFVNaeW9SYCfkdAoGAfFZleLLAd/8uIE58aGND
pweTd7/XrQ+Z6kFb+yileuwiXGrQSU691k5/FQGHHGQ0Zqnif9G7N0RlEP72gOiE
tSLb95xd9EIRQpGbd8yhvzoO8NlKB44GkehpMMiWwGFBTQ9Uicm+kuWC41Mti6kW
KajRpZB5D+LzOIZTpgBds3s=
-----END PRIVATE KEY-----
"""
"""Invented, and worth nothing: it signs for the sandbox only, and test accounts trust its public half."""


def refuse(status: int, code: str, message: str) -> NoReturn:
    """Say no as TrueMoney does.

    Raises:
        Refusal: always.
    """
    raise Refusal(refusal(status, code, message))


def refusal(status: int, code: str, message: str) -> Answer:
    """A no that leaves something behind, so that it is answered and not raised."""
    return json_answer({"status": {"code": code, "message": message}}, status)


def success(data: Mapping[str, Any]) -> Answer:
    """Everything went well."""
    return json_answer({"status": {"code": "success", "message": "Success"}, "data": data})


def signed_headers(body: bytes, *, forged: bool = False) -> dict[str, str]:
    """The two headers over a body that is sent now; a forger signs with a key of his own."""
    timestamp = str(int(real_now().timestamp()))
    key = _forgers_key() if forged else _our_key()
    signature = base64.b64encode(key.sign(timestamp.encode() + body, PKCS1v15(), SHA256())).decode()
    return {"Timestamp": timestamp, "Content-Signature": PREFIX + signature}


def is_signed_by(private_key: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the merchant with this key signed the body, within the tolerance of real time.

    Args:
        private_key: PEM; registration hands the whole key over, of which only the public half is used.
        headers: of the request or reply, lower case.
        body: raw bytes.
    """
    timestamp, header = headers.get("timestamp", ""), headers.get("content-signature", "")
    if not TIMESTAMP.fullmatch(timestamp) or not header.startswith(PREFIX):
        return False
    if abs(real_now().timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    try:
        signature = base64.b64decode(header.removeprefix(PREFIX), validate=True)
        key = load_pem_private_key(private_key.encode(), password=None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, RSAPrivateKey):
            return False
        key.public_key().verify(signature, timestamp.encode() + body, PKCS1v15(), SHA256())
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def moment_text(moment: datetime) -> str:
    """`2026-01-01T09:00:00.000+07:00`."""
    return moment.astimezone(BANGKOK).isoformat(timespec="milliseconds")


@cache
def _our_key() -> RSAPrivateKey:
    key = load_pem_private_key(SIGNING_KEY.encode(), password=None)
    assert isinstance(key, RSAPrivateKey), "it is our own"
    return key


@cache
def _forgers_key() -> RSAPrivateKey:
    return generate_private_key(65_537, 2048)
