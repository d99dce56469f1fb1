"""What is remembered of accounts with providers: one that is there, for a second; that there is none, never."""

import asyncio

from gateway.foundation import remembering
from gateway.merchants.known_accounts import KnownAccounts
from gateway.merchants.provider_accounts import connect
from tests.statements import noted

BOOK_ID = 1_000_001
LIVE = {"book_id": BOOK_ID, "base_url": "https://api.omise.co", "public_url": "https://pay.shop.example"}


def kept(accounts):
    return [each.provider for each in accounts._known.values()]


async def test_an_account_is_read_once_a_second(opened, vault, account, monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr(remembering.time, "monotonic", lambda: seconds[0])
    accounts, statements = KnownAccounts(opened, vault), noted(monkeypatch, opened)
    scb = await accounts.of_book(account.test_book_id, "scb")
    seconds[0] += 0.9
    assert await accounts.of_book(account.test_book_id, "scb") is scb
    assert len(statements) == 1
    seconds[0] += 0.2
    assert await accounts.of_book(account.test_book_id, "scb") == scb
    assert len(statements) == 2
    token = scb.callback_url.rpartition("/")[2]
    assert await accounts.of_callback(token) == await accounts.of_callback(token) == scb
    assert len(statements) == 3
    assert await accounts.of_callback("guessed") is None


async def test_a_new_account_is_found_at_once_and_new_credentials_a_second_later(opened, vault, account, monkeypatch):
    accounts = KnownAccounts(opened, vault)
    assert await accounts.of_book(BOOK_ID, "omise") is None
    for key in ("first", "second"):
        async with opened.transaction() as connection:
            await connect(
                connection,
                vault,
                provider="omise",
                credentials={"secret_key": key},
                **LIVE,
            )
        found = await accounts.of_book(BOOK_ID, "omise")
        assert found.credentials["secret_key"] == "first"
    monkeypatch.setattr(remembering, "REMEMBERED_SECONDS", 0)
    accounts._known.clear()
    assert (await accounts.of_book(BOOK_ID, "omise")).credentials["secret_key"] == "second"


async def test_only_so_many_are_kept(opened, vault, account, monkeypatch):
    monkeypatch.setattr(remembering, "REMEMBERED_MAX", 2)
    accounts = KnownAccounts(opened, vault)
    for provider in ("scb", "omise", "kbank"):
        assert (await accounts.of_book(account.test_book_id, provider)).provider == provider
    assert kept(accounts) == ["omise", "kbank"]


async def test_what_is_over_is_let_go_by_whatever_is_looked_up_next(opened, vault, account, monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr(remembering.time, "monotonic", lambda: seconds[0])
    accounts = KnownAccounts(opened, vault)
    for provider, later in (("scb", 0.4), ("omise", 0.4), ("kbank", 0.1)):
        await accounts.of_book(account.test_book_id, provider)
        seconds[0] += later
    assert kept(accounts) == ["scb", "omise", "kbank"], "nobody's second is over"
    seconds[0] = 101.0
    await accounts.of_book(account.test_book_id, "omise")
    assert kept(accounts) == ["omise", "kbank"], "the one whose second is just over is gone, though nobody asked for it"
    seconds[0] = 101.5
    await accounts.of_book(account.test_book_id, "omise")
    assert kept(accounts) == ["kbank", "omise"], "read anew, it stays longer than what was read before it"
    seconds[0] = 200.0
    assert await accounts.of_callback("guessed") is None
    assert kept(accounts) == []


async def test_an_account_that_many_look_up_at_once_is_kept_once(opened, vault, account):
    accounts = KnownAccounts(opened, vault)
    await asyncio.gather(*(accounts.of_book(account.test_book_id, "scb") for _ in range(5)))
    assert kept(accounts) == ["scb"]
