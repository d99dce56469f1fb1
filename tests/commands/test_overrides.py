"""`quickkub overrides`: what waits, and in a sentence what cannot be."""

import re

from tests.commands.test_merchants import quickkub

__all__ = ["quickkub"]


def test_overrides_are_listed_and_what_is_not_there_refused_in_a_sentence(quickkub):
    quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    book = re.search(r"\b(\d{4})\b", quickkub("merchants", "list"))[1]
    assert quickkub("overrides", "list", book, "--status", "open").strip() == ""
    assert quickkub("overrides", "waiting", book).strip() == ""
    said = ("--evidence", "letter 77", "--reason", "silence")
    assert "not_found" in quickkub("overrides", "propose", book, "pi_x", "failed", *said, code=1)
    assert "not_found" in quickkub("overrides", "propose", book, "re_x", "failed", *said, code=1)
    assert "not_found" in quickkub("overrides", "propose", book, "po_x", "succeeded", *said, code=1)
    assert "not_found" in quickkub("overrides", "approve", book, "ovr_x", "--reason", "seen", code=1)
    assert "not_found" in quickkub("overrides", "reject", book, "ovr_x", "--reason", "seen", code=1)
    assert "evidence" in quickkub("overrides", "propose", book, "pi_x", "failed", "--reason", "x", code=2)
