"""The page about the API, made from the OpenAPI description alone: no script and nothing from anybody else's server."""

from html import escape
from typing import Any, Final

from litestar import MediaType, get

from gateway.api.services import ApiRequest

_METHODS: Final = ("get", "post", "delete")
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "section{border-top:1px solid #ccc;margin-top:1.5rem}code{background:#f2f2f2;padding:0 .2rem}"
    "table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.1rem 1rem .1rem 0}"
)


# In a thread: describing every address takes a while the first time, and nobody else shall wait for it.
@get("/openapi.json", include_in_schema=False, media_type="application/vnd.oai.openapi+json", sync_to_thread=True)
def openapi_file(request: ApiRequest) -> dict[str, Any]:
    """The OpenAPI description."""
    return request.app.openapi_schema.to_schema()


@get("/docs", include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=True)
def docs_page(request: ApiRequest) -> str:
    """Every operation with its parameters and bodies as one page of HTML."""
    description = request.app.openapi_schema.to_schema()
    schemas = description["components"]["schemas"]
    operations = "".join(
        _operation(path, method, item[method], schemas)
        for path, item in sorted(description["paths"].items())
        for method in _METHODS
        if method in item
    )
    title, about = escape(description["info"]["title"]), escape(description["info"]["description"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{about}</p>"
        f"<p>The same as a file: <a href=/openapi.json>openapi.json</a></p>{operations}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    rows = "".join(
        _row(parameter["name"], parameter["in"], parameter.get("required", False), parameter.get("description", ""))
        for parameter in operation.get("parameters", [])
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        schema = _resolved(body, schemas)
        required = schema.get("required", [])
        rows += "".join(
            _row(name, "body", name in required, _type_of(field, schemas))
            for name, field in schema.get("properties", {}).items()
        )
    table = f"<table><tr><th>name<th>in<th><th></tr>{rows}</table>" if rows else ""
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}</p>"
        f"<p>{escape(operation.get('description', ''))}</p>{table}</section>"
    )


def _row(name: str, place: str, required: bool, text: str) -> str:  # noqa: FBT001 -- a cell of the table
    need = "required" if required else ""
    return f"<tr><td><code>{escape(name)}</code><td>{place}<td>{need}<td>{escape(text)}</tr>"


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    found: dict[str, Any] = schemas[reference.rpartition("/")[2]] if reference else schema
    return found


def _type_of(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    schema = _resolved(schema, schemas)
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(_type_of(choice, schemas) for choice in choices)
    text = str(schema.get("type", "any"))
    if values := schema.get("enum"):
        text += f": {', '.join(str(value) for value in values)}"
    if description := schema.get("description"):
        text += f". {description}"
    return text
