"""`POST /v1/ledger/entries`: operators' own entries, up to 2,000 a call, each with its own answer.

What an operator may post is declared (`POSTABLE` in `ledger/journal.py`); every other entry is made by the part of the
product whose event it is. An item that cannot be read or is refused harms no other, unless the call is atomic. The
whole call may be sent again: what is in the books comes back as replayed.
"""

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid5

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from gateway.api.authentication import requires
from gateway.api.bodies import StrictBody, problem_of
from gateway.api.problems import BODY_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants import operators
from gateway.merchants.principals import OperatorPrincipal, Scope
from ledger.chart_of_accounts import AccountKind
from ledger.errors import BookNotFound, EntryMalformed, LedgerError
from ledger.journal import (
    POSTABLE,
    AccountRef,
    Draw,
    EntryKind,
    ExternalReference,
    HoldAct,
    HoldAction,
    JournalEntry,
    Posting,
    PostingResult,
    Refused,
    UpTo,
)
from ledger.money import AMOUNT_MINOR_MAX
from ledger.posting import Ledger

ENTRIES_MAX: Final = 2_000
BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""2,000 entries of an ordinary size several times over."""
OPERATORS_KEYS: Final = UUID("5b6c9f0c-4d8e-5a57-8c0b-3d1e2f60b7aa")
"""Names the keys that operators give as text: each text is one UUID."""
POSTABLE_BY_NAME: Final = {kind.name.lower(): kind for kind in POSTABLE}
UP_TO: Final = {"debit": UpTo.DEBIT_LIMIT, "credit": UpTo.CREDIT_LIMIT, "both": UpTo.DEBIT_LIMIT | UpTo.CREDIT_LIMIT}

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Amount = Annotated[int, msgspec.Meta(gt=0, le=AMOUNT_MINOR_MAX)]


class AccountBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account by what it is."""

    kind: str
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "-"
    currency: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z]{3}$")] = "thb"


class PostingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One amount from the credit account to the debit account.

    Attributes:
        up_to: whose limit it stops at: as much is posted as there is, at most `amount`.
        reverses_line: in a reversal, the line of the original.
    """

    debit: AccountBody
    credit: AccountBody
    amount: Amount
    available_on: date | None = None
    up_to: Literal["debit", "credit", "both"] | None = None
    reverses_line: Annotated[int, msgspec.Meta(ge=1, le=32_767)] | None = None


class ReferenceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What others call the entry."""

    scheme: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class DrawBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry drawn on, and how much: below zero gives a draw back."""

    key: Key
    amount: Annotated[int, msgspec.Meta(ge=-AMOUNT_MINOR_MAX, le=AMOUNT_MINOR_MAX)]


class HoldBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the entry does to a hold."""

    action: Literal["place", "post", "release"]
    key: Key | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class EntryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry to be posted.

    Attributes:
        key: permanent: a UUID, or any text, which is hashed to one.
        metadata: sealed as it is; no names, account numbers or e-mail addresses.
    """

    key: Key
    kind: str
    effective_on: date
    postings: Annotated[list[PostingBody], msgspec.Meta(min_length=1, max_length=200)]
    references: Annotated[list[ReferenceBody], msgspec.Meta(max_length=20)] = []
    draw: DrawBody | None = None
    drawable: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MINOR_MAX)] | None = None
    reverses: Key | None = None
    hold: HoldBody | None = None
    metadata: Annotated[str, msgspec.Meta(max_length=4_096)] = ""


class EntriesBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call.

    Attributes:
        book: number of the one book of all entries.
        reason: why, for the auditor; no personal data.
        atomic: all or none.
    """

    book: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    reason: Annotated[str, msgspec.Meta(max_length=500, pattern=r"\S")]
    entries: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=ENTRIES_MAX)]
    atomic: bool = False


class EntryResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one item.

    Attributes:
        key: the UUID under which it is, or can be, posted; None where the item cannot be read.
        code: why it was refused or cannot be read; transient: whether the same entry may be accepted later.
        param: where the item cannot be read, `entries[17].postings[0].amount`.
        breaches: limits that an entry which only records went beyond.
        amounts: what the postings moved, where one was balancing.
    """

    status: Literal["posted", "refused", "malformed"]
    key: str | None = None
    sequence: int | None = None
    recorded_at: datetime | None = None
    replayed: bool = False
    breaches: list[str] = []
    amounts: list[int] = []
    code: str | None = None
    transient: bool = False
    param: str | None = None
    detail: str | None = None


class EntriesReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, in the order of the items."""

    object: Literal["ledger_entries_result"] = "ledger_entries_result"
    book: int
    atomic: bool
    posted: int
    results: list[EntryResult]


@post(
    "/",
    guards=[requires(Scope.LEDGER_POST)],
    dto=StrictBody[EntriesBody],
    return_dto=None,
    status_code=200,
    summary="Post operators' own entries",
    responses=BODY_RESPONSES,
    request_max_body_size=BODY_BYTES_MAX,
)
async def post_entries(
    request: ApiRequest, operator: NamedDependency[OperatorPrincipal], data: JSONBody[EntriesBody]
) -> EntriesReply:
    """Each item is posted, refused or malformed by itself; with `atomic`, all are posted or none."""
    services = services_of(request)
    read = [_read(item, number, operator.operator_id) for number, item in enumerate(data.entries)]
    entries = [each for each in read if isinstance(each, JournalEntry)]
    if data.atomic and len(entries) < len(read):
        untouched = EntryResult(status="refused", code="group_refused")
        results = [untouched if isinstance(each, JournalEntry) else each for each in read]
        return EntriesReply(book=data.book, atomic=True, posted=0, results=results)
    async with services.database.transaction() as connection:
        await operators.record_act(
            connection,
            actor=operator.operator_id,
            act="ledger.entries_handed_in",
            subject=f"book {data.book}: {len(entries)} entries from {entries[0].key if entries else '-'}",
            reason=data.reason,
        )
    outcomes = iter(await _posted(services.ledger, data.book, entries, atomic=data.atomic))
    results = [
        _result(next(outcomes), number) if isinstance(each, JournalEntry) else each for number, each in enumerate(read)
    ]
    posted = sum(each.status == "posted" for each in results)
    return EntriesReply(book=data.book, atomic=data.atomic, posted=posted, results=results)


async def _posted(
    ledger: Ledger, book: int, entries: list[JournalEntry], *, atomic: bool
) -> list[PostingResult | EntryMalformed]:
    """The outcome of each entry, handed in together and in order.

    Raises:
        Problem: what is posted and what is not must be asked for by sending the same call again.
    """
    if not entries:
        return []
    try:
        if atomic:
            return list(await ledger.post_group(book, entries))
        outcomes = await ledger.post_in_order(book, entries)
        failures = [
            each for each in outcomes if isinstance(each, BaseException) and not isinstance(each, EntryMalformed)
        ]
        if failures:
            raise failures[0]
        return [each for each in outcomes if not isinstance(each, BaseException) or isinstance(each, EntryMalformed)]
    except BookNotFound:
        raise Problem("not_found", f"There is no book {book}.", param="book") from None
    except EntryMalformed as error:
        raise Problem("parameter_invalid", str(error), param="entries") from None
    except LedgerError as error:
        if not error.retryable:
            raise
        detail = "Send the same call again: what is posted already comes back as replayed."
        raise Problem("temporarily_unavailable", detail, retry_after_seconds=1) from error


def _read(item: dict[str, Any], number: int, operator_id: str) -> JournalEntry | EntryResult:
    place = f"entries[{number}]"
    try:
        body = msgspec.convert(item, EntryBody, strict=True, str_keys=True)
    except msgspec.ValidationError as error:
        problem = problem_of(str(error), within=place)
        return EntryResult(status="malformed", code=problem.code, param=problem.param, detail=problem.detail)
    key = _key(body.key)
    kind = POSTABLE_BY_NAME.get(body.kind)
    if kind is None:
        known = ", ".join(sorted(POSTABLE_BY_NAME))
        return EntryResult(
            status="refused", key=str(key), code="kind_not_postable", param=f"{place}.kind", detail=f"One of {known}."
        )
    try:
        return _entry(body, key, kind, operator_id)
    except (AssertionError, KeyError) as error:
        return EntryResult(status="malformed", key=str(key), code="parameter_invalid", param=place, detail=str(error))


def _entry(body: EntryBody, key: UUID, kind: EntryKind, operator_id: str) -> JournalEntry:
    hold = None
    if body.hold is not None:
        action = HoldAction[body.hold.action.upper()]
        hold_key = None if body.hold.key is None else _key(body.hold.key)
        hold = HoldAct(action=action, hold_key=hold_key, expires_at=body.hold.expires_at)
    assert (hold is not None) == kind.name.startswith("HOLD_"), "hold belongs to the kinds hold_…, always"
    assert hold is None or kind == EntryKind(699 + hold.action), "the kind and the hold's action say the same"
    assert (body.reverses is not None) == (kind == EntryKind.ENTRY_REVERSED), "reverses belongs to entry_reversed"
    assert hold is None or len(body.postings) == 1, "a hold has one posting"
    return JournalEntry(
        key=key,
        kind=kind,
        effective_on=body.effective_on,
        postings=tuple(_posting(line) for line in body.postings),
        references=tuple(ExternalReference(each.scheme, each.value) for each in body.references),
        draw=None if body.draw is None else Draw(_key(body.draw.key), body.draw.amount),
        drawable_minor=body.drawable,
        reverses=None if body.reverses is None else _key(body.reverses),
        hold=hold,
        metadata=body.metadata.encode(),
        caller=operator_id,
    )


def _posting(body: PostingBody) -> Posting:
    return Posting(
        debit=_account(body.debit),
        credit=_account(body.credit),
        amount_minor=body.amount,
        available_on=body.available_on,
        up_to=None if body.up_to is None else UP_TO[body.up_to],
        reverses_line=body.reverses_line,
    )


def _account(body: AccountBody) -> AccountRef:
    assert body.kind.upper() in AccountKind.__members__, f"there is no kind of account {body.kind}"
    return AccountRef(AccountKind[body.kind.upper()], body.owner, body.currency.upper())


def _key(text: str) -> UUID:
    """The UUID that a text is, else the one that it is hashed to."""
    try:
        return UUID(text)
    except ValueError:
        return uuid5(OPERATORS_KEYS, text)


def _result(outcome: PostingResult | EntryMalformed, number: int) -> EntryResult:
    if isinstance(outcome, EntryMalformed):
        return EntryResult(
            status="malformed", code="parameter_invalid", param=f"entries[{number}]", detail=str(outcome)
        )
    if isinstance(outcome, Refused):
        return EntryResult(
            status="refused",
            key=str(outcome.key),
            code=outcome.refusal.code,
            transient=outcome.refusal.transient,
        )
    names = ("floor_breached", "freeze_breached", "ceiling_breached", "closed_breached", "booked_later")
    return EntryResult(
        status="posted",
        key=str(outcome.key),
        sequence=outcome.sequence,
        recorded_at=outcome.recorded_at,
        replayed=outcome.replayed,
        breaches=[name for name in names if getattr(outcome, name)],
        amounts=list(outcome.amounts_minor),
    )
