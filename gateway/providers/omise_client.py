"""Calls to Omise: credentials, answers opened into objects, lists read to their end."""

import base64
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.providers import omise_wire
from gateway.providers.base import NOT_JSON, Declined, NotAttempted, ProviderAccount, StatementUnavailable, Unknown
from gateway.providers.http import Answer, ProviderHttp

Object = TypeVar("Object")

API_VERSION: Final = "2019-05-29"
CHARGE_ID_PREFIX: Final = "chrg_"
PAGE_LENGTH: Final = 100
SEARCH_SCOPE: Final = "charge"
"""ASSUMED: the search by free text finds metadata values; a hit counts only when its metadata holds our very key."""

NOT_LET_IN: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


class OmiseClient:
    """Authorised calls, over the HTTP that all adapters share."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http

    async def send(
        self,
        account: ProviderAccount,
        operation: str,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer | NotAttempted | Unknown:
        """Send one request with the account's secret key."""
        credentials = base64.b64encode(f"{account.credentials['secret_key']}:".encode()).decode()
        headers = {
            "authorization": f"Basic {credentials}",
            "omise-version": API_VERSION,
            "content-type": "application/json",
        }
        content = None if body is None else msgspec.json.encode(body)
        return await self._http.send(
            account, operation, method, path, headers=headers, parameters=parameters, body=content
        )

    async def charge_ids(self, account: ProviderAccount, reference: str) -> tuple[str, ...] | NotAttempted | Unknown:
        """The charges of a reference: of a charge id itself, of our provider key those that the search finds."""
        if is_charge_id(reference):
            return (reference,)
        parameters = {"scope": SEARCH_SCOPE, "query": reference}
        answer = await self.send(account, "inquiry", "GET", "/search", parameters=parameters)
        page = read(answer, omise_wire.Page, {})
        if isinstance(page, Declined):
            return Unknown(reason=reason_of(page))
        if not isinstance(page, omise_wire.Page):
            return page
        try:
            hits = [msgspec.json.decode(item, type=omise_wire.Found) for item in page.data]
        except NOT_JSON as error:
            return Unknown(reason=str(error))
        return tuple(hit.id for hit in hits if omise_wire.provider_key_in(hit.metadata) == reference)

    async def one_charge_id(self, account: ProviderAccount, reference: str) -> str | NotAttempted:
        """The charge to act on. Whatever goes wrong here, nothing was asked of it yet."""
        ids = await self.charge_ids(account, reference)
        if not isinstance(ids, tuple):
            return NotAttempted(reason=ids.reason)
        if len(ids) != 1:
            return NotAttempted(reason=f"{len(ids)} charges under {reference}")
        return ids[0]

    async def whole_list(self, account: ProviderAccount, path: str, on: date) -> bytes:
        """Every item of a list that was made on a day (Asia/Bangkok), each as Omise wrote it, as one JSON list.

        Raises:
            StatementUnavailable: a page is missing or the list changed while it was read.
        """
        # ASSUMED: `to` itself is left out. Were it not, an item of midnight would come twice and its line be known.
        midnight = datetime.combine(on, time.min, BANGKOK)
        window = {
            "from": midnight.astimezone(UTC).isoformat(),
            "to": (midnight + timedelta(days=1)).astimezone(UTC).isoformat(),
        }
        items: list[msgspec.Raw] = []
        while True:
            parameters = {
                **window,
                "limit": str(PAGE_LENGTH),
                "offset": str(len(items)),
                "order": "chronological",
            }
            answer = await self.send(account, "statement", "GET", path, parameters=parameters)
            page = read(answer, omise_wire.Page, {})
            if not isinstance(page, omise_wire.Page):
                raise StatementUnavailable(f"omise {path} of {on.isoformat()}: {reason_of(page)}")
            items += page.data
            if len(items) >= page.total:
                break
            if not page.data:
                raise StatementUnavailable(f"omise {path} of {on.isoformat()}: {len(items)} of {page.total} came")
        return msgspec.json.encode({"object": "list", **window, "total": len(items), "data": items})


def is_charge_id(reference: str) -> bool:
    """Whether it is Omise's id of a charge, and safe in a path."""
    return reference.startswith(CHARGE_ID_PREFIX) and reference.isascii() and reference.replace("_", "").isalnum()


def read(
    answer: Answer | NotAttempted | Unknown, kind: type[Object], refusals: Mapping[str, str]
) -> Object | Declined | NotAttempted | Unknown:
    """The object in a 2xx answer; else what became of the request.

    Args:
        answer: what `send` gave.
        kind: wire type of the object.
        refusals: Omise's error codes that are a certain no, with our word for each. Any other code is unknown.
    """
    if not isinstance(answer, Answer):
        return answer
    if answer.status != HTTPStatus.OK:
        return _refusal(answer, refusals)
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except NOT_JSON as error:
        return Unknown(reason=f"answer not understood: {error}")


def _refusal(answer: Answer, refusals: Mapping[str, str]) -> Declined | NotAttempted | Unknown:
    try:
        error = msgspec.json.decode(answer.body, type=omise_wire.Error)
    except NOT_JSON:
        error = omise_wire.Error(code="", message=f"http_{answer.status} without an error object")
    if answer.status in NOT_LET_IN:
        return NotAttempted(reason=error.message, provider_code=error.code)
    if error.code not in refusals:
        return Unknown(reason=f"http_{answer.status} {error.code}")
    return Declined(failure_code=refusals[error.code], provider_code=error.code, message=error.message)


def reason_of(outcome: Declined | NotAttempted | Unknown) -> str:
    """Why there is no object."""
    return outcome.message if isinstance(outcome, Declined) else outcome.reason
