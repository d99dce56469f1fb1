"""Bualuang iPay: cards on the bank's hosted page. The redirect is the charge; all else goes by the merchant API.

The order reference is our provider key, and each payment under it bears iPay's `payRef`. A refund carries no name of
ours and no record tells how much of a payment was given back, so only the whole is refunded: a part whose answer was
lost could not be told from another one.
"""

from collections.abc import Sequence
from typing import Final

from gateway.providers import bbl_ipay_wire as wire
from gateway.providers.base import (
    Accepted,
    CaptureRequest,
    ChargeRequest,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    NextAction,
    NotAttempted,
    Outcome,
    ProviderAccount,
    RefundRequest,
    Unknown,
)
from gateway.providers.bbl_client import BblClient, ipay
from gateway.providers.bbl_ipay_wire import Flat, Record
from gateway.providers.bbl_qr import is_voidable
from gateway.providers.promptpay import BAHT_CODE
from ledger.money import to_text

PAY_FORM: Final = "/payment/payForm.jsp"
PAGE_SECONDS: Final = 30 * 60
"""ASSUMED life of the hosted page."""
PAY_METHOD: Final = "CC"
"""ASSUMED word for credit cards, from the PayDollar family."""
LANGUAGE: Final = "E"
DONE: Final = "0"
REFUSED: Final = "-1"

VOID: Final = "Void"
REQUEST_REFUND: Final = "RequestRefund"
NO_ANSWER: Final = Flat(result_code="", status="", pay_ref="", message="")


class BblIpay:
    """Sends payers to iPay's page and asks its merchant API."""

    def __init__(self, client: BblClient) -> None:
        self._client = client

    def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """The form that the payer's browser sends. Nothing is asked of the bank, so nothing can be lost."""
        if request.return_url is None:
            return Declined(failure_code="invalid_request", provider_code="", message="a card payer needs a way back")
        credentials = account.credentials
        amount = to_text(request.amount_minor, "THB")
        pay_type = wire.AUTHORIZE if request.capture_later else wire.SALE
        key = request.provider_key
        try:
            remark = wire.mark(credentials, key, pay_type)
            signature = wire.secure_hash(credentials, credentials["merchant_id"], key, BAHT_CODE, amount, pay_type)
        except ValueError as error:
            return NotAttempted(reason=str(error))
        form = {
            "merchantId": credentials["merchant_id"],
            "amount": amount,
            "orderRef": key,
            "currCode": BAHT_CODE,
            "lang": LANGUAGE,
            "payType": pay_type,
            "successUrl": request.return_url,
            "failUrl": request.return_url,
            "cancelUrl": request.return_url,
            "payMethod": PAY_METHOD,
            "remark": remark,
            "secureHash": signature,
        }
        pending = Fact(
            provider=wire.NAME,
            kind=FactKind.PENDING,
            provider_reference=key,
            provider_transaction_id=key,
            amount_minor=request.amount_minor,
            currency=request.currency,
            occurred_at=request.created_at,
            source=FactSource.RESPONSE,
        )
        action = NextAction(
            type="submit_form",
            redirect_url=ipay(account).base_url + PAY_FORM,
            form_fields=form,
            expires_at=request.expires_at,
        )
        return Accepted(provider_references=(key,), facts=(pending,), next_action=action)

    async def records(self, account: ProviderAccount, order_ref: str) -> tuple[Record, ...] | NotAttempted | Unknown:
        """The payments under an order, each read and understood."""
        body = await self._client.order(account, "inquiry", "Query", {"orderRef": order_ref})
        if not isinstance(body, bytes):
            return body
        try:
            found = wire.read_records(body)
            wire.facts(account.credentials, order_ref, found, FactSource.INQUIRY)
        except ValueError as error:
            return Unknown(reason=f"records not understood: {error}")
        return found

    async def inquire(self, account: ProviderAccount, reference: str) -> Inquiry | Unknown:
        """What became of an order; "not found" where nobody submitted its page."""
        found = await self.records(account, reference)
        if isinstance(found, NotAttempted | Unknown):
            return Unknown(reason=found.reason)
        facts = wire.facts(account.credentials, reference, found, FactSource.INQUIRY)
        return Inquiry(found=bool(facts), facts=facts)

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:
        """Give up an authorisation; a page that nobody submitted lives until it expires."""
        found = await self.records(account, reference)
        if isinstance(found, NotAttempted | Unknown):
            return NotAttempted(reason=found.reason)
        held = _held(found)
        if held is None:
            return _ended(account, reference, found, FactKind.VOIDED) or _nothing_held("not_cancelable")
        flat = await self._act(account, "cancel", VOID, {"payRef": held.pay_ref})
        return await self._ended_by(account, reference, flat, FactKind.VOIDED, "not_cancelable")

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:
        """Take an authorised payment, once, in full or in part."""
        key = request.charge_key or request.provider_reference
        found = await self.records(account, key)
        if isinstance(found, NotAttempted | Unknown):
            return NotAttempted(reason=found.reason)
        held = _held(found)
        if held is None:
            # It may be captured by this very request, in a call whose answer was lost.
            return _ended(account, key, found, FactKind.CAPTURED) or _nothing_held("capture_refused")
        fields = {"payRef": held.pay_ref, "amount": to_text(request.amount_minor, "THB")}
        flat = await self._act(account, "capture", "Capture", fields)
        return await self._ended_by(account, key, flat, FactKind.CAPTURED, "capture_refused")

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Void what is not settled, ask for a refund of what is; the one where the other is refused."""
        record = await self._paid(account, request)
        if isinstance(record, NotAttempted | Unknown):
            return NotAttempted(reason=record.reason)
        if request.amount_minor != record.amount_minor or request.captured_minor not in {None, request.amount_minor}:
            return Declined(
                failure_code="partial_refund_not_supported",
                provider_code="",
                message="iPay refunds the whole payment only",
            )
        done = _refunded(request, record, FactSource.RESPONSE)
        if isinstance(done, Accepted):
            return done
        return await self._give_back(account, request, record)

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """What became of the one refund that a payment can have."""
        record = await self._paid(account, request)
        if isinstance(record, NotAttempted | Unknown):
            return Unknown(reason=record.reason)
        done = _refunded(request, record, FactSource.INQUIRY)
        return Inquiry(found=True, facts=done.facts) if done is not None else Inquiry(found=False)

    async def _paid(self, account: ProviderAccount, request: RefundRequest) -> Record | NotAttempted | Unknown:
        """The payment that is to be given back."""
        key = request.charge_key or request.provider_reference
        found = await self.records(account, key)
        if isinstance(found, NotAttempted | Unknown):
            return found
        paid = [each for each in found if each.status in wire.PAID_STATUSES | wire.UNDONE_STATUSES]
        if len(paid) > 1 and request.captured_at is not None:
            paid = [each for each in paid if each.occurred_at == request.captured_at.replace(microsecond=0)]
        return paid[0] if len(paid) == 1 else NotAttempted(reason=f"{len(paid)} payments under {key}")

    async def _give_back(self, account: ProviderAccount, request: RefundRequest, record: Record) -> Outcome:
        ways = _ways(account, request, record)
        said = NO_ANSWER
        for way in ways:
            flat = await self._act(account, "refund", way, {"payRef": record.pay_ref})
            if not isinstance(flat, Flat):
                return flat
            said = flat
            if said.result_code == DONE:
                break
        # What became of it is in the record, also where an earlier call of ours was only now acted on.
        now = await self._paid(account, request)
        if isinstance(now, NotAttempted | Unknown):
            return Unknown(reason=now.reason)
        done = _refunded(request, now, FactSource.RESPONSE)
        if isinstance(done, Accepted):
            return done
        if said.result_code == DONE:
            return Unknown(reason=f"refunded, and the record says {now.status!r}")
        if VOID not in ways and not now.settled:
            return NotAttempted(reason="not settled yet", provider_code=REFUSED)
        return Declined(failure_code="refund_refused", provider_code=REFUSED, message=said.message)

    async def _act(
        self, account: ProviderAccount, operation: str, action: str, fields: dict[str, str]
    ) -> Flat | NotAttempted | Unknown:
        """Ask for something; a flat answer that says done, of this very payment, or refused."""
        body = await self._client.order(account, operation, action, fields)
        if not isinstance(body, bytes):
            return body
        try:
            flat = wire.read_flat(body)
        except ValueError as error:
            return Unknown(reason=f"answer not understood: {error}")
        if flat.result_code == REFUSED or (flat.result_code == DONE and flat.pay_ref == fields["payRef"]):
            return flat
        return Unknown(reason=f"result {flat.result_code!r} of payment {flat.pay_ref!r}")

    async def _ended_by(
        self,
        account: ProviderAccount,
        reference: str,
        flat: Flat | NotAttempted | Unknown,
        kind: FactKind,
        failure_code: str,
    ) -> Outcome:
        """What the record says after a void or a capture: the flat answer does not tell when, perhaps not how much."""
        if not isinstance(flat, Flat):
            return flat
        now = await self.records(account, reference)
        if isinstance(now, NotAttempted | Unknown):
            return Unknown(reason=now.reason)
        done = _ended(account, reference, now, kind)
        if done is not None:
            return done
        if flat.result_code == REFUSED:
            return Declined(failure_code=failure_code, provider_code=REFUSED, message=flat.message)
        return Unknown(reason=f"the answer says {flat.status!r}, and the record does not")


def _held(records: Sequence[Record]) -> Record | None:
    """The one authorisation that waits."""
    held = [record for record in records if record.status == wire.AUTHORIZED]
    return held[0] if len(held) == 1 else None


def _nothing_held(failure_code: str) -> Declined:
    return Declined(failure_code=failure_code, provider_code="", message="iPay holds no authorisation")


def _ways(account: ProviderAccount, request: RefundRequest, record: Record) -> Sequence[str]:
    """Which calls may give the money back, in order.

    A void of a captured authorisation could afterwards not be told from an authorisation given up: it waits for
    settlement and is refunded.
    """
    if not wire.was_sale(account.credentials, record):
        return (REQUEST_REFUND,)
    return (VOID, REQUEST_REFUND) if is_voidable(request) else (REQUEST_REFUND, VOID)


def _ended(account: ProviderAccount, reference: str, records: Sequence[Record], kind: FactKind) -> Accepted | None:
    facts = wire.facts(account.credentials, reference, records, FactSource.RESPONSE)
    wanted = tuple(fact for fact in facts if fact.kind is kind)
    return Accepted(provider_references=(reference,), facts=wanted) if wanted else None


def _refunded(request: RefundRequest, record: Record, source: FactSource) -> Accepted | Declined | None:
    """What the record says of the refund; None where it says nothing of one."""
    if record.status in wire.UNDONE_STATUSES or record.status == wire.REFUNDED:
        return Accepted(
            provider_references=(request.provider_key,),
            # iPay has one id for a payment and for its way back; the kind tells them apart.
            facts=(_fact(request, FactKind.REFUND_SUCCEEDED, record.pay_ref, source),),
        )
    kinds = {wire.REFUND_REQUESTED: FactKind.REFUND_PENDING, wire.REFUND_REJECTED: FactKind.REFUND_FAILED}
    kind = kinds.get(record.status)
    if kind is None:
        return None
    # Nothing moved, so there is no movement to name; a second refund may come to the same word.
    fact = _fact(request, kind, request.provider_key, source)
    if kind is FactKind.REFUND_FAILED:
        return Declined(
            failure_code="refund_failed",
            provider_code=record.status,
            message="the bank did not approve the refund",
            facts=(fact,),
        )
    return Accepted(provider_references=(request.provider_key,), facts=(fact,))


def _fact(request: RefundRequest, kind: FactKind, transaction_id: str, source: FactSource) -> Fact:
    return Fact(
        provider=wire.NAME,
        kind=kind,
        provider_reference=request.provider_key,
        provider_transaction_id=transaction_id,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=source,
        failure_code="refund_failed" if kind is FactKind.REFUND_FAILED else None,
    )
