"""The adapters of a process by name, on one shared HTTP client."""

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Final, Self

from gateway.foundation.metrics import PROVIDER_CALL_SECONDS
from gateway.providers.bank import Bank
from gateway.providers.base import Provider
from gateway.providers.bbl import Bbl
from gateway.providers.circuits import Circuits
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.http import ProviderHttp
from gateway.providers.kbank import Kbank
from gateway.providers.omise import Omise
from gateway.providers.scb import Scb
from gateway.providers.truemoney import TrueMoney
from gateway.providers.twoc2p import TwoC2p

ADAPTERS: Final = (Scb, Kbank, Bbl, Omise, Gbprimepay, TrueMoney, TwoC2p)
"""Every adapter that takes charges."""

CALLBACK_HEADERS: Final[Mapping[str, frozenset[str]]] = {
    adapter.name: frozenset(adapter.callback_headers) for adapter in ADAPTERS
}
"""Which headers of a callback are kept, by provider: enough to check its signature later, and nothing else."""

INVENTED_CREDENTIALS: Final[Mapping[str, Callable[[], dict[str, str]]]] = {
    adapter.name: adapter.invented_credentials for adapter in (*ADAPTERS, Bank)
}
"""For a test account with each provider, and with the bank."""


class Providers(Mapping[str, Provider]):
    """All adapters that take charges, by name; `close` at the end, or use it as a context.

    Attributes:
        bank: the operator's own bank, which takes payment files and no charges.
    """

    def __init__(
        self, *, timeout_seconds: float, sandbox_url: str | None = None, circuits: Circuits | None = None
    ) -> None:
        """`sandbox_url`: an address that live accounts must never call; `circuits`: see `circuits.py`."""
        self._http = ProviderHttp(
            timeout_seconds=timeout_seconds, sandbox_url=sandbox_url, observe=_observe, circuits=circuits
        )
        self._adapters: dict[str, Provider] = {adapter.name: adapter(self._http) for adapter in ADAPTERS}
        self.bank = Bank(self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __getitem__(self, name: str) -> Provider:
        return self._adapters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def __len__(self) -> int:
        return len(self._adapters)

    async def close(self) -> None:
        """Close every connection to every provider."""
        await self._http.close()


def _observe(provider: str, operation: str, outcome: str, seconds: float) -> None:
    PROVIDER_CALL_SECONDS.labels(provider=provider, op=operation, outcome=outcome).observe(seconds)
