from prometheus_client import REGISTRY

from gateway.providers.registry import CALLBACK_HEADERS, Providers
from tests.providers.stub import Reply, Request, account_at, serving

NAMES = {"scb", "omise", "kbank", "truemoney", "2c2p", "gbprimepay", "bbl"}


async def test_every_adapter_is_found_by_its_name():
    async with Providers(timeout_seconds=10) as providers:
        assert {name: adapter.name for name, adapter in providers.items()} == {name: name for name in NAMES}
        assert providers.bank.name == "bank"
        assert "bank" not in providers


def test_kept_headers_are_those_of_signatures_and_of_what_a_reply_repeats():
    kept = {name: sorted(headers) for name, headers in CALLBACK_HEADERS.items() if headers}
    assert kept == {
        "bbl": ["request-ref", "transmit-date-time"],
        "omise": ["omise-signature", "omise-signature-timestamp"],
        "truemoney": ["content-signature", "timestamp"],
    }


async def test_calls_are_measured():
    async def handler(request: Request) -> Reply:
        return 404, b""

    labels = {"provider": "bank", "op": "payout", "outcome": "4xx"}
    before = REGISTRY.get_sample_value("quickkub_provider_call_seconds_count", labels) or 0
    async with serving(handler) as stub, Providers(timeout_seconds=10) as providers:
        await providers.bank.submit_payment_file(account_at(stub.url, "bank"), message_id="M1", content=b"")
    assert REGISTRY.get_sample_value("quickkub_provider_call_seconds_count", labels) == before + 1
