"""`quickkub claims`: what there is, and in a sentence what there is not."""

import re

from tests.commands.test_merchants import quickkub

__all__ = ["quickkub"]


def test_claims_are_listed_and_unknown_ones_refused_in_a_sentence(quickkub):
    created = quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    assert re.search(r"acct_\w+", created)
    book = re.search(r"\b(\d{4})\b", quickkub("merchants", "list"))[1]
    assert quickkub("claims", "list", book).strip() == ""
    assert "no claim clm_x" in quickkub("claims", "approve", book, "clm_x", "--reason", "checked", code=1)
    assert "no claim clm_x" in quickkub("claims", "refuse", book, "clm_x", "--reason", "checked", code=1)
    assert "no payment intent pi_x" in quickkub("claims", "offer", book, "pi_x", "--reason", "paid twice", code=1)
    named = ("--held", "fact_x", "--reason", "paid twice")
    assert "no payment intent pi_x" in quickkub("claims", "offer", book, "pi_x", *named, code=1)
    assert "reason" in quickkub("claims", "offer", book, "pi_x", code=2)
