"""The closed list of business refusals, in precedence order.

A refusal is an expected "no". It is returned, never raised; it refuses its entry (or its linked group) and
leaves no trace: the key stays free. When several rules are broken, the first of this list is the answer.
The numbers are what `post_entries_v1` returns.
"""

from enum import IntEnum


class Refusal(IntEnum):
    """Why an entry was not posted. Lower number = tested first."""

    KEY_REUSED_WITH_OTHER_CONTENT = 10
    ENTRY_KIND_UNKNOWN = 11
    ENTRY_MUST_HAVE_POSTINGS = 12
    AMOUNT_MUST_BE_POSITIVE = 13
    ACCOUNTS_MUST_DIFFER = 14
    CURRENCIES_MUST_MATCH = 15
    ORIGINAL_NOT_FOUND = 16
    ORIGINAL_NOT_DRAWABLE = 17
    EXCEEDS_ORIGINAL = 18
    RELEASE_EXCEEDS_DRAWS = 19
    ACCOUNT_FROZEN = 20
    BELOW_FLOOR = 21
    BALANCE_OVERFLOW = 22
    GROUP_REFUSED = 23

    @property
    def code(self) -> str:
        """Stable word for APIs and logs: `below_floor`."""
        return self.name.lower()
