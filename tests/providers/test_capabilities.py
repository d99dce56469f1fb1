"""What adapters say of themselves, and that docs/providers.md says the same."""

from pathlib import Path

import pytest

from gateway.providers.base import RefundRule
from gateway.providers.registry import ADAPTERS, INVENTED_CREDENTIALS
from ledger.money import to_text

PAGE = Path(__file__).resolve().parents[2] / "docs/providers.md"
BEGIN, END = "<!-- capabilities: begin -->\n", "<!-- capabilities: end -->"
HEAD = """| Provider | Method | Amount | Refunds | Authorise, then capture | Cancel unpaid | Payer has | Needs |
|---|---|---|---|---|---|---|---|
"""


def table() -> str:
    rows = []
    for adapter in ADAPTERS:
        for able in adapter.capabilities:
            until = "" if able.void_until is None else f", void until {able.void_until:%H:%M}"
            days = "" if able.refund_days_max is None else f", {able.refund_days_max} days"
            needs = [able.needs or ("a token, if you have one" if able.token_optional else "")]
            needs += ["return_url"] if able.return_url else []
            needs += [f"bank: {', '.join(able.banks)}"] if able.banks else []
            cells = (
                f"`{adapter.name}`",
                f"`{able.method}`",
                f"{to_text(able.amount_minor_min, able.currency)} – {to_text(able.amount_minor_max, able.currency)}",
                f"`{able.refunds}`{until}{days}",
                captured(able),
                "yes" if able.cancelable else "no",
                "–" if able.expiry_seconds is None else f"{able.expiry_seconds // 60} min",
                "; ".join(each for each in needs if each) or "–",
            )
            rows.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(rows)


def captured(able) -> str:
    if not able.capture_later:
        return "no"
    return "yes" if able.capture_days_max is None else f"within {able.capture_days_max} days"


def test_the_page_has_the_table_of_the_adapters():
    shown = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    assert shown == table()


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_what_an_adapter_says_of_itself_holds_together(adapter):
    methods = [(able.method, able.currency) for able in adapter.capabilities]
    assert len(methods) == len(set(methods)), "one line a method and currency"
    for able in adapter.capabilities:
        assert 0 < able.amount_minor_min < able.amount_minor_max
        assert (able.refunds is RefundRule.NONE) <= (able.void_until is None and able.refund_days_max is None)
        if able.expiry_seconds is not None and able.expiry_seconds_max is not None:
            assert able.expiry_seconds <= able.expiry_seconds_max
        assert able.capture_later or not able.captures_many
        assert able.capture_later == (able.capture_days_max is not None), "the end of an authorisation must be known"
    assert adapter.callback_headers == tuple(header.lower() for header in adapter.callback_headers)


def test_invented_credentials_are_never_the_same_and_named_in_the_page():
    page = PAGE.read_text("utf-8")
    for name, invent in INVENTED_CREDENTIALS.items():
        first, second = invent(), invent()
        assert first.keys() == second.keys()
        assert any(first[each] != second[each] for each in first)
        assert all(f"`{each}`" in page for each in first), name
