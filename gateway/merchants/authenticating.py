"""Who presents a key, for many requests at once: what comes while a look-up is under way shares the next one.

Nothing is remembered from one look-up to the next, so a key that was revoked, rolled or given other scopes, and a
test clock that was moved, count from the very next request on, in every process.
"""

from collections.abc import Sequence
from typing import Final

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.merchants.api_keys import look_up, note_use
from gateway.merchants.principals import Principal
from ledger.coalescing import Coalescer

MAX_BATCH: Final = 200
QUEUE_LIMIT: Final = 10_000


class Authenticator:
    """Looks keys up; one for all requests of a process."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        # A key cannot make a look-up fail, so whatever does is everybody's.
        self._lookups: Coalescer[str, Principal | None] = Coalescer(
            self._flush, max_batch=MAX_BATCH, queue_limit=QUEUE_LIMIT, poison=lambda _: False
        )

    async def principal_of(self, presented: str) -> Principal | None:
        """Who presents this key, or None: unknown, expired, revoked, or its operator disabled.

        Raises:
            LedgerBusy: too many are waiting.
        """
        return await self._lookups.submit(presented)

    async def _flush(self, presented: Sequence[str]) -> Sequence[Principal | None]:
        principals, used = await look_up(self._database, self._vault, presented)
        if used:
            await note_use(self._database, used)
        return principals
