"""Lists: a page of at most 100, newest first, walked by the ids of its own objects. No totals, they cost a scan."""

from typing import Annotated, Generic, Literal, TypedDict, TypeVar

import msgspec
from litestar.params import FromQuery, QueryParameter

from gateway.api.authentication import is_id
from gateway.api.problems import Problem
from gateway.api.services import ApiRequest

T = TypeVar("T")


class Cursor(TypedDict):
    """Where a page starts and how long it is."""

    limit: int
    starting_after: str | None
    ending_before: str | None


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted: at most `limit` objects older than one cursor, or newer than the other."""

    limit: int
    starting_after: str | None = None
    ending_before: str | None = None

    def cursor(self) -> Cursor:
        """The same as keyword arguments of the use cases' `list`."""
        return {"limit": self.limit, "starting_after": self.starting_after, "ending_before": self.ending_before}


class ListReply(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list.

    Attributes:
        has_more: whether there are further objects in the direction of the cursor; url: the list's own path.
    """

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool
    url: str


async def provide_page(
    limit: Annotated[int, QueryParameter(ge=1, le=100, description="How many objects, 1 to 100.")] = 10,
    starting_after: FromQuery[str | None] = None,
    ending_before: FromQuery[str | None] = None,
) -> PageRequest:
    """The page asked for.

    Raises:
        Problem: both cursors at once.
    """
    if starting_after is not None and ending_before is not None:
        raise Problem("cursors_exclusive", param="ending_before")
    return PageRequest(limit=limit, starting_after=starting_after, ending_before=ending_before)


def check_cursors(page: PageRequest, prefix: str) -> None:
    """Refuse cursors that cannot name an object of this list.

    Raises:
        Problem: `cursor_invalid`.
    """
    for param, cursor in (("starting_after", page.starting_after), ("ending_before", page.ending_before)):
        if cursor is not None and not is_id(cursor, prefix):
            raise Problem("cursor_invalid", f"{param} is not the id of an object in this list.", param=param)


def list_reply(request: ApiRequest, data: list[T], *, has_more: bool) -> ListReply[T]:
    """The page as answered."""
    return ListReply(data=data, has_more=has_more, url=request.url.path)
