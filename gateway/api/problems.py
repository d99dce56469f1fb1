"""Every "no" of the API: one table from stable code to status, one shape on the wire (RFC 9457).

Clients decide by `code` and `retryable`, people read `detail`. Provider outcomes keep their difference: declined is
402, certainly not attempted is 502, and an unknown outcome is no problem at all but an object in `processing`.
"""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Response
from litestar.openapi import ResponseSpec

from gateway.payments.errors import (
    FactContradicts,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PayerBlocked,
    PaymentError,
    ReceiptAmbiguous,
    Refused,
)

RETRY_SOON_SECONDS: Final = 1


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one part of the request; `param` is its path, `items[0].amount`."""

    param: str
    code: str
    detail: str


class ProblemReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every error answer, `application/problem+json`.

    Attributes:
        type: the address of the page about this code; doc_url: the same, under the name other gateways use.
        instance: the path that was asked for.
        retryable: whether the same request may succeed later, unchanged.
        limit, limit_left: which limit stands against it, and how much of it is left.
        first_request_id: of the request that used this idempotency key first, where that is the matter.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool
    doc_url: str
    param: str | None = None
    decline_code: str | None = None
    payment_intent: str | None = None
    refund: str | None = None
    limit: str | None = None
    limit_left: int | None = None
    first_request_id: str | None = None
    errors: tuple[FieldError, ...] = ()


class Kind(msgspec.Struct, frozen=True):
    """What holds for every problem of a code."""

    status: HTTPStatus
    title: str
    retryable: bool = False


_S = HTTPStatus
PROBLEMS: Final[dict[str, Kind]] = {
    # The request itself.
    "body_malformed": Kind(_S.BAD_REQUEST, "The body is not JSON"),
    "body_missing": Kind(_S.BAD_REQUEST, "The body is missing"),
    "parameter_missing": Kind(_S.BAD_REQUEST, "A parameter is missing"),
    "parameter_unknown": Kind(_S.BAD_REQUEST, "There is no such parameter"),
    "parameter_invalid": Kind(_S.BAD_REQUEST, "A parameter cannot be read"),
    "amount_invalid": Kind(_S.BAD_REQUEST, "Amounts are whole minor units above zero"),
    "currency_invalid": Kind(_S.BAD_REQUEST, "The currency is not one that can be used here"),
    "cursor_invalid": Kind(_S.BAD_REQUEST, "The cursor names nothing in this list"),
    "expand_unknown": Kind(_S.BAD_REQUEST, "There is no such related object to write out"),
    "cursors_exclusive": Kind(_S.BAD_REQUEST, "Only one of the two cursors may be given"),
    "idempotency_key_missing": Kind(_S.BAD_REQUEST, "Requests that move money need an Idempotency-Key"),
    "idempotency_key_invalid": Kind(_S.BAD_REQUEST, "The Idempotency-Key is not 1 to 255 visible characters"),
    "request_invalid": Kind(_S.BAD_REQUEST, "The request cannot be read"),
    "body_too_large": Kind(_S.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
    "content_type_unsupported": Kind(_S.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"),
    # Who asks, and how often.
    "authentication_required": Kind(_S.UNAUTHORIZED, "An API key is required"),
    "key_invalid": Kind(_S.UNAUTHORIZED, "The API key opens nothing"),
    "scope_missing": Kind(_S.FORBIDDEN, "The API key may not do this"),
    "test_mode_only": Kind(_S.FORBIDDEN, "Only test keys may do this"),
    "rate_limited": Kind(_S.TOO_MANY_REQUESTS, "Too many requests", retryable=True),
    # What is asked for.
    "not_found": Kind(_S.NOT_FOUND, "There is no such object"),
    "route_not_found": Kind(_S.NOT_FOUND, "There is no such address"),
    "method_not_allowed": Kind(_S.METHOD_NOT_ALLOWED, "The address does not take this method"),
    "idempotency_in_progress": Kind(_S.CONFLICT, "The first request with this key is still at work", retryable=True),
    "idempotency_key_reused": Kind(_S.UNPROCESSABLE_ENTITY, "The Idempotency-Key belongs to another request"),
    "payment_declined": Kind(_S.PAYMENT_REQUIRED, "The payer's side said no"),
    "payment_not_attempted": Kind(
        _S.BAD_GATEWAY, "The provider was not reached; the same request may be sent again", retryable=True
    ),
    "payment_expired": Kind(_S.CONFLICT, "The provider was never reached and the time to pay is over"),
    "payment_processing": Kind(_S.CONFLICT, "What became of the payment is not known yet", retryable=True),
    "not_cancelable": Kind(_S.CONFLICT, "The payment cannot be cancelled"),
    "not_confirmable": Kind(_S.CONFLICT, "The payment waits for no further attempt"),
    "not_capturable": Kind(_S.CONFLICT, "The payment has no authorised money to take"),
    "capture_exceeds_authorized": Kind(_S.UNPROCESSABLE_ENTITY, "More than is authorised"),
    "capture_refused": Kind(_S.PAYMENT_REQUIRED, "The provider did not take the authorised money"),
    "authorization_expired": Kind(_S.CONFLICT, "The authorisation is over"),
    "merchant_reference_used": Kind(_S.CONFLICT, "Another payment has this merchant_reference"),
    "limit_exceeded": Kind(_S.UNPROCESSABLE_ENTITY, "A limit of your account stands against it"),
    "velocity_exceeded": Kind(_S.UNPROCESSABLE_ENTITY, "The payer has tried too often"),
    "receipt_ambiguous": Kind(_S.UNPROCESSABLE_ENTITY, "The payment was paid more than once; name a receipt"),
    "payer_blocked": Kind(_S.UNPROCESSABLE_ENTITY, "The payer is on a blocklist"),
    "blocklist_full": Kind(_S.UNPROCESSABLE_ENTITY, "The blocklist has as many entries as it may"),
    "customer_unknown": Kind(_S.BAD_REQUEST, "You have no such customer"),
    "payment_not_refundable": Kind(_S.CONFLICT, "The payment has no money to give back"),
    "payment_disputed": Kind(_S.CONFLICT, "What the payer's bank questions cannot be refunded"),
    "fact_contradicts": Kind(_S.CONFLICT, "What is stated does not fit what is known"),
    "dispute_not_open": Kind(_S.CONFLICT, "The dispute waits for no answer"),
    "evidence_deadline_passed": Kind(_S.CONFLICT, "The time to answer the dispute is over"),
    "refund_not_supported": Kind(_S.UNPROCESSABLE_ENTITY, "Nobody can give this payment back through its provider"),
    "refund_window_closed": Kind(_S.UNPROCESSABLE_ENTITY, "The provider gives this payment back no longer"),
    "refund_claim_not_needed": Kind(_S.UNPROCESSABLE_ENTITY, "The provider gives this payment back by itself"),
    "refund_claim_closed": Kind(_S.CONFLICT, "The claim has been taken up or has ended"),
    "refund_claim_expired": Kind(_S.CONFLICT, "The time to claim the money is over"),
    "second_person_required": Kind(_S.CONFLICT, "Another person must agree"),
    "override_not_needed": Kind(_S.CONFLICT, "Its outcome is known"),
    "override_not_possible": Kind(_S.UNPROCESSABLE_ENTITY, "It cannot be held to have ended so"),
    "override_too_early": Kind(_S.CONFLICT, "The provider is still to be asked first", retryable=True),
    "override_open": Kind(_S.CONFLICT, "Another proposal about it waits to be decided"),
    "override_closed": Kind(_S.CONFLICT, "The proposal has been decided"),
    "override_expired": Kind(_S.CONFLICT, "The time to decide the proposal is over"),
    "receipt_assigned": Kind(_S.CONFLICT, "The receipt is assigned to somebody else"),
    "receipt_not_assignable": Kind(_S.UNPROCESSABLE_ENTITY, "The payment cannot take the receipt"),
    "nothing_held": Kind(_S.CONFLICT, "No money of the payment is held that nobody has decided about"),
    "payment_conflicted": Kind(_S.CONFLICT, "What is said of the payment contradicts itself; a person must look"),
    "payment_link_inactive": Kind(_S.CONFLICT, "The link takes no payments any more"),
    "payment_link_expired": Kind(_S.CONFLICT, "The time to pay under the link is over"),
    "payment_link_used": Kind(_S.CONFLICT, "The link takes no further payment"),
    "refund_declined": Kind(_S.PAYMENT_REQUIRED, "The provider said no to the refund; the money is yours again"),
    "exceeds_original": Kind(_S.UNPROCESSABLE_ENTITY, "More than is left of the payment"),
    "below_floor": Kind(_S.UNPROCESSABLE_ENTITY, "More than your balance holds"),
    "account_frozen": Kind(_S.UNPROCESSABLE_ENTITY, "The account is frozen"),
    "refused": Kind(_S.UNPROCESSABLE_ENTITY, "The request was understood and the answer is no"),
    # Webhook endpoints.
    "webhook_url_not_allowed": Kind(_S.BAD_REQUEST, "Webhooks may not go to this URL"),
    "webhook_event_type_unknown": Kind(_S.BAD_REQUEST, "There is no such event type"),
    "webhook_endpoints_too_many": Kind(_S.CONFLICT, "The account has as many endpoints as it may"),
    # Test mode.
    "clock_only_moves_forward": Kind(_S.CONFLICT, "The clock of a test book only moves forward"),
    "clock_too_far_ahead": Kind(_S.BAD_REQUEST, "A test book runs at most ten years ahead"),
    "book_has_real_time": Kind(_S.CONFLICT, "This book follows real time"),
    "payment_not_payable": Kind(_S.CONFLICT, "Nobody can pay this payment now"),
    "test_fault_unknown": Kind(_S.BAD_REQUEST, "There is no such fault for this operation"),
    "sandbox_off": Kind(_S.FORBIDDEN, "The sandbox is switched off here"),
    # What others and the machinery say.
    "provider_not_attempted": Kind(_S.BAD_GATEWAY, "The provider was not reached; nothing happened", retryable=True),
    "sandbox_unreachable": Kind(_S.BAD_GATEWAY, "The sandbox was not reached; nothing happened", retryable=True),
    "busy": Kind(_S.SERVICE_UNAVAILABLE, "Too much is waiting; try again shortly", retryable=True),
    "temporarily_unavailable": Kind(_S.SERVICE_UNAVAILABLE, "A part of the service does not answer", retryable=True),
    "internal_error": Kind(_S.INTERNAL_SERVER_ERROR, "We made a mistake", retryable=True),
}


PROBLEM_TYPE: Final = "application/problem+json"

_DESCRIPTIONS: Final = {
    400: "The request cannot be understood",
    401: "No API key, or one that opens nothing",
    402: "The payer's side said no",
    403: "The API key may not do this",
    404: "No such object of yours",
    409: "Another request, or the state of things, stands against it",
    413: "The body is too large",
    415: "The body is not declared to be JSON",
    422: "Understood, and the answer is no; nothing moved",
    429: "Too many requests",
    502: "Whom we asked was not reached; nothing moved",
    503: "A part of the service does not answer; try again",
}


def problem_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """For the OpenAPI page: error answers with these statuses."""
    return {
        status: ResponseSpec(
            ProblemReply, generate_examples=False, description=_DESCRIPTIONS[status], media_type=PROBLEM_TYPE
        )
        for status in statuses
    }


PROBLEM_RESPONSES: Final = problem_responses(400, 401, 403, 404, 429, 503)
BODY_RESPONSES: Final = PROBLEM_RESPONSES | problem_responses(409, 413, 415)
"""For the OpenAPI page: what requests with a body may answer besides."""
MONEY_RESPONSES: Final = BODY_RESPONSES | problem_responses(402, 422, 502)
"""For the OpenAPI page: what requests that move money may answer besides."""


class Problem(Exception):
    """An error answer on its way out. `code` is one of `PROBLEMS`."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        param: str | None = None,
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: int | None = None,
        headers: dict[str, str] | None = None,
        decline_code: str | None = None,
        payment_intent: str | None = None,
        refund: str | None = None,
        limit: str | None = None,
        limit_left: int | None = None,
        first_request_id: str | None = None,
    ) -> None:
        """`detail` is for people; by default the title says it all."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.kind = PROBLEMS[code]
        self.detail = detail or f"{self.kind.title}."
        self.param = param
        self.errors = errors
        self.headers = dict(headers or {})
        self.decline_code = decline_code
        self.payment_intent = payment_intent
        self.refund = refund
        self.limit = limit
        self.limit_left = limit_left
        self.first_request_id = first_request_id
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(retry_after_seconds)


def of_payment_error(error: PaymentError) -> Problem:
    """What a use case's no is called out here: its own code where the table has it, else what its class means."""
    match error:
        case IdempotencyInProgress():
            return Problem(error.code, error.detail, retry_after_seconds=error.retry_after_seconds)
        case IdempotencyKeyReused():
            return Problem(error.code, error.detail, first_request_id=error.first_request_id)
        case InvalidRequest() | Refused() | NotFound():
            otherwise = "parameter_invalid" if isinstance(error, InvalidRequest) else "refused"
            code = error.code if error.code in PROBLEMS else otherwise
            return Problem(code, error.detail, param=error.param, refund=_refund_of(error), **_more_of(error))
        case FactContradicts():
            return Problem("fact_contradicts", error.detail)
        case _ if error.retryable:
            return Problem("temporarily_unavailable", retry_after_seconds=RETRY_SOON_SECONDS)
        case _:
            return Problem("internal_error")


def _more_of(error: PaymentError) -> dict[str, Any]:
    match error:
        case LimitExceeded():
            return {"limit": error.limit, "limit_left": error.left}
        case PayerBlocked():
            return {"payment_intent": error.intent_id}
        case ReceiptAmbiguous():
            return {
                "errors": tuple(
                    FieldError(param="receipt", code=receipt_id, detail=line) for receipt_id, line in error.receipts
                )
            }
        case _:
            return {}


def _refund_of(error: PaymentError) -> str | None:
    subject_id = error.subject_id if isinstance(error, Refused) else None
    return subject_id if subject_id and subject_id.startswith("re_") else None


def reply_of(problem: Problem, *, instance: str, request_id: str, public_url: str) -> Response[bytes]:
    """The answer that a problem becomes."""
    return Response(
        reply_body(problem, instance=instance, request_id=request_id, public_url=public_url),
        status_code=problem.kind.status.value,
        media_type=PROBLEM_TYPE,
        headers={"QuickKub-Should-Retry": str(problem.kind.retryable).lower(), **problem.headers},
    )


def reply_body(problem: Problem, *, instance: str, request_id: str, public_url: str) -> bytes:
    """The problem document, encoded."""
    address = f"{public_url}/problems/{problem.code}"
    body = ProblemReply(
        type=address,
        title=problem.kind.title,
        status=problem.kind.status.value,
        detail=problem.detail,
        instance=instance,
        code=problem.code,
        request_id=request_id,
        retryable=problem.kind.retryable,
        doc_url=address,
        param=problem.param,
        decline_code=problem.decline_code,
        payment_intent=problem.payment_intent,
        refund=problem.refund,
        limit=problem.limit,
        limit_left=problem.limit_left,
        first_request_id=problem.first_request_id,
        errors=problem.errors,
    )
    return msgspec.json.encode(body)
