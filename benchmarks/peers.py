"""Posting against other ledgers, each on its own server or ours: goals 3 to 6 and 8. What is not there is not run."""

from typing import Any

from benchmarks import peer_pgledger, peer_tigerbeetle
from benchmarks.options import Options
from benchmarks.report import Finding
from benchmarks.server import Server


async def measure(server: Server, options: Options) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Every peer."""
    findings: list[Finding] = []
    figures: list[dict[str, Any]] = []
    for peer in (peer_pgledger, peer_tigerbeetle):
        found, lines = await peer.measure(server, options)
        findings += found
        figures += lines
    return findings, figures
