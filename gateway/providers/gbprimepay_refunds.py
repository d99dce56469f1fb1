"""Money back through GBPrimePay: a void while the payment is not settled, a refund afterwards. Both calls are ASSUMED.

No source knows an API for either; merchants are told to use the portal. The shape below is the one that an operator is
to confirm before a live account uses it; with both flags off nothing is refundable through the API.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from gateway.foundation.clock import business_date_of
from gateway.providers import gbprimepay_wire
from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    FactSource,
    Inquiry,
    Method,
    NotAttempted,
    Outcome,
    ProviderAccount,
    RefundRequest,
    RefundRule,
    Unknown,
)
from gateway.providers.gbprimepay_client import GbprimepayClient, read
from gateway.providers.gbprimepay_wire import GivenBack, Misunderstood, Transaction, reference_of
from ledger.money import to_text

VOID_BY_API: Final[bool] = True
"""ASSUMED: `POST /v1/void`, `{gbpReferenceNo}` of the payment with the `referenceNo` and `merchantDefined1` of the void
itself; without a reference of its own no void could be sent twice or be asked about. A reference that was used is
refused with 02."""
REFUND_BY_API: Final[bool] = True
"""ASSUMED: `POST /v1/refund`, the same with `amount`. Either is a transaction of its own, with its own
`gbpReferenceNo`, that the inquiry finds by its `referenceNo` and whose status is read by `REFUND_KINDS`."""
VOID: Final = "/v1/void"
REFUND: Final = "/v1/refund"
VOIDABLE: Final = frozenset({Method.CARD, Method.RABBIT_LINEPAY})
REFUNDABLE: Final = frozenset({Method.CARD, Method.RABBIT_LINEPAY, Method.TRUEMONEY, Method.SHOPEEPAY})
"""By PortOne's table. PromptPay and mobile banking give nothing back."""
VOID_DAYS: Final = 0
"""ASSUMED: a payment is settled with its Bangkok day, so it can be voided on that day. A guess only of which call comes
first: where GBPrimePay says otherwise, the other one follows."""
ALREADY_SETTLED: Final = "21"
NOT_SETTLED: Final = "25"
"""ASSUMED, both: the codes by which a void comes too late and a refund too early."""
REFUSALS: Final = {
    gbprimepay_wire.INVALID_DATA: "invalid_request",
    "05": "refund_refused",
    "57": "refund_refused",
    "61": "refund_refused",
    ALREADY_SETTLED: "refund_refused",
    NOT_SETTLED: "refund_refused",
}
"""ASSUMED: the bank's codes, as far as they refuse a refund for certain."""


def rule_of(method: Method) -> RefundRule:
    """What the API gives back of a method."""
    if REFUND_BY_API and method in REFUNDABLE:
        return RefundRule.PARTIAL
    return RefundRule.VOID_SAME_DAY if VOID_BY_API and method in VOIDABLE else RefundRule.NONE


async def refund(client: GbprimepayClient, account: ProviderAccount, request: RefundRequest) -> Outcome:
    """Give money back by the first call that its settlement allows.

    The payment is found first, because both calls name it by GBPrimePay's id. Too early for a refund and not all of a
    payment, so no void either: not attempted, to be asked again when it is settled.
    """
    payment = await _payment(client, account, request)
    if not isinstance(payment, Transaction):
        return payment
    method = request.method or gbprimepay_wire.METHODS_BY_PAYMENT_TYPE.get(payment.payment_type)
    paths = _paths(request, method, gbprimepay_wire.satang(payment.amount))
    if not paths:
        return Declined(failure_code="refund_not_supported", provider_code="", message="this method gives nothing back")
    codes: list[str] = []
    for path in paths:
        outcome = await _give_back(client, account, request, path, payment.gbp_reference_no)
        if not isinstance(outcome, Declined) or outcome.provider_code not in {ALREADY_SETTLED, NOT_SETTLED}:
            return outcome
        codes.append(outcome.provider_code)
    if NOT_SETTLED in codes:
        return NotAttempted(reason="the payment is not settled yet", provider_code=NOT_SETTLED)
    return outcome


async def inquire(client: GbprimepayClient, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
    """The void or refund under our provider key."""
    transactions = await client.find(account, request.provider_key)
    if not isinstance(transactions, tuple):
        return Unknown(reason=transactions.reason)
    if not transactions:
        return Inquiry(found=False)
    if len(transactions) != 1:
        return Unknown(reason=f"{len(transactions)} refunds under one reference")
    try:
        gbprimepay_wire.key_of(request.provider_key, transactions[0].reference_no, transactions[0].merchant_defined1)
        fact = gbprimepay_wire.refund_fact(
            transactions[0], request.provider_key, request.amount_minor, request.created_at, FactSource.INQUIRY
        )
    except Misunderstood as error:
        return Unknown(reason=str(error))
    return Inquiry(found=True, facts=(fact,))


async def _payment(
    client: GbprimepayClient, account: ProviderAccount, request: RefundRequest
) -> Transaction | Declined | NotAttempted:
    """The one payment to give back. Whatever goes wrong here, nothing was asked of it yet."""
    if request.method is not None and rule_of(request.method) is RefundRule.NONE:
        return Declined(failure_code="refund_not_supported", provider_code="", message="this method gives nothing back")
    reference = request.charge_key or request.provider_reference
    transactions = await client.find(account, reference)
    if not isinstance(transactions, tuple):
        return NotAttempted(reason=transactions.reason)
    try:
        gbprimepay_wire.charge_facts(transactions, reference, request.created_at, FactSource.INQUIRY)
    except Misunderstood as error:
        return NotAttempted(reason=str(error))
    payments = gbprimepay_wire.paid_transactions(transactions)
    if len(payments) != 1:
        return NotAttempted(reason=f"{len(payments)} payments under {reference}")
    return payments[0]


def _paths(request: RefundRequest, method: Method | None, paid_minor: int) -> tuple[str, ...]:
    """The calls that may do it, the likelier one first."""
    # A method that neither the request nor GBPrimePay's letter tells (ShopeePay has none) is GBPrimePay's to refuse.
    is_refundable = REFUND_BY_API and (method is None or method in REFUNDABLE)
    is_voidable = method in VOIDABLE and VOID_BY_API and request.amount_minor == paid_minor
    paths = (*((VOID,) if is_voidable else ()), *((REFUND,) if is_refundable else ()))
    return paths if _is_same_day(request.captured_at, request.created_at) else tuple(reversed(paths))


def _is_same_day(captured_at: datetime | None, now: datetime) -> bool:
    if captured_at is None:
        return True
    return (business_date_of(now) - business_date_of(captured_at)).days <= VOID_DAYS


async def _give_back(
    client: GbprimepayClient, account: ProviderAccount, request: RefundRequest, path: str, gbp_reference_no: str
) -> Outcome:
    body: dict[str, Any] = {
        "gbpReferenceNo": gbp_reference_no,
        "referenceNo": reference_of(request.provider_key),
        "merchantDefined1": request.provider_key,
    }
    if path == REFUND:
        body["amount"] = Decimal(to_text(request.amount_minor, request.currency))
    said = read(await client.post_json(account, "refund", path, body), GivenBack, REFUSALS)
    if isinstance(said, Declined) and said.provider_code == gbprimepay_wire.INVALID_DATA:
        # It may be given back by this very request, in a call whose answer was lost.
        earlier = await inquire(client, account, request)
        if isinstance(earlier, Unknown):
            return earlier
        return _outcome(request, earlier) if earlier.found else said
    if not isinstance(said, GivenBack):
        return said
    try:
        fact = gbprimepay_wire.refund_fact(
            said, request.provider_key, request.amount_minor, request.created_at, FactSource.RESPONSE
        )
    except Misunderstood as error:
        return Unknown(reason=str(error))
    return _outcome(request, Inquiry(found=True, facts=(fact,)))


def _outcome(request: RefundRequest, found: Inquiry) -> Outcome:
    (fact,) = found.facts
    references = tuple(dict.fromkeys((request.provider_key, reference_of(request.provider_key))))
    if fact.kind is FactKind.REFUND_FAILED:
        return Declined(
            failure_code="refund_failed",
            provider_code=fact.provider_code or "",
            message="GBPrimePay could not give the money back",
            provider_references=references,
            facts=(fact,),
        )
    return Accepted(provider_references=references, facts=(fact,))
