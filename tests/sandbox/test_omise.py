"""Omise's protocol over plain HTTP: what an adapter would see."""

import hashlib
import hmac
import time

import asyncpg
import pytest

from gateway.sandbox.cards import PUBLISHED_TEST_CARDS

from .conftest import CARD

pytestmark = pytest.mark.asyncio(loop_scope="session")


def error_of(answer) -> tuple[int, str]:
    assert answer.json()["object"] == "error"
    return answer.status_code, answer.json()["code"]


async def test_key_is_asked_for_when_calling(sandbox):
    assert error_of(await sandbox.http.get("/omise/charges")) == (401, "authentication_failure")
    assert error_of(await sandbox.http.get("/omise/charges", auth=("skey_test_other", ""))) == (
        401,
        "authentication_failure",
    )
    vault = await sandbox.http.post("/omise-vault/tokens", auth=("skey_test_invented", ""), json={"card": CARD})
    assert error_of(vault) == (401, "authentication_failure")


async def test_card_charge_is_captured_with_the_documented_fee_when_successful(sandbox, gateway):
    charge = (await sandbox.charge_card(12345, metadata={"attempt_id": "att_1"})).json()
    assert (charge["status"], charge["paid"], charge["captured_amount"]) == ("successful", True, 12345)
    assert (charge["fee"], charge["fee_vat"], charge["net"]) == (451, 32, 11862)
    assert charge["transaction_fees"] == {"fee_flat": "0.0", "fee_rate": "3.65", "vat_rate": "7.0"}
    assert (charge["card"]["brand"], charge["card"]["last_digits"], charge["card"]["name"]) == ("Visa", "4242", None)
    assert charge["created_at"].endswith("Z")
    transaction = (await sandbox.omise("GET", f"/transactions/{charge['transaction']}")).json()
    assert (transaction["direction"], transaction["amount"], transaction["origin"]) == ("credit", 11862, charge["id"])

    told = await gateway.wait_for(2)
    assert {event.fields["key"] for event in told} == {"charge.create", "charge.complete"}
    complete = next(event for event in told if event.fields["key"] == "charge.complete")
    assert complete.fields["data"] == charge
    assert (await sandbox.omise("GET", f"/events/{complete.fields['id']}")).json() == complete.fields


async def test_event_signature_fits_the_raw_body_when_checked_as_documented(sandbox, gateway):
    await sandbox.charge_card(5000)
    told = (await gateway.wait_for(2))[1]
    timestamp = told.headers["omise-signature-timestamp"]
    signed = f"{timestamp}.".encode() + told.body
    expected = hmac.new(b"quickkub-invented-omise-secret!!", signed, hashlib.sha256).hexdigest()
    assert told.headers["omise-signature"] == expected
    assert abs(time.time() - int(timestamp)) < 30


async def test_declined_card_is_http_200_with_status_failed_when_published_so(sandbox):
    charge = await sandbox.charge_card(5000, "4111111111140011")
    assert charge.status_code == 200
    assert (charge.json()["status"], charge.json()["failure_code"]) == ("failed", "insufficient_fund")
    assert (charge.json()["paid"], charge.json()["transaction"], charge.json()["captured_amount"]) == (False, None, 0)
    assert (await sandbox.books())["transactions"] == []


async def test_card_is_refused_and_kept_nowhere_when_it_is_not_a_published_test_card(sandbox):
    number = "4000056655665556"
    answer = await sandbox.token(number=number)
    assert error_of(answer) == (400, "invalid_card")
    assert number not in answer.text
    await sandbox.token(number="4242 4242 4242 4242")
    connection = await asyncpg.connect(sandbox.dsn)
    tables = await connection.fetch("SELECT table_name FROM information_schema.tables WHERE table_schema = 'sandbox'")
    dump = ""
    for table in tables:
        dump += "".join(str(row) for row in await connection.fetch(f"SELECT * FROM sandbox.{table['table_name']}"))
    await connection.close()
    assert "4242" in dump
    for known in (number, *PUBLISHED_TEST_CARDS, hashlib.sha256(number.encode()).hexdigest()):
        assert known not in dump


async def test_card_is_refused_when_expired_or_incomplete(sandbox):
    cases = [{"expiration_year": 2020}, {"expiration_month": 13}, {"expiration_month": "x"}, {"name": ""}]
    for case in cases:
        assert error_of(await sandbox.token(**case)) == (400, "invalid_card")
    empty = await sandbox.http.post("/omise-vault/tokens", auth=("pkey_test_invented", ""), json={})
    assert error_of(empty) == (400, "bad_request")


async def test_token_is_refused_when_used_before_or_unknown(sandbox):
    token = (await sandbox.token()).json()["id"]
    body = {"amount": 5000, "currency": "thb", "card": token}
    assert (await sandbox.omise("POST", "/charges", json=body)).status_code == 200
    assert error_of(await sandbox.omise("POST", "/charges", json=body)) == (400, "used_token")
    unknown = await sandbox.omise("POST", "/charges", json={**body, "card": "tokn_test_none"})
    assert error_of(unknown) == (404, "not_found")
    assert len((await sandbox.books())["charges"]) == 1


async def test_card_number_is_refused_before_anything_is_kept_when_sent_with_a_charge(sandbox):
    answer = await sandbox.omise("POST", "/charges", json={"amount": 777_011, "currency": "thb", "card": CARD})
    assert error_of(answer) == (400, "invalid_charge")
    assert CARD["number"] not in answer.text
    connection = await asyncpg.connect(sandbox.dsn)
    assert await connection.fetchval("SELECT count(*) FROM sandbox.magic_amounts_used") == 0
    await connection.close()


async def test_charge_is_refused_when_amount_or_currency_is_wrong(sandbox):
    amounts = (1999, 15_000_001, 50.5, 2**64, -5000, "x", True, None)
    for case in ({"currency": "usd"}, *({"amount": amount} for amount in amounts)):
        body = {"amount": 5000, "currency": "thb", "source": {"type": "promptpay"}, **case}
        assert error_of(await sandbox.omise("POST", "/charges", json=body)) == (400, "invalid_charge")
    assert error_of(await sandbox.omise("POST", "/charges", json={"amount": 5000, "currency": "thb"})) == (
        400,
        "invalid_charge",
    )
    assert (await sandbox.books())["charges"] == []


async def test_form_body_is_taken_as_json_is_when_sent_by_an_old_client(sandbox):
    form = {"amount": "5000", "currency": "thb", "source[type]": "promptpay", "metadata[order]": "7"}
    charge = (await sandbox.omise("POST", "/charges", data=form)).json()
    assert (charge["status"], charge["metadata"], charge["source"]["type"]) == ("pending", {"order": "7"}, "promptpay")


async def test_promptpay_charge_shows_its_qr_and_is_paid_when_the_payer_scans(sandbox, gateway):
    charge = (await sandbox.charge_promptpay(156000)).json()
    assert (charge["status"], charge["source"]["flow"], charge["fee"]) == ("pending", "offline", 0)
    uri = charge["source"]["scannable_code"]["image"]["download_uri"]
    assert uri.startswith("http://sandbox.test/omise/charges/")
    picture = await sandbox.http.get(uri.removeprefix("http://sandbox.test"))
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/svg+xml")
    assert b"<svg" in picture.content

    [paid] = await sandbox.control.pay(world="7", provider="omise", reference=charge["id"])
    assert paid.amount_minor == 156000
    charge = (await sandbox.omise("GET", f"/charges/{charge['id']}")).json()
    assert (charge["status"], charge["fee"], charge["fee_vat"], charge["net"]) == ("successful", 2574, 180, 153246)
    assert charge["refundable"] is False
    refund = await sandbox.omise("POST", f"/charges/{charge['id']}/refunds", json={"amount": 100})
    assert error_of(refund) == (400, "failed_refund")
    assert [event.fields["key"] for event in await gateway.wait_for(2)] == ["charge.create", "charge.complete"]


async def test_source_is_charged_when_made_before_with_the_public_key(sandbox):
    body = {"type": "promptpay", "amount": 5000, "currency": "THB"}
    source = (await sandbox.http.post("/omise/sources", auth=("pkey_test_invented", ""), json=body)).json()
    charge = await sandbox.charge_promptpay(5000, source=source["id"])
    assert charge.json()["source"]["id"] == source["id"]
    other = await sandbox.charge_promptpay(6000, source=source["id"])
    assert error_of(other) == (400, "invalid_charge")


async def test_pending_charge_ends_when_expired_marked_or_reversed(sandbox):
    ends = {"expire": "expired", "mark_as_failed": "failed", "mark_as_paid": "successful"}
    for verb, status in ends.items():
        charge = (await sandbox.charge_promptpay(5000)).json()
        ended = (await sandbox.omise("POST", f"/charges/{charge['id']}/{verb}")).json()
        assert (ended["status"], ended["expired"], ended["paid"]) == (
            status,
            status == "expired",
            status == "successful",
        )
        again = await sandbox.omise("POST", f"/charges/{charge['id']}/expire")
        assert error_of(again) == (400, "invalid_charge")
    held = (await sandbox.charge_card(5000, capture=False)).json()
    assert (held["status"], held["authorized"], held["capturable"], held["reversible"]) == ("pending", True, True, True)
    reversed_ = (await sandbox.omise("POST", f"/charges/{held['id']}/reverse")).json()
    assert (reversed_["status"], reversed_["reversed"]) == ("reversed", True)
    assert (await sandbox.books())["omise_balance"]["total_minor"] == 5000 - 83 - 6


async def test_authorised_card_is_captured_in_part_when_asked(sandbox):
    held = (await sandbox.charge_card(10000, capture=False)).json()
    too_much = await sandbox.omise("POST", f"/charges/{held['id']}/capture", json={"capture_amount": 10001})
    assert error_of(too_much) == (400, "failed_capture")
    captured = (await sandbox.omise("POST", f"/charges/{held['id']}/capture", json={"capture_amount": 4000})).json()
    assert (captured["status"], captured["captured_amount"], captured["fee"]) == ("successful", 4000, 146)
    again = await sandbox.omise("POST", f"/charges/{held['id']}/capture")
    assert error_of(again) == (400, "failed_capture")


async def test_refunds_stop_at_the_captured_amount_when_repeated(sandbox):
    charge = (await sandbox.charge_card(10000)).json()
    path = f"/charges/{charge['id']}/refunds"
    first = (await sandbox.omise("POST", path, json={"amount": 4000, "metadata": {"refund_id": "re_1"}})).json()
    assert (first["object"], first["status"], first["charge"], first["voided"]) == (
        "refund",
        "closed",
        charge["id"],
        False,
    )
    assert error_of(await sandbox.omise("POST", path, json={"amount": 6001})) == (400, "failed_refund")
    assert error_of(await sandbox.omise("POST", path, json={"amount": 0})) == (400, "invalid_amount")
    await sandbox.omise("POST", path, json={"amount": 6000})
    listed = (await sandbox.omise("GET", path)).json()
    assert ([refund["amount"] for refund in listed["data"]], listed["total"]) == ([4000, 6000], 2)
    assert (await sandbox.omise("GET", f"{path}/{first['id']}")).json() == first
    charge = (await sandbox.omise("GET", f"/charges/{charge['id']}")).json()
    assert (charge["refunded_amount"], charge["refundable"]) == (10000, False)
    # The fee stays with Omise: 365 and 26 satang of VAT.
    assert (await sandbox.books())["omise_balance"]["total_minor"] == -391


async def test_full_refund_is_a_void_when_asked_on_the_same_day(sandbox):
    charge = (await sandbox.charge_card(10000)).json()
    assert charge["can_perform_void"] is True
    refund = await sandbox.omise("POST", f"/charges/{charge['id']}/refunds", json={"amount": 10000, "void": True})
    assert refund.json()["voided"] is True
    assert (await sandbox.omise("GET", f"/charges/{charge['id']}")).json()["voided"] is True


async def test_search_finds_the_charge_when_its_metadata_holds_the_word(sandbox):
    charge = (await sandbox.charge_promptpay(5000, metadata={"provider_key": "QKABC"})).json()
    await sandbox.charge_promptpay(5000, metadata={"provider_key": "QKABCD"})
    found = (await sandbox.omise("GET", "/search", params={"scope": "charge", "query": "QKABC"})).json()
    assert (found["object"], found["total"], [hit["id"] for hit in found["data"]]) == ("search", 1, [charge["id"]])
    nothing = (await sandbox.omise("GET", "/search", params={"scope": "charge", "query": "QKNONE"})).json()
    assert (nothing["total"], nothing["data"]) == (0, [])
    assert error_of(await sandbox.omise("GET", "/search", params={"scope": "moon"})) == (400, "bad_request")


async def test_list_is_paged_in_order_when_limit_and_offset_are_given(sandbox):
    ids = [(await sandbox.charge_promptpay(5000)).json()["id"] for _ in range(3)]
    page = (await sandbox.omise("GET", "/charges", params={"limit": 2, "offset": 1})).json()
    assert ([charge["id"] for charge in page["data"]], page["total"], page["limit"]) == (ids[1:], 3, 2)
    newest = await sandbox.omise("GET", "/charges", params={"limit": 1, "order": "reverse_chronological"})
    assert newest.json()["data"][0]["id"] == ids[2]
    past = (await sandbox.omise("GET", "/charges", params={"to": "2020-01-01T00:00:00Z"})).json()
    assert (past["data"], past["total"]) == ([], 0)
    for wrong in ({"limit": 101}, {"limit": "x"}, {"offset": -1}, {"order": "up"}, {"from": "then"}):
        assert error_of(await sandbox.omise("GET", "/charges", params=wrong)) == (400, "bad_request")


async def test_other_things_are_not_found_when_asked_for(sandbox):
    for path in ("/charges/chrg_test_none", "/events/evnt_test_none", "/nothing", "/transfers/trsf_test_none"):
        assert error_of(await sandbox.omise("GET", path)) == (404, "not_found")
    assert error_of(await sandbox.omise("POST", "/charges/chrg_test_none/expire")) == (404, "not_found")
    charge = (await sandbox.charge_promptpay(5000)).json()
    assert error_of(await sandbox.omise("POST", f"/charges/{charge['id']}/explode")) == (404, "not_found")
