"""The page about the API, made from the OpenAPI description alone: no script and nothing from anybody else's server."""

from html import escape
from typing import Any, Final

from litestar import get
from litestar.openapi.plugins import OpenAPIRenderPlugin

from gateway.api.services import ApiRequest

_METHODS: Final = ("get", "post", "delete")
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "section{border-top:1px solid #ccc;margin-top:1.5rem}code{background:#f2f2f2;padding:0 .2rem}"
    "table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.1rem 1rem .1rem 0}"
)


@get("/openapi.json", include_in_schema=False, media_type="application/vnd.oai.openapi+json")
async def openapi_file(request: ApiRequest) -> dict[str, Any]:
    """The OpenAPI description."""
    return request.app.openapi_schema.to_schema()


class PlainPage(OpenAPIRenderPlugin):
    """Renders every operation with its parameters and bodies as one page of HTML."""

    def render(self, request: ApiRequest, openapi_schema: dict[str, Any]) -> bytes:
        """The page."""
        del request
        schemas = openapi_schema.get("components", {}).get("schemas", {})
        operations = "".join(
            _operation(path, method, item[method], schemas)
            for path, item in sorted(openapi_schema["paths"].items())
            for method in _METHODS
            if method in item
        )
        info = openapi_schema["info"]
        page = (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
            f"<style>{_STYLE}</style><h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p>"
            f"<p>The same as a file: <a href=/openapi.json>openapi.json</a></p>{operations}</html>"
        )
        return page.encode()


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
