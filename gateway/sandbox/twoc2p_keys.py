"""The key pair that the sandbox holds in 2C2P's place. Invented: it opens and signs nothing outside the sandbox."""

from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PRIVATE_KEY: Final = """-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCuuOOQWUOaa0Yd
U8DfcZZhdg7APCpcs/WY9MuixJhQItmg+BU/WVjFZi49jM7VL3Mm7t5UgZ7NpoNu
zsIU0E//hNRRYJ3FKiUPzHH//Tz/OzUAk75it+Fpnq0pfNjEyg47oiZQ5U8TufdN
4GcRpCZzwcRjgZY32YudkF6hngCUYlrYOckTG4FtQ2y6qbTrV8cI9kxUsR2SuWaJ
O2TLX2MhBmWtDVELBTybpgoZjxBErPAP3PxGmxigfJFw5sNEoXOh7f20s/hHXzcY
HEa77TnmjpgM2bxWtt/ILBFECFVYex8RjNu7p8EhO1Fgt5jld41ZHkecHbyfKXqy
bkRO0RjrAgMBAAECggEAHpWewBXgD5fXniqbCIIJoOXZjyz4/WFDDJNNUiC3yM9Q
6SyEC6LIN0W7smqDii3UKmyF3qUR902+lBb9Qkd0uXW29MfE1k6aTjmrevQJSWRD
0uYJ3Z3yh1qPVUPVbh0wgJ/RtTdusDVNZQRzBlOFp52zkveMJBqgpeQvrHrL/y0u
HQwB5lMBXgoKtzQ7IcOp5zKZKBGxzm/24sw7GfYpvoD8KJJmS7jGO0qYcw8umEFU
OmLzftW4DvOsYq0bmPTomq0Q6T1no8ICxzJyIY/Wj9eviXyotY+C1UztWkScs+fo
hLX5wgCJrTscLV8uJ46N4b4WrmqGKi1K/Sd8J2aLAQKBgQDjYkrbHeqyQzHdZcNY
WmTNzM0skm7t0hKo3BriyYlDzI7KYHuZ2lSu+2jJNC+hE7Mk+gatnTKjWiAjMEo9
wBEuTMykmytcEafkoY5KPae2GSXV/YgQbhfYs2VCasEOxdbTh/eKVytp+WQsWHhT
7bQl3yF6RA4MGmhku1m3lKAouQKBgQDEtfmqEUmhcIIwr/gpYA+iOyrmwDsurbBD
JhhXvOYbTF9yYgYjDyX6E4u4M2UcMPo6lBH7EuMgjSafBo7+ECf6uEMCMpByDYMM
RvOJFC+NzoT6ck4NVPqZt/NhE27AfdSTYOn4qvNVECsyaRwFnu7XlNsNVS2UNQ5y
65mE5bC0wwKBgEex3lhofm/mr/pW89kP52jcgnTjVwa1jhygCfooAZfXD87PzSkd
pkXmD4whYEMxqvKlwyVKw4SuDiQKPd5qiQBIRt4/7tQA3SdBqVPPTOol08A9SIGl
tO8m4W6nqme2CZ546Jw+D/pCIEu7OXV9JagrSqr6elNmoDPivs8blcRBAoGAPXTJ
AnwSL/DRi9p+Qpbza3Dmz17BXqz/A4uUUVz/2wl6TGcZmbxy1fVjUnIkJbGbi8+U
6ocVFKdkqIxJAlET3H3S2Y3omOllxuEn1uzKipg57XDmt72T6ZCR5gNHN7ZYQo8l
qf3mte2uQTqbeZoU7p9f7INvEP2efQLkXKPSGDcCgYB/vr7UN2lAlMd+rwo1Mh8D
xTsTs5TRyw+xUge9YfSSn2S1zyPKhQWBQ0mLvdBxynRefpMmpozJYlRBXpP0ja0T
lrzW0oH4UumbstpsQQwoHhanybk+EvBUrqsF2eJbynZ9d85/6y2VSwJ9G3isjNxt
Y5+nNK/Vv4KqRVx3DEfehA==
-----END PRIVATE KEY-----
"""
"""Its public half is given to every test account."""


def private_key() -> RSAPrivateKey:
    """The sandbox's own key."""
    return private_key_of(PRIVATE_KEY)


@lru_cache(maxsize=64)
def private_key_of(pem: str) -> RSAPrivateKey:
    """A key from its PEM; kept, because reading one takes a tenth of a second.

    Raises:
        ValueError: not an RSA key.
    """
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("2C2P works with RSA keys")  # noqa: TRY004 - a wrong credential is a wrong value
    return key


def public_key_of(pem: str) -> RSAPublicKey:
    """The public half of a merchant's key; the sandbox is told the whole key and uses no more of it.

    Raises:
        ValueError: not an RSA key.
    """
    return private_key_of(pem).public_key()
