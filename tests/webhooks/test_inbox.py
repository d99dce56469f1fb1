"""What becomes of callbacks. The provider is scripted; the applier keeps what it was handed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.merchants import provider_accounts
from gateway.merchants.known_accounts import KnownAccounts
from gateway.providers.base import (
    Callback,
    CallbackRejected,
    Fact,
    FactKind,
    FactSource,
    Inquiry,
    ParsedCallback,
    ProviderAccount,
    Unknown,
)
from gateway.providers.omise import Omise
from gateway.providers.scb import Scb
from gateway.webhooks import inbox
from gateway.webhooks.inbox import RETRIES_UNCONFIRMED, RETRY_SECONDS, InboxProcessor, Stored
from tests.statements import noted
from tests.webhooks.conftest import BOOK, House

PAID_AT = datetime(2026, 1, 1, tzinfo=UTC)
FACT = Fact(
    provider="scb",
    kind=FactKind.CAPTURED,
    provider_reference="QK1",
    provider_transaction_id="t1",
    amount_minor=100,
    currency="THB",
    occurred_at=PAID_AT,
    source=FactSource.INQUIRY,
)
FOUND = Inquiry(found=True, facts=(FACT,))
NOTHING = Inquiry(found=False)


class FakeProvider:
    """Reads a body as its command; answers inquiries from a script by reference."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], object]] = {}
        self.asked: list[tuple[str, datetime]] = []

    def parse_callback(self, account: ProviderAccount, callback: Callback) -> ParsedCallback:
        match callback.body.decode().split(" ")[0]:
            case "forged":
                raise CallbackRejected("signature_invalid", "forged")
            case "poison":
                raise RuntimeError("the adapter has a bug")
            case "named":
                return ParsedCallback(event_id=callback.body.decode().partition(" ")[2], facts=(FACT,))
            case "ignored":
                return ParsedCallback(event_id="e", ignored=True)
            case "signed":
                return ParsedCallback(event_id="e", facts=(msgspec.structs.replace(FACT, source=FactSource.CALLBACK),))
            case reference:
                return ParsedCallback(event_id="e", inquire=(reference,), inquire_about=PAID_AT)

    async def inquire(self, account: ProviderAccount, reference: str, created_at: datetime):
        self.asked.append((reference, created_at))
        answer = self.answers[reference]()
        return await answer if asyncio.iscoroutine(answer) else answer


class Refusal(Exception):
    def __init__(self, code: str, *, retryable: bool) -> None:
        super().__init__(code)
        self.code = code
        self.retryable = retryable


class FakeApplier:
    def __init__(self) -> None:
        self.facts: list[tuple[Fact, int]] = []
        self.refusals: list[Exception] = []

    async def apply(self, fact: Fact, *, book_id: int) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.facts.append((fact, book_id))


class Desk(msgspec.Struct):
    house: House
    account: ProviderAccount
    provider: FakeProvider
    applier: FakeApplier
    processor: InboxProcessor

    async def receive(self, body: str, **headers: str) -> Stored:
        callback = Callback(headers=headers, body=body.encode(), received_at=self.house.clock())
        async with self.house.database.transaction() as connection:
            return await inbox.store(connection, self.house.vault, self.account, callback)

    async def settle(self) -> int:
        count = 0
        while (done := await self.processor.run_once()) or self.processor._slots._running:
            count += done
        return count

    async def states(self) -> list[tuple[object, object]]:
        rows = await self.house.rows("SELECT state, reason FROM gateway.webhook_inbox ORDER BY inbox_id")
        return [(row["state"], row["reason"]) for row in rows]


@pytest.fixture
async def desk(house: House) -> AsyncIterator[Desk]:
    async with house.database.transaction() as connection:
        account = await provider_accounts.create(
            connection,
            house.vault,
            book_id=BOOK,
            provider="scb",
            livemode=False,
            base_url="http://127.0.0.1:1/scb",
            public_url="http://127.0.0.1:2",
            credentials=Scb.invented_credentials(),
        )
    provider, applier = FakeProvider(), FakeApplier()
    processor = InboxProcessor(
        house.database,
        house.vault,
        {"scb": provider},
        applier,
        account_of=KnownAccounts(house.database, house.vault).of_book,
    )
    yield Desk(house, account, provider, applier, processor)
    await processor.close()


async def test_callback_is_stored_sealed_and_once(desk: Desk):
    first = await desk.receive("QK1 payer name")
    again = await desk.receive("QK1 payer name")
    other = await desk.receive("QK1 another payer")
    assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
    assert first.id == again.id
    assert first.id.startswith("in_test_")
    rows = await desk.house.rows("SELECT * FROM gateway.webhook_inbox ORDER BY inbox_id")
    assert sorted((row["arrivals"], row["state"]) for row in rows) == [(1, "pending"), (2, "pending")]
    assert not [row for row in rows if b"payer" in bytes(row["sealed_callback"])]


async def test_same_body_under_another_signature_is_another_callback(desk: Desk):
    """A forger who sends a true event's body first must not take its place."""
    omise = msgspec.structs.replace(desk.account, provider="omise")
    stored = []
    async with desk.house.database.transaction() as connection:
        for signature in ("forged", "true", "true"):
            callback = Callback(
                headers={"Omise-Signature": signature, "X-Request-Id": str(len(stored))},
                body=b"{}",
                received_at=desk.house.clock(),
            )
            stored.append(await inbox.store(connection, desk.house.vault, omise, callback))
    assert [one.duplicate for one in stored] == [False, False, True]
    assert "omise-signature" in Omise.callback_headers


async def test_confirmed_facts_are_applied_in_the_account_s_book(desk: Desk):
    desk.provider.answers["QK1"] = lambda: FOUND
    await desk.receive("QK1")
    assert await desk.settle() == 1
    assert desk.applier.facts == [(FACT, BOOK)]
    assert desk.provider.asked == [("QK1", PAID_AT)]
    assert await desk.states() == [("applied", None)]
    assert await desk.settle() == 0


async def test_signed_facts_need_no_inquiry(desk: Desk):
    await desk.receive("signed")
    await desk.settle()
    assert [fact.source for fact, _ in desk.applier.facts] == [FactSource.CALLBACK]
    assert desk.provider.asked == []


@pytest.mark.parametrize(
    ("body", "state"),
    [("forged", ("quarantined", "signature_invalid")), ("ignored", ("ignored", "no_meaning"))],
)
async def test_forged_or_meaningless_callback_moves_nothing(desk: Desk, body: str, state: tuple[str, str]):
    await desk.receive(body)
    await desk.settle()
    assert await desk.states() == [state]
    assert desk.applier.facts == []
    assert desk.provider.asked == []


async def test_callback_that_nobody_confirms_moves_nothing(desk: Desk):
    desk.provider.answers["QK1"] = lambda: NOTHING
    await desk.receive("QK1")
    for wait in RETRY_SECONDS[:RETRIES_UNCONFIRMED]:
        await desk.settle()
        assert await desk.states() == [("pending", "not_confirmed")]
        desk.house.clock.advance(seconds=wait)
    await desk.settle()
    assert await desk.states() == [("ignored", "not_confirmed")]
    assert len(desk.provider.asked) == RETRIES_UNCONFIRMED + 1
    assert desk.applier.facts == []


async def test_unconfirmed_callback_is_looked_at_again_when_it_comes_again(desk: Desk):
    desk.provider.answers["QK1"] = lambda: NOTHING
    await desk.receive("QK1")
    for _ in range(RETRIES_UNCONFIRMED + 1):
        await desk.settle()
        desk.house.clock.advance(minutes=10)
    assert await desk.states() == [("ignored", "not_confirmed")]
    desk.provider.answers["QK1"] = lambda: FOUND
    assert (await desk.receive("QK1")).duplicate
    await desk.settle()
    assert await desk.states() == [("applied", None)]
    assert len(desk.applier.facts) == 1


async def test_applied_callback_is_not_looked_at_again(desk: Desk):
    desk.provider.answers["QK1"] = lambda: FOUND
    await desk.receive("QK1")
    await desk.settle()
    await desk.receive("QK1")
    assert await desk.settle() == 0
    assert len(desk.applier.facts) == 1


async def test_inquiry_without_an_answer_is_asked_again_with_growing_waits(desk: Desk):
    answers = [Unknown(reason="http_500"), Unknown(reason="ReadTimeout"), FOUND]
    desk.provider.answers["QK1"] = lambda: answers.pop(0)
    await desk.receive("QK1")
    await desk.settle()
    assert await desk.states() == [("pending", "inquiry_unknown")]
    assert await desk.settle() == 0
    desk.house.clock.advance(seconds=1)
    await desk.settle()
    desk.house.clock.advance(seconds=4)
    assert await desk.settle() == 0
    desk.house.clock.advance(seconds=1)
    await desk.settle()
    assert await desk.states() == [("applied", None)]
    assert desk.applier.facts == [(FACT, BOOK)]


async def test_inquiry_that_never_answers_ends_in_quarantine(desk: Desk):
    desk.provider.answers["QK1"] = lambda: Unknown(reason="http_500")
    await desk.receive("QK1")
    for wait in RETRY_SECONDS:
        await desk.settle()
        desk.house.clock.advance(seconds=wait)
    await desk.settle()
    assert await desk.states() == [("quarantined", "inquiry_unknown")]
    assert len(desk.provider.asked) == len(RETRY_SECONDS) + 1


async def test_poison_does_not_block_what_comes_after_it(desk: Desk):
    desk.provider.answers["QK1"] = lambda: FOUND
    for body in ("poison", "QK1 one", "poison too", "QK1 two"):
        await desk.receive(body)
    await desk.settle()
    assert sorted(await desk.states(), key=str) == [
        ("applied", None),
        ("applied", None),
        ("pending", "RuntimeError"),
        ("pending", "RuntimeError"),
    ]
    for wait in RETRY_SECONDS:
        desk.house.clock.advance(seconds=wait)
        await desk.settle()
    assert sorted(await desk.states(), key=str)[2:] == [("quarantined", "RuntimeError")] * 2


async def test_slow_provider_delays_only_its_own_callback(desk: Desk):
    release = asyncio.Event()

    async def slow() -> Inquiry:
        await release.wait()
        return FOUND

    desk.provider.answers |= {"SLOW": slow, "QK1": lambda: FOUND}
    await desk.receive("SLOW")
    await desk.processor.run_once()
    await desk.receive("QK1")
    while ("applied", None) not in await desk.states():
        await desk.processor.run_once()
    assert sorted(state for state, _ in await desk.states()) == ["applied", "pending"]
    release.set()
    await desk.settle()
    assert [state for state, _ in await desk.states()] == ["applied", "applied"]


@pytest.mark.parametrize(
    ("retryable", "state"), [(True, ("pending", "unknown_reference")), (False, ("quarantined", "unknown_reference"))]
)
async def test_refused_fact_is_tried_again_only_where_that_can_help(desk: Desk, retryable: bool, state):
    desk.provider.answers["QK1"] = lambda: FOUND
    desk.applier.refusals = [Refusal("unknown_reference", retryable=retryable)]
    await desk.receive("QK1")
    await desk.settle()
    assert await desk.states() == [state]
    assert desk.applier.facts == []
    desk.house.clock.advance(seconds=1)
    await desk.settle()
    assert len(desk.applier.facts) == (1 if retryable else 0)


async def test_callback_of_a_crashed_processor_is_taken_over(desk: Desk):
    desk.provider.answers["QK1"] = lambda: FOUND
    await desk.receive("QK1")
    async with desk.house.database.transaction() as connection:
        assert len(await inbox._claim(connection, limit=10, lease=inbox.LEASE)) == 1
    assert await desk.settle() == 0
    desk.house.clock.advance(minutes=3)
    assert await desk.settle() == 1
    assert await desk.states() == [("applied", None)]


async def test_two_processors_do_not_share_a_callback(desk: Desk):
    desk.provider.answers["QK1"] = lambda: FOUND
    for number in range(10):
        await desk.receive(f"QK1 {number}")
    other = InboxProcessor(
        desk.house.database,
        desk.house.vault,
        {"scb": desk.provider},
        desk.applier,
        account_of=KnownAccounts(desk.house.database, desk.house.vault).of_book,
    )
    await asyncio.gather(desk.processor.run_once(), other.run_once())
    await asyncio.gather(desk.settle(), other.close())
    assert len(desk.applier.facts) == 10


async def test_callback_of_an_account_that_is_gone_is_put_aside(desk: Desk):
    await desk.receive("signed")
    async with desk.house.database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE gateway.webhook_inbox SET book_id = 8")
    await desk.settle()
    assert await desk.states() == [("quarantined", "provider_account_gone")]
    assert desk.applier.facts == []


async def test_callbacks_that_end_together_are_written_together(desk: Desk, monkeypatch):
    together = asyncio.Barrier(5)

    async def found() -> Inquiry:
        await together.wait()
        return FOUND

    for number in range(5):
        desk.provider.answers[f"QK{number}"] = found
        await desk.receive(f"QK{number}")
    statements = noted(monkeypatch, desk.house.database)
    assert await desk.settle() == 5
    ends = [one for one in statements if "UPDATE gateway.webhook_inbox" in one and "SKIP LOCKED" not in one]
    assert len(ends) == 1
    assert await desk.states() == [("applied", None)] * 5


async def test_a_verdict_that_cannot_be_written_holds_back_no_other(desk: Desk):
    for name in ("named one", "named t\x00wo", "named three"):
        await desk.receive(name)
    assert await desk.settle() == 2
    assert sorted(state for state, _ in await desk.states()) == ["applied", "applied", "pending"]
    assert len(desk.applier.facts) == 3


async def test_a_verdict_on_a_callback_that_others_have_by_now_is_not_written(desk: Desk):
    async def overtaken() -> Inquiry:
        async with desk.house.database.transaction() as connection:
            await connection.exec_driver_sql(
                "UPDATE gateway.webhook_inbox SET lease_until = 'infinity' WHERE attempts = 0"
            )
        return FOUND

    desk.provider.answers["QK1"] = overtaken
    await desk.receive("QK1")
    await desk.settle()
    (row,) = await desk.house.rows("SELECT state, attempts, processed_at FROM gateway.webhook_inbox")
    assert row == {"state": "pending", "attempts": 0, "processed_at": None}
