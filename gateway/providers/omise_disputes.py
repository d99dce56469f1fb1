"""Omise's disputes: what one says in facts, and answers to it. Omise takes the money when a dispute is opened."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import msgspec

from gateway.providers import omise_wire
from gateway.providers.base import (
    Accepted,
    Declined,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    Outcome,
    ProviderAccount,
    Unknown,
)
from gateway.providers.dispute_terms import DisputeTerms
from gateway.providers.disputes import DisputeAnswer
from gateway.providers.http import Answer
from gateway.providers.omise_client import OmiseClient, read, reason_of
from gateway.providers.omise_wire import Misunderstood, Moment

DISPUTE_ID_PREFIX: Final = "dspt_"
ANSWERED_WITHIN: Final = timedelta(days=14)
"""ASSUMED: no deadline is on the wire; merchants are told of 14 to 21 days."""
REFUSALS: Final = {
    "bad_request": "dispute_not_open",
    "invalid_dispute": "dispute_not_open",
    "failed_dispute": "dispute_not_open",
    "not_found": "dispute_not_found",
}
"""ASSUMED: Omise documents the operations and not their errors."""
REASONS: Final = {
    "duplicate": "duplicate",
    "fraudulent": "fraudulent",
    "goods_or_services_not_provided": "product_not_received",
    "goods_or_services_not_as_described": "product_unacceptable",
    "credit_not_processed": "credit_not_processed",
    "subscription_canceled": "subscription_canceled",
}
"""ASSUMED words; what is new to us is `general`, with Omise's word beside it."""
_DECISIONS: Final = {"won": FactKind.DISPUTE_WON, "lost": FactKind.DISPUTE_LOST}
_STATUSES: Final = frozenset({"open", "pending", *_DECISIONS})


class Dispute(msgspec.Struct, frozen=True):
    """A dispute, as far as we read it; amounts in satang."""

    id: str
    status: str
    amount: int
    currency: str
    charge: str
    created_at: Moment
    closed_at: Moment | None = None
    reason_code: str | None = None


class OmiseDisputes:
    """Disputes over Omise's API."""

    def __init__(self, client: OmiseClient) -> None:
        self._client = client

    async def inquire(self, account: ProviderAccount, reference: str) -> Inquiry | Unknown:
        """A dispute, after all that its charge says: nobody need know of the payment before."""
        answer = await self._client.send(account, "inquiry", "GET", f"/disputes/{reference}")
        if isinstance(answer, Answer) and answer.status == HTTPStatus.NOT_FOUND:
            return Inquiry(found=False)
        dispute = read(answer, Dispute, {})
        if not isinstance(dispute, Dispute):
            return Unknown(reason=reason_of(dispute))
        found = await self._client.send(account, "inquiry", "GET", f"/charges/{dispute.charge}")
        charge = read(found, omise_wire.Charge, {})
        if not isinstance(charge, omise_wire.Charge):
            return Unknown(reason=reason_of(charge))
        try:
            said = omise_wire.charge_facts(charge, FactSource.INQUIRY)
            return Inquiry(found=True, facts=(*said, *dispute_facts(dispute, said[0].provider_reference)))
        except Misunderstood as error:
            return Unknown(reason=str(error))

    async def answer(self, account: ProviderAccount, answer: DisputeAnswer) -> Outcome:
        """Hand in the merchant's words as one message; the names of his documents go along as metadata."""
        body = {
            "message": "\n\n".join(f"{name}: {text}" for name, text in answer.text.items()),
            "metadata": dict(answer.files),
        }
        return await self._change(account, answer.reference, "", body)

    async def accept(self, account: ProviderAccount, reference: str) -> Outcome:
        """Give in."""
        # ASSUMED: the operation is documented and its path is not.
        return await self._change(account, reference, "/accept", {})

    async def _change(self, account: ProviderAccount, reference: str, path: str, body: Mapping[str, object]) -> Outcome:
        sent = await self._client.send(account, "dispute", "PATCH", f"/disputes/{reference}{path}", body=body)
        dispute = read(sent, Dispute, REFUSALS)
        if isinstance(dispute, Dispute):
            # Its facts come by callback or inquiry, together with those of its charge.
            return Accepted(provider_references=(dispute.id,))
        if isinstance(dispute, Declined):
            now = read(await self._client.send(account, "inquiry", "GET", f"/disputes/{reference}"), Dispute, {})
            if not isinstance(now, Dispute):
                return Unknown(reason=reason_of(now))
        return dispute


def is_dispute_id(reference: str) -> bool:
    """Whether it is Omise's id of a dispute, and safe in a path."""
    return reference.startswith(DISPUTE_ID_PREFIX) and reference.isascii() and reference.replace("_", "").isalnum()


def dispute_facts(dispute: Dispute, charge_reference: str) -> tuple[Fact, ...]:
    """What a dispute says; `charge_reference` finds the attempt.

    Raises:
        Misunderstood: its status is not known.
    """
    if dispute.status not in _STATUSES:
        raise Misunderstood(f"dispute status {dispute.status!r}")
    kinds = [FactKind.DISPUTE_OPENED, FactKind.DISPUTE_FUNDS_WITHDRAWN]
    if dispute.status == "pending":
        kinds.append(FactKind.DISPUTE_UNDER_REVIEW)
    if dispute.status in _DECISIONS:
        kinds.append(_DECISIONS[dispute.status])
    terms = DisputeTerms(
        reference=dispute.id,
        reason_code=REASONS.get(dispute.reason_code or "", "general"),
        provider_reason=dispute.reason_code,
        evidence_due_at=dispute.created_at + ANSWERED_WITHIN,
    )
    decided_at = dispute.closed_at or dispute.created_at
    return tuple(
        Fact(
            provider=omise_wire.NAME,
            kind=kind,
            provider_reference=charge_reference,
            provider_transaction_id=terms.transaction_id,
            amount_minor=dispute.amount,
            currency=dispute.currency.upper(),
            occurred_at=decided_at if kind in _DECISIONS.values() else dispute.created_at,
            source=FactSource.INQUIRY,
            dispute=terms,
        )
        for kind in kinds
    )
