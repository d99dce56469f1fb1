"""Calls to GBPrimePay: credentials, bodies, answers opened. A body may be plain text, so none is taken for JSON."""

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from gateway.providers import gbprimepay_wire
from gateway.providers.base import NOT_JSON, Declined, NotAttempted, ProviderAccount, Unknown
from gateway.providers.gbprimepay_wire import Found, Transaction
from gateway.providers.http import Answer, ProviderHttp

Object = TypeVar("Object", gbprimepay_wire.Charged, gbprimepay_wire.IssuedQr, gbprimepay_wire.GivenBack)

INQUIRY: Final = "/v1/check_status_txn"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
NOT_LET_IN: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
"""ASSUMED: a wrong key is refused by its status before anything is looked at."""

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class GbprimepayClient:
    """Authorised calls, over the HTTP that all adapters share."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http

    async def post_json(
        self, account: ProviderAccount, operation: str, path: str, body: Mapping[str, Any]
    ) -> Answer | NotAttempted | Unknown:
        """Post JSON with the account's secret key; decimals become JSON numbers as they stand."""
        headers = {"authorization": _basic(account), "content-type": JSON}
        return await self._http.send(account, operation, "POST", path, headers=headers, body=_ENCODER.encode(body))

    async def post_form(
        self, account: ProviderAccount, operation: str, path: str, fields: Mapping[str, str]
    ) -> Answer | NotAttempted | Unknown:
        """Post a form; it bears its credential among its fields."""
        body = urlencode(fields).encode()
        return await self._http.send(account, operation, "POST", path, headers={"content-type": FORM}, body=body)

    async def file(
        self, account: ProviderAccount, path: str, parameters: Mapping[str, str]
    ) -> bytes | NotAttempted | Unknown:
        """Fetch a file: the body as it stands, where the status is 200."""
        headers = {"authorization": _basic(account)}
        answer = await self._http.send(account, "statement", "GET", path, headers=headers, parameters=parameters)
        if isinstance(answer, Answer):
            return answer.body if answer.status == HTTPStatus.OK else Unknown(reason=f"http_{answer.status}")
        return answer

    async def find(self, account: ProviderAccount, reference: str) -> tuple[Transaction, ...] | NotAttempted | Unknown:
        """The transactions under a provider key or its `referenceNo`; none where GBPrimePay does not know it."""
        reference_no = gbprimepay_wire.reference_of(reference)
        answer = await self.post_json(account, "inquiry", INQUIRY, {"referenceNo": reference_no})
        if not isinstance(answer, Answer):
            return answer
        if answer.status in NOT_LET_IN:
            return NotAttempted(reason=f"http_{answer.status}")
        try:
            found = msgspec.json.decode(answer.body, type=Found)
        except NOT_JSON as error:
            return Unknown(reason=f"http_{answer.status} not understood: {error}")
        if found.result_code == gbprimepay_wire.INVALID_DATA:
            return ()
        if found.result_code != gbprimepay_wire.SUCCESS:
            return Unknown(reason=f"result code {found.result_code!r}")
        return found.transactions


def read(
    answer: Answer | NotAttempted | Unknown, kind: type[Object], refusals: Mapping[str, str]
) -> Object | Declined | NotAttempted | Unknown:
    """The object in an answer with result code 00; else what became of the request.

    Args:
        answer: what was sent back.
        kind: wire type of the object.
        refusals: result codes that are a no, with our word for each. Any other code is unknown.
    """
    if not isinstance(answer, Answer):
        return answer
    if answer.status in NOT_LET_IN:
        return NotAttempted(reason=f"http_{answer.status}")
    if answer.status not in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST}:
        return Unknown(reason=f"http_{answer.status}")
    if answer.body.strip() == gbprimepay_wire.INCOMPLETE:
        return _refused(gbprimepay_wire.INVALID_DATA, gbprimepay_wire.INCOMPLETE.decode(), refusals)
    return _opened(answer, kind, refusals)


def _opened(answer: Answer, kind: type[Object], refusals: Mapping[str, str]) -> Object | Declined | Unknown:
    try:
        said = msgspec.json.decode(answer.body, type=kind)
    except NOT_JSON as error:
        return Unknown(reason=f"answer not understood: {error}")
    if said.result_code != gbprimepay_wire.SUCCESS:
        return _refused(said.result_code, said.result_message, refusals)
    return said if answer.status == HTTPStatus.OK else Unknown(reason=f"http_{answer.status} with result code 00")


def _refused(result_code: str, message: str, refusals: Mapping[str, str]) -> Declined | Unknown:
    if result_code not in refusals:
        return Unknown(reason=f"result code {result_code!r}")
    return Declined(failure_code=refusals[result_code], provider_code=result_code, message=message)


def _basic(account: ProviderAccount) -> str:
    return "Basic " + base64.b64encode(f"{account.credentials['secret_key']}:".encode()).decode()
