"""`quickkub unmatched`: nothing where there is nothing, and in a sentence what cannot be."""

import re

from tests.commands.test_merchants import quickkub

__all__ = ["quickkub"]


def test_unmatched_money_is_listed_and_what_is_not_there_refused_in_a_sentence(quickkub):
    quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    book = re.search(r"\b(\d{4})\b", quickkub("merchants", "list"))[1]
    assert quickkub("unmatched", "list", book, "--only", "short").strip() == ""
    assert "not_found" in quickkub("unmatched", "note", book, "stl_x", "--reason", "nobody's", code=1)
    said = ("--payment", "pi_x", "--reason", "its slip")
    assert "not_found" in quickkub("unmatched", "assign", book, "rcp_x", *said, code=1)
    assert "either" in quickkub("unmatched", "assign", book, "rcp_x", "--reason", "x", code=2)
    assert "not_found" in quickkub("unmatched", "accept", book, "fact_x", "--reason", "they asked", code=1)
    assert "there is no book" in quickkub("unmatched", "list", "99", code=1)
