"""Payments over HTTP: each outcome of a provider has its own status, each mistake its own code, and nothing is
done twice."""

from tests.api.conftest import new_merchant, problem

QR = {"amount": 100_000, "currency": "thb", "payment_method": "promptpay"}
CARD = {"amount": 100_000, "currency": "thb", "payment_method": "card", "card_token": "tokn_test_1"}
URL = "/v1/payment_intents"


async def count(services):
    return (await services.house.rows("SELECT count(*) AS n FROM gateway.payment_intents"))[0]["n"]


async def test_a_payment_is_created_and_read_back(client, services, merchant):
    created = await client.post(URL, json=QR, headers=merchant.money("k1"))
    body = created.json()
    assert (created.status_code, created.headers["content-type"]) == (201, "application/json")
    assert (body["object"], body["status"], body["amount"], body["currency"]) == (
        "payment_intent",
        "requires_action",
        100_000,
        "thb",
    )
    assert body["id"].startswith("pi_test_")
    assert body["next_action"]["qr_data"] == "000201"
    read = await client.get(f"{URL}/{body['id']}", headers=merchant.headers())
    assert (read.status_code, read.json()) == (200, body)


async def test_the_same_key_and_request_get_the_same_answer_and_one_payment(client, services, merchant):
    first = await client.post(URL, json=QR, headers=merchant.money("k1"))
    # Quoted as the draft has it, other order of members, other white space: the same request.
    again = b'{ "payment_method": "promptpay", "currency": "thb",\n "amount": 100000 }'
    headers = merchant.money('"k1"') | {"Content-Type": "application/json"}
    second = await client.post(URL, content=again, headers=headers)
    assert (second.status_code, second.content) == (201, first.content)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["request-id"] != first.headers["request-id"]
    assert (await count(services), services.house.scb.count("charge")) == (1, 1)

    other = await client.post(URL, json=QR | {"amount": 200_000}, headers=merchant.money("k1"))
    body = problem(other, 422, "idempotency_key_reused")
    assert body["first_request_id"] == first.headers["request-id"]
    assert await count(services) == 1


async def test_a_key_of_another_account_or_mode_is_another_key(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    first = await client.post(URL, json=QR, headers=merchant.money("k1"))
    second = await client.post(URL, json=QR, headers=other.money("k1"))
    assert first.json()["id"] != second.json()["id"]
    assert await count(services) == 2


async def test_money_needs_a_proper_key(client, services, merchant):
    for key, code in (
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_invalid"),
        ('""', "idempotency_key_invalid"),
        ("x" * 256, "idempotency_key_invalid"),
        ("two words", "idempotency_key_invalid"),
    ):
        headers = merchant.headers() if key is None else merchant.money(key)
        problem(await client.post(URL, json=QR, headers=headers), 400, code)
    assert await count(services) == 0


async def test_each_mistake_has_its_code_and_moves_nothing(client, services, merchant):
    for change, code, param in (
        ({"amount": 1.5}, "amount_invalid", "amount"),
        ({"amount": -1}, "amount_invalid", "amount"),
        ({"amount": 0}, "amount_invalid", "amount"),
        ({"amount": "100"}, "amount_invalid", "amount"),
        ({"amount": 2**63}, "amount_invalid", "amount"),
        ({"amount": 2**62}, "amount_invalid", "amount"),
        ({"amount": 1}, "amount_invalid", "amount"),
        ({"currency": "usd"}, "currency_invalid", "currency"),
        ({"currency": "THB"}, "currency_invalid", "currency"),
        ({"currency": "xxx"}, "currency_invalid", "currency"),
        ({"payment_method": "cash"}, "parameter_invalid", "payment_method"),
        ({"payment_method": "card"}, "parameter_missing", "card_token"),
        ({"provider": "none"}, "parameter_invalid", "provider"),
        ({"surprise": 1}, "parameter_unknown", "surprise"),
        ({"metadata": {"a": 1}}, "parameter_invalid", "metadata[...]"),
        ({"metadata": {"[a]": "x"}}, "parameter_invalid", "metadata"),
        ({"description": "x" * 256}, "parameter_invalid", "description"),
        ({"description": "a\x00b"}, "parameter_invalid", "description"),
    ):
        response = await client.post(URL, json=QR | change, headers=merchant.money("k1"))
        body = problem(response, 400, code)
        assert body.get("param") == param, change
        assert body["retryable"] is False
    assert (await count(services), services.house.scb.calls) == (0, [])
    # None of it began, so the key is still free.
    assert (await client.post(URL, json=QR, headers=merchant.money("k1"))).status_code == 201


async def test_a_decline_is_402_and_stays_so_under_its_key(client, services, merchant):
    services.house.omise.charge_script.append("declined")
    first = await client.post(URL, json=CARD, headers=merchant.money("k1"))
    body = problem(first, 402, "payment_declined")
    assert (body["decline_code"], body["retryable"]) == ("insufficient_funds", False)
    again = await client.post(URL, json=CARD, headers=merchant.money("k1"))
    assert (again.status_code, again.content) == (402, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert services.house.omise.count("charge") == 1
    intent = (await client.get(f"{URL}/{body['payment_intent']}", headers=merchant.headers())).json()
    assert (intent["status"], intent["last_error"]["code"]) == ("requires_payment_method", "insufficient_funds")
    assert (await client.get("/v1/balance_transactions", headers=merchant.headers())).json()["data"] == []


async def test_a_provider_out_of_reach_is_502_and_nothing_happened(client, services, merchant):
    services.house.omise.charge_script.append("not_attempted")
    body = problem(await client.post(URL, json=CARD, headers=merchant.money("k1")), 502, "payment_not_attempted")
    assert body["payment_intent"].startswith("pi_test_")
    assert services.house.omise.charges == {}


async def test_a_retry_after_502_sends_the_same_payment_again_under_its_key(client, services, merchant):
    services.house.omise.charge_script.extend(["not_attempted", "not_attempted"])
    ids = set()
    for _ in range(2):
        answer = await client.post(URL, json=CARD, headers=merchant.money("k1"))
        body = problem(answer, 502, "payment_not_attempted")
        # The promise: the header (checked by `problem`) and the body say "again", and again it gets further.
        assert (body["retryable"], "idempotency-replayed" in answer.headers) == (True, False)
        ids.add(body["payment_intent"])
    paid = await client.post(URL, json=CARD, headers=merchant.money("k1"))
    assert (paid.status_code, paid.json()["status"], {paid.json()["id"]}) == (201, "succeeded", ids)
    assert len({key for _, key in services.house.omise.calls}) == 1
    again = await client.post(URL, json=CARD, headers=merchant.money("k1"))
    assert (again.content, again.headers["idempotency-replayed"]) == (paid.content, "true")
    assert services.house.omise.count("charge") == 3


async def test_a_retry_after_502_that_comes_too_late_is_a_last_word(client, services, merchant):
    services.house.scb.charge_script.append("not_attempted")
    first = problem(
        await client.post(URL, json={**QR, "provider": "scb"}, headers=merchant.money("k1")),
        502,
        "payment_not_attempted",
    )
    await services.house.run("UPDATE gateway.book_clocks SET offset_seconds = 90000")
    late = await client.post(URL, json={**QR, "provider": "scb"}, headers=merchant.money("k1"))
    body = problem(late, 409, "payment_expired")
    assert (body["retryable"], body["payment_intent"]) == (False, first["payment_intent"])
    again = await client.post(URL, json={**QR, "provider": "scb"}, headers=merchant.money("k1"))
    assert (again.content, again.headers["idempotency-replayed"]) == (late.content, "true")
    assert services.house.scb.count("charge") == 1


async def test_a_retry_after_502_finds_a_payment_cancelled_meanwhile_as_it_is(client, services, merchant):
    services.house.omise.charge_script.append("not_attempted")
    first = problem(await client.post(URL, json=CARD, headers=merchant.money("k1")), 502, "payment_not_attempted")
    await client.post(f"{URL}/{first['payment_intent']}/cancel", headers=merchant.money("k2"))
    found = await client.post(URL, json=CARD, headers=merchant.money("k1"))
    assert (found.status_code, found.json()["status"]) == (201, "canceled")
    assert services.house.omise.count("charge") == 1


async def test_an_unknown_outcome_is_202_processing_and_never_a_second_charge(client, services, merchant):
    services.house.omise.charge_script.append("lost_after")
    first = await client.post(URL, json=CARD, headers=merchant.money("k1"))
    assert (first.status_code, first.json()["status"]) == (202, "processing")
    assert first.json()["latest_attempt"]["status"] == "unknown"
    await services.house.end_leases()
    # The retry asks the provider instead of charging again.
    second = await client.post(URL, json=CARD, headers=merchant.money("k1"))
    assert (second.status_code, second.json()["status"]) == (201, "succeeded")
    assert second.json()["id"] == first.json()["id"]
    assert services.house.omise.count("charge") == 1


async def test_payments_are_listed_newest_first_page_by_page(client, services, merchant):
    ids = [(await client.post(URL, json=QR, headers=merchant.money(f"k{number}"))).json()["id"] for number in range(5)][
        ::-1
    ]

    async def page(**params):
        response = await client.get(URL, params=params, headers=merchant.headers())
        body = response.json()
        assert (response.status_code, body["object"], body["url"]) == (200, "list", URL), body
        return [item["id"] for item in body["data"]], body["has_more"]

    assert await page() == (ids, False)
    assert await page(limit=2) == (ids[:2], True)
    assert await page(limit=2, starting_after=ids[1]) == (ids[2:4], True)
    assert await page(limit=2, starting_after=ids[3]) == (ids[4:], False)
    assert await page(limit=2, ending_before=ids[4]) == (ids[2:4], True)
    assert await page(limit=2, ending_before=ids[1]) == (ids[:1], False)


async def test_bad_cursors_and_limits_are_refused(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    foreign = (await client.post(URL, json=QR, headers=other.money("k1"))).json()["id"]
    mine = (await client.post(URL, json=QR, headers=merchant.money("k1"))).json()["id"]
    for params, code, param in (
        ({"limit": 0}, "parameter_invalid", "limit"),
        ({"limit": 101}, "parameter_invalid", "limit"),
        ({"limit": "many"}, "parameter_invalid", "limit"),
        ({"limit": [5, 6]}, "parameter_invalid", "limit"),
        ({"limt": 5}, "parameter_unknown", "limt"),
        ({"starting_after": "nonsense"}, "cursor_invalid", "starting_after"),
        ({"starting_after": "pi_test_\x00"}, "parameter_invalid", "starting_after"),
        ({"starting_after": "evt_test_" + "0" * 26}, "cursor_invalid", "starting_after"),
        ({"ending_before": "pi_test_" + "0" * 26}, "cursor_invalid", "ending_before"),
        ({"starting_after": foreign}, "cursor_invalid", "starting_after"),
        ({"starting_after": mine, "ending_before": mine}, "cursors_exclusive", "ending_before"),
    ):
        body = problem(await client.get(URL, params=params, headers=merchant.headers()), 400, code)
        assert body["param"] == param


async def test_nobody_sees_or_touches_the_payment_of_another(client, services, merchant):
    other = await new_merchant(services, "other@example.test")
    theirs = (await client.post(URL, json=QR, headers=other.money("k1"))).json()["id"]
    for identifier in (theirs, "pi_test_" + "0" * 26, "nonsense", "pi_test_%00", theirs.replace("test_", "")):
        problem(await client.get(f"{URL}/{identifier}", headers=merchant.headers()), 404, "not_found")
        problem(await client.post(f"{URL}/{identifier}/cancel", headers=merchant.money("k1")), 404, "not_found")
        problem(await client.get(f"{URL}/{theirs}", headers=other.live_headers()), 404, "not_found")
    assert (await client.get(f"{URL}/{theirs}", headers=other.headers())).json()["status"] == "requires_action"
    assert (await client.get(URL, headers=merchant.headers())).json()["data"] == []


async def test_a_payment_is_cancelled_once_its_provider_says_so(client, services, merchant):
    intent = (await client.post(URL, json=QR, headers=merchant.money("k1"))).json()
    cancel = f"{URL}/{intent['id']}/cancel"
    problem(await client.post(cancel, headers=merchant.headers()), 400, "idempotency_key_missing")
    services.house.scb.cancel_answer = "declined"
    problem(await client.post(cancel, headers=merchant.money("k2")), 409, "not_cancelable")
    services.house.scb.cancel_answer = "voided"
    done = await client.post(cancel, headers=merchant.money("k3"))
    assert (done.status_code, done.json()["status"]) == (200, "canceled")


async def test_a_merchants_own_reference_is_used_once(client, services, merchant):
    named = QR | {"merchant_reference": "order-1"}
    assert (await client.post(URL, json=named, headers=merchant.money("k1"))).status_code == 201
    body = problem(await client.post(URL, json=named, headers=merchant.money("k2")), 409, "merchant_reference_used")
    assert body["param"] == "merchant_reference"
    assert await count(services) == 1
