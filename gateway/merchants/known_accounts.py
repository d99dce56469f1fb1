"""Accounts with providers, remembered for a second: several calls of one payment, and all payments of a moment, ask.

Only operators change them (`quickkub providers connect`), in another process. What they changed counts a second
later; an account that was just made is found at once, for that there is none is not remembered. Opened credentials
are let go when anything is looked up after their second, whoever asks for whatever.
"""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.remembering import Remembered
from gateway.merchants.provider_accounts import by_callback_token, for_book
from gateway.providers.base import ProviderAccount

AccountOf = Callable[[int, str], Awaitable[ProviderAccount | None]]
"""The account of a book with a provider, credentials opened."""


class KnownAccounts:
    """Finds accounts, with their credentials opened; one for all that a process does."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._known = Remembered[ProviderAccount]()

    async def of_book(self, book_id: int, provider: str) -> ProviderAccount | None:
        """The book's account with that provider; None where it has none."""
        return await self._find(
            (book_id, provider), lambda connection: for_book(connection, self._vault, book_id, provider)
        )

    async def of_callback(self, token: str) -> ProviderAccount | None:
        """The account whose callback address holds this token, or None."""
        return await self._find((token,), lambda connection: by_callback_token(connection, self._vault, token))

    async def _find(
        self, key: tuple[object, ...], look_up: Callable[[AsyncConnection], Awaitable[ProviderAccount | None]]
    ) -> ProviderAccount | None:
        if (known := self._known.get(key)) is not None:
            return known
        async with self._database.read() as connection:
            account = await look_up(connection)
        if account is not None:
            self._known.put(key, account)
        return account
