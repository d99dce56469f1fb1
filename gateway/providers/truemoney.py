"""TrueMoney Wallet (ISV API): a wallet's payment code debited at once, or a hosted checkout that the payer visits.

Credentials: `api_key`, `merchant_id` and `shop_id` (21 digits each), `private_key` (the merchant's RSA key, PEM) and
`provider_public_key` (TrueMoney's, PEM). Every call, answer and notification is signed. Our provider key is
`isv_payment_ref` of a charge and `isv_refund_ref` of a refund, and both must be unique with TrueMoney. Notifications
are signed and the payment is asked about all the same, because their fields are not documented.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

from gateway.providers import truemoney_wire
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
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.invented import DIGITS, LOWER, invented, invented_rsa_key
from gateway.providers.truemoney_client import CHECKOUT_SECONDS, PAYMENTS, TrueMoneyClient, is_payment_id, life_of
from gateway.providers.truemoney_signature import (
    SANDBOX_PUBLIC_KEY,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    KeyUnreadable,
    NotProved,
    check,
    open_keys,
    signed_headers,
)
from gateway.providers.truemoney_wire import Misunderstood, Payment, Refund, Reply

CHECKOUT: Final = "/payments/checkout"
CHECKOUT_IS_ASSUMED: Final = True
"""ASSUMED, path and fields: TrueMoney has a hosted checkout for direct merchants, but no source shows the call that
opens one. While this stands no live account is sent there; a payment code is debited with live accounts too."""
SETTLEMENTS: Final = "/settlements"
"""ASSUMED: neither the layout of the settlement file is public nor how it is fetched. Here: GET with
`transaction_date`, the signed file as the body, 404 until the day is over."""
PAYMENT_METHOD: Final = "BALANCE"
DESCRIPTION_LENGTH_MAX: Final = 20
AMOUNT_MINOR_MIN: Final = 1_00
AMOUNT_MINOR_MAX: Final = 50_000_00
"""Published by aggregators of TrueMoney."""
REFUND_DAYS_MAX: Final = 30
"""ASSUMED: the contract decides; Omise publishes 30 days for the same wallet."""
TAKEN: Final = "11111"
"""The word that tells TrueMoney that its notification was taken."""


class TrueMoney:
    """The adapter. One instance serves all accounts."""

    name = truemoney_wire.NAME
    capabilities: Sequence[Capabilities] = (
        Capabilities(
            method=Method.TRUEMONEY,
            currency=truemoney_wire.CURRENCY,
            amount_minor_min=AMOUNT_MINOR_MIN,
            amount_minor_max=AMOUNT_MINOR_MAX,
            refunds=RefundRule.PARTIAL,
            expiry_seconds=CHECKOUT_SECONDS,
            expiry_seconds_max=CHECKOUT_SECONDS,
            rank=10,
            refund_days_max=REFUND_DAYS_MAX,
            return_url=True,
            token_optional=True,
        ),
    )
    callback_headers: Sequence[str] = (SIGNATURE_HEADER, TIMESTAMP_HEADER)

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account, ; the key is shared by those of one process."""
        return {
            "api_key": invented(LOWER, 32),
            "merchant_id": "0099" + invented(DIGITS, 17),
            "shop_id": "0099" + invented(DIGITS, 17),
            "private_key": invented_rsa_key(),
            "provider_public_key": SANDBOX_PUBLIC_KEY,
        }

    def __init__(self, http: ProviderHttp) -> None:
        self._client = TrueMoneyClient(http)

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Debit the wallet whose code was given, or open a checkout for the payer to visit."""
        refused = _refused_unasked(account, request)
        if refused is not None:
            return refused
        is_checkout = request.card_token is None
        path = CHECKOUT if is_checkout else PAYMENTS
        reply = await self._client.call(account, "charge", "POST", path, body=_charge_body(account, request))
        if not isinstance(reply, Reply):
            return reply
        if reply.code == truemoney_wire.SUCCESS:
            return _opened(request, reply) if is_checkout else _debited(request, reply)
        return await self._after_a_no(account, request, reply)

    async def inquire(
        self, account: ProviderAccount, reference: str, created_at: datetime, expires_at: datetime | None = None
    ) -> Inquiry | Unknown:
        """A payment and our refunds of it, by TrueMoney's id or by our key on the days of the charge's life."""
        payment = await self._client.find(account, reference, *life_of(created_at, expires_at))
        if isinstance(payment, Unknown):
            return payment
        if payment is None:
            return Inquiry(found=False)
        try:
            facts = truemoney_wire.payment_facts(payment, FactSource.INQUIRY)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        return Inquiry(found=True, facts=facts, next_action=_next_action(payment, facts[0], expires_at))

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:  # noqa: ARG002 - the rail has none
        """Not on this rail: what partners call cancelling is a refund in full, and a checkout lives until it ends."""
        return Declined(failure_code="not_cancelable", provider_code="", message="a checkout lives until it expires")

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:  # noqa: ARG002 - the rail has none
        """Not on this rail: a wallet is debited, never authorised."""
        return Declined(failure_code="capture_not_supported", provider_code="", message="a wallet is debited at once")

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Give back all or a part. How far a refund got is read from the payment, whatever the call itself said."""
        payment_id = await self._payment_id(account, request)
        if not isinstance(payment_id, str):
            return NotAttempted(reason=payment_id.reason)
        body = {"isv_refund_ref": request.provider_key, "request_amount": str(request.amount_minor)}
        reply = await self._client.call(account, "refund", "POST", f"{PAYMENTS}/{payment_id}/refunds", body=body)
        return await self._after_refund(account, payment_id, request, reply) if isinstance(reply, Reply) else reply

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """The refund with our provider key, among those of its payment."""
        payment_id = await self._payment_id(account, request)
        if not isinstance(payment_id, str):
            return payment_id
        refund = await self._refund_of(account, payment_id, request)
        if isinstance(refund, Unknown):
            return refund
        if refund is None:
            return Inquiry(found=False)
        try:
            return Inquiry(found=True, facts=(truemoney_wire.refund_fact(refund, FactSource.INQUIRY),))
        except Misunderstood as error:
            return Unknown(reason=str(error))

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        """Check the signature and name the payment that is to be asked about.

        Raises:
            CallbackRejected: forged, stale, unreadable or of another merchant.
        """
        try:
            check(open_keys(account.credentials), callback.headers, callback.body, callback.received_at)
            said = msgspec.json.decode(callback.body, type=truemoney_wire.Notification)
        except KeyUnreadable as error:
            raise CallbackRejected("signature_invalid", str(error)) from None
        except NotProved as error:
            raise CallbackRejected(error.code, str(error)) from None
        except NOT_JSON as error:
            raise CallbackRejected("malformed", str(error)) from None
        if said.merchant not in {"", account.credentials["merchant_id"]}:
            raise CallbackRejected("malformed", "the notification is of another merchant")
        return ParsedCallback(event_id=said.notify_id, inquire=(said.payment_id,))

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:  # noqa: ARG002 - TrueMoney's own id is repeated
        """Our signed word that the notification was taken; nothing is signed for whom TrueMoney's key does not prove.

        TrueMoney gives the payer his money back where it reads 400 or 404.
        """
        try:
            keys = open_keys(account.credentials)
            check(keys, callback.headers, callback.body, callback.received_at)
            notify_id = msgspec.json.decode(callback.body, type=truemoney_wire.NotifyId).notify_id
        except (KeyUnreadable, NotProved, *NOT_JSON):
            return CallbackReply()
        status = {"code": TAKEN, "message": "success", "description": ""}
        body = msgspec.json.encode({"status": status, "data": {"notify_id": notify_id}})
        return CallbackReply(body=body, headers=signed_headers(keys, body, self._client.now()))

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """The settlement file of a day's payments and refunds.

        Raises:
            StatementUnavailable: not there yet, or no answer that TrueMoney signed.
        """
        content = await self._client.file(
            account, "statement", SETTLEMENTS, parameters={"transaction_date": on.isoformat()}
        )
        if isinstance(content, NotAttempted | Unknown):
            raise StatementUnavailable(f"truemoney settlement file of {on.isoformat()}: {content.reason}")
        merchant_id = account.credentials["merchant_id"]
        name = f"truemoney-{merchant_id}-{on:%Y%m%d}.csv"
        return (StatementFile(source="truemoney_settlement", name=name, content=content),)

    async def _after_a_no(self, account: ProviderAccount, request: ChargeRequest, reply: Reply) -> Outcome:
        is_duplicate = reply.code == truemoney_wire.DUPLICATE_PAYMENT
        if not is_duplicate and reply.code not in truemoney_wire.CHARGE_REFUSALS:
            return Unknown(reason=f"code {reply.code}")
        # Any no may be about the repetition: the first sending, whose answer was lost, used up the code or the balance.
        life = life_of(request.created_at, request.expires_at)
        known = await self._client.find(account, request.provider_key, *life)
        if isinstance(known, Unknown):
            return known
        if known is not None:
            return _outcome(known, request)
        if is_duplicate:
            return Unknown(reason="our key is taken by a payment that is not found")
        return Declined(
            failure_code=truemoney_wire.CHARGE_REFUSALS[reply.code], provider_code=reply.code, message=reply.message
        )

    async def _after_refund(
        self, account: ProviderAccount, payment_id: str, request: RefundRequest, reply: Reply
    ) -> Outcome:
        known_words = {truemoney_wire.SUCCESS, truemoney_wire.DUPLICATE_REFUND, *truemoney_wire.REFUND_REFUSALS}
        if reply.code not in known_words:
            return Unknown(reason=f"code {reply.code}")
        # As with a charge, a no may be about the repetition: the first sending left too little to give back.
        known = await self._refund_of(account, payment_id, request)
        if isinstance(known, Refund):
            return _refund_outcome(known, request)
        if reply.code == truemoney_wire.SUCCESS:
            return _issued(request, reply)
        if known is not None or reply.code == truemoney_wire.DUPLICATE_REFUND:
            return known or Unknown(reason="our key is taken by a refund that is not found")
        return Declined(
            failure_code=truemoney_wire.REFUND_REFUSALS[reply.code], provider_code=reply.code, message=reply.message
        )

    async def _payment_id(self, account: ProviderAccount, request: RefundRequest) -> str | Unknown:
        """TrueMoney's id of the payment; asked for by our key where the answer that named it was lost."""
        if is_payment_id(request.provider_reference):
            return request.provider_reference
        paid_at = request.captured_at or request.created_at
        made_at = paid_at - timedelta(seconds=CHECKOUT_SECONDS)
        payment = await self._client.find(account, request.charge_key or request.provider_reference, made_at, paid_at)
        if isinstance(payment, Payment):
            return payment.payment_id
        return payment or Unknown(reason="the payment is not found by our key")

    async def _refund_of(
        self, account: ProviderAccount, payment_id: str, request: RefundRequest
    ) -> Refund | Unknown | None:
        payment = await self._client.find(account, payment_id, request.created_at, request.created_at)
        if not isinstance(payment, Payment):
            return payment
        return next((refund for refund in payment.refunds if refund.isv_refund_ref == request.provider_key), None)


def _refused_unasked(account: ProviderAccount, request: ChargeRequest) -> Declined | NotAttempted | None:
    """What cannot be asked of TrueMoney at all."""
    if request.method is not Method.TRUEMONEY or request.currency != truemoney_wire.CURRENCY:
        return Declined(failure_code="method_not_supported", provider_code="", message="a TrueMoney wallet in THB only")
    if request.capture_later:
        return Declined(failure_code="capture_not_supported", provider_code="", message="a wallet is debited at once")
    if request.card_token is not None:
        return None
    if CHECKOUT_IS_ASSUMED and account.livemode:
        return NotAttempted(reason="the hosted checkout is assumed, not documented")
    if request.return_url is None:
        return Declined(failure_code="invalid_request", provider_code="", message="a checkout needs a return_url")
    return None


def _charge_body(account: ProviderAccount, request: ChargeRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "isv_payment_ref": request.provider_key,
        "merchant_id": account.credentials["merchant_id"],
        "currency": request.currency,
        "request_amount": str(request.amount_minor),
    }
    if request.card_token is None:
        body["return_url"] = request.return_url
    else:
        body |= {"payment_method": PAYMENT_METHOD, "payment_code": request.card_token}
    return {
        **body,
        "description": request.description[:DESCRIPTION_LENGTH_MAX] or request.provider_key,
        "metadata": {"shop_id": account.credentials["shop_id"]},
    }


def _debited(request: ChargeRequest, reply: Reply) -> Outcome:
    """The answer says no time; the debit is as old as the attempt."""
    try:
        payment_id = reply.data_as(truemoney_wire.Debited).payment_id
    except Misunderstood as error:
        return Unknown(reason=f"payment not understood: {error}")
    fact = _fact(FactKind.CAPTURED, request, payment_id)
    return Accepted(provider_references=(request.provider_key, payment_id), facts=(fact,))


def _opened(request: ChargeRequest, reply: Reply) -> Outcome:
    try:
        checkout = reply.data_as(truemoney_wire.Opened)
    except Misunderstood as error:
        return Unknown(reason=f"checkout not understood: {error}")
    references = (request.provider_key, *([checkout.payment_id] if checkout.payment_id else []))
    return Accepted(
        provider_references=references,
        facts=(_fact(FactKind.PENDING, request, request.provider_key),),
        next_action=NextAction(type="redirect", redirect_url=checkout.payment_url, expires_at=request.expires_at),
    )


def _issued(request: RefundRequest, reply: Reply) -> Outcome:
    """A refund that was taken, while the payment could not be read to see whether it went through."""
    try:
        refund_id = reply.data_as(truemoney_wire.IssuedRefund).refund_id
    except Misunderstood as error:
        return Unknown(reason=f"refund not understood: {error}")
    fact = _fact(FactKind.REFUND_PENDING, request, refund_id)
    return Accepted(provider_references=(request.provider_key, refund_id), facts=(fact,))


def _fact(kind: FactKind, request: ChargeRequest | RefundRequest, transaction_id: str) -> Fact:
    return Fact(
        provider=truemoney_wire.NAME,
        kind=kind,
        provider_reference=request.provider_key,
        provider_transaction_id=transaction_id,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=FactSource.RESPONSE,
    )


def _outcome(payment: Payment, request: ChargeRequest) -> Outcome:
    """What a payment that was found under our key means for the charge."""
    try:
        facts = truemoney_wire.payment_facts(payment, FactSource.INQUIRY)
    except Misunderstood as error:
        return Unknown(reason=str(error))
    references = (payment.isv_payment_ref, payment.payment_id)
    if facts[0].kind is FactKind.DECLINED:
        return Declined(
            failure_code=truemoney_wire.our_failure_code(payment.response_code),
            provider_code=payment.response_code,
            message=payment.response_message,
            provider_references=references,
            facts=facts,
        )
    next_action = _next_action(payment, facts[0], request.expires_at)
    return Accepted(provider_references=references, facts=facts, next_action=next_action)


def _next_action(payment: Payment, fact: Fact, expires_at: datetime | None) -> NextAction | None:
    if fact.kind is not FactKind.PENDING or payment.payment_url is None:
        return None
    return NextAction(type="redirect", redirect_url=payment.payment_url, expires_at=expires_at)


def _refund_outcome(refund: Refund, request: RefundRequest) -> Outcome:
    try:
        fact = truemoney_wire.refund_fact(refund, FactSource.RESPONSE)
    except Misunderstood as error:
        return Unknown(reason=str(error))
    references = (request.provider_key, refund.refund_id)
    if fact.kind is FactKind.REFUND_FAILED:
        return Declined(
            failure_code="refund_failed",
            provider_code=refund.response_code,
            message=refund.response_message,
            provider_references=references,
            facts=(fact,),
        )
    return Accepted(provider_references=references, facts=(fact,))
