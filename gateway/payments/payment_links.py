"""Payment links: an address that a merchant hands out and under which payers pay.

A use is a payment of the link that has brought money or still may; one that was declined, cancelled or ran out frees
its use again. Whether there is one left is asked under the link's lock in the transaction that writes the attempt
(`admission.py`), so that of payers who race for the last one use only one is sent to a provider. Lock order: the
payment, then its link.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.clocks import clock_of
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments import tokens
from gateway.payments.errors import InvalidRequest, NotFound, Refused
from gateway.payments.facts import RecordEvents
from gateway.payments.listing import Page, read_page
from gateway.payments.records import IntentRow, Move, add_moves, add_rows, rows_of
from gateway.payments.requests import Amount, ShortText, check_metadata
from gateway.payments.states import IntentStatus, LinkStatus
from gateway.payments.tables import intents, payment_links
from gateway.providers.base import Method
from gateway.webhooks.events import NewEvent
from ledger.money import CURRENCY_EXPONENTS

USES_MAX: Final = 1_000_000
LIFE_MAX: Final = timedelta(days=3660)
_FREE: Final = (IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.CANCELED, IntentStatus.EXPIRED)
"""A payment in these uses nothing up."""
_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]


class CreateLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for a link.

    Attributes:
        amount: what is to be paid; or amount_min and amount_max, between which the payer chooses.
        payment_methods: which of them the payer may choose.
        uses_max: how many payments it takes; 1 unless given, null for any number.
        expires_at: until when it takes payments; for ever unless given.
    """

    currency: str
    payment_methods: Annotated[list[Method], msgspec.Meta(min_length=1, max_length=20)]
    amount: Amount | None = None
    amount_min: Amount | None = None
    amount_max: Amount | None = None
    description: ShortText = ""
    uses_max: Annotated[int, msgspec.Meta(ge=1, le=USES_MAX)] | None = 1
    expires_at: _AwareTime | None = None
    metadata: dict[str, str] = {}


class LinkRow(msgspec.Struct, frozen=True, kw_only=True):
    """A link, see `tables.payment_links`."""

    book_id: int
    link_id: str
    account_id: str
    livemode: bool
    token_hash: bytes
    amount_minor: int | None
    amount_minor_min: int | None
    amount_minor_max: int | None
    currency: str
    description: str
    methods: list[Method]
    uses_max: int | None
    status: LinkStatus
    version: int
    metadata: dict[str, str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None


class PaymentLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link as its merchant sees it.

    Attributes:
        token: the secret part of the address, `/v1/pay/{token}`; None in events, which are kept.
        uses: payments of it that have brought money or still may; uses_max: how many there may be, null for any number.
    """

    object: Literal["payment_link"] = "payment_link"
    id: str
    livemode: bool
    status: LinkStatus
    token: str | None
    amount: int | None
    amount_min: int | None
    amount_max: int | None
    currency: str
    description: str
    payment_methods: list[Method]
    uses: int
    uses_max: int | None
    metadata: dict[str, str]
    created_at: datetime
    expires_at: datetime | None
    version: int

    def __repr__(self) -> str:
        """No token reaches a log."""
        return f"PaymentLink({self.id})"


class PaymentLinks:
    """The use cases of links."""

    def __init__(self, database: Database, vault: Vault, *, record_events: RecordEvents) -> None:
        self._database = database
        self._vault = vault
        self._record_events = record_events

    async def create(self, principal: MerchantPrincipal, request: CreateLink) -> PaymentLink:
        """Make a link.

        Raises:
            InvalidRequest: `parameter_missing`, `parameter_invalid`, `currency_invalid`.
        """
        link = self._new(principal, request)
        async with self._database.transaction() as connection:
            await add_rows(connection, payment_links, [link])
            await self._record_events(connection, [_event(link, "payment_link.created", 0, link.created_at)])
        return self._view(link, 0)

    async def get(self, principal: MerchantPrincipal, link_id: str) -> PaymentLink:
        """The link.

        Raises:
            NotFound: no link of this account has that id.
        """
        async with self._database.read() as connection:
            link = await _of(connection, principal, link_id)
            return self._view(link, await _uses(connection, link))

    async def list(
        self,
        principal: MerchantPrincipal,
        *,
        limit: int = 10,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> Page[PaymentLink]:
        """A page of the account's links, newest first.

        Raises:
            InvalidRequest: `cursor_invalid`.
        """
        c = payment_links.c
        async with self._database.snapshot() as connection:
            page = await read_page(
                connection,
                payment_links,
                c.link_id,
                LinkRow,
                c.book_id == principal.book_id,
                c.account_id == principal.account_id,
                limit=limit,
                starting_after=starting_after,
                ending_before=ending_before,
            )
            views = [self._view(link, await _uses(connection, link)) for link in page.data]
        return Page(data=views, has_more=page.has_more)

    async def deactivate(self, principal: MerchantPrincipal, link_id: str) -> PaymentLink:
        """Take no further payment under the link; those that were begun go on. Safe to repeat.

        Raises:
            NotFound: no link of this account has that id.
        """
        now = principal.clock.now()
        async with self._database.transaction() as connection:
            before = await _of(connection, principal, link_id, lock=True)
            uses = await _uses(connection, before)
            if before.status is LinkStatus.INACTIVE:
                return self._view(before, uses)
            link = msgspec.structs.replace(before, status=LinkStatus.INACTIVE, version=before.version + 1)
            c = payment_links.c
            await connection.execute(
                update(payment_links)
                .where(c.book_id == link.book_id, c.link_id == link_id)
                .values(status=link.status, version=link.version)
            )
            move = Move(
                subject_id=link_id,
                object="payment_link",
                version=link.version,
                from_status=before.status,
                to_status=link.status,
                actor=principal.key_id,
                reason="deactivate",
            )
            await add_moves(connection, link.book_id, [move], now)
            await self._record_events(connection, [_event(link, "payment_link.deactivated", uses, now)])
        return self._view(link, uses)

    async def of_token(self, token: str) -> tuple[LinkRow, MerchantPrincipal]:
        """The link of a payer's token, and whom its payments are made for.

        Raises:
            NotFound: a token of nothing.
        """
        statement = select(payment_links).where(payment_links.c.token_hash == tokens.hash_of(self._vault, token))
        async with self._database.read() as connection:
            for link in await rows_of(connection, statement, LinkRow):
                if tokens.opens(self._vault, token, link.link_id):
                    return link, MerchantPrincipal(
                        account_id=link.account_id,
                        book_id=link.book_id,
                        livemode=link.livemode,
                        key_id=link.link_id,
                        scopes=frozenset(),
                        clock=await clock_of(connection, link.book_id),
                    )
        raise NotFound("no such link")

    async def is_payable(self, link: LinkRow) -> bool:
        """Whether somebody may begin to pay under it now."""
        async with self._database.read() as connection:
            now = (await clock_of(connection, link.book_id)).now()
            return _objection(link, await _uses(connection, link), now) is None

    def _new(self, principal: MerchantPrincipal, request: CreateLink) -> LinkRow:
        check_metadata(request.metadata)
        now = principal.clock.now()
        if request.currency.upper() not in CURRENCY_EXPONENTS or request.currency != request.currency.lower():
            raise InvalidRequest("currency_invalid", "a currency in lower case", param="currency")
        if request.expires_at is not None and not now < request.expires_at <= now + LIFE_MAX:
            raise InvalidRequest(
                "parameter_invalid", f"in the future, at most {LIFE_MAX.days} days ahead", param="expires_at"
            )
        if len(set(request.payment_methods)) < len(request.payment_methods):
            raise InvalidRequest("parameter_invalid", "a method is named once", param="payment_methods")
        _check_amounts(request)
        link_id = new_id("link", livemode=principal.livemode)
        return LinkRow(
            book_id=principal.book_id,
            link_id=link_id,
            account_id=principal.account_id,
            livemode=principal.livemode,
            token_hash=tokens.hash_of(self._vault, tokens.token_of(self._vault, link_id)),
            amount_minor=request.amount,
            amount_minor_min=request.amount_min,
            amount_minor_max=request.amount_max,
            currency=request.currency.upper(),
            description=request.description,
            methods=request.payment_methods,
            uses_max=request.uses_max,
            status=LinkStatus.ACTIVE,
            version=1,
            metadata=request.metadata,
            created_by=principal.key_id,
            created_at=now,
            expires_at=request.expires_at,
        )

    def _view(self, link: LinkRow, uses: int) -> PaymentLink:
        return _view(link, uses, tokens.token_of(self._vault, link.link_id))


async def take(connection: AsyncConnection, intent: IntentRow) -> None:
    """Use up one payment of the intent's link, if it has one; the link stays locked until the transaction ends.

    Raises:
        Refused: `payment_link_inactive`, `payment_link_expired`, `payment_link_used`.
    """
    if intent.payment_link_id is None:
        return
    c = payment_links.c
    statement = select(payment_links).where(c.book_id == intent.book_id, c.link_id == intent.payment_link_id)
    [link] = await rows_of(connection, statement.with_for_update(), LinkRow)
    now = (await clock_of(connection, link.book_id)).now()
    objection = _objection(link, await _uses(connection, link, beside=intent.intent_id), now)
    if objection is not None:
        raise objection


def amount_due(link: LinkRow, amount: int | None) -> int:
    """What a payer pays under the link who asks to pay that much.

    Raises:
        InvalidRequest: `parameter_missing`, `amount_invalid`.
    """
    if link.amount_minor is not None:
        if amount not in {None, link.amount_minor}:
            raise InvalidRequest("amount_invalid", f"the amount is {link.amount_minor}", param="amount")
        return link.amount_minor
    assert link.amount_minor_min is not None
    assert link.amount_minor_max is not None
    if amount is None:
        raise InvalidRequest("parameter_missing", "how much is to be paid?", param="amount")
    if not link.amount_minor_min <= amount <= link.amount_minor_max:
        limits = f"from {link.amount_minor_min} to {link.amount_minor_max}"
        raise InvalidRequest("amount_invalid", f"amount must be {limits}", param="amount")
    return amount


def _check_amounts(request: CreateLink) -> None:
    given = (request.amount_min is not None, request.amount_max is not None)
    if request.amount is not None and any(given):
        raise InvalidRequest("parameter_invalid", "one amount, or the least and the greatest", param="amount")
    if request.amount is None and not all(given):
        raise InvalidRequest("parameter_missing", "one amount, or the least and the greatest", param="amount")
    if request.amount_min is not None and request.amount_max is not None and request.amount_max < request.amount_min:
        raise InvalidRequest("parameter_invalid", "the least is above the greatest", param="amount_max")


def _objection(link: LinkRow, uses: int, now: datetime) -> Refused | None:
    if link.status is LinkStatus.INACTIVE:
        return Refused("payment_link_inactive", "its merchant took the link back")
    if link.expires_at is not None and now >= link.expires_at:
        return Refused("payment_link_expired", f"it took payments until {link.expires_at:%Y-%m-%d %H:%M} UTC")
    if link.uses_max is not None and uses >= link.uses_max:
        return Refused("payment_link_used", "it is paid, or somebody is paying it")
    return None


async def _uses(connection: AsyncConnection, link: LinkRow, *, beside: str = "") -> int:
    """Payments of the link that have brought money or still may, but for one."""
    c = intents.c
    statement = select(func.count()).where(
        c.book_id == link.book_id,
        c.payment_link_id == link.link_id,
        c.status.not_in(_FREE),
        c.intent_id != beside,
    )
    count: int = (await connection.execute(statement)).scalar_one()
    return count


async def _of(
    connection: AsyncConnection, principal: MerchantPrincipal, link_id: str, *, lock: bool = False
) -> LinkRow:
    c = payment_links.c
    statement = select(payment_links).where(
        c.book_id == principal.book_id, c.link_id == link_id, c.account_id == principal.account_id
    )
    rows = await rows_of(connection, statement.with_for_update() if lock else statement, LinkRow)
    if not rows:
        raise NotFound(f"no payment link {link_id}")
    return rows[0]


def _view(link: LinkRow, uses: int, token: str | None) -> PaymentLink:
    return PaymentLink(
        id=link.link_id,
        livemode=link.livemode,
        status=link.status,
        token=token,
        amount=link.amount_minor,
        amount_min=link.amount_minor_min,
        amount_max=link.amount_minor_max,
        currency=link.currency.lower(),
        description=link.description,
        payment_methods=link.methods,
        uses=uses,
        uses_max=link.uses_max,
        metadata=link.metadata,
        created_at=link.created_at,
        expires_at=link.expires_at,
        version=link.version,
    )


def _event(link: LinkRow, kind: str, uses: int, now: datetime) -> NewEvent:
    return NewEvent(
        book_id=link.book_id,
        account_id=link.account_id,
        livemode=link.livemode,
        type=kind,
        object=msgspec.json.encode(_view(link, uses, None)),
        created_at=now,
    )
