"""Several reads as one statement: what it costs to send a statement is paid once, and all see the same moment."""

from collections.abc import Mapping
from types import GenericAlias
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ARRAY, Select, Text, TextualSelect, any_, bindparam, cast, func, select

from gateway.foundation.database import Source, send
from gateway.foundation.statements import Statement


def any_of(name: str, kind: Any = Text) -> Any:
    """Right of `==`: any element of the array that is the parameter of that name.

    The planner does not see the array. Where it does, it takes the plan for an array of one element for so much cheaper
    than the plan for any array that it plans each time, which costs several times the look-up itself.
    """
    unseen = select(cast(bindparam(name), ARRAY(kind))).scalar_subquery()
    return any_(cast(unseen, ARRAY(kind)))


def rows_decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[list[Any]]:
    """Reads rows that PostgreSQL has gathered as JSON, each as one of that kind."""
    return msgspec.json.Decoder(GenericAlias(list, (kind,)))


class Query(NamedTuple):
    """A SELECT with the names of its columns, and what one of its rows becomes.

    Attributes:
        rows: `select(…)` or `text(…).columns(…)`; parameters of the same name in several queries are one value.
        kind: a Struct whose fields are among these columns.
    """

    rows: Select[Any] | TextualSelect
    kind: type[msgspec.Struct]


class Reads:
    """Queries of one or more rooms that are always asked together. Rows come as JSON and are decoded by their type.

    Bytes do not travel that way: a column of them is read by a statement of its own.
    """

    def __init__(self, **queries: Query) -> None:
        self._decoders: Final = [rows_decoder(query.kind) for query in queries.values()]
        columns = []
        for name, query in queries.items():
            found = query.rows.subquery(name)
            columns.append(select(cast(func.json_agg(found.table_valued()), Text)).scalar_subquery().label(name))
        self._statement = Statement(select(*columns))

    async def ask(self, source: Source, parameters: Mapping[str, Any]) -> list[list[Any]]:
        """What each query finds, in the order in which they were named."""
        [row] = await send(source, self._statement, parameters)
        return [
            [] if text is None else decoder.decode(text)
            for text, decoder in zip(row.values(), self._decoders, strict=True)
        ]
