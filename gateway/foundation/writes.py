"""Several writes as one statement: what a transaction writes is gathered first, and costs one question to the server.

Rows travel as JSON and PostgreSQL makes of each value what its column holds. So a table's rows are one parameter
however many they are, and the statement is the same each time. All parts see what was there before the statement, and
none sees what another one writes; unique keys and references between tables hold as ever.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, Self

import msgspec
from sqlalchemy import (
    CTE,
    LargeBinary,
    Table,
    TableValuedAlias,
    Text,
    TextualSelect,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSON, insert

from gateway.foundation.database import Source, send
from gateway.foundation.reads import any_of, rows_decoder
from gateway.foundation.statements import Statement

Row = msgspec.Struct | Mapping[str, Any]


class _Insert(NamedTuple):
    table: Table
    columns: tuple[str, ...]
    known_ones_stay: bool


class _Update(NamedTuple):
    table: Table
    columns: tuple[str, ...]
    cleared: tuple[str, ...]


class _Also(NamedTuple):
    name: str
    statement: TextualSelect


_Part = _Insert | _Update | _Also


class Writes:
    """Rows gathered for one statement, each table's inserts by one call and its updates by one call."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._parameters: dict[str, Any] = {}
        self._decoders: dict[str, msgspec.json.Decoder[list[Any]]] = {}

    def insert(self, table: Table, rows: Sequence[Row], *, known_ones_stay: bool = False) -> Self:
        """New rows, all with the same columns; where known ones stay, a row whose key is taken is left out."""
        if rows:
            self._add(_Insert(table, _columns_of(rows[0]), known_ones_stay), rows)
        return self

    def update(
        self,
        table: Table,
        rows: Sequence[Row],
        *,
        untouched: Sequence[str] = (),
        cleared: Mapping[str, Iterable[str]] | None = None,
    ) -> Self:
        """Rows that the caller has locked and names once each, found by their key; their other columns are written.

        Args:
            table: has a column for each field of the rows.
            rows: as they are to be, all with the same first column of their key: a book, an account. That column is
                asked for by itself, so that the planner expects few rows and finds each by the index.
            untouched: columns that keep what they hold.
            cleared: columns that become NULL in the rows with these ids (the last column of the key); in the others
                they keep what they hold.
        """
        if rows:
            cleared = cleared or {}
            kept = {*table.primary_key.columns.keys(), *untouched, *cleared}
            columns = tuple(name for name in _columns_of(rows[0]) if name not in kept)
            self._parameters |= {_ids_name(table, name): sorted(ids) for name, ids in cleared.items()}
            self._parameters[_first_name(table)] = _only({_value_of(row, _first_key(table)) for row in rows})
            self._add(_Update(table, columns, tuple(cleared)), rows)
        return self

    def also(
        self, name: str, statement: TextualSelect, parameters: Mapping[str, Any], kind: type[msgspec.Struct]
    ) -> Self:
        """A statement that writes and returns rows of a kind; no other part has parameters of these names."""
        assert not self._parameters.keys() & parameters.keys(), f"{name} shares a parameter"
        self._parts.append(_Also(name, statement))
        self._parameters |= parameters
        self._decoders[name] = rows_decoder(kind)
        return self

    async def send(self, source: Source) -> dict[str, list[Any]]:
        """Write everything; returns what the statements that were added by `also` return, by name."""
        if not self._parts:
            return {}
        rows = await send(source, _statement(tuple(self._parts)), self._parameters)
        if not self._decoders:
            return {}
        [row] = rows
        returned = zip(self._decoders.items(), row.values(), strict=True)
        return {name: [] if text is None else decoder.decode(text) for (name, decoder), text in returned}

    def _add(self, part: _Insert | _Update, rows: Sequence[Row]) -> None:
        name = _rows_name(part)
        assert name not in self._parameters, f"{name} were added before"
        self._parts.append(part)
        self._parameters[name] = _json_of(part.table, rows)


@cache
def _statement(parts: tuple[_Part, ...]) -> Statement:
    """The statement of these parts; a single one without an answer stands for itself."""
    if len(parts) == 1 and not isinstance(parts[0], _Also):
        return Statement(_written(parts[0]))
    ctes = [
        part.statement.cte(part.name) if isinstance(part, _Also) else _written(part).cte(f"written_{number}")
        for number, part in enumerate(parts)
    ]
    returned = [_as_json(cte) for part, cte in zip(parts, ctes, strict=True) if isinstance(part, _Also)]
    return Statement(select(*(returned or [literal_column("1")])).add_cte(*ctes))


def _as_json(cte: CTE) -> Any:
    return select(cast(func.json_agg(cte.table_valued()), Text)).scalar_subquery().label(cte.name)


def _written(part: _Insert | _Update) -> Any:
    table = part.table
    if isinstance(part, _Insert):
        new = _new_rows(part, part.columns)
        into = insert(table).from_select(part.columns, select(*(new.c[name] for name in part.columns)))
        return into.on_conflict_do_nothing() if part.known_ones_stay else into
    keys = table.primary_key.columns.keys()
    new = _new_rows(part, (*keys, *part.columns))
    values: dict[str, Any] = {name: new.c[name] for name in part.columns}
    for name in part.cleared:
        is_cleared = table.c[keys[-1]] == any_of(_ids_name(table, name))
        values[name] = case((is_cleared, None), else_=table.c[name])
    first = bindparam(_first_name(table), type_=table.c[keys[0]].type)
    found = (table.c[keys[0]] == first, new.c[keys[0]] == first, *(table.c[name] == new.c[name] for name in keys[1:]))
    return update(table).where(*found).values(values)


def _new_rows(part: _Insert | _Update, names: Sequence[str]) -> TableValuedAlias:
    """The rows as PostgreSQL reads them, with the types of their columns."""
    rows = cast(bindparam(_rows_name(part), type_=Text), JSON)
    columns = (column(name, part.table.c[name].type) for name in names)
    return (
        func.json_to_recordset(rows).table_valued(*columns).render_derived(f"{part.table.name}_rows", with_types=True)
    )


def _columns_of(row: Row) -> tuple[str, ...]:
    return row.__struct_fields__ if isinstance(row, msgspec.Struct) else tuple(row)


def _rows_name(part: _Insert | _Update) -> str:
    return f"{'new' if isinstance(part, _Insert) else 'changed'}_{part.table.name}"


def _first_key(table: Table) -> str:
    name: str = table.primary_key.columns.keys()[0]
    return name


def _first_name(table: Table) -> str:
    return f"changed_{table.name}_of"


def _value_of(row: Row, name: str) -> Any:
    return getattr(row, name) if isinstance(row, msgspec.Struct) else row[name]


def _only(values: set[Any]) -> Any:
    assert len(values) == 1, f"rows of several books are changed by one statement: {sorted(map(str, values))}"
    return values.pop()


def _ids_name(table: Table, name: str) -> str:
    return f"{table.name}_without_{name}"


@cache
def _bytes_of(table: Table) -> frozenset[str]:
    return frozenset(each.name for each in table.columns if isinstance(each.type, LargeBinary))


def _json_of(table: Table, rows: Sequence[Row]) -> str:
    """Rows as PostgreSQL reads them: sets in order, bytes in hexadecimal digits."""
    if names := _bytes_of(table):
        rows = [{name: _hex(value) if name in names else value for name, value in _items(row)} for row in rows]
    return msgspec.json.encode(rows, order="deterministic").decode()


def _items(row: Row) -> Iterable[tuple[str, Any]]:
    return (msgspec.structs.asdict(row) if isinstance(row, msgspec.Struct) else row).items()


def _hex(value: bytes | None) -> str | None:
    return None if value is None else f"\\x{value.hex()}"
