"""What a use case of this room raises when the answer is no, or not now.

`code` is stable and `retryable` says whether the same request may succeed later. Nothing here means "failed" for a
payment whose outcome is unknown: that is a state of the payment, not an error.
"""

from typing import ClassVar


class PaymentError(Exception):
    """Base of this room's errors; the docstring is the default message."""

    code: str = "payment_error"
    retryable: ClassVar[bool] = False
    param: str | None = None

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        super().__init__(self.detail)


class InvalidRequest(PaymentError):
    """The request cannot be understood or breaks a limit; nothing began."""

    def __init__(self, code: str, detail: str, *, param: str | None = None) -> None:
        """`param` names the field at fault."""
        super().__init__(detail)
        self.code = code
        self.param = param


class NotFound(PaymentError):
    """There is no such object, or it belongs to somebody else."""

    code = "not_found"


class Refused(PaymentError):
    """The request was understood and the answer is no; no money moved.

    Attributes:
        subject_id: the object that keeps the record of it, where one was made.
    """

    def __init__(self, code: str, detail: str, *, param: str | None = None, subject_id: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.param = param
        self.subject_id = subject_id


class LimitExceeded(Refused):
    """A payment breaks a limit of its account; nothing began.

    Attributes:
        limit: which one, as `GET /v1/limits` names it.
        left: how much of it is left, in minor units or payments; None where the amount is too small.
    """

    def __init__(self, limit: str, detail: str, *, left: int | None) -> None:
        super().__init__("limit_exceeded", detail, param="amount")
        self.limit = limit
        self.left = left


class PayerBlocked(Refused):
    """The payer is on a blocklist; nobody was asked. The payment keeps the reason.

    Attributes:
        reason: as the merchant may read it.
    """

    def __init__(self, intent_id: str, reason: str) -> None:
        super().__init__("payer_blocked", reason, param="payer", subject_id=intent_id)
        self.intent_id = intent_id
        self.reason = reason


class ReceiptAmbiguous(Refused):
    """What was asked for can be about several receipts of a payment; nothing happened.

    Attributes:
        receipts: their ids, each with a line that people can tell it by.
    """

    def __init__(self, detail: str, *, receipts: tuple[tuple[str, str], ...]) -> None:
        super().__init__("receipt_ambiguous", detail, param="receipt")
        self.receipts = receipts


class IdempotencyKeyMissing(InvalidRequest):
    """A request that moves money needs the header Idempotency-Key, so that a retry cannot move it twice."""

    def __init__(self) -> None:
        super().__init__("idempotency_key_missing", type(self).__doc__ or "", param="Idempotency-Key")


class IdempotencyKeyInvalid(InvalidRequest):
    """Idempotency-Key must be 1 to 255 visible ASCII characters."""

    def __init__(self) -> None:
        super().__init__("idempotency_key_invalid", type(self).__doc__ or "", param="Idempotency-Key")


class IdempotencyInProgress(PaymentError):
    """The first request with this Idempotency-Key is still at work; ask again."""

    code = "idempotency_in_progress"
    retryable = True
    retry_after_seconds: ClassVar[int] = 1


class IdempotencyKeyReused(PaymentError):
    """This Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"

    def __init__(self, first_request_id: str) -> None:
        """`first_request_id` is the request that has the key."""
        super().__init__(f"This Idempotency-Key was used for another request, {first_request_id}.")
        self.first_request_id = first_request_id


class FactError(PaymentError):
    """A fact could not be applied; it moved nothing."""

    code = "fact_not_applied"


class UnknownReference(FactError):
    """Nobody here knows this provider reference yet; our own answer may still be on its way."""

    code = "unknown_reference"
    retryable = True


class PaymentNotCaptured(FactError):
    """A dispute of a payment that nobody told us was made; the news of it may still be on its way."""

    code = "payment_not_captured"
    retryable = True


class FactContradicts(FactError):
    """The fact does not fit what it speaks of: other amount, other kind of object. A person must look."""

    code = "fact_contradicts"


class EntryRefused(FactError):
    """The ledger refused an entry that records a fact; that is our bug or a broken book."""

    code = "entry_refused"
