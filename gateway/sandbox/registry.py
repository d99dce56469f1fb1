"""Every provider that the sandbox plays, by name; what happens at midnight happens in this order."""

from collections.abc import Mapping
from typing import Final

from gateway.sandbox import bank, bbl, gbprimepay, kbank, omise, scb, truemoney, twoc2p
from gateway.sandbox.provider import SandboxProvider

PROVIDERS: Final[Mapping[str, SandboxProvider]] = {
    provider.name: provider
    for provider in (
        scb.PROVIDER,
        bank.PROVIDER,
        omise.PROVIDER,
        kbank.PROVIDER,
        bbl.PROVIDER,
        gbprimepay.PROVIDER,
        truemoney.PROVIDER,
        twoc2p.PROVIDER,
    )
}
