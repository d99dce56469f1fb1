"""What an adapter offers whose provider takes answers to disputes over its API. The others are told by a person."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import msgspec

from gateway.providers.base import Inquiry, Outcome, ProviderAccount, Unknown


class DisputeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The merchant's evidence.

    Attributes:
        reference: the provider's id of the dispute.
        text: by the name of the field; files: references to documents, by their name.
    """

    reference: str
    text: Mapping[str, str]
    files: Mapping[str, str]


@runtime_checkable
class HandlesDisputes(Protocol):
    """Disputes over the provider's API. Each call may be repeated: a second one changes nothing."""

    async def inquire_dispute(self, account: ProviderAccount, reference: str) -> Inquiry | Unknown:
        """Ask how a dispute stands. Never raises for what a network or provider may do."""
        ...

    async def answer_dispute(self, account: ProviderAccount, answer: DisputeAnswer) -> Outcome:
        """Hand in evidence."""
        ...

    async def accept_dispute(self, account: ProviderAccount, reference: str) -> Outcome:
        """Give in."""
        ...
