"""Query parameters: a name that is unknown or given twice is an error, not something to be passed over in silence."""

from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from gateway.api.problems import FieldError, Problem


def known_parameters(app: Litestar) -> dict[str, frozenset[str]]:
    """The query parameters of every handler, its dependencies' included, by the handler's id."""
    return {
        handler.handler_id: frozenset(parameter.field_alias for parameter in arguments.expected_query_params)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler, arguments in route.route_handler_map.values()
    }


async def known_query(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard that refuses query parameters which the address does not know or which are given more than once.

    A name that ends in `[]` says of itself that it may be.
    """
    # Guards get a copy of the handler, with another id.
    known = connection.app.state.query_parameters[connection.route_handler.handler_id]
    unknown = sorted(set(connection.query_params) - known)
    if unknown:
        errors = tuple(
            FieldError(param=name, code="parameter_unknown", detail="There is no such parameter here.")
            for name in unknown
        )
        raise Problem("parameter_unknown", f"There is no parameter {unknown[0]} here.", param=unknown[0], errors=errors)
    for name, value in connection.query_params.multi_items():
        if "\0" in value:
            # PostgreSQL's text cannot hold it, so it is refused before it is an error of ours.
            raise Problem("parameter_invalid", "Text may not hold the character NUL.", param=name)
    for name in known & set(connection.query_params):
        if not name.endswith("[]") and len(connection.query_params.getall(name)) > 1:
            raise Problem("parameter_invalid", f"{name} is given more than once.", param=name)
