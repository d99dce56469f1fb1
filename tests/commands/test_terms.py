"""`quickkub terms`: terms are shown, changed one by one on the record, and refused in a sentence."""

import re

from tests.commands.test_merchants import quickkub

__all__ = ["quickkub"]


def test_terms_are_shown_and_changed_for_new_payments(quickkub):
    made = quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    account = re.search(r"acct_\w+", made)[0]
    listed = quickkub("terms", "list", account)
    assert "promptpay  v1  16500 ppm + 0  T+1  dispute 0  late by 0 s" in listed
    assert "card  v1  36500 ppm + 0  T+1  dispute 50000  late by 0 s" in listed
    said = ("--reason", "their contract")
    changed = quickkub("terms", "set", account, "promptpay", "--late-grace-seconds", "3600", *said)
    assert changed.strip() == "promptpay  v2  16500 ppm + 0  T+1  dispute 0  late by 3600 s"
    assert changed.strip() in quickkub("terms", "list", account)
    assert "no terms for shopeepay" in quickkub(
        "terms", "set", account, "shopeepay", "--settlement-days", "2", *said, code=1
    )
    new = quickkub("terms", "set", account, "shopeepay", "--rate-ppm", "20000", *said)
    assert new.strip() == "shopeepay  v1  20000 ppm + 0  T+1  dispute 0  late by 0 s"
    assert "no account" in quickkub("terms", "list", "acct_x", code=1)
    assert "no account" in quickkub("terms", "set", "acct_x", "card", "--rate-ppm", "1", *said, code=1)
    assert "at least one" in quickkub("terms", "set", account, "card", *said, code=2)
    assert "2592001" in quickkub("terms", "set", account, "card", "--late-grace-seconds", "2592001", *said, code=2)
