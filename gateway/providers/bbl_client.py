"""Calls to Bangkok Bank: the Open API with token and signature, and iPay's merchant API with its login."""

import asyncio
import base64
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK, real_now
from gateway.providers import bbl_wire
from gateway.providers.base import NOT_JSON, NotAttempted, ProviderAccount, Unknown
from gateway.providers.bbl_wire import Reply
from gateway.providers.http import Answer, ProviderHttp

OAUTH: Final = "/oauth/accesstoken"
SCOPE: Final = "CREATE READ"
ORIGIN: Final = "https://quickkub.invalid"
"""ASSUMED: partners send their own address, and the bank does not compare it; credential `origin` overrides it."""
SIGNATURE_SECONDS: Final = 24 * 60 * 60
RENEW_BEFORE_SECONDS: Final = 60
TOKEN_SECONDS: Final = 300
"""ASSUMED life of a token whose answer does not tell it."""
IPAY_PATH: Final = "/ipay"
"""Where iPay lives below the account's address, unless the credential `ipay_base_url` names its own host."""
ORDER_API: Final = "/merchant/api/orderApi.jsp"
STATEMENT: Final = "/merchant/report"
"""ASSUMED: the merchant report is downloaded from the portal by hand. Here: GET with merchantId and date, the login as
HTTP Basic, the file as the body, 404 until the day is over."""

NOT_LET_IN: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


class _Token(msgspec.Struct, frozen=True):
    text: str
    renew_at: datetime


class BblClient:
    """Authorised calls to both products.

    Args:
        http: shared by all adapters.
        now: real time; tokens and signatures live by it.
    """

    def __init__(self, http: ProviderHttp, now: Callable[[], datetime] = real_now) -> None:
        self._http = http
        self._now = now
        self._tokens: dict[tuple[str, str, str], _Token] = {}
        self._locks: dict[tuple[str, str, str], asyncio.Lock] = {}

    async def call(
        self, account: ProviderAccount, operation: str, path: str, body: Mapping[str, Any]
    ) -> Reply | NotAttempted | Unknown:
        """Call the Open API and open the envelope; repeated once, with a new token, where the old one is refused."""
        token = await self._token(account, unlike=None)
        for renewed in (False, True):
            if isinstance(token, NotAttempted):
                return token
            try:
                headers = self._headers(account, body, token.text)
            except bbl_wire.KeyUnusable:
                return NotAttempted(reason="the account's private key is no RSA key in PEM")
            answer = await self._http.send(
                account, operation, "POST", path, headers=headers, body=msgspec.json.encode(body)
            )
            if renewed or not isinstance(answer, Answer) or answer.status != HTTPStatus.UNAUTHORIZED:
                return _opened(answer)
            token = await self._token(account, unlike=token)
        raise AssertionError("the second round returns")

    async def order(
        self, account: ProviderAccount, operation: str, action: str, fields: Mapping[str, str]
    ) -> bytes | NotAttempted | Unknown:
        """Call iPay's merchant API; the body of a 200 as it stands."""
        form = {
            "merchantId": account.credentials["merchant_id"],
            "loginId": account.credentials["login_id"],
            "password": account.credentials["password"],
            "actionType": action,
            **fields,
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._http.send(
            ipay(account), operation, "POST", ORDER_API, headers=headers, body=urlencode(form).encode()
        )
        return _body(answer)

    async def report(self, account: ProviderAccount, on: str) -> bytes | NotAttempted | Unknown:
        """Fetch the merchant report of a day."""
        headers = {"authorization": _basic(account.credentials["login_id"], account.credentials["password"])}
        parameters = {"merchantId": account.credentials["merchant_id"], "date": on}
        answer = await self._http.send(
            ipay(account), "statement", "GET", STATEMENT, headers=headers, parameters=parameters
        )
        return _body(answer)

    def _headers(self, account: ProviderAccount, body: Mapping[str, Any], token: str) -> dict[str, str]:
        now = self._now()
        issued_at = int(now.timestamp())
        claims = {**body, "iat": issued_at, "exp": issued_at + SIGNATURE_SECONDS, "jti": str(uuid4())}
        local = now.astimezone(BANGKOK)
        return {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "Signature": bbl_wire.signed(account.credentials["private_key"], claims),
            "Request-Ref": f"{local:%Y%m%d%H%M%S}{secrets.token_hex(8)}",
            "Transmit-Date-Time": local.isoformat(timespec="milliseconds"),
            "Origin": account.credentials.get("origin", ORIGIN),
        }

    async def _token(self, account: ProviderAccount, *, unlike: _Token | None) -> _Token | NotAttempted:
        """A token that is not `unlike`. Whatever goes wrong here, the operation itself was not attempted."""
        key = (account.base_url, account.credentials["consumer_key"], account.credentials["consumer_secret"])
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._tokens.get(key)
            if known is not None and known != unlike and self._now() < known.renew_at:
                return known
            fetched = await self._fetch(account)
            if isinstance(fetched, _Token):
                self._tokens[key] = fetched
            return fetched

    async def _fetch(self, account: ProviderAccount) -> _Token | NotAttempted:
        headers = {
            "authorization": _basic(account.credentials["consumer_key"], account.credentials["consumer_secret"]),
            "content-type": "application/x-www-form-urlencoded",
        }
        asked_at = self._now()
        form = urlencode({"grant_type": "client_credentials", "scope": SCOPE}).encode()
        answer = await self._http.send(account, "token", "POST", OAUTH, headers=headers, body=form)
        if not isinstance(answer, Answer):
            return NotAttempted(reason=f"token: {answer.reason}")
        if answer.status != HTTPStatus.OK:
            return NotAttempted(reason=f"token: http_{answer.status}")
        try:
            granted = msgspec.json.decode(answer.body, type=bbl_wire.AccessToken)
            seconds = TOKEN_SECONDS if granted.expires_in is None else int(granted.expires_in)
        except (*NOT_JSON, ValueError) as error:
            return NotAttempted(reason=f"token: {error}")
        if not granted.text:
            return NotAttempted(reason="token: none in the answer")
        return _Token(text=granted.text, renew_at=asked_at + timedelta(seconds=seconds - RENEW_BEFORE_SECONDS))


def ipay(account: ProviderAccount) -> ProviderAccount:
    """The same account at iPay's address."""
    own = account.credentials.get("ipay_base_url", "").rstrip("/")
    return replace(account, base_url=own or account.base_url + IPAY_PATH)


def _opened(answer: Answer | NotAttempted | Unknown) -> Reply | NotAttempted | Unknown:
    """An answer without a readable envelope is unknown, unless its status says that nobody was let in."""
    if not isinstance(answer, Answer):
        return answer
    reply = bbl_wire.envelope(answer.body)
    if reply is not None:
        return reply
    if answer.status in NOT_LET_IN:
        return NotAttempted(reason=f"http_{answer.status}")
    return Unknown(reason=f"http_{answer.status} without an envelope")


def _body(answer: Answer | NotAttempted | Unknown) -> bytes | NotAttempted | Unknown:
    if not isinstance(answer, Answer):
        return answer
    if answer.status == HTTPStatus.OK:
        return answer.body
    if answer.status in NOT_LET_IN:
        return NotAttempted(reason=f"http_{answer.status}")
    return Unknown(reason=f"http_{answer.status}")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
