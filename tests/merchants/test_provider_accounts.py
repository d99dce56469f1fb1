"""Provider accounts: credentials opened for their book, found by callback token, and made known to the sandbox."""

import base64

from sqlalchemy import text

from gateway.merchants import provider_accounts
from gateway.merchants.provider_accounts import by_callback_token, for_book, register_pending
from gateway.sandbox.client import SandboxUnreachable
from tests.merchants.conftest import PUBLIC_URL, SANDBOX_URL, new_account


class MemorySandbox:
    """Keeps what it is told; answers `answers` times, then no more."""

    def __init__(self, answers=1000):
        self.answers = answers
        self.told = []

    async def register_account(self, *, world, provider, credentials, callback_url):
        if self.answers == 0:
            raise SandboxUnreachable("nobody there")
        self.answers -= 1
        self.told.append((world, provider, credentials, callback_url))


async def test_a_test_book_has_credentials_of_each_providers_shape(opened, vault, account):
    async with opened.read() as connection:
        scb, omise, bank = [
            await for_book(connection, vault, account.test_book_id, provider) for provider in ("scb", "omise", "bank")
        ]
        assert await for_book(connection, vault, account.test_book_id, "kbank") is None
        stored = (
            await connection.execute(text("SELECT string_agg(p::text, '') FROM gateway.provider_accounts p"))
        ).scalar()
    assert set(scb.credentials) == {"application_key", "application_secret", "biller_id", "ref3_prefix"}
    assert len(scb.credentials["biller_id"]) == 15
    assert scb.base_url == f"{SANDBOX_URL}/scb"
    assert omise.credentials["secret_key"].startswith("skey_test_")
    assert len(base64.b64decode(omise.credentials["webhook_secret"])) == 32
    assert set(bank.credentials) == {"account_number", "access_token"}
    for provider_account in (scb, omise, bank):
        assert not any(secret in stored for secret in provider_account.credentials.values())
        assert not any(secret in repr(provider_account) for secret in provider_account.credentials.values())


async def test_a_callback_token_finds_its_account_and_no_other(opened, vault, account):
    other = await new_account(opened, vault, email="other@example.test")
    async with opened.read() as connection:
        mine = await for_book(connection, vault, account.test_book_id, "scb")
        start, _, token = mine.callback_url.rpartition("/")
        assert start == f"{PUBLIC_URL}/v1/callbacks/scb"
        assert await by_callback_token(connection, vault, token) == mine
        theirs = await for_book(connection, vault, other.test_book_id, "scb")
        assert await by_callback_token(connection, vault, theirs.callback_url.rpartition("/")[2]) == theirs
        assert await by_callback_token(connection, vault, "guessed") is None


async def test_the_sandbox_is_told_when_it_answers_and_not_twice(opened, vault):
    silent = MemorySandbox(answers=1)
    account = await new_account(opened, vault, sandbox=silent)
    first, *others = provider_accounts.TEST_PROVIDERS
    assert [told[:2] for told in silent.told] == [(str(account.test_book_id), first)]

    addresses = {"sandbox_url": SANDBOX_URL, "public_url": PUBLIC_URL}
    sandbox = MemorySandbox()
    assert await register_pending(opened, vault, sandbox, **addresses) == len(others)
    assert [provider for _, provider, _, _ in sandbox.told] == others
    assert await register_pending(opened, vault, sandbox, **addresses) == 0


async def test_test_accounts_follow_a_sandbox_that_moved(opened, vault):
    account = await new_account(opened, vault, sandbox=MemorySandbox())
    sandbox = MemorySandbox()
    moved = {"sandbox_url": "http://127.0.0.1:9999", "public_url": PUBLIC_URL}
    assert await register_pending(opened, vault, sandbox, **moved) == len(provider_accounts.TEST_PROVIDERS)
    async with opened.read() as connection:
        omise = await for_book(connection, vault, account.test_book_id, "omise")
    assert omise.base_url == "http://127.0.0.1:9999/omise"
