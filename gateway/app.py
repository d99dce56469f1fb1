"""The API as an ASGI application: services opened at start, closed at the end, one front door around everything."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components
from litestar.types import ASGIApp

from gateway.api.authentication import SECURITY_SCHEMES
from gateway.api.failures import answer
from gateway.api.front_door import FrontDoor
from gateway.api.openapi_page import docs_page, openapi_file
from gateway.api.queries import known_parameters
from gateway.api.rate_limits import RateLimiter
from gateway.api.routes import ROUTES
from gateway.api.services import Services
from gateway.bootstrap import open_services
from gateway.foundation.settings import Settings
from gateway.merchants.authenticating import Authenticator

BODY_BYTES_MAX: Final = 64 * 1024


def create_app() -> ASGIApp:
    """The application as `quickkub serve` runs it, by the settings in the environment."""
    return app_with(partial(open_services, Settings.from_environment()))


def app_with(open_services: Callable[[], AbstractAsyncContextManager[Services]]) -> ASGIApp:
    """The application over services that are opened when it starts."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_services() as services:
            app.state.services = services
            app.state.rate_limiter = RateLimiter(services.redis)
            app.state.authenticator = Authenticator(services.database, services.vault)
            yield

    app = Litestar(
        route_handlers=[*ROUTES, docs_page, openapi_file],
        lifespan=[lifespan],
        exception_handlers={Exception: answer},
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="QuickKub API",
            version="1",
            description="Payments for Thailand. Amounts are whole minor units (satang); errors are RFC 9457 problems.",
            path="/openapi",
            components=Components(security_schemes=dict(SECURITY_SCHEMES)),
            render_plugins=[JsonRenderPlugin(path="/")],
        ),
    )
    app.state.query_parameters = known_parameters(app)
    return FrontDoor(app)
