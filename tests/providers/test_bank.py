from datetime import date

import pytest

from gateway.providers.bank import Bank
from gateway.providers.base import Accepted, Declined, NotAttempted, StatementUnavailable, Unknown
from gateway.providers.http import ProviderHttp
from tests.providers.stub import Raw, Reply, Request, account_at, serving

FILE = "<Document>…</Document>".encode()


async def _run(reply: Reply, operation: str, *arguments, **options):
    async def handler(request: Request) -> Reply:
        return reply

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=10) as http:
        return await getattr(Bank(http), operation)(account_at(stub.url, "bank"), *arguments, **options), stub


async def test_statement_is_the_file_untouched():
    files, stub = await _run((200, b":20:1\r\n"), "statements", date(2026, 1, 1))
    assert [(file.source, file.name, file.content) for file in files] == [
        ("mt940", "bank-9990000001-20260101.sta", b":20:1\r\n")
    ]
    (request,) = stub.requests
    assert request.path == "/v1/statements/2026-01-01"
    assert request.headers["authorization"] == "Bearer bank_test_invented"


@pytest.mark.parametrize("reply", [(404, b""), (500, b""), (302, b""), Raw()])
async def test_statement_that_is_not_there_is_unavailable(reply: Reply):
    with pytest.raises(StatementUnavailable):
        await _run(reply, "statements", date(2026, 1, 1))


async def test_file_that_the_bank_has_is_taken():
    reply = (200, {"file_reference": "F1", "status": "accepted"})
    result, stub = await _run(reply, "submit_payment_file", message_id="M1", content=FILE)
    assert result == Accepted(provider_references=("F1", "M1"))
    (request,) = stub.requests
    assert (request.method, request.path, request.body) == ("POST", "/v1/payment-files", FILE)
    assert (request.headers["x-account-number"], request.headers["x-message-id"]) == ("9990000001", "M1")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((400, {"code": "file_rejected", "message": "cut off"}), Declined),
        ((409, {"code": "duplicate_message_id", "message": "another file"}), Unknown),
        ((400, {"code": "odd", "message": ""}), Unknown),
        ((200, {"file_reference": "F1", "status": "odd"}), Unknown),
        ((200, b"garbage"), Unknown),
        ((500, b""), Unknown),
        (Raw(), Unknown),
        ((401, b""), NotAttempted),
    ],
)
async def test_every_answer_to_a_file_has_its_outcome(reply: Reply, kind: type):
    result, _ = await _run(reply, "submit_payment_file", message_id="M1", content=FILE)
    assert type(result) is kind
