"""Calls to SCB with a token: fetched once for all who wait, renewed before it ends, and once when SCB says so."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final
from uuid import uuid4

import msgspec

from gateway.foundation.clock import real_now
from gateway.providers import scb_wire
from gateway.providers.base import NotAttempted, ProviderAccount, Unknown
from gateway.providers.http import Answer, ProviderHttp
from gateway.providers.scb_wire import MalformedRow, Reply

OAUTH: Final = "/v1/oauth/token"
SUCCESS: Final = 1000
TOKEN_EXPIRED: Final = 9300
RENEW_BEFORE_SECONDS: Final = 60
JSON: Final = "application/json"


class _Token(msgspec.Struct, frozen=True):
    text: str
    renew_at: datetime


class ScbClient:
    """Authorised calls.

    Args:
        http: shared by all adapters.
        now: real time; tokens live by it.
    """

    def __init__(self, http: ProviderHttp, now: Callable[[], datetime] = real_now) -> None:
        self._http = http
        self._now = now
        self._tokens: dict[tuple[str, str, str], _Token] = {}
        self._locks: dict[tuple[str, str, str], asyncio.Lock] = {}

    async def call(
        self,
        account: ProviderAccount,
        operation: str,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply | NotAttempted | Unknown:
        """Call and open the envelope. An answer without a readable envelope is unknown, whatever its status."""
        answer = await self._authorised(account, operation, method, path, parameters=parameters, body=body)
        if not isinstance(answer, Answer):
            return answer
        reply = scb_wire.envelope(answer.body)
        if reply is not None:
            return reply
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}:
            return NotAttempted(reason=f"http_{answer.status}")
        return Unknown(reason=f"http_{answer.status} without an envelope")

    async def file(
        self, account: ProviderAccount, operation: str, path: str, *, parameters: Mapping[str, str]
    ) -> bytes | NotAttempted | Unknown:
        """Fetch a file: the body as it stands, where the status is 200."""
        answer = await self._authorised(account, operation, "GET", path, parameters=parameters, body=None)
        if isinstance(answer, Answer):
            return answer.body if answer.status == HTTPStatus.OK else Unknown(reason=f"http_{answer.status}")
        return answer

    async def _authorised(
        self,
        account: ProviderAccount,
        operation: str,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None,
        body: bytes | None,
    ) -> Answer | NotAttempted | Unknown:
        """Repeated once, with a new token and a new requestUId, where SCB did not look at it for an old token."""
        token = await self._token(account, unlike=None)
        for renewed in (False, True):
            if isinstance(token, NotAttempted):
                return token
            headers = {**_headers(account), "authorization": f"Bearer {token.text}"}
            answer = await self._http.send(
                account, operation, method, path, headers=headers, parameters=parameters, body=body
            )
            if renewed or not isinstance(answer, Answer) or not _says_token_expired(answer):
                return answer
            token = await self._token(account, unlike=token)
        raise AssertionError("the second round returns")

    async def _token(self, account: ProviderAccount, *, unlike: _Token | None) -> _Token | NotAttempted:
        """A token that is not `unlike`. Whatever goes wrong here, the operation itself was not attempted."""
        key = (account.base_url, account.credentials["application_key"], account.credentials["application_secret"])
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._tokens.get(key)
            if known is not None and known != unlike and self._now() < known.renew_at:
                return known
            fetched = await self._fetch(account)
            if isinstance(fetched, _Token):
                self._tokens[key] = fetched
            return fetched

    async def _fetch(self, account: ProviderAccount) -> _Token | NotAttempted:
        body = {
            "applicationKey": account.credentials["application_key"],
            "applicationSecret": account.credentials["application_secret"],
        }
        asked_at = self._now()
        answer = await self._http.send(
            account, "token", "POST", OAUTH, headers=_headers(account), body=msgspec.json.encode(body)
        )
        if not isinstance(answer, Answer):
            return NotAttempted(reason=f"token: {answer.reason}")
        reply = scb_wire.envelope(answer.body)
        if reply is None:
            return NotAttempted(reason=f"token: http_{answer.status} without an envelope")
        if reply.code != SUCCESS:
            return NotAttempted(reason=f"token: {reply.description}", provider_code=str(reply.code))
        try:
            granted = reply.data_as(scb_wire.AccessToken)
        except MalformedRow as error:
            return NotAttempted(reason=f"token: {error}")
        # Real life runs from before the call; a token shorter than the margin is used once and asked for again.
        return _Token(
            text=granted.access_token,
            renew_at=asked_at + timedelta(seconds=granted.expires_in - RENEW_BEFORE_SECONDS),
        )


def _headers(account: ProviderAccount) -> dict[str, str]:
    return {
        "content-type": JSON,
        "accept-language": "EN",
        "resourceOwnerId": account.credentials["application_key"],
        "requestUId": uuid4().hex,
    }


def _says_token_expired(answer: Answer) -> bool:
    reply = scb_wire.envelope(answer.body)
    return reply is not None and reply.code == TOKEN_EXPIRED
