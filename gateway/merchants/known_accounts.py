"""Accounts with providers, remembered for a second: several calls of one payment, and all payments of a moment, ask.

Only operators change them (`quickkub providers connect`), in another process. What they changed counts a second
later; an account that was just made is found at once, for that there is none is not remembered. Opened credentials
are let go when anything is looked up after their second, whoever asks for whatever.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.merchants.provider_accounts import by_callback_token, for_book
from gateway.providers.base import ProviderAccount

REMEMBERED_SECONDS: Final = 1
ACCOUNTS_MAX: Final = 10_000

AccountOf = Callable[[int, str], Awaitable[ProviderAccount | None]]
"""The account of a book with a provider, credentials opened."""


class _Known(msgspec.Struct, frozen=True):
    account: ProviderAccount
    until_seconds: float
    """By the monotonic clock."""


class KnownAccounts:
    """Finds accounts, with their credentials opened; one for all that a process does.

    All are remembered for the same time, so that the first of them is always the first to be let go.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._known: OrderedDict[tuple[object, ...], _Known] = OrderedDict()

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
        self._let_go()
        if (known := self._known.get(key)) is not None:
            return known.account
        async with self._database.read() as connection:
            account = await look_up(connection)
        if account is not None:
            self._known.pop(key, None)  # Somebody else may have looked it up meanwhile; the new one goes last.
            if len(self._known) >= ACCOUNTS_MAX:
                self._known.popitem(last=False)
            self._known[key] = _Known(account, time.monotonic() + REMEMBERED_SECONDS)
        return account

    def _let_go(self) -> None:
        now_seconds = time.monotonic()
        while self._known and next(iter(self._known.values())).until_seconds <= now_seconds:
            self._known.popitem(last=False)
