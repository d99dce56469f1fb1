"""Circuit breakers: only silence opens them, one answer closes them, and a call that is not let through never left."""

import msgspec
import pytest

from gateway.foundation.clock import real_now
from gateway.providers.base import NotAttempted, ProviderAccount, RefundRequest, Unknown
from gateway.providers.circuits import (
    CALLS_MIN,
    CIRCUIT_OPEN,
    OPEN_MS,
    WINDOW_MS,
    CircuitKey,
    Circuits,
    is_circuit_open,
)
from gateway.providers.http import Answer, ProviderHttp
from gateway.providers.registry import ADAPTERS
from tests.providers.stub import Raw, account_at, serving

KEY = CircuitKey("scb", "charge", "live")


class Clock:
    def __init__(self):
        self.now_ms = 0

    def __call__(self):
        return self.now_ms


class Book:
    def __init__(self):
        self.said = []
        self.reset = False

    async def opened(self, key, at, *, calls, silent):
        self.said.append(("opened", key.operation, calls, silent))

    async def closed(self, key):
        self.said.append(("closed", key.operation))

    async def was_reset(self, key, since):
        return self.reset


async def silences(circuits, count, key=KEY):
    for _ in range(count):
        await circuits.record(key, is_answered=False)


async def test_silence_opens_and_one_answer_closes():
    clock, book = Clock(), Book()
    circuits = Circuits(book, clock)
    await silences(circuits, CALLS_MIN - 1)
    assert circuits.is_closed(KEY)
    await silences(circuits, 1)
    assert not circuits.is_closed(KEY)
    assert not await circuits.admits(KEY)
    assert circuits.is_closed(CircuitKey("scb", "inquiry", "live"))
    clock.now_ms = OPEN_MS
    assert await circuits.admits(KEY), "one call finds out"
    assert not await circuits.admits(KEY), "and only one"
    await circuits.record(KEY, is_answered=False)
    assert not await circuits.admits(KEY)
    clock.now_ms = 2 * OPEN_MS
    assert await circuits.admits(KEY)
    await circuits.record(KEY, is_answered=True)
    assert await circuits.admits(KEY)
    assert book.said == [("opened", "charge", CALLS_MIN, CALLS_MIN), ("closed", "charge")]


async def test_answers_between_keep_it_closed_and_old_silence_is_forgotten():
    clock = Clock()
    circuits = Circuits(None, clock)
    for _ in range(CALLS_MIN):
        await silences(circuits, 1)
        await circuits.record(KEY, is_answered=True)
        await circuits.record(KEY, is_answered=True)
    assert circuits.is_closed(KEY)
    clock.now_ms = 2 * WINDOW_MS
    await silences(circuits, CALLS_MIN - 1)
    assert circuits.is_closed(KEY)


async def test_somebody_closes_it_by_hand():
    clock, book = Clock(), Book()
    circuits = Circuits(book, clock)
    await silences(circuits, CALLS_MIN)
    assert not await circuits.admits(KEY)
    book.reset = True
    clock.now_ms = 1_000
    assert await circuits.admits(KEY)
    assert circuits.is_closed(KEY)


async def test_calls_of_a_dead_provider_are_not_made_and_a_no_is_an_answer():
    replies = [Raw()] * CALLS_MIN + [(401, {})] * 20

    async def answer(_):
        return replies.pop(0)

    async with serving(answer) as stub, ProviderHttp(timeout_seconds=10, circuits=Circuits()) as http:
        account = account_at(stub.url)
        outcomes = [
            await http.send(account, "charge", "POST", "/x", headers={}, body=b"") for _ in range(CALLS_MIN + 2)
        ]
        assert all(isinstance(each, Unknown) for each in outcomes[:CALLS_MIN])
        assert outcomes[CALLS_MIN:] == [NotAttempted(reason=CIRCUIT_OPEN)] * 2
        assert len(stub.requests) == CALLS_MIN
        other = msgspec.structs.replace(account, account_id="pa_other")
        answers = [await http.send(other, "charge", "POST", "/x", headers={}, body=b"") for _ in range(20)]
        assert all(isinstance(each, Answer) and each.status == 401 for each in answers)


class Shut:
    """Circuits of which every one is open."""

    async def admits(self, key):
        return False

    async def record(self, key, *, is_answered):
        raise AssertionError("something was called")


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
async def test_every_adapter_says_that_a_circuit_kept_its_question_back(adapter):
    now = real_now()
    account = ProviderAccount(
        account_id="pa_test_1",
        book_id=7,
        provider=adapter.name,
        base_url="http://127.0.0.1:9/provider",
        callback_url="http://127.0.0.1:9",
        livemode=False,
        credentials=adapter.invented_credentials(),
    )
    async with ProviderHttp(timeout_seconds=1, circuits=Shut()) as http:
        provider = adapter(http)
        answer = await provider.inquire(account, "QK2026000001ABCDEFGH", now, now)
        assert isinstance(answer, Unknown)
        assert is_circuit_open(answer.reason), answer
        for method in {able.method for able in adapter.capabilities if able.refundable}:
            refund = RefundRequest(
                refund_id="re_test_1",
                provider_key="QKR2026000001ABCDEFG",
                provider_reference="QK2026000001ABCDEFGH",
                amount_minor=100_00,
                currency="THB",
                created_at=now,
                charge_key="QK2026000001ABCDEFGH",
                method=method,
                captured_minor=100_00,
                captured_at=now,
            )
            answer = await provider.inquire_refund(account, refund)
            assert isinstance(answer, Unknown)
            assert is_circuit_open(answer.reason), (method, answer)
