"""Payments that nobody is asked about: all there with their answer, or not at all, however many come at once."""

import asyncio

import msgspec
import pytest

from gateway.foundation.ids import new_id
from gateway.merchants import data_keys
from gateway.payments.errors import InvalidRequest
from gateway.payments.idempotency import IdempotencyStore, fingerprint_of
from gateway.payments.opening import new_intent
from gateway.payments.records import add_rows
from gateway.payments.requests import CreateIntent
from gateway.payments.tables import intents
from gateway.payments.untried import UntriedIntents
from gateway.webhooks import events
from tests.payments.conftest import VAULT
from tests.payments.test_crashes import BrokenOff

ASKED = CreateIntent(amount=1_000_00, currency="thb", confirm=False)
STEPS_MAX = 60


@pytest.fixture
async def untried(house):
    made = UntriedIntents(house.database, VAULT, record_events=events.record)
    yield made
    await made.close()


async def ask(untried, principal, key, request=ASKED):
    fingerprint = fingerprint_of("POST", "/v1/payment_intents", {}, request)
    return await untried.create(principal, request, key=key, fingerprint=fingerprint, request_id=f"req_{key}")


def referring(reference):
    return msgspec.structs.replace(ASKED, merchant_reference=reference)


async def counts(house):
    """Payments, events and keys."""
    sql = "SELECT count(*) AS n FROM gateway."
    return [(await house.rows(sql + table))[0]["n"] for table in ("payment_intents", "events", "idempotency_requests")]


async def test_many_at_once_share_transactions_and_each_gets_its_own_answer(house, merchant, untried):
    replies = await asyncio.gather(*(ask(untried, merchant, f"k{number}") for number in range(50)))
    ids = [msgspec.json.decode(reply.body)["id"] for reply in replies]
    assert len(set(ids)) == 50
    assert {reply.status for reply in replies} == {201}
    assert await counts(house) == [50, 50, 50]
    assert await house.entries(merchant) == []
    shown = await house.intents.get(merchant, ids[7])
    assert msgspec.json.encode(shown) == replies[7].body


async def test_the_answer_is_kept_sealed_and_replayed(house, merchant, untried):
    reply = await ask(untried, merchant, "k")
    assert await ask(untried, merchant, "k") is None
    store = IdempotencyStore(house.database, VAULT, lease_seconds=30)
    fingerprint = fingerprint_of("POST", "/v1/payment_intents", {}, ASKED)

    async def never(claim):
        raise AssertionError(claim)

    again = await store.run_idempotent(merchant, "k", fingerprint, never, request_id="req_2")
    assert (again.status, again.body, again.replayed) == (201, reply.body, True)
    (row,) = await house.rows("SELECT sealed_response FROM gateway.idempotency_requests")
    assert b"pi_test" not in row["sealed_response"]
    assert await counts(house) == [1, 1, 1]


async def test_one_of_many_with_the_same_key_makes_it_in_one_process_or_in_two(house, merchant, untried):
    other = UntriedIntents(house.database, VAULT, record_events=events.record)
    askers = [untried, other] * 10
    replies = await asyncio.gather(*(ask(asker, merchant, f"k{n // 2 % 3}") for n, asker in enumerate(askers)))
    assert sum(reply is not None for reply in replies) == 3
    assert await counts(house) == [3, 3, 3]
    await other.close()


async def test_a_used_reference_is_refused_alone_and_leaves_its_key_free(house, merchant, untried):
    await ask(untried, merchant, "first", referring("order 1"))
    wishes = [ask(untried, merchant, f"k{number}", referring(f"order {number}")) for number in range(8)]
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [(type(error), error.code) for error in refused] == [(InvalidRequest, "merchant_reference_used")]
    assert await counts(house) == [8, 8, 8]
    assert (await ask(untried, merchant, "k1")).status == 201


async def test_used_references_leave_their_batch_whole_and_of_one_reference_the_first_is_made(
    house, merchant, untried, monkeypatch
):
    await ask(untried, merchant, "first", referring("used"))
    other = await house.new_merchant("another shop")
    tried, make = [], untried._made

    async def counted(wishes):
        tried.append(len(wishes))
        return await make(wishes)

    monkeypatch.setattr(untried, "_made", counted)
    names = ["used", "a", "b", "a", "c", "used"]
    answers = await asyncio.gather(
        ask(untried, merchant, "first", referring("used")),
        *(ask(untried, merchant, f"k{number}", referring(name)) for number, name in enumerate(names)),
        ask(untried, other, "theirs", referring("used")),
        return_exceptions=True,
    )
    used = "merchant_reference_used"
    said = [getattr(answer, "status", None) or getattr(answer, "code", None) for answer in answers]
    assert said == [None, used, 201, 201, used, 201, used, 201]
    assert tried == [8, 4], "all of them, and then those that can be made"
    assert await counts(house) == [5, 5, 5]


async def test_many_with_one_reference_hold_up_the_others_no_longer_than_two(house, merchant, untried, monkeypatch):
    looks, tell_apart = [], untried._told_apart

    async def counted(wishes):
        looks.append(len(wishes))
        return await tell_apart(wishes)

    monkeypatch.setattr(untried, "_told_apart", counted)
    wishes = [ask(untried, merchant, f"k{number}", referring("one")) for number in range(20)]
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    said = [getattr(answer, "status", None) or answer.code for answer in answers]
    assert said == [201, *["merchant_reference_used"] * 19]
    assert looks == [20, 19], "once to make the first, and once to see that it was made"
    assert await counts(house) == [1, 1, 1]


async def test_the_same_references_under_other_keys_in_two_processes_wait_for_nobody_who_waits(
    house, merchant, untried
):
    """Both have written their first reference when a third lets the second one go, on which both wait."""
    between = new_intent(merchant, referring("b"), intent_id=new_id("pi", livemode=False))
    other = UntriedIntents(house.database, VAULT, record_events=events.record)

    def batch(asker, keys, names):
        return asyncio.gather(
            *(ask(asker, merchant, key, referring(name)) for key, name in zip(keys, names, strict=True)),
            return_exceptions=True,
        )

    with pytest.raises(InterruptedError):
        async with house.database.transaction() as connection:
            await add_rows(connection, intents, [between])
            racing = asyncio.gather(batch(untried, "123", "abc"), batch(other, "456", "cba"))
            await asyncio.wait({racing}, timeout=0.5)
            raise InterruptedError
    outcomes = await racing
    found = {tuple(getattr(each, "status", None) or each.code for each in answers) for answers in outcomes}
    assert found == {(201,) * 3, ("merchant_reference_used",) * 3}
    await other.close()


async def test_without_its_data_key_an_account_gets_nothing_and_others_do(house, merchant, untried):
    other = await house.new_merchant("another shop")
    async with house.database.transaction() as connection:
        await data_keys.destroy(connection, merchant.account_id)
    lost, made = await asyncio.gather(ask(untried, merchant, "a"), ask(untried, other, "b"), return_exceptions=True)
    assert isinstance(lost, data_keys.DataKeyDestroyed)
    assert made.status == 201
    assert await counts(house) == [1, 1, 1]


async def test_what_is_paid_now_or_names_a_customer_goes_the_long_way(merchant, untried):
    assert await ask(untried, merchant, "a", msgspec.structs.replace(ASKED, customer="cus_x")) is None
    assert await ask(untried, merchant, "b", msgspec.structs.replace(ASKED, confirm=True)) is None


async def test_broken_off_at_any_point_it_is_all_there_or_not_at_all(house, merchant):
    for steps in range(STEPS_MAX):
        untried = UntriedIntents(house.database, VAULT, record_events=events.record)
        wish = _wish_of(merchant, f"k{steps}")
        attempt = BrokenOff(_flushed(untried, wish), steps)
        await attempt
        made = await counts(house)
        assert made[0] == made[1] == made[2]
        if attempt.finished:
            break
    assert attempt.finished
    assert steps > 3


def _wish_of(merchant, key):
    made = []

    class Keeping(UntriedIntents):
        def __init__(self):
            self._wishes = self

        async def submit(self, wish):
            made.append(wish)

    work = ask(Keeping(), merchant, key)
    with pytest.raises(StopIteration):
        work.send(None)
    return made[0]


async def _flushed(untried, wish):
    await untried._flush([wish])
