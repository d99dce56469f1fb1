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
    ORIGINAL_NOT_FOUND = 20
    ORIGINAL_NOT_DRAWABLE = 21
    EXCEEDS_ORIGINAL = 22
    RELEASE_EXCEEDS_DRAWS = 23
    REVERSAL_DIFFERS_FROM_ORIGINAL = 24
    HOLD_NOT_FOUND = 25
    HOLD_ALREADY_RESOLVED = 26
    HOLD_EXPIRED = 27
    HOLD_NOT_EXPIRED = 28
    POSTING_DIFFERS_FROM_HOLD = 29
    EXCEEDS_HOLD = 30
    PERIOD_CLOSED = 40
    IMPORT_OUT_OF_ORDER = 41
    ACCOUNT_CLOSED = 50
    ACCOUNT_FROZEN = 51
    NOTHING_AVAILABLE = 52
    BELOW_FLOOR = 53
    ABOVE_CEILING = 54
    BALANCE_OVERFLOW = 55
    GROUP_REFUSED = 60

    @property
    def code(self) -> str:
        """Stable word for APIs and logs: `below_floor`."""
        return self.name.lower()

    @property
    def transient(self) -> bool:
        """Whether the very same entry may be accepted later, when others have changed the books."""
        return self in _TRANSIENT


_TRANSIENT = frozenset(
    {
        Refusal.ORIGINAL_NOT_FOUND,
        Refusal.EXCEEDS_ORIGINAL,
        Refusal.RELEASE_EXCEEDS_DRAWS,
        Refusal.HOLD_NOT_FOUND,
        Refusal.HOLD_NOT_EXPIRED,
        Refusal.PERIOD_CLOSED,
        Refusal.ACCOUNT_CLOSED,
        Refusal.ACCOUNT_FROZEN,
        Refusal.NOTHING_AVAILABLE,
        Refusal.BELOW_FLOOR,
        Refusal.ABOVE_CEILING,
        Refusal.GROUP_REFUSED,
    }
)
