"""Calls to KBank: the QR product with a bearer token and the partner's secret in the body, KGP with its secret key."""

import asyncio
import base64
import secrets
from collections.abc import Callable, Container, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.foundation.clock import BANGKOK, real_now
from gateway.providers import kbank_wire
from gateway.providers.base import NOT_JSON, Declined, NotAttempted, ProviderAccount, Unknown
from gateway.providers.http import Answer, ProviderHttp
from gateway.providers.invented import UPPER, invented
from gateway.providers.kbank_wire import Charge, GatewayError, QrReply

OAUTH: Final = "/v2/oauth/token"
QR_THAI: Final = "3"
"""`qrType`: Thai QR, so PromptPay."""
TOKEN_EXPIRED: Final = "Access Token expired"  # noqa: S105 - the bank's words
RENEW_BEFORE_SECONDS: Final = 60
KGP_PREFIX: Final = "/kgp"
"""Where KGP stands below an account's base URL; not where `kgp_base_url` names the host that it has live."""
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
NOT_LET_IN: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
NOT_PASSED: Final = NOT_LET_IN | {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
"""Where the bank's API gateway says so in its own shape, the product never saw the request."""

CARD_REFUSALS: Final = {
    "invalid_request": "invalid_request",
    "invalid_amount": "invalid_request",
    "invalid_token": "card_token_not_found",
    "used_token": "card_token_used",
    "duplicate_reference_order": "duplicate",
    "not_found": "charge_not_found",
    "already_settled": "refund_window_over",
    "not_settled": "not_settled",
    "already_voided": "refund_refused",
    "not_voidable": "refund_refused",
    "not_refundable": "refund_refused",
    "refund_refused": "refund_refused",
    "amount_exceeds_charge": "refund_refused",
}
"""ASSUMED: KGP documents no error codes. What is not here is unknown, so a wrong guess costs time and no money."""

_NUMBERS: Final = msgspec.json.Encoder(decimal_format="number")


class _Token(msgspec.Struct, frozen=True):
    text: str
    renew_at: datetime


class KbankClient:
    """Authorised calls.

    Args:
        http: shared by all adapters.
        now: real time; tokens live by it, and requests are dated by it.
    """

    def __init__(self, http: ProviderHttp, now: Callable[[], datetime] = real_now) -> None:
        self._http = http
        self._now = now
        self._tokens: dict[tuple[str, str, str], _Token] = {}
        self._locks: dict[tuple[str, str, str], asyncio.Lock] = {}

    async def qr(
        self,
        account: ProviderAccount,
        operation: str,
        path: str,
        fields: Mapping[str, str],
        *,
        uid: str | None = None,
    ) -> QrReply | NotAttempted | Unknown:
        """Ask the QR product.

        Args:
            account: whose partner credentials go into the body.
            operation: word for logs and metrics.
            path: below the base URL.
            fields: beside the credentials.
            uid: of this very request; None = a new one, for what may be asked any number of times.
        """
        body = {
            "partnerTxnUid": uid or invented(UPPER, kbank_wire.UID_LENGTH),
            "partnerId": account.credentials["partner_id"],
            "partnerSecret": account.credentials["partner_secret"],
            "requestDt": self._now().astimezone(BANGKOK).isoformat(timespec="seconds"),
            "merchantId": account.credentials["merchant_id"],
            "terminalId": account.credentials["terminal_id"],
            "qrType": QR_THAI,
            **fields,
        }
        answer = await self._authorised(account, operation, "POST", path, body=msgspec.json.encode(body))
        ours = {None, "", body["partnerTxnUid"], fields.get("origPartnerTxnUid")}
        return _opened(answer, ours) if isinstance(answer, Answer) else answer

    async def file(
        self, account: ProviderAccount, operation: str, path: str, *, parameters: Mapping[str, str]
    ) -> bytes | NotAttempted | Unknown:
        """Fetch a file: the body as it stands, where the status is 200."""
        answer = await self._authorised(account, operation, "GET", path, parameters=parameters)
        if isinstance(answer, Answer):
            return answer.body if answer.status == HTTPStatus.OK else Unknown(reason=f"http_{answer.status}")
        return answer

    async def card(
        self, account: ProviderAccount, operation: str, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Charge | Declined | NotAttempted | Unknown:
        """Ask KGP for a charge, or to do something with it. A refusal's `failure_code` is of `CARD_REFUSALS`."""
        base_url = account.credentials.get("kgp_base_url", account.base_url + KGP_PREFIX)
        answer = await self._http.send(
            msgspec.structs.replace(account, base_url=base_url),
            operation,
            method,
            path,
            headers={"x-api-key": account.credentials["kgp_secret_key"], "content-type": JSON},
            body=None if body is None else _NUMBERS.encode(body),
        )
        if not isinstance(answer, Answer):
            return answer
        if answer.status != HTTPStatus.OK:
            return _refusal(answer)
        try:
            return msgspec.json.decode(answer.body, type=Charge)
        except NOT_JSON as error:
            return Unknown(reason=f"answer not understood: {error}")

    async def _authorised(
        self,
        account: ProviderAccount,
        operation: str,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer | NotAttempted | Unknown:
        """Repeated once, with a new token and the same body, where the bank did not look at it for an old token."""
        token = await self._token(account, unlike=None)
        for renewed in (False, True):
            if isinstance(token, NotAttempted):
                return token
            headers = {"authorization": f"Bearer {token.text}", "content-type": JSON}
            answer = await self._http.send(
                account, operation, method, path, headers=headers, parameters=parameters, body=body
            )
            if renewed or not isinstance(answer, Answer) or not _says_token_expired(answer):
                return answer
            token = await self._token(account, unlike=token)
        raise AssertionError("the second round returns")

    async def _token(self, account: ProviderAccount, *, unlike: _Token | None) -> _Token | NotAttempted:
        """A token that is not `unlike`. Whatever goes wrong here, the operation itself was not attempted."""
        key = (account.base_url, account.credentials["consumer_id"], account.credentials["consumer_secret"])
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
            "authorization": basic(account.credentials["consumer_id"], account.credentials["consumer_secret"]),
            "content-type": FORM,
        }
        asked_at = self._now()
        answer = await self._http.send(
            account, "token", "POST", OAUTH, headers=headers, body=b"grant_type=client_credentials"
        )
        if not isinstance(answer, Answer):
            return NotAttempted(reason=f"token: {answer.reason}")
        if answer.status != HTTPStatus.OK:
            return NotAttempted(reason=f"token: http_{answer.status}")
        try:
            granted = msgspec.json.decode(answer.body, type=kbank_wire.AccessToken)
            life = timedelta(seconds=int(granted.expires_in) - RENEW_BEFORE_SECONDS)
        except (*NOT_JSON, ValueError, OverflowError):
            return NotAttempted(reason="token: answer not understood")
        # Real life runs from before the call; a token shorter than the margin is used once and asked for again.
        return _Token(text=granted.access_token, renew_at=asked_at + life)


def basic(consumer_id: str, consumer_secret: str) -> str:
    """The header of the token call."""
    return "Basic " + base64.b64encode(f"{consumer_id}:{consumer_secret}".encode()).decode()


def invented_key(prefix: str) -> str:
    """A KGP key that opens nothing."""
    return prefix + secrets.token_hex(16)


def _opened(answer: Answer, ours: Container[str | None]) -> QrReply | NotAttempted | Unknown:
    try:
        reply = msgspec.json.decode(answer.body, type=QrReply)
    except NOT_JSON:
        return _not_opened(answer)
    if answer.status != HTTPStatus.OK:
        return Unknown(reason=f"http_{answer.status} with statusCode {reply.status_code}")
    # An answer without a uid is an early error; one with another's is not the answer to this request.
    if reply.partner_txn_uid not in ours:
        return Unknown(reason="the answer is to another request")
    return reply


def _not_opened(answer: Answer) -> NotAttempted | Unknown:
    error = _gateway_error(answer)
    did_not_pass = answer.status in (NOT_LET_IN if error is None else NOT_PASSED)
    if did_not_pass or (error is not None and error.message == TOKEN_EXPIRED):
        return NotAttempted(reason=f"http_{answer.status}", provider_code=error.code if error else None)
    return Unknown(reason=f"http_{answer.status} without an answer of the product")


def _gateway_error(answer: Answer) -> GatewayError | None:
    try:
        return msgspec.json.decode(answer.body, type=GatewayError)
    except NOT_JSON:
        return None


def _says_token_expired(answer: Answer) -> bool:
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return True
    error = _gateway_error(answer) if answer.status == HTTPStatus.BAD_REQUEST else None
    return error is not None and error.message == TOKEN_EXPIRED


def _refusal(answer: Answer) -> Declined | NotAttempted | Unknown:
    try:
        error = msgspec.json.decode(answer.body, type=kbank_wire.CardError)
    except NOT_JSON:
        error = kbank_wire.CardError(code="", message=f"http_{answer.status} without an error object")
    if answer.status in NOT_LET_IN:
        return NotAttempted(reason=error.message, provider_code=error.code)
    if answer.status < HTTPStatus.BAD_REQUEST or error.code not in CARD_REFUSALS:
        return Unknown(reason=f"http_{answer.status} {error.code}")
    return Declined(failure_code=CARD_REFUSALS[error.code], provider_code=error.code, message=error.message)
