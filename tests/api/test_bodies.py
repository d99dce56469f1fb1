"""Bodies are read strictly: each mistake has its code and names the parameter."""

from typing import Annotated

import msgspec
import pytest

from gateway.api.bodies import decode
from gateway.api.problems import Problem
from gateway.payments.requests import CreateIntent


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    note: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amount: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    currency: str
    part: Part = Part()


def test_a_correct_body_becomes_its_struct():
    assert decode(b'{"currency": "thb", "amount": 100}', Order) == Order(amount=100, currency="thb")


def test_text_about_the_character_nul_is_only_text():
    body = b'{"amount": 100, "currency": "thb", "part": {"note": "\\\\u0000"}}'
    assert decode(body, Order).part.note == r"\u0000"


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://shop.example/back?order=1#top", True),
        ("http://127.0.0.1:8000/", True),
        ("javascript:alert(1)", False),
        ("https://", False),
        ("https://shop.example/\nX-Other: 1", False),
        ("https://shop.example/\n", False),
        ("https://shop.example/ไทย", False),
    ],
)
def test_a_return_url_is_one_visible_line(url, taken):
    body = msgspec.json.encode({"amount": 100, "currency": "thb", "payment_method": "card", "return_url": url})
    if taken:
        assert decode(body, CreateIntent).return_url == url
    else:
        with pytest.raises(Problem) as caught:
            decode(body, CreateIntent)
        assert (caught.value.code, caught.value.param) == ("parameter_invalid", "return_url")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b'{"amount":1.5,"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":1.0,"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":"100","currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":true,"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":null,"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":0,"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":-100,"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":9223372036854775808,"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":1' + b"0" * 400 + b',"currency":"thb"}', "amount_invalid", "amount"),
        (b'{"amount":100,"currency":764}', "currency_invalid", "currency"),
        (b'{"amount":100}', "parameter_missing", "currency"),
        (b'{"amount":100,"currency":"thb","ammount":100}', "parameter_unknown", "ammount"),
        (b'{"amount":100,"currency":"thb","part":{"note":1}}', "parameter_invalid", "part.note"),
        (b'{"amount":100,"currency":"thb","part":{"x":1}}', "parameter_unknown", "part.x"),
        (b'{"amount":100,"currency":"t\\u0000b"}', "parameter_invalid", "currency"),
        (b'{"amount":100,"currency":"\\\\\\u0000"}', "parameter_invalid", "currency"),
        (
            b'{"entries":[{"key":"a"},{"postings":[{"debit":"\\u0000"}]}]}',
            "parameter_invalid",
            "entries[1].postings[0].debit",
        ),
        (b'{"part":{"a\\u0000":1}}', "parameter_invalid", "part"),
        (b'{"amount":"\\u0000"', "parameter_invalid", None),
        (b'{"amount":100,"amount":200,"currency":"thb"}', "parameter_invalid", "amount"),
        (b'{"amount":100,"\\u0061mount":200,"currency":"thb"}', "parameter_invalid", "amount"),
        (b'{"amount":100,"currency":"thb","part":{"note":"a","note":"b"}}', "parameter_invalid", "note"),
        (b"[]", "parameter_invalid", None),
        (b"{", "body_malformed", None),
        (b'{"amount":NaN,"currency":"thb"}', "body_malformed", None),
        (b"\xff", "body_malformed", None),
        (b'{"amount":100,"currency":"\xff"}', "body_malformed", None),
        (b'{"amount":100,"currency":"\\ud800"}', "body_malformed", None),
    ],
)
def test_each_mistake_has_its_code_and_names_its_parameter(body, code, param):
    with pytest.raises(Problem) as caught:
        decode(body, Order)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.kind.status == 400
