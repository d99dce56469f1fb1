"""Request bodies: JSON read strictly into one Struct, or a problem that names the parameter.

Litestar would convert leniently (`"100"` for 100); here the msgspec decoder does it, to which a float or a text is
never an integer and an unknown field is an error.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec
from litestar.dto import DTOFieldDefinition, MsgspecDTO
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from gateway.api.problems import FieldError, Problem

T = TypeVar("T", bound=msgspec.Struct)

_CODES_BY_PARAM: Final = {"amount": "amount_invalid", "currency": "currency_invalid"}
_PLACE: Final = re.compile(r" - at `\$\.?(?P<path>.*)`$")
_FIELD: Final = re.compile(r"(?P<what>unknown|missing required) field `(?P<field>[^`]*)`")
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def decode(body: bytes, into: type[T]) -> T:
    """The body as that Struct.

    Raises:
        Problem: not JSON, or a parameter is unknown, missing, given twice or of the wrong kind.
    """
    if _NUL.search(body):
        # PostgreSQL's text cannot hold it, so it is refused before it is an error of ours.
        raise Problem("parameter_invalid", "Text may not hold the character NUL.", param=_place_of_nul(body))
    try:
        decoded = msgspec.json.decode(body, type=into)
    except msgspec.ValidationError as error:
        raise problem_of(str(error)) from None
    except UnicodeDecodeError:
        raise Problem("body_malformed", "The body is not UTF-8.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem("body_malformed", f"The body is not JSON: {error}.") from None
    # Of two values msgspec takes the last, somebody on the way the first: then they see different amounts.
    json.loads(body, object_pairs_hook=_each_once)
    return decoded


def _place_of_nul(body: bytes) -> str | None:
    """Where the first NUL stands, as `entries[17].metadata`; None where the body is no JSON."""

    def place(value: Any, path: str) -> str | None:
        match value:
            case str():
                return path if "\0" in value else None
            case dict():
                if any("\0" in name for name in value):
                    return path  # of what the name stands in: it cannot be said itself
                inside = (place(each, f"{path}.{name}".lstrip(".")) for name, each in value.items())
                return next((found for found in inside if found), None)
            case list():
                places = (place(each, f"{path}[{number}]") for number, each in enumerate(value))
                return next((found for found in places if found), None)
        return None

    try:
        return place(json.loads(body), "") or None
    except (ValueError, RecursionError):
        return None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, unless a name stands in it twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Problem("parameter_invalid", f"{name} is given more than once.", param=name)
        found[name] = value
    return found


def problem_of(message: str, *, within: str = "") -> Problem:
    """Take msgspec's one sentence apart into what and where; `within` is where the value itself stands."""
    place = _PLACE.search(message)
    path, what = (place["path"], message[: place.start()]) if place else ("", message)
    path = f"{within}.{path}" if within and path else within or path
    code = _CODES_BY_PARAM.get(path, "parameter_invalid")
    if field := _FIELD.search(what):
        path = f"{path}.{field['field']}" if path else field["field"]
        code = "parameter_unknown" if field["what"] == "unknown" else "parameter_missing"
    detail = f"{path}: {what}." if path else f"{what}."
    return Problem(code, detail, param=path or None, errors=(FieldError(param=path, code=code, detail=f"{what}."),))


class StrictBody(MsgspecDTO[T]):
    """Makes a handler's `data` be read by `decode`; the OpenAPI page shows the Struct itself."""

    def decode_bytes(self, value: bytes) -> Any:
        """The body as the handler's Struct.

        Raises:
            Problem: see `decode`; also where the body is not declared to be JSON.
        """
        content_type = self.asgi_connection.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise Problem("content_type_unsupported", f"Content-Type is {content_type!r}, not application/json.")
        return decode(value, self.model_type)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Iterator[DTOFieldDefinition]:  # type: ignore[override]
        """None: nothing is transferred field by field."""
        del model_type
        return iter(())

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """The Struct's own schema."""
        del handler_id
        schema: Reference | Schema = schema_creator.for_field_definition(field_definition)
        return schema
