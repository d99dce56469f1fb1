"""What is remembered of accounts with providers: one that is there, for a second; that there is none, never."""

from gateway.merchants import known_accounts
from gateway.merchants.known_accounts import KnownAccounts
from gateway.merchants.provider_accounts import connect
from tests.statements import noted

BOOK_ID = 1_000_001
LIVE = {"book_id": BOOK_ID, "base_url": "https://api.omise.co", "public_url": "https://pay.shop.example"}


async def test_an_account_is_read_once_a_second(opened, vault, account, monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr(known_accounts.time, "monotonic", lambda: seconds[0])
    accounts, statements = KnownAccounts(opened, vault), noted(opened)
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
    monkeypatch.setattr(known_accounts, "REMEMBERED_SECONDS", 0)
    accounts._known.clear()
    assert (await accounts.of_book(BOOK_ID, "omise")).credentials["secret_key"] == "second"


async def test_only_so_many_are_kept(opened, vault, account, monkeypatch):
    monkeypatch.setattr(known_accounts, "ACCOUNTS_MAX", 2)
    accounts = KnownAccounts(opened, vault)
    for provider in ("scb", "omise", "kbank"):
        assert (await accounts.of_book(account.test_book_id, provider)).provider == provider
    assert len(accounts._known) == 1
