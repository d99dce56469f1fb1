"""What every answer has, whoever asks and whatever for."""

import asyncpg
from sqlalchemy import text

from gateway.api.problems import PROBLEMS
from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from ledger.months import month_after
from tests.api.conftest import problem
from tests.api.test_payment_intents import CARD, QR


async def test_every_answer_has_an_id_of_its_own_and_security_headers(client):
    first, second = await client.get("/health/live"), await client.get("/nowhere")
    assert first.headers["request-id"] != second.headers["request-id"]
    for response in (first, second):
        assert response.headers["request-id"].startswith("req_")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_an_unknown_address_and_a_wrong_method_are_problems_too(client):
    problem(await client.get("/nowhere"), 404, "route_not_found")
    problem(await client.get("/v1/nowhere"), 404, "route_not_found")
    wrong = await client.put("/health/live")
    problem(wrong, 405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


async def test_a_body_beyond_the_limit_is_refused(client, merchant):
    body = b'{"url": "' + b"x" * 70_000 + b'"}'
    headers = merchant.headers(**{"Content-Type": "application/json"})
    problem(await client.post("/v1/webhook_endpoints", content=body, headers=headers), 413, "body_too_large")


async def test_a_body_must_be_there_and_be_declared_json(client, merchant):
    url = "/v1/webhook_endpoints"
    headers = merchant.headers(**{"Content-Type": "application/json"})
    problem(await client.post(url, headers=headers), 400, "body_missing")
    text_headers = merchant.headers(**{"Content-Type": "text/plain"})
    problem(await client.post(url, content=b"{}", headers=text_headers), 415, "content_type_unsupported")


async def test_each_code_has_its_page(client):
    listed = (await client.get("/problems")).json()
    assert [page["code"] for page in listed] == list(PROBLEMS)
    page = (await client.get("/problems/rate_limited")).json()
    assert page == {"code": "rate_limited", "title": "Too many requests", "status": 429, "retryable": True}
    problem(await client.get("/problems/none"), 404, "not_found")


async def test_a_lost_database_is_no_ones_fault_and_may_be_tried_again(client, services, merchant):
    await services.database.close()
    services.database = await _closed_database()
    response = await client.get("/v1/balance", headers=merchant.headers())
    body = problem(response, 503, "temporarily_unavailable")
    assert (body["retryable"], response.headers["retry-after"]) == (True, "1")
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "failed")
    assert (await client.get("/health/live")).status_code == 200


async def test_ready_needs_the_newest_schema_and_lives_without_valkey(client, services, database):
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok", "valkey": "ok"})
    services.redis = None
    degraded = await client.get("/health/ready")
    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    owner = await Database.open(database.owner_dsn, pool_size=1)
    async with owner.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    await owner.close()
    assert (await client.get("/health/ready")).status_code == 503


async def test_work_that_waits_too_long_is_an_alarm(client, services, merchant):
    await client.post("/v1/payment_intents", json=QR, headers=merchant.money("k1"))
    well = (await client.get("/health/deep")).json()
    assert well["status"] == "ok"
    assert set(well["waiting"]) == {"inbox", "deliveries", "open_attempts", "open_refunds", "payout_files", "jobs"}
    assert well["waiting"]["open_attempts"] == {"status": "ok", "count": 0, "oldest_seconds": 0}
    assert well["ledger_months"] == {"status": "ok", "months": 3}
    await services.house.run("UPDATE gateway.payment_attempts SET due_at = now() - interval '10 minutes'")
    late = await client.get("/health/deep")
    assert (late.status_code, late.json()["status"]) == (503, "failed")
    assert late.json()["waiting"]["open_attempts"]["count"] == 1
    assert late.json()["waiting"]["open_attempts"]["oldest_seconds"] >= 600


async def test_books_without_room_for_next_month_are_an_alarm(client, database):
    owner = await asyncpg.connect(database.owner_dsn)
    next_month = month_after(real_now().date(), 1)
    await owner.execute(f"ALTER TABLE ledger.postings DETACH PARTITION ledger.postings_{next_month:%Y_%m}")
    await owner.close()
    health = await client.get("/health/deep")
    assert (health.status_code, health.json()["ledger_months"]) == (503, {"status": "failed", "months": 0})
    assert "quickkub_ledger_months_ahead 0.0" in (await client.get("/metrics")).text


async def test_books_without_room_for_this_month_ask_for_a_retry_which_loses_nothing(
    client, services, merchant, database
):
    owner = await asyncpg.connect(database.owner_dsn)
    starts, ends = (month_after(real_now().date(), n) for n in (0, 1))
    partition = f"PARTITION ledger.entries_{starts:%Y_%m}"
    await owner.execute(f"ALTER TABLE ledger.entries DETACH {partition}")
    first = await client.post("/v1/payment_intents", json=CARD, headers=merchant.money("k1"))
    body = problem(first, 503, "temporarily_unavailable")
    assert (body["retryable"], first.headers["retry-after"]) == (True, "1")
    bounds = f"FROM ('{starts} 00:00+00') TO ('{ends} 00:00+00')"
    await owner.execute(f"ALTER TABLE ledger.entries ATTACH {partition} FOR VALUES {bounds}")
    await owner.close()
    await services.house.end_leases()
    again = await client.post("/v1/payment_intents", json=CARD, headers=merchant.money("k1"))
    assert (again.status_code, again.json()["status"]) == (201, "succeeded")
    assert services.house.omise.count("charge") == 1


async def test_requests_are_counted_by_template_never_by_path(client, merchant):
    secret_path = "/v1/balance_transactions/txn_test_" + "7" * 26
    problem(await client.get(secret_path, headers=merchant.headers()), 404, "not_found")
    await client.request("INVENTED", "/nowhere/at/all")
    metrics = (await client.get("/metrics")).text
    assert 'route="/v1/balance_transactions/{transaction_id}"' in metrics
    assert 'route="unmatched"' in metrics
    assert "txn_test_" not in metrics
    assert "INVENTED" not in metrics


async def test_the_page_about_the_api_needs_nobody_elses_server(client):
    page = (await client.get("/docs")).text
    spec = (await client.get("/openapi.json")).json()
    assert "<script" not in page
    assert "http" not in page.replace("https://spec.openapis.org", "")
    assert spec["info"]["title"] == "QuickKub API"
    for path in ("/v1/payment_intents", "/v1/refunds", "/v1/webhook_endpoints/{endpoint_id}/rotate"):
        assert path in spec["paths"]
        assert path in page
    assert not any("callbacks" in path for path in spec["paths"])
    created = spec["paths"]["/v1/payment_intents"]["post"]
    assert created["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/CreateIntent")
    assert list(created["responses"]["402"]["content"]) == ["application/problem+json"]


async def _closed_database():
    class Closed:
        def transaction(self):
            raise ConnectionRefusedError("gone")

        read = transaction
        ledger_pool = property(transaction)

        async def close(self):
            pass

    return Closed()
