"""`/v1/unmatched`: operators see money that matches no payment, and say whose it is."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.moments import check_moment
from gateway.api.pagination import ListReply, list_reply
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, Problem, problem_responses
from gateway.api.refund_claims import HeldId
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import OperatorPrincipal, Scope
from gateway.payments.accepting import AcceptedIntent
from gateway.payments.claim_disputes import claims_disputed
from gateway.payments.claim_records import RefundClaim, claim_view
from gateway.settlement.receipts import Receipt, TargetKind
from gateway.settlement.unmatched import Place, UnmatchedReason, UnmatchedRow, unmatched

_BOOK_MAX: Final = 2**63 - 1
Book = Annotated[int, msgspec.Meta(ge=1, le=_BOOK_MAX)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"\S")]
LineId = Annotated[str, msgspec.Meta(pattern=r"^stl_(test_)?[0-9a-z]{26}\Z")]
PaymentId = Annotated[str, msgspec.Meta(pattern=r"^pi_(test_)?[0-9a-z]{26}\Z")]
TargetId = Annotated[str, msgspec.Meta(pattern=r"^(pi|acct)_(test_)?[0-9a-z]{26}\Z")]


class UnmatchedItem(msgspec.Struct, frozen=True, kw_only=True):
    """Money that matches no payment, or not as it should.

    Attributes:
        place: `held` for a payer, `owed` by one who got it twice, `waiting` to be identified or proved, or `nowhere`
            in our books.
        account: the merchant's, where it is of a payment, refund or payout: the subject.
        amount: what is left of it; of a mark below zero, what was credited and not seen yet.
        claim: of held money, the state of the claim by which it goes back.
    """

    object: Literal["unmatched"] = "unmatched"
    id: str
    place: Place
    reason: UnmatchedReason
    account: str | None
    subject: str
    provider: str
    amount: int
    currency: str
    since: datetime
    claim: str | None


class UnmatchedTotal(msgspec.Struct, frozen=True, kw_only=True):
    """All of one reason and currency, whatever the page shows."""

    place: Place
    reason: UnmatchedReason
    currency: str
    count: int
    amount: int


class UnmatchedTieOut(msgspec.Struct, frozen=True, kw_only=True):
    """All rows against the balances of a kind of account; `difference` is not zero where somebody posted by hand."""

    account_kind: str
    currency: str
    rows: int
    ledger: int
    difference: int


class UnmatchedList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, oldest first, with what all of it comes to."""

    object: Literal["list"] = "list"
    data: list[UnmatchedItem]
    has_more: bool
    url: str
    totals: list[UnmatchedTotal]
    tie_outs: list[UnmatchedTieOut]


class NoteReceipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credit of the bank's statement (`unknown_line`) is money of nobody known; and why."""

    book: Book
    line: LineId
    reason: Words


class AssignReceipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose a receipt is: `target` is the id of a payment or of a merchant; and why."""

    book: Book
    target: TargetId
    reason: Words


class ReturnHeld(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Offer a receipt held of a payment back to its payer, the oldest or `held`, its id in the list; and why."""

    book: Book
    payment_intent: PaymentId
    held: HeldId | None = None
    reason: Words


class ApproveClaim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The money of a claim may go to its payer; and why."""

    book: Book
    reason: Words


class AcceptHeld(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The merchant wants a receipt that is held for a payer: `held` is its id in the list; and why."""

    book: Book
    held: HeldId
    reason: Words


class ReceiptReply(msgspec.Struct, frozen=True, kw_only=True):
    """A noted credit; `assigned_to`: the payment or merchant that has it."""

    object: Literal["receipt"] = "receipt"
    id: str
    line: str
    amount: int
    currency: str
    paid_at: datetime
    assigned_to: str | None = None


@get("/", guards=[requires(Scope.LEDGER_READ)], summary="Money that matches no payment", responses=PROBLEM_RESPONSES)
async def list_unmatched(
    request: ApiRequest,
    *,
    book: Annotated[int, QueryParameter(ge=1, le=_BOOK_MAX, description="Number of the book.")],
    reason: FromQuery[UnmatchedReason | None] = None,
    account: FromQuery[str | None] = None,
    since_before: FromQuery[datetime | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    starting_after: Annotated[str | None, QueryParameter(pattern="^[a-z]{2,5}_(test_)?[0-9a-z]{26}$")] = None,
) -> UnmatchedList:
    """Oldest first, walked with `starting_after`; the totals are of the whole book, at the same moment."""
    check_moment(since_before, "since_before")
    found = await unmatched(
        services_of(request).database,
        book,
        reason=reason,
        account=account,
        since_before=since_before,
        after=starting_after or "",
        limit=limit,
    )
    return UnmatchedList(
        data=[_item(row) for row in found.rows],
        has_more=found.has_more,
        url=request.url.path,
        totals=[
            UnmatchedTotal(
                place=each.place,
                reason=each.reason,
                currency=each.currency.lower(),
                count=each.rows,
                amount=each.amount_minor,
            )
            for each in found.sums
        ],
        tie_outs=[
            UnmatchedTieOut(
                account_kind=each.account_kind,
                currency=each.currency.lower(),
                rows=each.rows_minor,
                ledger=each.ledger_minor,
                difference=each.difference_minor,
            )
            for each in found.tie_outs
        ],
    )


@post(
    "/receipts",
    guards=[requires(Scope.UNMATCHED_WRITE)],
    dto=StrictBody[NoteReceipt],
    return_dto=None,
    status_code=200,
    summary="Take a bank credit for nobody's",
    responses=BODY_RESPONSES,
)
async def note_receipt(
    request: ApiRequest, operator: NamedDependency[OperatorPrincipal], data: JSONBody[NoteReceipt]
) -> ReceiptReply:
    """It is in the books from now on, as money that waits for its owner. Safe to repeat."""
    receipts = services_of(request).receipts
    return _receipt(await receipts.note(data.book, data.line, actor=operator.operator_id, reason=data.reason))


@post(
    "/receipts/{receipt_id:str}/assign",
    guards=[requires(Scope.UNMATCHED_WRITE), known_id],
    dto=StrictBody[AssignReceipt],
    return_dto=None,
    status_code=200,
    summary="Say whose a receipt is",
    responses=BODY_RESPONSES | problem_responses(422),
)
async def assign_receipt(
    request: ApiRequest,
    operator: NamedDependency[OperatorPrincipal],
    receipt_id: FromPath[str],
    data: JSONBody[AssignReceipt],
) -> ReceiptReply:
    """A payment takes it as any money: it is paid by it, or it is held for the payer. A merchant has it at once."""
    kind: TargetKind = "payment" if data.target.startswith("pi_") else "merchant"
    receipts = services_of(request).receipts
    receipt, _ = await receipts.assign(
        data.book, receipt_id, kind, data.target, actor=operator.operator_id, reason=data.reason
    )
    return _receipt(receipt, assigned_to=data.target)


@post(
    "/return",
    guards=[requires(Scope.UNMATCHED_WRITE)],
    dto=StrictBody[ReturnHeld],
    return_dto=None,
    summary="Offer held money back to its payer",
    responses=BODY_RESPONSES,
)
async def return_to_payer(
    request: ApiRequest, operator: NamedDependency[OperatorPrincipal], data: JSONBody[ReturnHeld]
) -> RefundClaim:
    """The answer's `held` says which receipt it is, the `token` is for the payer. Another person lets a transfer go.

    Without `held` the oldest that is not offered yet, so that asking again offers the next one: name what you mean. A
    named receipt that is offered, returned or accepted already is 409 `nothing_held`.
    """
    return await services_of(request).held_money.offer(
        data.book,
        data.payment_intent,
        account_id=None,
        actor=operator.operator_id,
        reason=data.reason,
        held_id=data.held,
    )


@get(
    "/claims/disputed",
    guards=[requires(Scope.LEDGER_READ)],
    summary="Claims that are disputed as well",
    responses=PROBLEM_RESPONSES,
)
async def list_disputed_claims(
    request: ApiRequest,
    *,
    book: Annotated[int, QueryParameter(ge=1, le=_BOOK_MAX, description="Number of the book.")],
) -> ListReply[RefundClaim]:
    """Oldest first. `open` ones cannot be sent; `processing` ones the bank may be paying, `paid` ones it has paid.

    A payer who has the money twice owes it, see `paid_back_twice`; of a refund the dispute is the merchant's.
    """
    async with services_of(request).database.read() as connection:
        found = await claims_disputed(connection, book)
    return list_reply(request, [claim_view(claim) for claim in found], has_more=False)


@post(
    "/claims/{claim_id:str}/approve",
    guards=[requires(Scope.UNMATCHED_WRITE), known_id],
    dto=StrictBody[ApproveClaim],
    return_dto=None,
    status_code=200,
    summary="Let claimed money go to its payer",
    responses=BODY_RESPONSES,
)
async def approve_claim(
    request: ApiRequest,
    operator: NamedDependency[OperatorPrincipal],
    claim_id: FromPath[str],
    data: JSONBody[ApproveClaim],
) -> RefundClaim:
    """With the next file to the bank; by another person than the one who offered it back."""
    claims = services_of(request).refund_claims
    try:
        claim = await claims.approve(data.book, claim_id, actor=operator.operator_id, reason=data.reason)
    except LookupError as error:
        raise Problem("not_found") from error
    return claim_view(claim)


@post(
    "/accept",
    guards=[requires(Scope.UNMATCHED_WRITE)],
    dto=StrictBody[AcceptHeld],
    return_dto=None,
    status_code=200,
    summary="Take held money as the merchant's payment",
    responses=BODY_RESPONSES,
)
async def accept_for_merchant(
    request: ApiRequest, operator: NamedDependency[OperatorPrincipal], data: JSONBody[AcceptHeld]
) -> AcceptedIntent:
    """For a merchant who asked for it, unless it is offered back. Safe to repeat."""
    accepting = services_of(request).accepting
    return await accepting.accept_receipt(data.book, data.held, actor=operator.operator_id, reason=data.reason)


def _item(row: UnmatchedRow) -> UnmatchedItem:
    return UnmatchedItem(
        id=row.id,
        place=row.place,
        reason=row.reason,
        account=row.account,
        subject=row.subject,
        provider=row.provider,
        amount=row.amount_minor,
        currency=row.currency.lower(),
        since=row.since,
        claim=row.claim,
    )


def _receipt(receipt: Receipt, *, assigned_to: str | None = None) -> ReceiptReply:
    return ReceiptReply(
        id=receipt.receipt_id,
        line=receipt.line_id,
        amount=receipt.amount_minor,
        currency=receipt.currency.lower(),
        paid_at=receipt.paid_at,
        assigned_to=assigned_to,
    )


UNMATCHED = Router(
    "/unmatched",
    route_handlers=[
        list_unmatched,
        note_receipt,
        assign_receipt,
        return_to_payer,
        list_disputed_claims,
        approve_claim,
        accept_for_merchant,
    ],
    tags=["unmatched"],
)
