"""`/v1/callbacks`: where providers call us. Stored raw and answered; what it means is found out afterwards.

The address is the secret: its token finds the account. Nobody is told whether a guess was near, and a flood of
guesses meets the address's limit; a known token is never refused, because a callback lost here is money found late.
"""

from typing import Final

from litestar import Response, Router, post
from litestar.params import FromPath

from gateway.api.authentication import limit_address
from gateway.api.problems import Problem
from gateway.api.services import ApiRequest, services_of
from gateway.foundation.clock import real_now
from gateway.providers.base import Callback
from gateway.webhooks import inbox

CALLBACK_BYTES_MAX: Final = 256 * 1024


@post(
    "/v1/callbacks/{provider:str}/{token:str}",
    status_code=200,
    request_max_body_size=CALLBACK_BYTES_MAX,
    include_in_schema=False,
)
async def receive_callback(request: ApiRequest, provider: FromPath[str], token: FromPath[str]) -> Response[bytes]:
    """The provider's own reply, once the callback is committed."""
    services = services_of(request)
    callback = Callback(headers=dict(request.headers), body=await request.body(), received_at=real_now())
    account = await services.accounts.of_callback(token)
    if account is None or account.provider != provider or provider not in services.providers:
        await limit_address(request, request.route_handler)
        raise Problem("not_found")
    stored = await inbox.store(services.database, services.vault, account, callback)
    reply = services.providers[provider].callback_reply(account, callback, stored.id)
    return Response(reply.body, status_code=200, media_type=reply.content_type, headers=dict(reply.headers))


CALLBACKS = Router("/", route_handlers=[receive_callback])
