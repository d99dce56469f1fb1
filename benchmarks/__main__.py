"""`python -m benchmarks [WHAT …] [--json FILE]`; `make bench` runs `quick`, `make bench-long` runs `long`.

Missing a goal is no failure of the program: a busy machine misses some. The verdicts are in the table.
"""

import argparse
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from benchmarks import books, cells, growth, hanging_endpoint, http, peers, variants, verify_speed, weights
from benchmarks.options import Options
from benchmarks.report import Finding, heading, table, write_json
from benchmarks.server import Server, conditions, fresh_server

Measured = tuple[list[Finding], list[dict[str, Any]]]
PARTS: Final[dict[str, Callable[[Server, Options], Awaitable[Measured]]]] = {
    "cells": cells.measure,
    "variants": variants.measure,
    "peers": peers.measure,
    "books": books.measure,
    "verify": verify_speed.measure,
    "growth": growth.measure,
    "weights": weights.measure,
    "http": http.measure,
    "http-long": http.measure_long,
    "hanging": hanging_endpoint.measure,
}
SETS: Final = {
    "quick": ["cells", "variants", "peers", "books", "verify", "http"],
    "long": ["growth", "verify", "http-long", "hanging"],
}
LONG_VERIFY_ENTRIES: Final = (100_000, 1_000_000)


async def run(asked: list[str], options: Options, json_path: Path | None) -> None:
    """Measure the parts on one fresh server and print the table."""
    async with fresh_server(warm_wal_gb=options.warm_wal_gb) as server:
        known = await conditions(server)
        heading("conditions")
        for name, value in known.items():
            print(f"{name:<20} {value}")
        print(f"{'run':<20} {options}", flush=True)
        findings: list[Finding] = []
        lines: list[dict[str, Any]] = []
        for part in asked:
            found, figures = await PARTS[part](server, options)
            findings += found
            lines += figures
    heading(f"goals (load now {os.getloadavg()[0]:.2f}); ratios are medians of paired rounds (lowest–highest round)")
    print(table(findings))
    if json_path:
        write_json(json_path, known | {"run": str(options)}, findings, lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", default=["quick"], metavar="WHAT", help=", ".join([*SETS, *PARTS]))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - {*SETS, *PARTS}:
        parser.error(f"unknown: {', '.join(unknown)}")
    asked = [part for name in arguments.what for part in SETS.get(name, [name])]
    options = Options.from_environment()
    if "long" in arguments.what and "BENCH_VERIFY_ENTRIES" not in os.environ:
        options = msgspec.structs.replace(options, verify_entries=LONG_VERIFY_ENTRIES)
    uvloop.run(run(asked, options, arguments.json))


if __name__ == "__main__":
    main()
