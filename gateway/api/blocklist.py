"""`/v1/blocklist`: payers that you take nothing from. The value that you block is never shown again."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, problem_responses
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments import blocklists
from gateway.payments.blocklists import Block
from gateway.payments.payers import PayerKind
from gateway.payments.requests import FilledText

AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]


class CreateBlock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take nothing from this payer. `expires_at`: until then; for ever unless given."""

    kind: PayerKind
    value: FilledText
    reason: FilledText
    expires_at: AwareTime | None = None

    def __repr__(self) -> str:
        """Nothing of the payer reaches a log."""
        return f"CreateBlock({self.kind})"


class BlocklistEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of your list.

    Attributes:
        last_characters: of the value; empty where it is too short to show any.
        created_by, ended_by: ids of the API keys that did it.
    """

    object: Literal["blocklist_entry"] = "blocklist_entry"
    id: str
    livemode: bool
    kind: PayerKind
    last_characters: str
    reason: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    ended_by: str | None
    ended_at: datetime | None


@post(
    "/",
    guards=[requires(Scope.BLOCKLIST_WRITE)],
    dto=StrictBody[CreateBlock],
    return_dto=None,
    summary="Block a payer",
    responses=BODY_RESPONSES | problem_responses(422),
)
async def create_block(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[CreateBlock]
) -> BlocklistEntry:
    """From now on such a payer is refused with `payer_blocked`, before any provider is asked."""
    services = services_of(request)
    async with services.database.transaction() as connection:
        made = await blocklists.block(
            connection,
            services.vault,
            merchant,
            kind=data.kind,
            value=data.value,
            reason=data.reason,
            expires_at=data.expires_at,
        )
    return _entry(made)


@get("/", guards=[requires(Scope.BLOCKLIST_READ)], summary="Your blocklist", responses=PROBLEM_RESPONSES)
async def list_blocks(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], page: NamedDependency[PageRequest]
) -> ListReply[BlocklistEntry]:
    """Newest first, with those that have ended."""
    check_cursors(page, "blk")
    async with services_of(request).database.read() as connection:
        found = await blocklists.page(connection, merchant, **page.cursor())
    return list_reply(request, [_entry(block) for block in found.data], has_more=found.has_more)


@get(
    "/{block_id:str}",
    guards=[requires(Scope.BLOCKLIST_READ), known_id],
    summary="One entry",
    responses=PROBLEM_RESPONSES,
)
async def get_block(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], block_id: FromPath[str]
) -> BlocklistEntry:
    """The entry."""
    async with services_of(request).database.read() as connection:
        return _entry(await blocklists.get(connection, merchant, block_id))


@delete(
    "/{block_id:str}",
    guards=[requires(Scope.BLOCKLIST_WRITE), known_id],
    status_code=200,
    summary="End an entry",
    responses=PROBLEM_RESPONSES,
)
async def end_block(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], block_id: FromPath[str]
) -> BlocklistEntry:
    """The entry, ended; it stays to be read."""
    async with services_of(request).database.transaction() as connection:
        return _entry(await blocklists.end(connection, merchant, block_id))


def _entry(block: Block) -> BlocklistEntry:
    return BlocklistEntry(
        id=block.block_id,
        livemode=block.livemode,
        kind=block.kind,
        last_characters=block.last_characters,
        reason=block.reason,
        created_by=block.actor,
        created_at=block.created_at,
        expires_at=block.expires_at,
        ended_by=block.ended_by,
        ended_at=block.ended_at,
    )


BLOCKLIST = Router("/blocklist", route_handlers=[create_block, list_blocks, get_block, end_block], tags=["blocklist"])
