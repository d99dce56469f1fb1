"""Calls to TrueMoney: signed by the merchant, and believed only with TrueMoney's signature under the answer."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.foundation.clock import BANGKOK, business_date_of, real_now
from gateway.providers import truemoney_wire
from gateway.providers.base import NOT_JSON, NotAttempted, ProviderAccount, Unknown
from gateway.providers.http import Answer, ProviderHttp
from gateway.providers.truemoney_signature import Keys, KeyUnreadable, NotProved, check, open_keys, signed_headers
from gateway.providers.truemoney_wire import PAYMENT_ID, Misunderstood, Payment, Reply

API_VERSION: Final = "1.0"
PAYMENTS: Final = "/payments"
"""The inquiry below it is ASSUMED: clients show both look-ups, by id and by our reference and day, but no path."""
GET_SIGNS_NOTHING: Final = b""
"""ASSUMED: a request without a body signs its time alone."""
CHECKOUT_SECONDS: Final = 2 * 60 * 60
"""How long an aggregator of TrueMoney lets a hosted checkout live."""
LATE_SECONDS: Final = 10 * 60
"""How far the day of a payment is looked for around its life: clocks differ."""

NOT_LET_IN: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


class TrueMoneyClient:
    """Signed calls, over the HTTP that all adapters share.

    Args:
        http: shared by all adapters.
        now: real time; signatures live by it.
    """

    def __init__(self, http: ProviderHttp, now: Callable[[], datetime] = real_now) -> None:
        self._http = http
        self.now = now

    async def call(
        self,
        account: ProviderAccount,
        operation: str,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply | NotAttempted | Unknown:
        """Call and open the envelope. Whatever is not signed by TrueMoney is unknown, whatever it says."""
        content = None if body is None else msgspec.json.encode(body)
        answer = await self._send(account, operation, method, path, parameters=parameters, content=content)
        if not isinstance(answer, Answer):
            return answer
        try:
            opened = msgspec.json.decode(answer.body, type=truemoney_wire.Envelope)
        except NOT_JSON as error:
            return Unknown(reason=f"http_{answer.status} not understood: {error}")
        code = opened.status.code
        # A business error may come with any status, so its word comes before the status.
        stopped = answer.status in NOT_LET_IN and code not in truemoney_wire.BUSINESS_WORDS
        if stopped or code in truemoney_wire.NOT_LET_IN:
            return NotAttempted(reason=opened.status.message or f"http_{answer.status}", provider_code=code)
        if code == truemoney_wire.SUCCESS and answer.status != HTTPStatus.OK:
            return Unknown(reason=f"http_{answer.status} {code}")
        return Reply(code=code, message=opened.status.message, data=bytes(opened.data))

    async def file(
        self, account: ProviderAccount, operation: str, path: str, *, parameters: Mapping[str, str]
    ) -> bytes | NotAttempted | Unknown:
        """Fetch a file: the signed body as it stands, where the status is 200."""
        answer = await self._send(account, operation, "GET", path, parameters=parameters, content=None)
        if isinstance(answer, Answer):
            return answer.body if answer.status == HTTPStatus.OK else Unknown(reason=f"http_{answer.status}")
        return answer

    async def find(
        self, account: ProviderAccount, reference: str, first: datetime, last: datetime
    ) -> Payment | Unknown | None:
        """The payment of a reference: TrueMoney's id of it, or our provider key with the days it may be of."""
        if is_payment_id(reference):
            return await self._look_up(account, reference, f"{PAYMENTS}/{reference}", {})
        for moment in _days(first, last):
            parameters = {"isv_payment_ref": reference, "transaction_date": moment.isoformat(timespec="seconds")}
            found = await self._look_up(account, reference, PAYMENTS, parameters)
            if found is not None:
                return found
        return None

    async def _look_up(
        self, account: ProviderAccount, reference: str, path: str, parameters: Mapping[str, str]
    ) -> Payment | Unknown | None:
        reply = await self.call(account, "inquiry", "GET", path, parameters=parameters)
        if not isinstance(reply, Reply):
            return Unknown(reason=reply.reason)
        if reply.code == truemoney_wire.NOT_FOUND:
            return None
        if reply.code != truemoney_wire.SUCCESS:
            return Unknown(reason=f"code {reply.code}")
        try:
            return _asked_about(account, reference, reply.data_as(Payment))
        except Misunderstood as error:
            return Unknown(reason=f"payment not understood: {error}")

    async def _send(
        self,
        account: ProviderAccount,
        operation: str,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None,
        content: bytes | None,
    ) -> Answer | NotAttempted | Unknown:
        try:
            keys = open_keys(account.credentials)
        except KeyUnreadable as error:
            return NotAttempted(reason=str(error))
        headers = self._headers(account, keys, content)
        answer = await self._http.send(
            account, operation, method, path, headers=headers, parameters=parameters, body=content
        )
        if not isinstance(answer, Answer):
            return answer
        try:
            check(keys, answer.headers, answer.body, self.now())
        except NotProved as error:
            return Unknown(reason=f"http_{answer.status} {error.code}")
        return answer

    def _headers(self, account: ProviderAccount, keys: Keys, content: bytes | None) -> dict[str, str]:
        signed = signed_headers(keys, GET_SIGNS_NOTHING if content is None else content, self.now())
        return {
            "x-api-key": account.credentials["api_key"],
            "x-api-version": API_VERSION,
            "content-type": "application/json",
            **signed,
        }


def is_payment_id(reference: str) -> bool:
    """Whether it is TrueMoney's id of a payment, and safe in a path."""
    return PAYMENT_ID.fullmatch(reference) is not None


def life_of(created_at: datetime, expires_at: datetime | None) -> tuple[datetime, datetime]:
    """From when to when a charge can have become a payment."""
    return created_at, max(expires_at or created_at, created_at + timedelta(seconds=CHECKOUT_SECONDS))


def _asked_about(account: ProviderAccount, reference: str, payment: Payment) -> Payment:
    if reference not in {payment.payment_id, payment.isv_payment_ref}:
        raise Misunderstood("it is not the payment that was asked about")
    if (payment.merchant, payment.currency) != (account.credentials["merchant_id"], truemoney_wire.CURRENCY):
        raise Misunderstood("it is of another merchant or currency")
    return payment


def _days(first: datetime, last: datetime) -> list[datetime]:
    """One moment on each business date of the span, the first of them `first` itself.

    ASSUMED: TrueMoney looks at the day of `transaction_date`, since nobody knows its own second of a payment.
    """
    beginning, end = first - timedelta(seconds=LATE_SECONDS), last + timedelta(seconds=LATE_SECONDS)
    moments = [first.astimezone(BANGKOK)]
    known = business_date_of(first)
    span = (business_date_of(end) - business_date_of(beginning)).days
    for number in range(span + 1):
        moment = (beginning + timedelta(days=number)).astimezone(BANGKOK).replace(hour=0, minute=0, second=0)
        if moment.date() != known:
            moments.append(moment.replace(microsecond=0))
    return moments
