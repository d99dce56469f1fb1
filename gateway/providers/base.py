"""What every provider adapter speaks to us: typed facts out, four outcome kinds, no guesses.

An adapter knows its provider's wire protocol and nothing of intents, books or entries. It never decides what a
fact means for money; `payments/facts.py` does. It never turns silence into "failed": see `Unknown`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from enum import StrEnum
from typing import Final, Literal, Protocol

import msgspec

from gateway.providers.dispute_terms import DisputeTerms

NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `msgspec` raises for bytes from outside that are not the JSON that was meant: wrong, not UTF-8, too deep."""


class Method(StrEnum):
    """How a payer pays."""

    PROMPTPAY = "promptpay"
    CARD = "card"
    TRUEMONEY = "truemoney"
    RABBIT_LINEPAY = "rabbit_linepay"
    SHOPEEPAY = "shopeepay"
    MOBILE_BANKING = "mobile_banking"


class FactKind(StrEnum):
    """What a provider may say of charge, refund or dispute. Facts commute: folded by rank, never by arrival."""

    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    EXPIRED = "expired"
    VOIDED = "voided"
    REFUND_PENDING = "refund_pending"
    REFUND_SUCCEEDED = "refund_succeeded"
    REFUND_FAILED = "refund_failed"
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_UNDER_REVIEW = "dispute_under_review"
    DISPUTE_FUNDS_WITHDRAWN = "dispute_funds_withdrawn"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"


class FactSource(StrEnum):
    """By which road the fact reached us; recorded, never decisive."""

    RESPONSE = "response"
    CALLBACK = "callback"
    INQUIRY = "inquiry"
    STATEMENT = "statement"
    OPERATOR = "operator"
    RECEIPT = "receipt"
    """A credit on our own bank account that a person assigned to the payment."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a provider said happened.

    (provider, kind, provider_transaction_id) is unique in a book: the second arrival has no effect.

    Attributes:
        provider_reference: what finds the attempt or refund (`provider_references`): our provider key wherever
            the provider hands it back (bill reference, metadata) – it is known before the provider is called, so
            no fact can come too early for it – else the provider's charge or refund id.
        provider_transaction_id: the provider's id of this very movement; for facts without one (`pending`,
            `declined`, `expired`) the reference itself.
        amount_minor: money moved, or asked for where none moved.
        provider_fee_minor: the provider's fee and the VAT on it, where the message tells.
        occurred_at: the provider's time of it.
        failure_code: our word for a decline; `provider_code`: theirs.
        dispute: of which dispute of the charge it speaks; with the kinds `dispute_…` and no other.
    """

    provider: str
    kind: FactKind
    provider_reference: str
    provider_transaction_id: str
    amount_minor: int
    currency: str
    occurred_at: datetime
    source: FactSource
    provider_fee_minor: int | None = None
    provider_fee_vat_minor: int | None = None
    failure_code: str | None = None
    provider_code: str | None = None
    dispute: DisputeTerms | None = None


class NextAction(msgspec.Struct, frozen=True, kw_only=True):
    """What the payer must do now.

    Attributes:
        type: `display_qr_code`; `redirect`: open `redirect_url`; `submit_form`: POST `form_fields` to `redirect_url`
            from the payer's browser; `open_app`: open `redirect_url`, an app's own scheme; `wait`: the payer confirms
            elsewhere.
        qr_data: EMVCo text of the QR; qr_image_url: the provider's picture of it, if any.
        redirect_url: where the payer is to be sent; form_fields: by name, in the order in which they are sent.
    """

    type: str
    qr_data: str | None = None
    qr_image_url: str | None = None
    redirect_url: str | None = None
    form_fields: Mapping[str, str] | None = None
    expires_at: datetime | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The provider acted on the request; the facts say how far it got.

    Attributes:
        provider_references: every name under which the provider may later speak of this operation.
    """

    provider_references: tuple[str, ...]
    facts: tuple[Fact, ...] = ()
    next_action: NextAction | None = None


class Declined(msgspec.Struct, frozen=True, kw_only=True):
    """The provider said no, for certain."""

    failure_code: str
    provider_code: str
    message: str
    provider_references: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()


class NotAttempted(msgspec.Struct, frozen=True, kw_only=True):
    """The request certainly had no effect (refused connection, 401, 429 …): it may be tried elsewhere or again."""

    reason: str
    provider_code: str | None = None


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody knows whether the provider acted: timeout, 5xx, an answer that does not parse.

    Asked again under the same provider key; in the end the statement decides. Never "failed".
    """

    reason: str


Outcome = Accepted | Declined | NotAttempted | Unknown


class ProviderAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant book's account with a provider, credentials opened.

    Attributes:
        account_id: `pa_…`; callback_url: where the provider is told to call us, with its secret token.
        credentials: by the provider's own names; each adapter documents its own.
    """

    account_id: str
    book_id: int
    provider: str
    base_url: str
    callback_url: str
    livemode: bool
    credentials: Mapping[str, str]

    def __repr__(self) -> str:
        """No secret reaches a log."""
        return f"ProviderAccount({self.account_id}, {self.provider}, book {self.book_id})"


class ChargeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask a provider for money.

    Attributes:
        attempt_id: ours; provider_key: derived from it, ≤ 20 of A–Z 0–9, the same on every retry.
        created_at: when the attempt was committed, business time of the book.
        card_token: the provider's single-use token (a card's, or a wallet's code); a card number never reaches us.
        capture_later: true: only authorise; `capture` takes the money.
        bank: mobile banking: whose app, as `Capabilities.banks` names it.
    """

    attempt_id: str
    provider_key: str
    method: Method
    amount_minor: int
    currency: str
    created_at: datetime
    expires_at: datetime | None = None
    description: str = ""
    card_token: str | None = None
    return_url: str | None = None
    capture_later: bool = False
    bank: str | None = None


class CaptureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask a provider to take authorised money, all of it or a part.

    Attributes:
        provider_reference: the provider's charge id; charge_key: the provider key of the charge.
        provider_key: derived from our capture id, the same on every retry.
        is_final: no further capture follows; what is left is released.
    """

    capture_id: str
    provider_key: str
    provider_reference: str
    charge_key: str
    method: Method
    amount_minor: int
    authorized_minor: int
    currency: str
    created_at: datetime
    is_final: bool = True


class RefundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask a provider to give money back.

    Attributes:
        provider_reference: the provider's charge id; charge_key: the provider key of the charge.
        provider_key: derived from our refund id, the same on every retry.
        captured_minor: what the charge took in all; captured_at: when (providers void on the same day, and refund
            later).
    """

    refund_id: str
    provider_key: str
    provider_reference: str
    amount_minor: int
    currency: str
    created_at: datetime
    charge_key: str = ""
    method: Method | None = None
    captured_minor: int | None = None
    captured_at: datetime | None = None


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's call as it arrived.

    Attributes:
        headers: names in any case; only those that the adapter names in `callback_headers` are kept.
        received_at: real time, also for test books: it is what signature tolerances are measured against.
    """

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


class CallbackReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider wants to read once its callback is stored; always with HTTP 200.

    Attributes:
        headers: more than the content type, such as a signature of the reply.
    """

    content_type: str = "application/json"
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}


class ParsedCallback(msgspec.Struct, frozen=True, kw_only=True):
    """What a callback says.

    Attributes:
        event_id: unique for the provider; a second arrival of it is a duplicate.
        facts: what may be believed as it stands (signature checked).
        inquire: provider references that must be asked about before anything is believed (unsigned callbacks).
        inquire_about: the moment to ask about, where the provider keeps its answers by day; None = of no matter.
        ignored: true where the message is known and means nothing to us.
    """

    event_id: str
    facts: tuple[Fact, ...] = ()
    inquire: tuple[str, ...] = ()
    inquire_about: datetime | None = None
    ignored: bool = False


class CallbackRejected(Exception):
    """The callback is forged, stale or unreadable; it is quarantined and moves nothing."""

    def __init__(self, code: str, detail: str) -> None:
        """`code` is stable: `signature_invalid`, `timestamp_outside_tolerance`, `malformed`, `unknown_status`."""
        super().__init__(f"{code}: {detail}")
        self.code = code


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider answered about one charge or refund.

    Attributes:
        found: false where the provider does not know the reference – not proof that it never will.
        next_action: what the payer must do, where the charge still waits and the provider says it again; so a QR
            whose first answer was lost is not.
    """

    found: bool
    facts: tuple[Fact, ...] = ()
    next_action: NextAction | None = None


class StatementFile(msgspec.Struct, frozen=True, kw_only=True):
    """A statement as the provider gives it out, untouched.

    Attributes:
        source: registry name of its format in `reconciliation/statements`: `omise_transactions`,
            `omise_transfers`, `thai_bill_payment`, `mt940` …
    """

    source: str
    name: str
    content: bytes


class RefundRule(StrEnum):
    """What a provider's API gives back of a captured charge."""

    NONE = "none"
    VOID_SAME_DAY = "void_same_day"
    """All of it, on the business day of the payment, before the provider's cut-off."""
    FULL = "full"
    PARTIAL = "partial"
    """Any part, several times, never more than was captured."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What routing, validation and `GET /v1/payment_methods` may rely on, for one method and currency.

    Attributes:
        refunds: through the provider's API; refund_days_max: for how many days after the payment; None = no limit
            is known. void_until: Bangkok time of day after which a same-day void is refused.
        expiry_seconds: default life of a charge of that method; expiry_seconds_max: the longest that can be asked.
        rank: our choice among providers of the same method: the lowest first.
        capture_later: authorising and capturing apart; captures_many: in several parts; capture_days_max: for how many
            days after the authorisation; None = no limit is known.
        needs: what must come as `card_token`: a card's token, a wallet's code, or nothing; token_optional: one may.
        return_url: whether the payer leaves the merchant's page and must come back.
        banks: mobile banking: whose apps.
    """

    method: Method
    currency: str
    amount_minor_min: int
    amount_minor_max: int
    refunds: RefundRule
    expiry_seconds: int | None
    rank: int
    expiry_seconds_max: int | None = None
    refund_days_max: int | None = None
    void_until: time | None = None
    capture_later: bool = False
    captures_many: bool = False
    capture_days_max: int | None = None
    cancelable: bool = False
    needs: Literal["card_token", "wallet_code"] | None = None
    token_optional: bool = False
    return_url: bool = False
    banks: tuple[str, ...] = ()

    @property
    def refundable(self) -> bool:
        """Whether anything can be given back through the provider's API."""
        return self.refunds is not RefundRule.NONE


class Provider(Protocol):
    """One provider's adapter. Every method makes at most one logical operation and has its own time limit."""

    name: str
    capabilities: Sequence[Capabilities]
    callback_headers: Sequence[str]
    """Lower-case names of the callback headers that the adapter reads (its signature); all others are dropped."""

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials of the provider's own shape, for a test account; they open nothing but our sandbox."""
        ...

    async def charge(self, account: ProviderAccount, request: ChargeRequest) -> Outcome:
        """Ask for the money. Never raises for what a network or provider may do."""
        ...

    async def inquire(
        self, account: ProviderAccount, reference: str, created_at: datetime, expires_at: datetime | None = None
    ) -> Inquiry | Unknown:
        """Ask what became of a charge, by any of its references or by our provider key.

        Args:
            account: whose charge it is.
            reference: any of its references.
            created_at: when the attempt was made. Providers that answer by day (SCB) are asked about that day and
                on to the end of the charge's life; to ask about a later payment, pass that payment's moment.
            expires_at: the end of the charge's life; None = the method's own.
        """
        ...

    async def cancel(self, account: ProviderAccount, reference: str) -> Outcome:
        """Make an unpaid charge unpayable, or give up an authorisation.

        `Declined(not_cancelable)` where the rail has no such thing.
        """
        ...

    async def capture(self, account: ProviderAccount, request: CaptureRequest) -> Outcome:
        """Take authorised money. `Declined(capture_not_supported)` where the rail only knows sales."""
        ...

    async def refund(self, account: ProviderAccount, request: RefundRequest) -> Outcome:
        """Give money back. `Declined(refund_not_supported)` where the rail has no such thing."""
        ...

    async def inquire_refund(self, account: ProviderAccount, request: RefundRequest) -> Inquiry | Unknown:
        """Ask what became of a refund, by our provider key."""
        ...

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        """Check and read a callback.

        Raises:
            CallbackRejected: forged, stale or unreadable.
        """
        ...

    def callback_reply(self, account: ProviderAccount, callback: Callback, confirm_id: str) -> CallbackReply:
        """What to answer once the callback is stored under `confirm_id`. Never raises, whatever the body."""
        ...

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """Statements of one business date, raw.

        Raises:
            StatementUnavailable: not given out yet, or the provider did not answer.
        """
        ...


class StatementUnavailable(Exception):
    """The provider has no such statement yet; ask later."""
