"""Calls to 2C2P: signed, plain and sealed. Each answer is opened and proved, or it is unknown."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec

from gateway.providers import twoc2p_jose as jose
from gateway.providers import twoc2p_maintenance as maintenance
from gateway.providers import twoc2p_wire as wire
from gateway.providers.base import NOT_JSON, NotAttempted, ProviderAccount, Unknown
from gateway.providers.http import Answer, ProviderHttp
from gateway.providers.twoc2p_maintenance import Keys, Order, Reply
from gateway.providers.twoc2p_wire import Misunderstood, Plain

Kind = TypeVar("Kind")

JSON: Final = "application/json"
TEXT: Final = "text/plain"
ACTION: Final = "/PaymentAction/2.0/action"
MAINTENANCE_HOSTS: Final = {
    "https://pgw.2c2p.com": "https://t.2c2p.com",
    "https://sandbox-pgw.2c2p.com": "https://demo2.2c2p.com/2C2PFrontend",
}
OTHER_MAINTENANCE: Final = "-maintenance"
"""Elsewhere – at our sandbox – the second host is the first one's address with this suffix."""
REFUSED_AT_THE_DOOR: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
NOT_LET_IN: Final = frozenset({"9042", "9900"})
"""Hash mismatch and cannot decrypt: the request was not looked at."""


class TwoC2pClient:
    """Calls, over the HTTP that all adapters share."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http

    async def signed(
        self, account: ProviderAccount, operation: str, path: str, fields: Mapping[str, Any], kind: type[Kind]
    ) -> Kind | Plain | NotAttempted | Unknown:
        """Send signed claims; the signed claims of the answer, or the plain error in their place."""
        key = account.credentials["secret_key"]
        envelope = wire.Envelope(payload=jose.sign_hs256(wire.claims_of(fields), key))
        body = await self._body(account, operation, path, msgspec.json.encode(envelope))
        if not isinstance(body, bytes):
            return body
        try:
            payload = msgspec.json.decode(body, type=wire.Envelope).payload
        except NOT_JSON:
            return _plain(body)
        try:
            return msgspec.json.decode(jose.verify_hs256(payload, key), type=kind)
        except (jose.NotGenuine, *NOT_JSON) as error:
            return Unknown(reason=f"answer not understood: {error}")

    async def plain(
        self, account: ProviderAccount, operation: str, path: str, fields: Mapping[str, Any], kind: type[Kind]
    ) -> Kind | NotAttempted | Unknown:
        """Send unsigned JSON, which a payment token identifies."""
        body = await self._body(account, operation, path, msgspec.json.encode(fields))
        if not isinstance(body, bytes):
            return body
        try:
            return msgspec.json.decode(body, type=kind)
        except NOT_JSON as error:
            return Unknown(reason=f"answer not understood: {error}")

    async def maintain(self, account: ProviderAccount, operation: str, order: Order) -> Reply | NotAttempted | Unknown:
        """Send a sealed order; the opened answer to this very order."""
        try:
            keys = Keys.of(account.credentials)
        except ValueError:
            return NotAttempted(reason="the account's keys are not readable")
        base = account.base_url
        there = msgspec.structs.replace(account, base_url=MAINTENANCE_HOSTS.get(base, base + OTHER_MAINTENANCE))
        sealed = maintenance.seal(maintenance.request_xml(order), keys)
        body = await self._body(there, operation, ACTION, sealed, content_type=TEXT)
        if not isinstance(body, bytes):
            return body
        try:
            reply = maintenance.open_sealed(body, keys)
        except Misunderstood as error:
            return _unsealed(body) or Unknown(reason=str(error))
        if reply.code in maintenance.NOT_LET_IN:
            return NotAttempted(reason=reply.description, provider_code=reply.code)
        if (reply.process_type, reply.invoice_no) != (order.process_type, order.invoice_no):
            return Unknown(reason="the answer is to another order")
        return reply

    async def file(
        self, account: ProviderAccount, path: str, parameters: Mapping[str, str]
    ) -> bytes | NotAttempted | Unknown:
        """Fetch a file, asked for by a signed token of the same parameters."""
        token = jose.sign_hs256(wire.claims_of(parameters), account.credentials["secret_key"])
        headers = {"authorization": f"Bearer {token}"}
        answer = await self._http.send(account, "statement", "GET", path, headers=headers, parameters=parameters)
        return _body_of(answer)

    async def _body(
        self, account: ProviderAccount, operation: str, path: str, content: bytes, *, content_type: str = JSON
    ) -> bytes | NotAttempted | Unknown:
        headers = {"content-type": content_type, "accept": content_type}
        return _body_of(await self._http.send(account, operation, "POST", path, headers=headers, body=content))


def _body_of(answer: Answer | NotAttempted | Unknown) -> bytes | NotAttempted | Unknown:
    """2C2P answers 200 whatever it says; any other status comes from what stands before it."""
    if not isinstance(answer, Answer):
        return answer
    if answer.status == HTTPStatus.OK:
        return answer.body
    reason = f"http_{answer.status}"
    return NotAttempted(reason=reason) if answer.status in REFUSED_AT_THE_DOOR else Unknown(reason=reason)


def _plain(body: bytes) -> Plain | NotAttempted | Unknown:
    try:
        said = msgspec.json.decode(body, type=Plain)
    except NOT_JSON as error:
        return Unknown(reason=f"answer not understood: {error}")
    if said.resp_code in NOT_LET_IN:
        return NotAttempted(reason=said.resp_desc, provider_code=said.resp_code)
    return said


def _unsealed(body: bytes) -> NotAttempted | None:
    """An error that could not be sealed, because 2C2P does not know for whom."""
    try:
        reply = maintenance.read_reply(body)
    except Misunderstood:
        return None
    if reply.code not in maintenance.NOT_LET_IN:
        return None
    return NotAttempted(reason=reply.description, provider_code=reply.code)
