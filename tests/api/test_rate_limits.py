"""Limits: counted together in Valkey, counted here while Valkey is away, and said so."""

import asyncio
from datetime import timedelta

import pytest
import redis.asyncio
from sqlalchemy import update

from gateway.api.problems import Problem
from gateway.api.rate_limits import LocalBuckets, RateLimiter
from gateway.foundation.clock import real_now
from gateway.foundation.metrics import RATE_LIMIT_LOCAL
from gateway.merchants.principals import RateLimit
from gateway.merchants.tables import accounts
from tests.api.conftest import problem

SLOW = RateLimit(per_second=1, burst=3)


async def taken(limiter, times, name="a"):
    """How many of so many requests at once are let through."""
    answers = await asyncio.gather(*(limiter.take("key", name, SLOW) for _ in range(times)), return_exceptions=True)
    assert all(answer is None or isinstance(answer, Problem) for answer in answers)
    return sum(answer is None for answer in answers)


@pytest.fixture
async def valkey(valkey_url):
    client = redis.asyncio.from_url(valkey_url)
    yield client
    await client.aclose()


async def test_processes_share_a_bucket_and_no_token_is_spent_twice(valkey):
    first, second = RateLimiter(valkey), RateLimiter(valkey)
    assert sum(await asyncio.gather(taken(first, 5), taken(second, 5))) == 3
    assert await taken(first, 5, "b") == 3
    with pytest.raises(Problem) as caught:
        await first.take("key", "a", SLOW)
    assert (caught.value.code, caught.value.headers["Retry-After"]) == ("rate_limited", "1")


async def test_a_bucket_fills_again_with_time_and_never_over_its_burst():
    buckets, now = LocalBuckets(), real_now()
    assert [buckets.take("a", SLOW, now) for _ in range(4)] == [0, 0, 0, 1000]
    assert buckets.take("a", SLOW, now + timedelta(milliseconds=400)) == 600
    assert buckets.take("a", SLOW, now + timedelta(seconds=1)) == 0
    later = now + timedelta(days=1)
    assert [buckets.take("a", SLOW, later) for _ in range(4)] == [0, 0, 0, 1000]


async def test_without_valkey_each_process_counts_and_says_so():
    before = RATE_LIMIT_LOCAL._value.get()
    nobody = redis.asyncio.from_url("redis://127.0.0.1:1/0")
    limiter = RateLimiter(nobody)
    assert await taken(limiter, 5) == 3
    assert await taken(RateLimiter(None), 5) == 3
    assert RATE_LIMIT_LOCAL._value.get() - before == 10
    await nobody.aclose()


async def test_a_key_over_its_limit_is_told_when_to_come_back(client, services, merchant):
    async with services.database.transaction() as connection:
        await connection.execute(update(accounts).values(rate_per_second=1, rate_burst=2))
    answers = [await client.get("/v1/test/clock", headers=merchant.headers()) for _ in range(4)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 1
    body = problem(refused[0], 429, "rate_limited")
    assert (body["retryable"], refused[0].headers["retry-after"]) == (True, "1")
    assert (await client.get("/v1/balance", headers=merchant.live_headers())).status_code == 200
