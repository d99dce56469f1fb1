"""How large a run is: by environment, so that `make bench` and CI say it in the same way."""

import os
from typing import Self

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a run.

    Attributes:
        rounds: paired, interleaved rounds of each comparison; medians are taken over them.
        cell_seconds: length of one closed loop; cells of 1 and 10 callers take half of it.
        callers: concurrent callers of the cells.
        warm_wal_gb: how much log is written and recycled first; a cold folder is zero-filled as it grows.
        twin_indexes: whether the baselines' copies of account rows are indexed like accounts.
        growth_entries: size of the grown book.
        verify_entries: (small, large) books of the verification.
        http_seconds: length of a step of the open loop over HTTP.
        http_workers: web workers of the API.
        http_connections: kept-alive connections of the open loop.
        http_long_seconds: length of the long run.
        http_rate: payments a second of the long run; 0: four fifths of the highest that the search finds.
    """

    rounds: int = 5
    cell_seconds: float = 0.8
    callers: tuple[int, ...] = (1, 10, 100, 1000)
    warm_wal_gb: int = 4
    twin_indexes: bool = True
    growth_entries: int = 10_000_000
    verify_entries: tuple[int, int] = (100_000, 300_000)
    http_seconds: int = 20
    http_workers: int = 1
    http_connections: int = 1000
    http_long_seconds: int = 300
    http_rate: float = 0.0

    @classmethod
    def from_environment(cls) -> Self:
        """What BENCH_ROUNDS, BENCH_SECONDS, BENCH_CALLERS, BENCH_WARM_WAL_GB, … say; defaults otherwise."""
        default = cls()

        def numbers(name: str, fallback: tuple[int, ...]) -> tuple[int, ...]:
            text = os.environ.get(name)
            return tuple(int(part.replace("_", "")) for part in text.split(",")) if text else fallback

        small, large = numbers("BENCH_VERIFY_ENTRIES", default.verify_entries)
        return cls(
            rounds=numbers("BENCH_ROUNDS", (default.rounds,))[0],
            cell_seconds=float(os.environ.get("BENCH_SECONDS", default.cell_seconds)),
            callers=numbers("BENCH_CALLERS", default.callers),
            warm_wal_gb=numbers("BENCH_WARM_WAL_GB", (default.warm_wal_gb,))[0],
            twin_indexes=os.environ.get("BENCH_TWIN_INDEXES", "1") != "0",
            growth_entries=numbers("BENCH_GROWTH_ENTRIES", (default.growth_entries,))[0],
            verify_entries=(small, large),
            http_seconds=numbers("BENCH_HTTP_SECONDS", (default.http_seconds,))[0],
            http_workers=numbers("BENCH_HTTP_WORKERS", (default.http_workers,))[0],
            http_connections=numbers("BENCH_HTTP_CONNECTIONS", (default.http_connections,))[0],
            http_long_seconds=numbers("BENCH_HTTP_LONG_SECONDS", (default.http_long_seconds,))[0],
            http_rate=float(os.environ.get("BENCH_HTTP_RATE", default.http_rate)),
        )

    def seconds(self, callers: int) -> float:
        """Length of a cell: where a call is one commit, half of it says as much."""
        return self.cell_seconds if callers >= 100 else self.cell_seconds / 2
