"""Token buckets for each key and each address, kept in Valkey so that all web workers count together.

The bucket is read, refilled and drawn from in one script, so two requests never spend the same token. When Valkey
does not answer, each process counts for itself for a moment and a metric says so: limits get looser, nobody is
refused for it and no request waits twice.
"""

import asyncio
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.api.problems import Problem
from gateway.foundation.clock import real_now
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import RATE_LIMIT_LOCAL, RATE_LIMITED
from gateway.merchants.principals import RateLimit
from ledger.coalescing import Coalescer

ADDRESS_LIMIT: Final = RateLimit(per_second=300, burst=1500)
"""For one address, before anybody is authenticated. Above what one merchant's servers need, below a flood."""
PAYER_LIMIT: Final = RateLimit(per_second=2, burst=30)
"""For one address that shows payers' tokens: a person at a page, or a shop full of them behind one address."""

_MILLI: Final = 1000
_MAX_BATCH: Final = 200
_QUEUE_LIMIT: Final = 10_000
_LOCAL_BUCKETS_MAX: Final = 10_000
_VALKEY_SECONDS_MAX: Final = 0.25
_VALKEY_PAUSE: Final = timedelta(seconds=1)

_TAKE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local waits = {}
for number, key in ipairs(KEYS) do
  local per_second, burst = tonumber(ARGV[2 * number - 1]), tonumber(ARGV[2 * number])
  local bucket = redis.call('HMGET', key, 'milli_tokens', 'at')
  local tokens, at = tonumber(bucket[1]) or burst * 1000, tonumber(bucket[2]) or now
  tokens = math.min(burst * 1000, tokens + math.max(0, now - at) * per_second)
  local wait = 0
  if tokens >= 1000 then tokens = tokens - 1000 else wait = math.ceil((1000 - tokens) / per_second) end
  redis.call('HSET', key, 'milli_tokens', tokens, 'at', now)
  redis.call('PEXPIRE', key, math.ceil(burst * 1000 / per_second) + 1000)
  waits[number] = wait
end
return waits
"""
"""Takes a token from each bucket, one after the other; 0 for each, or the milliseconds until it has one. Time is the
server's, so hosts may differ."""


class RateLimiter:
    """Counts requests; shared by all requests of a process.

    Args:
        redis: Valkey, or None to count in this process only.
    """

    def __init__(self, redis: Redis | None) -> None:
        self._script = None if redis is None else redis.register_script(_TAKE)
        self._local = LocalBuckets()
        self._silent_until: datetime | None = None
        self._draws: Coalescer[tuple[str, RateLimit], int] = Coalescer(
            self._draw, max_batch=_MAX_BATCH, queue_limit=_QUEUE_LIMIT, poison=lambda _: False
        )

    async def take(self, kind: str, name: str, limit: RateLimit) -> None:
        """Draw one token from the bucket of `name`; `kind` is `key`, `address` or `payer`.

        Raises:
            Problem: `rate_limited`, with Retry-After.
            LedgerBusy: too many are waiting.
        """
        wait_milliseconds = await self._draws.submit((f"quickkub:rate:{kind}:{name}", limit))
        if wait_milliseconds > 0:
            RATE_LIMITED.labels(kind).inc()
            raise Problem("rate_limited", retry_after_seconds=math.ceil(wait_milliseconds / _MILLI))

    async def _draw(self, draws: Sequence[tuple[str, RateLimit]]) -> Sequence[int]:
        """Milliseconds to wait for each; what comes while Valkey is being asked shares the next question."""
        now = real_now()
        if self._script is not None and (self._silent_until is None or now >= self._silent_until):
            keys = [bucket for bucket, _ in draws]
            figures = [figure for _, limit in draws for figure in (limit.per_second, limit.burst)]
            try:
                async with asyncio.timeout(_VALKEY_SECONDS_MAX):
                    waits: list[int] = await self._script(keys=keys, args=figures)
            except (RedisError, OSError) as error:
                self._silent_until = now + _VALKEY_PAUSE
                get_logger(__name__).warning("Valkey does not answer; limits are counted here: %s", error)
            else:
                return waits
        RATE_LIMIT_LOCAL.inc(len(draws))
        return [self._local.take(bucket, limit, now) for bucket, limit in draws]


class LocalBuckets:
    """The same buckets in this process. At most 10,000; then they start afresh rather than grow."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[int, datetime]] = {}

    def take(self, bucket: str, limit: RateLimit, now: datetime) -> int:
        """Draw one token; 0, or the milliseconds until there is one."""
        if len(self._buckets) >= _LOCAL_BUCKETS_MAX:
            self._buckets.clear()
        full = limit.burst * _MILLI
        milli_tokens, at = self._buckets.get(bucket, (full, now))
        passed = max(0, (now - at) // timedelta(milliseconds=1))
        milli_tokens = min(full, milli_tokens + passed * limit.per_second)
        wait = 0 if milli_tokens >= _MILLI else math.ceil((_MILLI - milli_tokens) / limit.per_second)
        self._buckets[bucket] = (milli_tokens if wait else milli_tokens - _MILLI, now)
        return wait
