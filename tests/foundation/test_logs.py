"""Logs: one JSON object a line, what the task is about, and no secret: each kind is planted and searched for."""

import io
import json
import logging

import pytest

from gateway.foundation import logs

PLANTED = [
    "sk_test_0123456789abcdef",
    "sk_live_0123456789abcdef",
    "ok_0123456789abcdef",
    "skey_test_0123456789abcdef",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "Bearer abcdefghijkl",
    "Basic c2tleV90ZXN0Og==",
    "4242424242424242",
    "4242 4242 4242 4242",
    "5555-5555-5555-4444",
]


@pytest.fixture
def lines():
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    logs.configure(stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def test_line_holds_message_time_and_extra_fields(lines):
    logs.get_logger("gateway.test").info("refund %s", "done", extra={"amount_minor": 1250})
    [line] = lines()
    assert line.pop("at").endswith("Z")
    assert line == {"level": "info", "logger": "gateway.test", "message": "refund done", "amount_minor": 1250}


def test_bound_fields_hold_inside_the_block_only(lines):
    log = logs.get_logger("gateway.test")
    with logs.bind(request_id="req_1"):
        with logs.bind(intent_id="pi_1"):
            log.info("inner")
        log.info("outer")
    log.info("after")
    inner, outer, after = lines()
    assert (inner["request_id"], inner["intent_id"]) == ("req_1", "pi_1")
    assert outer["request_id"] == "req_1"
    assert "intent_id" not in outer
    assert "request_id" not in after


@pytest.mark.parametrize("secret", PLANTED)
def test_planted_secret_never_reaches_the_stream(lines, secret):
    log = logs.get_logger("gateway.test")
    log.info("text %s here", secret)
    log.info("extra", extra={"body": {"nested": [secret]}})
    try:
        int(f"{secret} x")
    except ValueError:
        log.exception("failed")
    text = json.dumps(lines())
    assert secret not in text
    assert text.count(logs.HIDDEN) >= 3


@pytest.mark.parametrize(
    "name", ["password", "authorization", "webhook_secret", "api_key", "access_token", "MASTER_KEY"]
)
def test_value_under_a_telling_name_is_hidden_whatever_it_is(lines, name):
    logs.get_logger("gateway.test").info("told", extra={name: "harmless", "inner": {name: ["harmless"]}})
    [line] = lines()
    assert line[name] == logs.HIDDEN
    assert line["inner"][name] == logs.HIDDEN


def test_password_in_an_address_is_hidden_and_the_rest_stays(lines):
    logs.get_logger("gateway.test").info("connecting to postgresql://quickkub_app:hunter2@db.internal/quickkub")
    [line] = lines()
    assert line["message"] == f"connecting to postgresql://{logs.HIDDEN}@db.internal/quickkub"


def test_numbers_that_are_no_cards_stay_readable(lines):
    logs.get_logger("gateway.test").info("amount 1250 of 4242424242424241", extra={"sequence": 4242424242424241})
    [line] = lines()
    assert line["message"] == "amount 1250 of 4242424242424241"
    assert line["sequence"] == 4242424242424241


def test_bytes_show_their_length_only(lines):
    logs.get_logger("gateway.test").info("raw", extra={"body": b"private"})
    assert lines()[0]["body"] == "[7 bytes]"
