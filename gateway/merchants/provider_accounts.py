"""A book's accounts with providers: where to call, with what credentials, and the secret address they call us on.

Credentials are ours, not the merchant's, so they are sealed with the house key. A callback finds its account by the
HMAC of the token in its address. A test account's other side is our sandbox, which must be told of it: that happens
when the sandbox answers, at once or later, and again after either side's address has changed.
"""

import secrets
from typing import Final, Protocol

import msgspec
from sqlalchemy import Row, Select, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.foundation.logs import get_logger
from gateway.foundation.statements import Statement
from gateway.merchants.tables import provider_accounts
from gateway.providers.base import ProviderAccount
from gateway.providers.registry import INVENTED_CREDENTIALS
from gateway.sandbox.client import SandboxRefused, SandboxUnreachable

TEST_PROVIDERS: Final = tuple(INVENTED_CREDENTIALS)
"""Providers that every test book has an account with, each at its own base path of the sandbox."""

_COLUMNS: Final = (
    provider_accounts.c.provider_account_id,
    provider_accounts.c.book_id,
    provider_accounts.c.provider,
    provider_accounts.c.livemode,
    provider_accounts.c.base_url,
    provider_accounts.c.public_url,
    provider_accounts.c.sealed_credentials,
    provider_accounts.c.sealed_callback_token,
)


class SandboxRegistry(Protocol):
    """The part of the sandbox's control interface that registers accounts (`gateway/sandbox/client.py`)."""

    async def register_account(
        self, *, world: str, provider: str, credentials: dict[str, str], callback_url: str | None
    ) -> None:
        """Tell the sandbox of an account; telling it again changes nothing or updates the addresses."""
        ...


async def create(
    connection: AsyncConnection,
    vault: Vault,
    *,
    book_id: int,
    provider: str,
    livemode: bool,
    base_url: str,
    public_url: str,
    credentials: dict[str, str],
) -> ProviderAccount:
    """Store a book's account with a provider; a book has at most one with each.

    `base_url` is where the provider answers, `public_url` where it finds our API.
    """
    account_id = new_id("pa", livemode=livemode)
    token = secrets.token_urlsafe(32)
    await connection.execute(
        insert(provider_accounts).values(
            provider_account_id=account_id,
            book_id=book_id,
            provider=provider,
            livemode=livemode,
            base_url=base_url,
            public_url=public_url,
            sealed_credentials=vault.seal_house(msgspec.json.encode(credentials), context=_credentials_of(account_id)),
            sealed_callback_token=vault.seal_house(token.encode(), context=_token_of(account_id)),
            callback_token_lookup=_token_lookup(vault, token),
            created_at=real_now(),
        )
    )
    return ProviderAccount(
        account_id=account_id,
        book_id=book_id,
        provider=provider,
        base_url=base_url,
        callback_url=_callback_url(public_url, provider, token),
        livemode=livemode,
        credentials=credentials,
    )


async def connect(
    connection: AsyncConnection,
    vault: Vault,
    *,
    book_id: int,
    provider: str,
    base_url: str,
    public_url: str,
    credentials: dict[str, str],
) -> ProviderAccount:
    """Give the live book its account with a provider, or the one that it has new credentials or another address.

    The callback address stays what it was: the provider was told of it.
    """
    c = provider_accounts.c
    known = await for_book(connection, vault, book_id, provider)
    if known is None:
        return await create(
            connection,
            vault,
            book_id=book_id,
            provider=provider,
            livemode=True,
            base_url=base_url,
            public_url=public_url,
            credentials=credentials,
        )
    sealed = vault.seal_house(msgspec.json.encode(credentials), context=_credentials_of(known.account_id))
    await connection.execute(
        update(provider_accounts)
        .where(c.provider_account_id == known.account_id)
        .values(base_url=base_url, public_url=public_url, sealed_credentials=sealed)
    )
    renewed = await for_book(connection, vault, book_id, provider)
    assert renewed is not None
    return renewed


async def create_test_accounts(
    connection: AsyncConnection, vault: Vault, *, book_id: int, sandbox_url: str, public_url: str
) -> list[ProviderAccount]:
    """Give a test book its accounts with invented credentials; the sandbox is told by `register_pending`."""
    return [
        await create(
            connection,
            vault,
            book_id=book_id,
            provider=provider,
            livemode=False,
            base_url=f"{sandbox_url}/{provider}",
            public_url=public_url,
            credentials=invent(),
        )
        for provider, invent in INVENTED_CREDENTIALS.items()
    ]


async def for_book(connection: AsyncConnection, vault: Vault, book_id: int, provider: str) -> ProviderAccount | None:
    """The book's account with that provider, credentials opened; None where it has none."""
    c = provider_accounts.c
    row = (await connection.execute(_select().where(c.book_id == book_id, c.provider == provider))).one_or_none()
    return None if row is None else _opened(vault, row)


async def providers_of(connection: AsyncConnection, book_id: int) -> frozenset[str]:
    """The providers that a book has an account with."""
    found = await connection.execute(select(provider_accounts.c.provider).where(provider_accounts.c.book_id == book_id))
    return frozenset(found.scalars())


async def by_callback_token(connection: AsyncConnection, vault: Vault, token: str) -> ProviderAccount | None:
    """The account whose callback address holds this token, or None."""
    lookup = _token_lookup(vault, token)
    statement = _select().where(provider_accounts.c.callback_token_lookup == lookup)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _opened(vault, row)


# Where the sandbox or our API has moved, test accounts move along and must be registered again.
_FOLLOW_ADDRESSES: Final = Statement(
    text("""
    UPDATE gateway.provider_accounts
    SET base_url = CAST(:sandbox_url AS text) || '/' || provider, public_url = :public_url, registered_at = NULL
    WHERE provider = ANY(CAST(:providers AS text[])) AND NOT livemode
      AND (base_url <> CAST(:sandbox_url AS text) || '/' || provider OR public_url <> :public_url)
""")
)
_REGISTERED: Final = Statement(
    text("UPDATE gateway.provider_accounts SET registered_at = :now WHERE provider_account_id = :account_id")
)


async def register_pending(
    database: Database, vault: Vault, sandbox: SandboxRegistry, *, sandbox_url: str, public_url: str
) -> int:
    """Tell the sandbox of every test account that it does not know yet, or knows under old addresses.

    One transaction for each account, none open while the sandbox is called.

    Returns:
        how many were registered. It ends when the sandbox does not answer; an account that the sandbox refuses is
        logged and left for the next time.
    """
    addresses = {"sandbox_url": sandbox_url, "public_url": public_url, "providers": list(TEST_PROVIDERS)}
    await database.ask(_FOLLOW_ADDRESSES, addresses)
    c = provider_accounts.c
    statement = _select().where(c.registered_at.is_(None), c.livemode.is_(False)).order_by(c.created_at)
    async with database.read() as connection:
        pending = [_opened(vault, row) for row in await connection.execute(statement)]
    registered = 0
    for account in pending:
        try:
            await sandbox.register_account(
                world=str(account.book_id),
                provider=account.provider,
                credentials=dict(account.credentials),
                callback_url=account.callback_url,
            )
        except SandboxUnreachable:
            break
        except SandboxRefused as refusal:
            get_logger(__name__).error("the sandbox refuses %s: %s", account, refusal)
            continue
        await database.ask(_REGISTERED, {"account_id": account.account_id, "now": real_now()})
        registered += 1
    return registered


def _select() -> Select[str, int, str, bool, str, str, bytes, bytes]:
    return select(*_COLUMNS)


def _opened(vault: Vault, row: Row[str, int, str, bool, str, str, bytes, bytes]) -> ProviderAccount:
    account_id, book_id, provider, livemode, base_url, public_url, sealed_credentials, sealed_token = row
    credentials = vault.open_house(sealed_credentials, context=_credentials_of(account_id))
    token = vault.open_house(sealed_token, context=_token_of(account_id)).decode()
    return ProviderAccount(
        account_id=account_id,
        book_id=book_id,
        provider=provider,
        base_url=base_url,
        callback_url=_callback_url(public_url, provider, token),
        livemode=livemode,
        credentials=msgspec.json.decode(credentials, type=dict[str, str]),
    )


def _callback_url(public_url: str, provider: str, token: str) -> str:
    return f"{public_url}/v1/callbacks/{provider}/{token}"


def _token_lookup(vault: Vault, token: str) -> bytes:
    return vault.lookup(token, purpose="callback_token")


def _credentials_of(account_id: str) -> str:
    return f"provider_credentials:{account_id}"


def _token_of(account_id: str) -> str:
    return f"callback_token:{account_id}"
