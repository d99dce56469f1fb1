"""Every address of the API, one resource a file."""

from typing import Final

from litestar import Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from gateway.api.authentication import SECURITY_SCHEMES, limit_address, limit_payer, provide_merchant, provide_operator
from gateway.api.balance import BALANCE
from gateway.api.balance_transactions import BALANCE_TRANSACTIONS
from gateway.api.blocklist import BLOCKLIST
from gateway.api.callbacks import CALLBACKS
from gateway.api.customers import CUSTOMERS
from gateway.api.dispute_letters import DISPUTE_LETTERS
from gateway.api.disputes import DISPUTES
from gateway.api.events import EVENTS
from gateway.api.expanding import provide_expand
from gateway.api.health import HEALTH
from gateway.api.ledger_entries import LEDGER_ENTRIES
from gateway.api.limits import LIMITS
from gateway.api.metrics import metrics
from gateway.api.overrides import OVERRIDES
from gateway.api.pagination import provide_page
from gateway.api.pay import PAY
from gateway.api.payment_intents import PAYMENT_INTENTS
from gateway.api.payment_links import PAYMENT_LINKS
from gateway.api.payment_methods import PAYMENT_METHODS
from gateway.api.problem_pages import PROBLEM_PAGES
from gateway.api.queries import known_query
from gateway.api.refund_claims import REFUND_CLAIMS
from gateway.api.refunds import REFUNDS
from gateway.api.test_mode import TEST_MODE
from gateway.api.unmatched import UNMATCHED
from gateway.api.webhook_endpoints import WEBHOOK_ENDPOINTS

_WITH_KEY: Final = Router(
    "/v1",
    guards=[limit_address, known_query],
    security=[{scheme: []} for scheme in SECURITY_SCHEMES],
    dependencies={
        "merchant": Provide(provide_merchant),
        "operator": Provide(provide_operator),
        "page": Provide(provide_page),
        "expand": Provide(provide_expand),
    },
    route_handlers=[
        PAYMENT_INTENTS,
        PAYMENT_METHODS,
        PAYMENT_LINKS,
        REFUNDS,
        DISPUTES,
        DISPUTE_LETTERS,
        CUSTOMERS,
        LIMITS,
        BLOCKLIST,
        BALANCE,
        BALANCE_TRANSACTIONS,
        EVENTS,
        LEDGER_ENTRIES,
        OVERRIDES,
        UNMATCHED,
        TEST_MODE,
        WEBHOOK_ENDPOINTS,
    ],
)

_WITH_TOKEN: Final = Router("/v1", guards=[limit_payer, known_query], route_handlers=[REFUND_CLAIMS, PAY])
"""What payers open, who have a token and no key."""

ROUTES: Final[list[ControllerRouterHandler]] = [_WITH_KEY, _WITH_TOKEN, CALLBACKS, HEALTH, PROBLEM_PAGES, metrics]
