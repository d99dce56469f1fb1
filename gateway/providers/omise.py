"""Omise: cards by their single-use token, PromptPay by source, refunds and disputes of cards.

Credentials: `public_key`, `secret_key`, `webhook_secret` (base64). Our provider key travels in the metadata of every
charge and refund, so what a time-out left behind is found by search, and facts name that key. Callbacks are signed;
the charge is fetched anew all the same, because an event is written in another API version than ours.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.providers import omise_wire
from gateway.providers.base import (
    NOT_JSON,
    Accepted,
    Callback,
    CallbackRejected,
    CallbackReply,
    Capabilities,
    CaptureRequest,
    ChargeRequest,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NextAction,
    NotAttempted,
    Outcome,
    ParsedCallback,
    ProviderAccount,
    RefundRequest,
    RefundRule,
    StatementFile,
    Unknown,
)
from gateway.providers.disputes import DisputeAnswer
from gateway.providers.http import Answer, ProviderHttp
from gateway.providers.invented import LOWER, invented
from gateway.providers.omise_client import PAGE_LENGTH, OmiseClient, is_charge_id, read, reason_of
from gateway.providers.omise_disputes import OmiseDisputes, is_dispute_id
from gateway.providers.omise_wire import Charge, Misunderstood

PROMPTPAY_EXPIRY_SECONDS: Final = 60 * 60
"""The acquirer's limit of a QR; Omise alone would let it live for a day."""
AMOUNT_MINOR_MIN: Final = 20_00
AMOUNT_MINOR_MAX: Final = 150_000_00
"""Published for PromptPay; ASSUMED for cards, where the contract decides."""
CHARGE_REFUSALS: Final = {
    "bad_request": "invalid_request",
    "invalid_charge": "invalid_request",
    "invalid_amount": "invalid_request",
    "invalid_card": "invalid_card",
    "used_token": "card_token_used",
    "not_found": "card_token_not_found",
}
END_REFUSALS: Final = {
    "invalid_charge": "not_cancelable",
    "expired_charge": "not_cancelable",
    "failed_reversal": "not_cancelable",
}
CAPTURE_REFUSALS: Final = {"failed_capture": "capture_refused", "expired_charge": "authorization_expired"}
REFUND_REFUSALS: Final = {
    "failed_refund": "refund_refused",
    "invalid_charge": "refund_refused",
    "invalid_amount": "invalid_request",
    "bad_request": "invalid_request",
    "not_found": "charge_not_found",
}


AUTHORIZATION_DAYS: Final = 7
"""How long a card's authorised money waits to be taken."""


class Omise:
    """The adapter. One instance serves all accounts."""

    name = omise_wire.NAME
    capabilities: Sequence[Capabilities] = (
        Capabilities(
            method=Method.CARD,
            currency="THB",
            amount_minor_min=AMOUNT_MINOR_MIN,
            amount_minor_max=AMOUNT_MINOR_MAX,
            refunds=RefundRule.PARTIAL,
            expiry_seconds=None,
            rank=10,
            capture_later=True,
            capture_days_max=AUTHORIZATION_DAYS,
            cancelable=True,
            needs="card_token",
        ),
        Capabilities(
            method=Method.PROMPTPAY,
            currency="THB",
            amount_minor_min=AMOUNT_MINOR_MIN,
            amount_minor_max=AMOUNT_MINOR_MAX,
            refunds=RefundRule.NONE,
            expiry_seconds=PROMPTPAY_EXPIRY_SECONDS,
            rank=50,
            cancelable=True,
        ),
    )
    callback_headers: Sequence[str] = (omise_wire.SIGNATURE_HEADER, omise_wire.TIMESTAMP_HEADER)

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account."""
        return {
            "public_key": "pkey_test_" + invented(LOWER, 19),
            "secret_key": "skey_test_" + invented(LOWER, 19),
            "webhook_secret": base64.b64encode(secrets.token_bytes(32)).decode(),
        }

    def __init__(self, http: ProviderHttp) -> None:
        self._client = OmiseClient(http)
        self._disputes = OmiseDisputes(self._client)

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Charge a card at once, or make a PromptPay source for a payer to scan."""
        answer = await self._client.send(account, "charge", "POST", "/charges", body=_charge_body(request))
        charge = read(answer, Charge, CHARGE_REFUSALS)
        if isinstance(charge, Declined) and charge.provider_code == "used_token":
            # The token may have been used by this very attempt, in a call whose answer was lost.
            earlier = await self.inquire(account, request.provider_key, request.created_at)
            if isinstance(earlier, Unknown):
                return earlier
            if earlier.found:
                return Accepted(provider_references=(request.provider_key,), facts=earlier.facts)
        if isinstance(charge, Charge):
            return _outcome(charge, request.provider_key)
        return charge

    async def inquire(
        self,
        account: ProviderAccount,
        reference: str,
        created_at: datetime,  # noqa: ARG002 - Omise does not keep its charges by day
        expires_at: datetime | None = None,  # noqa: ARG002 - likewise
    ) -> Inquiry | Unknown:
        """A charge and its refunds, by charge id or by provider key; by key there may be several.

        By the id of a dispute, the dispute and its charge.
        """
        if is_dispute_id(reference):
            return await self._disputes.inquire(account, reference)
        ids = await self._client.charge_ids(account, reference)
        if not isinstance(ids, tuple):
            return Unknown(reason=ids.reason)
        facts: list[Fact] = []
        next_action: NextAction | None = None
        for charge_id in ids:
            answer = await self._client.send(account, "inquiry", "GET", f"/charges/{charge_id}")
            if isinstance(answer, Answer) and answer.status == HTTPStatus.NOT_FOUND:
                continue
            charge = read(answer, Charge, {})
            if not isinstance(charge, Charge):
                return Unknown(reason=reason_of(charge))
            try:
                found = omise_wire.charge_facts(charge, FactSource.INQUIRY)
            except Misunderstood as error:
                return Unknown(reason=str(error))
            facts += found
            next_action = next_action or _next_action(charge, found[0].kind)
        return Inquiry(found=bool(facts), facts=tuple(facts), next_action=next_action)

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:
        """Expire a charge that waits for its payer, reverse an authorised one; refused where money came before."""
        charge_id = await self._client.one_charge_id(account, reference)
        if not isinstance(charge_id, str):
            return charge_id
        found = read(await self._client.send(account, "inquiry", "GET", f"/charges/{charge_id}"), Charge, {})
        if not isinstance(found, Charge):
            return NotAttempted(reason=reason_of(found))
        action = "reverse" if found.authorized else "expire"
        answer = await self._client.send(account, "cancel", "POST", f"/charges/{charge_id}/{action}")
        charge = read(answer, Charge, END_REFUSALS)
        return _outcome(charge, reference) if isinstance(charge, Charge) else charge

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:
        """Take an authorised charge, once, in full or in part; what is left is released."""
        charge_id = await self._client.one_charge_id(account, request.provider_reference)
        if not isinstance(charge_id, str):
            return charge_id
        body = {"capture_amount": request.amount_minor}
        answer = await self._client.send(account, "capture", "POST", f"/charges/{charge_id}/capture", body=body)
        charge = read(answer, Charge, CAPTURE_REFUSALS)
        if isinstance(charge, Declined):
            # It may be captured by this very request, in a call whose answer was lost.
            now = read(await self._client.send(account, "inquiry", "GET", f"/charges/{charge_id}"), Charge, {})
            if not isinstance(now, Charge):
                return Unknown(reason=reason_of(now))
            if now.captured_amount:
                return _outcome(now, request.charge_key)
        return _outcome(charge, request.charge_key) if isinstance(charge, Charge) else charge

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Refund a card, in full or in part."""
        charge_id = await self._client.one_charge_id(account, request.provider_reference)
        if not isinstance(charge_id, str):
            return charge_id
        body = {
            "amount": request.amount_minor,
            "metadata": {"refund_id": request.refund_id, omise_wire.KEY_IN_METADATA: request.provider_key},
        }
        answer = await self._client.send(account, "refund", "POST", f"/charges/{charge_id}/refunds", body=body)
        refund = read(answer, omise_wire.Refund, REFUND_REFUSALS)
        if not isinstance(refund, omise_wire.Refund):
            return refund
        try:
            fact = omise_wire.refund_fact(refund, FactSource.RESPONSE)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        references = (request.provider_key, refund.id)
        if fact.kind is FactKind.REFUND_FAILED:
            return Declined(
                failure_code="refund_failed",
                provider_code=refund.status,
                message="Omise could not refund the charge",
                provider_references=references,
                facts=(fact,),
            )
        return Accepted(provider_references=references, facts=(fact,))

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """The refund with our provider key, among those of its charge."""
        charge_id = await self._client.one_charge_id(account, request.provider_reference)
        if not isinstance(charge_id, str):
            return Unknown(reason=reason_of(charge_id))
        parameters = {"limit": str(PAGE_LENGTH)}
        answer = await self._client.send(
            account, "inquiry", "GET", f"/charges/{charge_id}/refunds", parameters=parameters
        )
        refunds = read(answer, omise_wire.Refunds, {})
        if not isinstance(refunds, omise_wire.Refunds):
            return Unknown(reason=reason_of(refunds))
        ours = [
            refund for refund in refunds.data if omise_wire.provider_key_in(refund.metadata) == request.provider_key
        ]
        try:
            facts = tuple(omise_wire.refund_fact(refund, FactSource.INQUIRY) for refund in ours)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        return Inquiry(found=bool(facts), facts=facts)

    async def inquire_dispute(self, account: ProviderAccount, reference: str) -> Inquiry | Unknown:
        """A dispute and its charge, by the dispute's id."""
        return await self._disputes.inquire(account, reference)

    async def answer_dispute(self, account: ProviderAccount, answer: DisputeAnswer) -> Outcome:
        """Hand in evidence; a repeated answer replaces the first."""
        return await self._disputes.answer(account, answer)

    async def accept_dispute(self, account: ProviderAccount, reference: str) -> Outcome:
        """Give in."""
        return await self._disputes.accept(account, reference)

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        """Check the signature and name the charge or dispute to be fetched. Other events mean nothing to us.

        Raises:
            CallbackRejected: forged, stale, unreadable or of the other mode.
        """
        secret = account.credentials["webhook_secret"]
        omise_wire.check_signature(secret, callback.headers, callback.body, callback.received_at)
        try:
            event = msgspec.json.decode(callback.body, type=omise_wire.Event)
            if event.livemode != account.livemode:
                raise CallbackRejected("malformed", "the event is of the other mode")
            family = event.key.partition(".")[0]
            if family not in {"charge", "refund", "dispute"}:
                return ParsedCallback(event_id=event.id, ignored=True)
            subject = msgspec.json.decode(event.data, type=omise_wire.Subject)
        except NOT_JSON as error:
            raise CallbackRejected("malformed", str(error)) from None
        if family == "dispute":
            if not is_dispute_id(subject.id):
                raise CallbackRejected("malformed", f"{event.key} names no dispute")
            return ParsedCallback(event_id=event.id, inquire=(subject.id,))
        charge_id = subject.id if family == "charge" else subject.charge
        if charge_id is None or not is_charge_id(charge_id):
            raise CallbackRejected("malformed", f"{event.key} names no charge")
        return ParsedCallback(event_id=event.id, inquire=(charge_id,))

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:  # noqa: ARG002 - any 200 will do
        """Omise reads only the status."""
        return CallbackReply()

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """Transactions and transfers made on a day (Asia/Bangkok), all pages of each as one JSON list.

        Raises:
            StatementUnavailable: a page is missing or the list changed while it was read.
        """
        return [
            StatementFile(
                source=f"omise_{kind}",
                name=f"omise-{kind}-{on:%Y%m%d}.json",
                content=await self._client.whole_list(account, f"/{kind}", on),
            )
            for kind in ("transactions", "transfers")
        ]


def _charge_body(request: ChargeRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "amount": request.amount_minor,
        "currency": request.currency.lower(),
        "capture": not request.capture_later,
        "description": request.description,
        "metadata": {"attempt_id": request.attempt_id, omise_wire.KEY_IN_METADATA: request.provider_key},
    }
    if request.return_url is not None:
        body["return_uri"] = request.return_url
    if request.method is Method.CARD:
        return {**body, "card": request.card_token}
    body["source"] = {"type": "promptpay"}
    if request.expires_at is not None:
        body["expires_at"] = request.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return body


def _outcome(charge: Charge, reference: str) -> Outcome:
    """What a charge object in a response means; a declined card comes with HTTP 200."""
    try:
        facts = omise_wire.charge_facts(charge, FactSource.RESPONSE)
    except Misunderstood as error:
        return Unknown(reason=str(error))
    references = (reference, charge.id) if reference != charge.id else (charge.id,)
    if facts[0].kind is FactKind.DECLINED:
        return Declined(
            failure_code=omise_wire.our_failure_code(charge.failure_code),
            provider_code=charge.failure_code or "",
            message=charge.failure_message or "",
            provider_references=references,
            facts=facts,
        )
    return Accepted(provider_references=references, facts=facts, next_action=_next_action(charge, facts[0].kind))


def _next_action(charge: Charge, kind: FactKind) -> NextAction | None:
    if kind is not FactKind.PENDING:
        return None
    if charge.source is not None and charge.source.scannable_code is not None:
        return NextAction(
            type="display_qr_code",
            qr_image_url=charge.source.scannable_code.image.download_uri,
            expires_at=charge.expires_at,
        )
    return NextAction(type="redirect", redirect_url=charge.authorize_uri) if charge.authorize_uri else None
