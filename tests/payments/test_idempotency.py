"""The Idempotency-Key table, row by row."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from gateway.merchants import data_keys
from gateway.payments.errors import (
    IdempotencyInProgress,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InvalidRequest,
)
from gateway.payments.idempotency import IdempotencyStore, Reply, checked_key, fingerprint_of
from gateway.payments.requests import CreateIntent
from gateway.payments.states import IntentStatus
from gateway.providers.base import Method
from tests.payments.conftest import VAULT
from tests.statements import noted

ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
RETENTION_OVER = timedelta(days=91)
PRINT = fingerprint_of("POST", "/v1/payment_intents", {}, ASKED)


@pytest.fixture
def store(house):
    return IdempotencyStore(house.database, VAULT, lease_seconds=90)


async def run(store, principal, operation, *, key="key-1", fingerprint=PRINT, request_id="req_1"):
    return await store.run_idempotent(principal, key, fingerprint, operation, request_id=request_id)


def answering(status, body=b"{}", seen=None):
    async def operation(claim):
        if seen is not None:
            seen.append(claim)
        return Reply(status=status, body=body)

    return operation


@pytest.mark.parametrize(
    ("header", "key"),
    [("abc", "abc"), ('"abc"', "abc"), (" abc ", "abc"), ("a" * 255, "a" * 255), ('"', '"'), ("a-b:c/d", "a-b:c/d")],
)
def test_key_is_taken_bare_or_quoted(header, key):
    assert checked_key(header) == key


@pytest.mark.parametrize("header", ["", '""', "a" * 256, "a b", "กุญแจ", "a\x00b", '"a b"'])
def test_malformed_key_is_refused(header):
    with pytest.raises(IdempotencyKeyInvalid) as refused:
        checked_key(header)
    assert refused.value.code == "idempotency_key_invalid"


def test_missing_key_is_refused():
    with pytest.raises(IdempotencyKeyMissing) as refused:
        checked_key(None)
    assert refused.value.code == "idempotency_key_missing"


def test_fingerprint_ignores_order_and_whitespace_and_nothing_else():
    one = msgspec.json.decode(b'{"amount": 100, "currency":"thb","payment_method":"promptpay"}', type=CreateIntent)
    other = msgspec.json.decode(b'{"payment_method":"promptpay","currency":"thb","amount":100}', type=CreateIntent)
    same = fingerprint_of("post", "/v1/payment_intents", {}, one)
    assert same == fingerprint_of("POST", "/v1/payment_intents", {}, other)
    for method, route, path, body in [
        ("PUT", "/v1/payment_intents", {}, one),
        ("POST", "/v1/refunds", {}, one),
        ("POST", "/v1/payment_intents", {"id": "pi_1"}, one),
        ("POST", "/v1/payment_intents", {}, msgspec.structs.replace(one, amount=101)),
    ]:
        assert fingerprint_of(method, route, path, body) != same


async def test_finished_request_is_replayed_and_its_reply_is_kept_sealed(store, house, merchant):
    seen = []
    first = await run(store, merchant, answering(201, b'{"id":"pi_secret"}', seen))
    again = await run(store, merchant, answering(500, b"", seen), request_id="req_2")
    assert (first.status, first.body, first.replayed) == (201, b'{"id":"pi_secret"}', False)
    assert (again.status, again.body, again.replayed) == (201, b'{"id":"pi_secret"}', True)
    assert len(seen) == 1
    (row,) = await house.rows("SELECT sealed_response FROM gateway.idempotency_requests")
    assert b"pi_secret" not in row["sealed_response"]
    refused = await run(store, merchant, answering(402), key="key-2")
    assert (refused.status, (await run(store, merchant, answering(201), key="key-2")).status) == (402, 402)


async def test_same_key_for_another_request_is_refused_and_names_the_first(store, merchant):
    await run(store, merchant, answering(201))
    with pytest.raises(IdempotencyKeyReused) as refused:
        await run(store, merchant, answering(201), fingerprint=bytes(32), request_id="req_2")
    assert refused.value.first_request_id == "req_1"


async def test_key_belongs_to_account_and_mode_and_not_to_the_api_key(store, house, merchant):
    seen = []
    await run(store, merchant, answering(201, seen=seen))
    other_api_key = msgspec.structs.replace(merchant, key_id="key_other")
    assert (await run(store, other_api_key, answering(201, seen=seen))).replayed
    live = msgspec.structs.replace(merchant, livemode=True, book_id=1)
    stranger = await house.new_merchant("another shop")
    for principal in (live, stranger):
        assert not (await run(store, principal, answering(201, seen=seen))).replayed
    assert len(seen) == 3


async def test_second_request_is_told_to_wait_while_the_first_is_at_work_and_of_twenty_one_runs(store, merchant):
    begun, go_on, runs = asyncio.Event(), asyncio.Event(), []

    async def slow(claim):
        runs.append(claim)
        begun.set()
        await go_on.wait()
        return Reply(status=201, body=b"{}")

    first = asyncio.create_task(run(store, merchant, slow))
    await begun.wait()
    results = await asyncio.gather(*(run(store, merchant, slow) for _ in range(20)), return_exceptions=True)
    assert [type(result) for result in results] == [IdempotencyInProgress] * 20
    go_on.set()
    assert (await first).status == 201
    assert len(runs) == 1


async def test_lapsed_lease_and_server_errors_and_unknown_are_resumed_with_the_same_ids(store, house, merchant):
    seen = []

    async def breaks(claim):
        seen.append(claim)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await run(store, merchant, breaks)
    await run(store, merchant, answering(503, seen=seen))
    await run(store, merchant, answering(202, seen=seen))
    await house.run(
        "UPDATE gateway.idempotency_requests SET leased_until = now() + interval '1 minute' WHERE key = 'key-1'"
    )
    with pytest.raises(IdempotencyInProgress):
        await run(store, merchant, answering(201, seen=seen))
    await house.run("UPDATE gateway.idempotency_requests SET leased_until = now() - interval '1 second'")
    last = await run(store, merchant, answering(201, seen=seen))
    assert (last.status, last.replayed) == (201, False)
    assert [claim.resumed for claim in seen] == [False, True, True, True]
    assert len({claim.id_for("pi") for claim in seen}) == 1
    assert seen[0].id_for("pi").startswith("pi_test_")
    assert (await run(store, merchant, answering(500))).replayed


async def test_whoever_lost_the_lease_does_not_overwrite_the_answer(store, house, merchant):
    async def overtaken(claim):
        await house.run("UPDATE gateway.idempotency_requests SET leased_until = NULL")
        assert (await run(store, merchant, answering(201, b"second"))).body == b"second"
        return Reply(status=201, body=b"first")

    assert (await run(store, merchant, overtaken)).body == b"first"
    assert (await run(store, merchant, answering(500))).body == b"second"


async def test_refusal_before_anything_began_frees_the_key(store, house, merchant):
    async def refuses(claim):
        raise InvalidRequest("amount_invalid", "too small", param="amount")

    with pytest.raises(InvalidRequest):
        await run(store, merchant, refuses)
    assert await house.rows("SELECT 1 FROM gateway.idempotency_requests") == []
    assert (await run(store, merchant, answering(201), fingerprint=bytes(32))).status == 201


async def test_work_goes_on_when_the_client_leaves(store, merchant):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(claim):
        begun.set()
        await go_on.wait()
        return Reply(status=201, body=b"done")

    client = asyncio.create_task(run(store, merchant, slow))
    await begun.wait()
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    go_on.set()
    await store.close()
    again = await run(store, merchant, answering(500))
    assert (again.body, again.replayed) == (b"done", True)


async def test_key_older_than_its_retention_is_new(store, house, merchant):
    await run(store, merchant, answering(201))
    await house.run(
        "UPDATE gateway.idempotency_requests SET created_at = created_at - $1::interval", timedelta(days=91)
    )
    later = await run(store, merchant, answering(202), fingerprint=bytes(32), request_id="req_9")
    assert (later.status, later.replayed) == (202, False)


async def test_payment_whose_outcome_was_unknown_is_the_same_payment_on_retry(store, house, merchant):
    """The first answer is lost though the card was charged; the retry asks first and charges nothing."""

    async def create(claim):
        intent = await house.intents.create(merchant, ASKED, intent_id=claim.id_for("pi"))
        is_open = intent.status is IntentStatus.PROCESSING
        return Reply(status=202 if is_open else 201, body=msgspec.json.encode(intent))

    house.omise.charge_script.append("lost_after")
    first = await run(store, merchant, create)
    second = await run(store, merchant, create)
    third = await run(store, merchant, create)
    assert [first.status, second.status, third.status] == [202, 201, 201]
    assert (second.replayed, third.replayed) == (False, True)
    ids = {msgspec.json.decode(reply.body)["id"] for reply in (first, second, third)}
    assert len(ids) == 1
    assert (house.omise.count("charge"), house.omise.count("inquire")) == (1, 1)
    assert await house.entries(merchant) == ["payment_captured"]


async def test_requests_beyond_retention_are_deleted_in_batches_and_no_others(store, house, merchant, monkeypatch):
    monkeypatch.setattr("gateway.payments.idempotency.FORGOTTEN_AT_ONCE", 2)
    for key in ("old-1", "old-2", "old-3", "leased", "young"):
        await run(store, merchant, answering(201), key=key)
    age = "UPDATE gateway.idempotency_requests SET created_at = now() - $1::interval WHERE key = ANY($2::text[])"
    await house.run(age, RETENTION_OVER, ["old-1", "old-2", "old-3", "leased"])
    await house.run(age, timedelta(days=89), ["young"])
    await house.run(
        "UPDATE gateway.idempotency_requests SET leased_until = now() + interval '1 minute' WHERE key = 'leased'"
    )
    assert [await store.forget_old() for _ in range(3)] == [2, 1, 0]
    rows = await house.rows("SELECT key FROM gateway.idempotency_requests ORDER BY key")
    assert [row["key"] for row in rows] == ["leased", "young"]
    assert (await run(store, merchant, answering(500), key="young")).replayed


async def test_without_its_data_key_an_account_gets_no_answer_kept(store, house, merchant):
    async with house.database.transaction() as connection:
        await data_keys.destroy(connection, merchant.account_id)
    for _ in range(2):
        with pytest.raises(data_keys.DataKeyDestroyed):
            await run(store, merchant, answering(201))
        (row,) = await house.rows("SELECT response_status, sealed_response FROM gateway.idempotency_requests")
        assert (row["response_status"], row["sealed_response"]) == (None, None)
        await house.run("UPDATE gateway.idempotency_requests SET leased_until = NULL")


@pytest.mark.parametrize("resumed", [False, True])
async def test_an_answer_whose_data_key_is_destroyed_meanwhile_is_given_and_nobody_reads_it_again(
    store, house, merchant, resumed
):
    if resumed:
        await run(store, merchant, answering(503))

    async def outlives_its_key(claim):
        assert claim.resumed is resumed
        async with house.database.transaction() as connection:
            assert await data_keys.destroy(connection, merchant.account_id)
        return Reply(status=201, body=b"done")

    assert (await run(store, merchant, outlives_its_key)).body == b"done"
    with pytest.raises(data_keys.DataKeyDestroyed):
        await run(store, merchant, answering(201))


async def test_a_new_key_costs_two_statements(store, house, merchant, monkeypatch):
    statements = noted(monkeypatch, house.database)
    await run(store, merchant, answering(201))
    assert [statement.split()[0] for statement in statements] == ["INSERT", "UPDATE"]
