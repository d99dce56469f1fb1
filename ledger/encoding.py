"""Entries as the parallel arrays of `post_entries_v1`, or one as `post_transfer_v1` takes it; answers as results."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import asyncpg

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, JournalEntry, Posted, Posting, PostingResult, Refused
from ledger.refusals import Refusal

FLOOR_BREACHED, FREEZE_BREACHED, CEILING_BREACHED, CLOSED_BREACHED, BOOKED_LATER = 1, 2, 4, 8, 16
NUMBERS_KEPT_MAX: Final = 200_000
FLAT_FROM: Final = 20
"""Postings from which it pays to hand over arrays as flat."""

Arguments = tuple[Any, ...]


class AccountNumbers:
    """The numbers of a book's accounts that this process has met, so that they need not be looked up by name.

    A number goes out with the account's fingerprint, so that a number learnt before a restore cannot hit another
    account: the database refuses it, and `clear` forgets all.
    """

    def __init__(self) -> None:
        self._known: dict[AccountRef, tuple[int, int]] = {}

    def of_all(self, accounts: Iterable[AccountRef]) -> list[tuple[int, int] | None]:
        """(number, fingerprint) of each, or None for one not met yet."""
        return list(map(self._known.get, accounts))

    def learn(self, account: AccountRef, number: int) -> None:
        """Keep a number that the database gave for an account committed before."""
        if len(self._known) >= NUMBERS_KEPT_MAX:
            self._known.clear()
        self._known[account] = number, fingerprint(account)

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()


def fingerprint(account: AccountRef) -> int:
    """The first 8 bytes of SHA-256(kind ‖ owner ‖ 0x00 ‖ currency), as bigint holds them."""
    name = int(account.kind).to_bytes(2) + account.owner.encode() + b"\0" + account.currency.encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], signed=True)


def transfer_arguments_of(entry: JournalEntry, numbers: AccountNumbers) -> Arguments | None:
    """Arguments 2 … of `post_transfer_v1`; None where it is more than an amount between two accounts that are known."""
    if len(entry.postings) != 1 or entry.references or not _is_plain(entry):
        return None
    [posting] = entry.postings
    debit, credit = posting.debit, posting.credit
    of_debit, of_credit = numbers.of_all((debit, credit))
    if of_debit is None or of_credit is None or debit == credit or debit.currency != credit.currency:
        return None
    if posting.available_on is not None or posting.up_to is not None:
        return None
    return (
        entry.key,
        entry.kind,
        entry.effective_on,
        entry.caller,
        entry.metadata,
        posting.amount_minor,
        debit.currency,
        of_debit[0],
        of_credit[0],
        of_debit[1],
        of_credit[1],
    )


def _is_plain(entry: JournalEntry) -> bool:
    return (
        entry.draw is None
        and entry.drawable_minor is None
        and entry.reverses is None
        and entry.hold is None
        and entry.occurred_at is None
    )


def arguments_of(
    entries: Sequence[JournalEntry], groups: Sequence[int] | None = None, numbers: AccountNumbers | None = None
) -> tuple[Arguments, list[AccountRef]]:
    """Arguments 2 … of `post_entries_v1`, and the accounts that they name (to learn their numbers from the answer).

    Every account stands once, postings name it by position from 1. What no entry has goes as NULL for all.

    Args:
        entries: in the order of posting.
        groups: for each entry the number of its linked group (one after the other), 0 for none.
        numbers: what is known of the book's accounts.
    """
    postings = [posting for entry in entries for posting in entry.postings]
    positions: dict[AccountRef, int] = {}
    place = positions.setdefault
    debits = [place(posting.debit, len(positions) + 1) for posting in postings]
    credits_ = [place(posting.credit, len(positions) + 1) for posting in postings]
    known = [None] * len(positions) if numbers is None else numbers.of_all(positions)
    named = [account for account, number in zip(positions, known, strict=True) if number is None]
    currencies = {account.currency for account in positions}
    arguments = (
        [entry.key for entry in entries],
        [entry.kind for entry in entries],
        [entry.effective_on for entry in entries],
        [entry.caller for entry in entries],
        [entry.metadata for entry in entries],
        [len(entry.postings) for entry in entries],
        debits,
        credits_,
        [posting.amount_minor for posting in postings],
        _or_null([posting.available_on for posting in postings]),
        currencies.pop() if len(currencies) == 1 else None,
        [number and number[0] for number in known],
        [number and number[1] for number in known],
        *_names(positions, named),
        *_references(entries),
        *_rare(entries, postings),
        groups,
        _or_null([entry.occurred_at for entry in entries]),
    )
    if len(postings) < FLAT_FROM:
        return arguments, named
    return tuple(_Flat(each) if isinstance(each, list) else each for each in arguments), named


class _Flat:
    """A long array whose elements the driver is not to ask whether they are arrays themselves.

    asyncpg walks over an array twice. The first time it looks for arrays within the array, which costs five times as
    much as writing its elements does the second time; ours has none, so the first time it is shown nothing. The call of
    a driver that walked once would have fewer elements than announced, which the server refuses.
    """

    __slots__ = ("_elements", "_shown")

    def __init__(self, elements: list[Any]) -> None:
        self._elements = elements
        self._shown = False

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[Any]:
        if self._shown:
            return iter(self._elements)
        self._shown = True
        return iter(())

    def __repr__(self) -> str:
        """As the driver's errors show it."""
        return repr(self._elements)


def _names(positions: dict[AccountRef, int], named: Sequence[AccountRef]) -> Arguments:
    """Position, kind, owner and currency of each account without a number; None where there is none."""
    if not named:
        return None, None, None, None
    return (
        [positions[account] for account in named],
        [int(account.kind) for account in named],
        [account.owner for account in named],
        [account.currency for account in named],
    )


def _references(entries: Sequence[JournalEntry]) -> Arguments:
    """Number of the entry, scheme and value of every reference, each once an entry; None where there is none."""
    references = [
        (number, each) for number, entry in enumerate(entries, 1) if entry.references for each in set(entry.references)
    ]
    if not references:
        return None, None, None
    return (
        [number for number, _ in references],
        [each.scheme for _, each in references],
        [each.value for _, each in references],
    )


def _rare(entries: Sequence[JournalEntry], postings: Sequence[Posting]) -> Arguments:
    """Draws, reversals, holds and balancing postings; each array None when no entry has any."""
    draws = _or_null([entry.draw for entry in entries])
    reversed_keys = _or_null([entry.reverses for entry in entries])
    holds = _or_null([entry.hold for entry in entries])
    return (
        draws and [draw and draw.original_key for draw in draws],
        draws and [draw and draw.amount_minor for draw in draws],
        _or_null([entry.drawable_minor for entry in entries]),
        reversed_keys,
        reversed_keys
        and [
            None if entry.reverses is None else posting.reverses_line for entry in entries for posting in entry.postings
        ],
        holds and [hold and hold.action for hold in holds],
        holds and [hold and hold.hold_key for hold in holds],
        holds and [hold and hold.expires_at for hold in holds],
        _or_null([posting.up_to and int(posting.up_to) for posting in postings]),
    )


def _or_null(values: list[Any]) -> list[Any] | None:
    """The values, or None where there is none among them."""
    return values if values.count(None) < len(values) else None


def results_of(entries: Sequence[JournalEntry], answer: asyncpg.Record) -> list[PostingResult]:
    """The answer of posting (`ledger.answer_v1`), one result for each entry, in the same order."""
    posted_at, replayed, breaches = answer["posted_at"], answer["replayed_at"], answer["breaches"]
    amounts = answer["posted_minor"]
    if replayed is None and breaches is None and amounts is None and not any(answer["refusals"]):
        return [
            Posted(key=entry.key, sequence=sequence, recorded_at=posted_at)
            for entry, sequence in zip(entries, answer["sequences"], strict=True)
        ]
    results: list[PostingResult] = []
    line = 0
    for i, (entry, refusal, sequence) in enumerate(zip(entries, answer["refusals"], answer["sequences"], strict=True)):
        first, line = line, line + len(entry.postings)
        if refusal:
            results.append(Refused(key=entry.key, refusal=Refusal(refusal)))
            continue
        first_recorded_at = replayed[i] if replayed else None
        breach = breaches[i] if breaches else 0
        balancing = amounts is not None and any(posting.up_to for posting in entry.postings)
        results.append(
            Posted(
                key=entry.key,
                sequence=sequence,
                recorded_at=first_recorded_at or posted_at,
                replayed=first_recorded_at is not None,
                floor_breached=bool(breach & FLOOR_BREACHED),
                freeze_breached=bool(breach & FREEZE_BREACHED),
                ceiling_breached=bool(breach & CEILING_BREACHED),
                closed_breached=bool(breach & CLOSED_BREACHED),
                booked_later=bool(breach & BOOKED_LATER),
                amounts_minor=tuple(amounts[first:line]) if balancing else (),
            )
        )
    return results


def account_ref(kind: int, owner: str, currency: str) -> AccountRef:
    """An account as a row names it."""
    return AccountRef(AccountKind(kind), owner, currency)
