"""Whether an attempt may be made at all: asked in the transaction that writes it, before anybody outside is."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments import blocklists, limits, payment_links, velocity
from gateway.payments.deciding import event_of
from gateway.payments.errors import PayerBlocked
from gateway.payments.facts import RecordEvents
from gateway.payments.payers import marks_of
from gateway.payments.records import AttemptRow, IntentRow, attempts_by_id, lock_intents, replace_rows
from gateway.payments.requests import Payer
from gateway.payments.states import IntentStatus
from gateway.payments.tables import attempts, intents
from gateway.payments.views import encoded, intent_view
from gateway.webhooks.events import NewEvent


class Admission:
    """Asks the payment's link, blocklists, velocity rules and limits, in this order."""

    def __init__(self, vault: Vault, *, record_events: RecordEvents) -> None:
        self._vault = vault
        self._record_events = record_events

    async def admit(
        self, connection: AsyncConnection, intent: IntentRow, attempt: AttemptRow, payer: Payer | None
    ) -> None:
        """Note whose the attempt is and count it; call it after everything else that can be refused.

        Raises:
            PayerBlocked: roll back and `keep` it.
            Refused: the payment's link takes no more payments, `velocity_exceeded` or `limit_exceeded`; roll back.
            InvalidRequest: the payer's address is none.
        """
        marks = await marks_of(connection, self._vault, intent, payer)
        await payment_links.take(connection, intent)
        if marks:
            await blocklists.check(connection, intent, marks, now=attempt.created_at)
            await velocity.check(connection, intent.account_id, attempt, marks)
            await velocity.mark(connection, intent.account_id, attempt, marks)
        await limits.take(connection, intent.account_id, attempt)

    async def admit_again(self, connection: AsyncConnection, intent: IntentRow, attempt_id: str) -> None:
        """Count an attempt that was taken off because it was never sent, and is to be sent now.

        The caller has locked the payment.

        Raises:
            LimitExceeded: its room was taken meanwhile; roll back.
            Refused: somebody else pays its link meanwhile; roll back.
        """
        attempt = (await attempts_by_id(connection, intent.book_id, [attempt_id]))[0]
        if not attempt.counted:
            await payment_links.take(connection, intent)
            attempt = msgspec.structs.replace(attempt, counted=True)
            await replace_rows(connection, attempts, [attempt])
            await limits.take(connection, intent.account_id, attempt)

    async def keep(self, database: Database, principal: MerchantPrincipal, blocked: PayerBlocked) -> None:
        """Note on the payment that its payer was blocked, and tell its merchant, unless it has moved on."""
        async with database.transaction() as connection:
            for before in await lock_intents(connection, principal.book_id, [blocked.intent_id]):
                if before.status is not IntentStatus.REQUIRES_PAYMENT_METHOD:
                    continue
                intent = msgspec.structs.replace(refused(before, blocked), version=before.version + 1)
                latest = await attempts_by_id(connection, intent.book_id, [intent.latest_attempt_id or ""])
                await replace_rows(connection, intents, [intent])
                event = blocked_event(intent, latest[0] if latest else None, principal)
                await self._record_events(connection, [event])


def refused(intent: IntentRow, blocked: PayerBlocked) -> IntentRow:
    """The payment with the reason why its payer was refused."""
    return msgspec.structs.replace(intent, refused_code=blocked.code, refused_reason=blocked.reason)


def blocked_event(intent: IntentRow, attempt: AttemptRow | None, principal: MerchantPrincipal) -> NewEvent:
    """What the merchant is told of it."""
    view = encoded(intent_view(intent, attempt))
    return event_of(intent, "payment_intent.blocked", view, principal.clock.now())
