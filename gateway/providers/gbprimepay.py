"""GBPrimePay: cards by token with 3-D Secure, PromptPay, three wallets and mobile banking by redirect forms.

Credentials: `public_key`, `secret_key`, `token` (the customer key of QR calls). Its `referenceNo` is shorter than our
provider key, so it is derived from it and the whole key travels in `merchantDefined1`. Callbacks carry no signature:
nothing in them is believed, the charge is asked about by its reference. Wallets and mobile banking begin with a form
that the payer's browser posts, so a charge of theirs is known to GBPrimePay only once the payer went there.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

from gateway.providers import gbprimepay_callbacks, gbprimepay_refunds, gbprimepay_requests, gbprimepay_wire
from gateway.providers.base import (
    Accepted,
    Callback,
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
from gateway.providers.emvco import QrMalformed
from gateway.providers.gbprimepay_client import GbprimepayClient, read
from gateway.providers.gbprimepay_wire import Charged, IssuedQr, Misunderstood, Transaction, reference_of
from gateway.providers.http import ProviderHttp
from gateway.providers.invented import LOWER, UPPER, invented
from gateway.providers.promptpay import read_qr

CHARGE: Final = "/v2/tokens/charge"
QR: Final = "/v3/qrcode/text"
STATEMENT: Final = "/v1/settlement_report"
"""ASSUMED: no public document says how the report is fetched. Here: GET with `date` (ddMMyyyy) and the secret key, the
file as the body, 404 until the day is over."""
QR_EXPIRY_SECONDS: Final = 15 * 60
"""ASSUMED: the life of a QR is not documented, and none can be asked for."""
REDIRECT_EXPIRY_SECONDS: Final = 15 * 60
"""ASSUMED: how long a payer may take in the app of a wallet or bank."""
AMOUNT_MINOR_MIN: Final = 1_00
AMOUNT_MINOR_MAX: Final = 500_000_00
"""ASSUMED, both: no limits are published; the contract decides."""
RANK: Final = 30
MOBILE_BANKING_RANK: Final = 20

CHARGE_REFUSALS: Final = {**gbprimepay_wire.FAILURE_CODES, gbprimepay_wire.INVALID_DATA: "invalid_request"}
QR_REFUSALS: Final = {gbprimepay_wire.INVALID_DATA: "invalid_request"}
MAY_BE_OURS: Final = {gbprimepay_wire.INVALID_DATA, "54"}
"""Codes that a charge under our key gets, too, when it is sent again: its reference is taken, its token is used."""


def _capabilities(
    method: Method,
    *,
    refunds: RefundRule,
    rank: int,
    expiry_seconds: int | None,
) -> Capabilities:
    return Capabilities(
        method=method,
        currency="THB",
        amount_minor_min=AMOUNT_MINOR_MIN,
        amount_minor_max=AMOUNT_MINOR_MAX,
        refunds=refunds,
        expiry_seconds=expiry_seconds,
        # A QR's life cannot be asked for; a form that is posted later begins a new one.
        expiry_seconds_max=expiry_seconds,
        rank=rank,
        needs="card_token" if method is Method.CARD else None,
        return_url=method is not Method.PROMPTPAY,
        banks=tuple(gbprimepay_requests.BANK_CODES) if method is Method.MOBILE_BANKING else (),
    )


class Gbprimepay:
    """The adapter. One instance serves all accounts."""

    name = gbprimepay_wire.NAME
    capabilities: Sequence[Capabilities] = (
        _capabilities(Method.CARD, refunds=gbprimepay_refunds.rule_of(Method.CARD), rank=RANK, expiry_seconds=None),
        _capabilities(Method.PROMPTPAY, refunds=RefundRule.NONE, rank=RANK, expiry_seconds=QR_EXPIRY_SECONDS),
        *(
            _capabilities(
                method,
                refunds=gbprimepay_refunds.rule_of(method),
                rank=MOBILE_BANKING_RANK if method is Method.MOBILE_BANKING else RANK,
                expiry_seconds=REDIRECT_EXPIRY_SECONDS,
            )
            for method in gbprimepay_requests.REDIRECT_PATHS
        ),
    )
    callback_headers: Sequence[str] = ()

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account."""
        return {
            "public_key": invented(UPPER + LOWER, 32),
            "secret_key": invented(UPPER + LOWER, 32),
            "token": base64.b64encode(secrets.token_bytes(96)).decode(),
        }

    def __init__(self, http: ProviderHttp) -> None:
        self._client = GbprimepayClient(http)

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Begin a charge. Only the payer can finish it: by his bank's page, by scanning, in an app."""
        refused = _refused_here(request)
        if refused is not None:
            return refused
        if request.method in gbprimepay_requests.REDIRECT_PATHS:
            assert request.return_url is not None
            return _begun(request, gbprimepay_requests.redirect_action(account, request, request.return_url))
        if request.method is Method.CARD:
            return await self._charge_card(account, request)
        return await self._issue_qr(account, request)

    async def inquire(
        self,
        account: ProviderAccount,
        reference: str,
        created_at: datetime,
        expires_at: datetime | None = None,  # noqa: ARG002 - GBPrimePay does not keep its charges by day
    ) -> Inquiry | Unknown:
        """Every payment of a charge, or its last attempt; not found while a payer has not posted the form."""
        transactions = await self._client.find(account, reference)
        if not isinstance(transactions, tuple):
            return Unknown(reason=transactions.reason)
        try:
            facts = gbprimepay_wire.charge_facts(transactions, reference, created_at, FactSource.INQUIRY)
        except Misunderstood as error:
            return Unknown(reason=str(error))
        return Inquiry(found=bool(facts), facts=facts, next_action=_next_action(account, transactions, facts))

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:  # noqa: ARG002 - there is none
        """Not here: nothing ends an unpaid charge, and what is paid is given back by a refund."""
        return Declined(failure_code="not_cancelable", provider_code="", message="GBPrimePay ends no unpaid charge")

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:  # noqa: ARG002 - there is none
        """Not here: a charge is paid at once, never only authorised."""
        return Declined(failure_code="capture_not_supported", provider_code="", message="a charge is paid at once")

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Void a payment or refund it, whichever its settlement lets us; see `gbprimepay_refunds`."""
        return await gbprimepay_refunds.refund(self._client, account, request)

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """The void or refund under our provider key."""
        return await gbprimepay_refunds.inquire(self._client, account, request)

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:  # noqa: ARG002 - no key signs it
        """What a background callback asks us to ask about; it proves nothing.

        Raises:
            CallbackRejected: unreadable, or with a key that is not the one of its reference.
        """
        return gbprimepay_callbacks.parse(callback)

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:  # noqa: ARG002 - any 200 will do
        """GBPrimePay reads only the status."""
        return CallbackReply()

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """The settlement report of a day.

        Raises:
            StatementUnavailable: not there yet, or no answer.
        """
        content = await self._client.file(account, STATEMENT, {"date": f"{on:%d%m%Y}"})
        if isinstance(content, NotAttempted | Unknown):
            raise StatementUnavailable(f"gbprimepay settlement report of {on.isoformat()}: {content.reason}")
        name = f"gbprimepay-settlement-{on:%Y%m%d}.csv"
        return (StatementFile(source="gbprimepay_settlement", name=name, content=content),)

    async def _charge_card(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        body = gbprimepay_requests.card_body(account, request)
        charged = read(await self._client.post_json(account, "charge", CHARGE, body), Charged, CHARGE_REFUSALS)
        if isinstance(charged, Declined) and charged.provider_code in MAY_BE_OURS:
            return await self._found_or(account, request, charged)
        if not isinstance(charged, Charged):
            return charged
        if not _is_ours(charged, request):
            return Unknown(reason="the charge is not the one that was asked for")
        return _begun(request, gbprimepay_requests.three_d_secure_action(account, charged.gbp_reference_no))

    async def _issue_qr(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        form = gbprimepay_requests.qr_form(account, request)
        issued = read(await self._client.post_form(account, "charge", QR, form), IssuedQr, QR_REFUSALS)
        if isinstance(issued, Declined):
            return await self._found_or(account, request, issued)
        if not isinstance(issued, IssuedQr):
            return issued
        try:
            qr = read_qr(issued.qrcode)
        except QrMalformed as error:
            return Unknown(reason=f"QR not understood: {error}")
        if issued.reference_no != reference_of(request.provider_key) or qr.amount_minor != request.amount_minor:
            return Unknown(reason="the QR is not of this charge and amount")
        shown = NextAction(type="display_qr_code", qr_data=issued.qrcode, expires_at=request.expires_at)
        return _begun(request, shown)

    async def _found_or(self, account: ProviderAccount, request: ChargeRequest, refused: Declined) -> Outcome:
        """What an earlier call under our key left behind, whose answer was lost; the refusal where there is nothing."""
        transactions = await self._client.find(account, request.provider_key)
        if not isinstance(transactions, tuple):
            return Unknown(reason=f"refused with {refused.provider_code}, and the inquiry said: {transactions.reason}")
        try:
            facts = gbprimepay_wire.charge_facts(
                transactions, request.provider_key, request.created_at, FactSource.INQUIRY
            )
        except Misunderstood as error:
            return Unknown(reason=str(error))
        if not facts:
            return refused
        if facts[0].kind is FactKind.DECLINED:
            return Declined(
                failure_code=facts[0].failure_code or gbprimepay_wire.OTHER_FAILURE,
                provider_code=facts[0].provider_code or "",
                message="",
                provider_references=_references(request),
                facts=facts,
            )
        next_action = _next_action(account, transactions, facts)
        if facts[0].kind is FactKind.PENDING and next_action is None:
            # A QR under our key was issued before, so money may come, and we do not have its text.
            return Unknown(reason=f"refused with {refused.provider_code}, and the charge waits for its payer")
        return Accepted(provider_references=_references(request), facts=facts, next_action=next_action)


def _refused_here(request: ChargeRequest) -> Declined | None:
    """Why nothing is asked of GBPrimePay."""
    known = {capability.method for capability in Gbprimepay.capabilities}
    if request.method not in known or request.currency != "THB":
        return Declined(failure_code="method_not_supported", provider_code="", message="not in this currency or method")
    if request.capture_later:
        return Declined(failure_code="capture_not_supported", provider_code="", message="a charge is paid at once")
    if request.method is Method.CARD and not request.card_token:
        return Declined(failure_code="invalid_request", provider_code="", message="a card's token is missing")
    if request.method is not Method.PROMPTPAY and not request.return_url:
        return Declined(failure_code="invalid_request", provider_code="", message="a return address is missing")
    if request.method is Method.MOBILE_BANKING and request.bank not in gbprimepay_requests.BANK_CODES:
        return Declined(failure_code="invalid_request", provider_code="", message="the bank is not known")
    return None


def _is_ours(charged: Charged, request: ChargeRequest) -> bool:
    try:
        amount_minor = None if charged.amount is None else gbprimepay_wire.satang(charged.amount)
    except Misunderstood:
        return False
    return (
        amount_minor == request.amount_minor
        and charged.reference_no == reference_of(request.provider_key)
        and gbprimepay_wire.GBP_REFERENCE.fullmatch(charged.gbp_reference_no) is not None
    )


def _references(request: ChargeRequest) -> tuple[str, ...]:
    return tuple(dict.fromkeys((request.provider_key, reference_of(request.provider_key))))


def _begun(request: ChargeRequest, next_action: NextAction) -> Accepted:
    pending = Fact(
        provider=Gbprimepay.name,
        kind=FactKind.PENDING,
        provider_reference=request.provider_key,
        provider_transaction_id=request.provider_key,
        amount_minor=request.amount_minor,
        currency=request.currency,
        occurred_at=request.created_at,
        source=FactSource.RESPONSE,
    )
    return Accepted(provider_references=_references(request), facts=(pending,), next_action=next_action)


def _next_action(
    account: ProviderAccount, transactions: tuple[Transaction, ...], facts: tuple[Fact, ...]
) -> NextAction | None:
    """A card's form again; GBPrimePay does not say a QR twice, and the other forms never were its own."""
    if not facts or facts[0].kind is not FactKind.PENDING:
        return None
    last = transactions[-1]
    is_card = gbprimepay_wire.METHODS_BY_PAYMENT_TYPE.get(last.payment_type) is Method.CARD
    if not is_card or not gbprimepay_wire.GBP_REFERENCE.fullmatch(last.gbp_reference_no):
        return None
    return gbprimepay_requests.three_d_secure_action(account, last.gbp_reference_no)
