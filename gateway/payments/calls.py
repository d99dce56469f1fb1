"""Calls to providers on behalf of attempts, refunds and disputes, outside any transaction, and what their answers mean.

Every answer goes to the applier as one finding, under the subject that asked. An adapter that breaks is an unknown
outcome, because the request may have left.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from msgspec.structs import replace

from gateway.foundation.logs import get_logger
from gateway.merchants.known_accounts import AccountOf
from gateway.payments.dispute_records import DisputeRow
from gateway.payments.findings import Finding
from gateway.payments.records import AttemptRow, IntentRow, RefundRow, Subject
from gateway.payments.requests import provider_key_of
from gateway.payments.states import AttemptStatus, RefundStatus
from gateway.payments.views import NOT_ATTEMPTED_CODE
from gateway.providers.base import (
    Accepted,
    CaptureRequest,
    ChargeRequest,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    NotAttempted,
    Outcome,
    Provider,
    ProviderAccount,
    RefundRequest,
    Unknown,
)
from gateway.providers.circuits import CircuitKey, Circuits
from gateway.providers.disputes import DisputeAnswer, HandlesDisputes

Answer = TypeVar("Answer")
CHARGE: Final = "charge"
"""The word of every adapter for the call that asks for money."""

_log = get_logger("quickkub.payments")


class Calls:
    """Asks providers.

    Args:
        providers: adapters by name.
        account_of: see `AccountOf`.
        circuits: which providers answer; None: nobody says.
    """

    def __init__(
        self, providers: Mapping[str, Provider], account_of: AccountOf, circuits: Circuits | None = None
    ) -> None:
        self.providers = providers
        self._account_of = account_of
        self._circuits = circuits

    async def has_account(self, book_id: int, provider: str) -> bool:
        """Whether the book has an account with that provider."""
        return await self._account_of(book_id, provider) is not None

    async def is_in_order(self, book_id: int, provider: str) -> bool | None:
        """Whether the provider's circuit for charges is closed; None where the book has no account with it."""
        account = await self._account_of(book_id, provider)
        if account is None:
            return None
        return self._circuits is None or self._circuits.is_closed(CircuitKey.of(account, CHARGE))

    async def charge(self, attempt: AttemptRow, request: ChargeRequest, now: datetime) -> Finding:
        """Ask for the money."""
        outcome = await self._ask(attempt, "charge", lambda provider, account: provider.charge(account, request))
        return _finding_of_charge(attempt, outcome, now)

    async def inquire(self, attempt: AttemptRow) -> Inquiry | Unknown:
        """Ask what became of a charge; by our provider key where the first answer, with the provider's id, was lost."""
        reference = attempt.provider_reference or attempt.provider_key
        answer = await self._ask(
            attempt,
            "inquire",
            lambda provider, account: provider.inquire(account, reference, attempt.created_at, attempt.expires_at),
        )
        return Unknown(reason=answer.reason) if isinstance(answer, NotAttempted) else answer

    async def cancel(self, attempt: AttemptRow, now: datetime) -> Outcome | Finding:
        """Ask to make a charge unpayable; a finding where the provider did, else what it said."""
        reference = attempt.provider_reference or attempt.provider_key
        outcome = await self._ask(attempt, "cancel", lambda provider, account: provider.cancel(account, reference))
        if not isinstance(outcome, Accepted):
            return outcome
        return Finding(
            provider=attempt.provider,
            subject=subject_of(attempt),
            facts=outcome.facts or (charge_fact(attempt, FactKind.VOIDED, FactSource.RESPONSE, now),),
            references=outcome.provider_references,
        )

    async def capture(self, intent: IntentRow, attempt: AttemptRow) -> Outcome | Finding:
        """Ask to take what the merchant wished of an authorised charge; a finding where the provider took it on."""
        assert intent.capture_requested_minor is not None
        assert intent.capture_requested_at is not None
        request = CaptureRequest(
            capture_id=f"{attempt.attempt_id}/capture",
            provider_key=provider_key_of(f"{attempt.attempt_id}/capture"),
            provider_reference=attempt.provider_reference or attempt.provider_key,
            charge_key=attempt.provider_key,
            method=attempt.method,
            amount_minor=intent.capture_requested_minor,
            authorized_minor=attempt.amount_minor,
            currency=attempt.currency,
            created_at=intent.capture_requested_at,
        )
        outcome = await self._ask(attempt, "capture", lambda provider, account: provider.capture(account, request))
        if not isinstance(outcome, Accepted):
            return outcome
        return Finding(
            provider=attempt.provider,
            subject=subject_of(attempt),
            facts=outcome.facts,
            references=outcome.provider_references,
        )

    async def refund(self, refund: RefundRow, now: datetime) -> Finding:
        """Ask to give money back."""
        request = _refund_request(refund)
        outcome = await self._ask(refund, "refund", lambda provider, account: provider.refund(account, request))
        return _finding_of_refund(refund, outcome, now)

    async def inquire_refund(self, refund: RefundRow) -> Inquiry | Unknown:
        """Ask what became of a refund, by our provider key."""
        request = _refund_request(refund)
        answer = await self._ask(
            refund, "inquire_refund", lambda provider, account: provider.inquire_refund(account, request)
        )
        return Unknown(reason=answer.reason) if isinstance(answer, NotAttempted) else answer

    def takes_answers(self, provider: str) -> bool:
        """Whether the provider takes answers to disputes over its API; else a person sends them."""
        return isinstance(self.providers.get(provider), HandlesDisputes)

    async def answer_dispute(self, dispute: DisputeRow, answer: DisputeAnswer) -> Outcome:
        """Hand in the merchant's evidence; a provider without an API was not reached."""
        return await self._ask(
            dispute, "answer_dispute", lambda provider, account: _handler(provider).answer_dispute(account, answer)
        )

    async def accept_dispute(self, dispute: DisputeRow) -> Outcome:
        """Tell the provider that the merchant gives in."""
        return await self._ask(
            dispute,
            "accept_dispute",
            lambda provider, account: _handler(provider).accept_dispute(account, dispute.provider_dispute_id),
        )

    async def inquire_dispute(self, dispute: DisputeRow) -> Inquiry | Unknown:
        """Ask how a dispute stands."""
        answer = await self._ask(
            dispute,
            "inquire_dispute",
            lambda provider, account: _handler(provider).inquire_dispute(account, dispute.provider_dispute_id),
        )
        return Unknown(reason=answer.reason) if isinstance(answer, NotAttempted) else answer

    async def _ask(
        self,
        row: AttemptRow | RefundRow | DisputeRow,
        operation: str,
        call: Callable[[Provider, ProviderAccount], Awaitable[Answer]],
    ) -> Answer | NotAttempted | Unknown:
        account = await self._account_of(row.book_id, row.provider)
        if account is None:
            return NotAttempted(reason="no account with the provider")
        try:
            return await call(self.providers[row.provider], account)
        except Exception as error:  # noqa: BLE001 – whatever it is, the merchant's payment goes on as unknown
            # Adapters promise not to raise. One that does may have sent its request first, so nobody knows.
            _log.exception("provider adapter broke", extra={"provider": row.provider, "operation": operation})
            return Unknown(reason=type(error).__name__)


def _handler(provider: Provider) -> HandlesDisputes:
    assert isinstance(provider, HandlesDisputes), "only who takes answers is asked"
    return provider


def charge_request(
    intent: IntentRow,
    attempt: AttemptRow,
    *,
    card_token: str | None = None,
    return_url: str | None = None,
    bank: str | None = None,
) -> ChargeRequest:
    """The request for an attempt's money: the same on every repetition but for what only the merchant's request has."""
    return ChargeRequest(
        attempt_id=attempt.attempt_id,
        provider_key=attempt.provider_key,
        method=attempt.method,
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        created_at=attempt.created_at,
        expires_at=attempt.expires_at,
        description=intent.description,
        card_token=card_token,
        return_url=return_url,
        capture_later=intent.capture_later,
        bank=bank,
    )


def subject_of(row: AttemptRow | RefundRow) -> Subject:
    """The subject that a row is."""
    if isinstance(row, AttemptRow):
        return Subject(intent_id=row.intent_id, attempt_id=row.attempt_id)
    return Subject(intent_id=row.intent_id, refund_id=row.refund_id)


def charge_fact(
    attempt: AttemptRow,
    kind: FactKind,
    source: FactSource,
    occurred_at: datetime,
    *,
    failure_code: str | None = None,
    provider_code: str | None = None,
) -> Fact:
    """A fact that the provider stated without giving it an id of its own."""
    return Fact(
        provider=attempt.provider,
        kind=kind,
        provider_reference=attempt.provider_key,
        provider_transaction_id=attempt.provider_key,
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        occurred_at=occurred_at,
        source=source,
        failure_code=failure_code,
        provider_code=provider_code,
    )


def _finding_of_charge(attempt: AttemptRow, outcome: Outcome, now: datetime) -> Finding:
    finding = Finding(provider=attempt.provider, subject=subject_of(attempt))
    match outcome:
        case Accepted():
            return replace(
                finding,
                outcome=AttemptStatus.PENDING,
                facts=outcome.facts,
                next_action=outcome.next_action,
                references=outcome.provider_references,
                provider_reference=_own_reference(outcome.provider_references, attempt.provider_key),
            )
        case Declined():
            declined = charge_fact(
                attempt,
                FactKind.DECLINED,
                FactSource.RESPONSE,
                now,
                failure_code=outcome.failure_code,
                provider_code=outcome.provider_code,
            )
            return replace(
                finding,
                facts=outcome.facts or (declined,),
                references=outcome.provider_references,
                provider_reference=_own_reference(outcome.provider_references, attempt.provider_key),
            )
        case NotAttempted():
            return replace(
                finding,
                outcome=AttemptStatus.NOT_ATTEMPTED,
                failure_code=NOT_ATTEMPTED_CODE,
                provider_code=outcome.provider_code,
            )
        case Unknown():
            return replace(finding, outcome=AttemptStatus.UNKNOWN)


def _finding_of_refund(refund: RefundRow, outcome: Outcome, now: datetime) -> Finding:
    finding = Finding(provider=refund.provider, subject=subject_of(refund))
    match outcome:
        case Accepted():
            return replace(
                finding,
                outcome=RefundStatus.PENDING,
                facts=outcome.facts,
                references=outcome.provider_references,
            )
        case Declined():
            failed = Fact(
                provider=refund.provider,
                kind=FactKind.REFUND_FAILED,
                provider_reference=refund.provider_key,
                provider_transaction_id=refund.provider_key,
                amount_minor=refund.amount_minor,
                currency=refund.currency,
                occurred_at=now,
                source=FactSource.RESPONSE,
                failure_code=outcome.failure_code,
                provider_code=outcome.provider_code,
            )
            return replace(finding, facts=outcome.facts or (failed,), references=outcome.provider_references)
        case NotAttempted():
            return replace(finding, outcome=RefundStatus.RESERVED)
        case Unknown():
            return replace(finding, outcome=RefundStatus.UNKNOWN)


def _own_reference(references: tuple[str, ...], provider_key: str) -> str:
    """The provider's own id among the names of a charge; our key where it has none."""
    return next((reference for reference in references if reference != provider_key), provider_key)


def _refund_request(refund: RefundRow) -> RefundRequest:
    return RefundRequest(
        refund_id=refund.refund_id,
        provider_key=refund.provider_key,
        provider_reference=refund.charge_reference,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        created_at=refund.created_at,
        charge_key=refund.charge_key,
        method=refund.method,
        captured_minor=refund.captured_minor,
        captured_at=refund.captured_at,
    )
