"""The hand of tests, demos and merchants' registration on the sandbox: its control interface and a client for it.

Every body below is JSON; the bearer key is `SANDBOX_CONTROL_KEY`. A refusal is HTTP 4xx with `{"code", "message"}`.
"""

from types import TracebackType
from typing import Annotated, Any, Final, Literal, Self

import httpx
import msgspec

TIMEOUT_SECONDS: Final = 30

AmountMinor = Annotated[int, msgspec.Meta(gt=0, le=10**15)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]


class AccountBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/accounts`: an account of a world with a provider; again = the same or new addresses.

    Attributes:
        credentials: as the adapters name them.
        callback_url: where the provider calls; None: nowhere.
        settings: of the world, laid over those it has (`world.WorldSettings`).
    """

    world: str
    provider: str
    credentials: dict[str, str]
    callback_url: str | None = None
    settings: dict[str, Any] = {}


class ClockBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/clock`: business time of the world = real time + offset; never back."""

    world: str
    offset_seconds: Annotated[int, msgspec.Meta(ge=0, le=10 * 366 * 86_400)]


class FaultBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/faults`: let the next `times` operations go wrong.

    Attributes:
        operation: one of `faults.FAULTS_OF_OPERATION`: `token`, `charge`, `inquiry`, `cancel`, `capture`, `refund`,
            `dispute`, `statement`, `transfer`, `payment_file`, `payout` (one order in a file), `pay`, `callback`.
        fault: one of `faults.FaultKind` that can befall the operation.
        amount_minor: only operations over this amount.
        code: the provider's failure code of a decline.
        seconds: of a held answer, a late callback, or until a refund fails.
        paid_minor: what the payer of a wrong amount pays.
    """

    world: str
    provider: str
    operation: str
    fault: str
    times: Count = 1
    amount_minor: AmountMinor | None = None
    code: str | None = None
    seconds: Seconds | None = None
    paid_minor: AmountMinor | None = None


class PayBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/pay`: a payer pays.

    Attributes:
        reference: the provider's charge id, our own reference to it, or the whole text of its QR.
        amount_minor: what is paid, when not what the charge says; transaction_count: how many times. Only where the
            rail lets a payer do so.
        silent: no callback.
    """

    world: str
    provider: str
    reference: str
    amount_minor: AmountMinor | None = None
    transaction_count: Count = 1
    silent: bool = False


class ForgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/forge`: a callback that says a QR or charge was paid, which it was not."""

    world: str
    provider: str
    reference: str


class DisputeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/dispute`: a payer's bank questions a payment, or decides.

    Attributes:
        reference: the provider's charge id or our own reference to it.
        outcome: `opened`; of the latest dispute of the charge `won` or `lost`.
    """

    world: str
    provider: str
    reference: str
    outcome: Literal["opened", "won", "lost"] = "opened"
    reason_code: str = "goods_or_services_not_provided"


class PaidTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that the sandbox has taken."""

    transaction_id: str
    amount_minor: int


class SandboxRefused(Exception):
    """The sandbox did not do what it was asked; `code` says why."""

    retryable = False

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


class SandboxUnreachable(httpx.HTTPError):
    """The sandbox did not answer; whether it acted is not known, and asking again is safe."""

    code = "sandbox_unreachable"
    retryable = True


class SandboxControl:
    """The control interface of a running sandbox. Close it, or use it as a context.

    Every method raises `SandboxRefused` for a refusal and `SandboxUnreachable` where the sandbox does not answer.
    """

    def __init__(self, base_url: str, key: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`base_url` is the sandbox's root; `transport` replaces the network in tests."""
        self._client = httpx.AsyncClient(
            base_url=f"{base_url.rstrip('/')}/_control",
            headers={"authorization": f"Bearer {key}"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def register_account(
        self,
        *,
        world: str,
        provider: str,
        credentials: dict[str, str],
        callback_url: str | None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """Tell the sandbox of an account; telling it again changes nothing or updates the addresses."""
        body = {"world": world, "provider": provider, "credentials": credentials, "callback_url": callback_url}
        await self._post("/accounts", {**body, "settings": settings or {}})

    async def configure(self, *, world: str, settings: dict[str, Any]) -> None:
        """Change settings of a world (`world.WorldSettings`), also before its first account."""
        await self._post("/settings", {"world": world, "settings": settings})

    async def move_clock(self, *, world: str, offset_seconds: int) -> None:
        """Let the business time of a world be so far ahead of real time; the days between pass."""
        await self._post("/clock", {"world": world, "offset_seconds": offset_seconds})

    async def add_fault(self, *, world: str, provider: str, operation: str, fault: str, **details: Any) -> str:
        """Order a fault; `details` are the other fields of `FaultBody`. Returns its id."""
        body = {"world": world, "provider": provider, "operation": operation, "fault": fault, **details}
        answer = await self._post("/faults", body)
        return str(answer["id"])

    async def pay(self, *, world: str, provider: str, reference: str, **details: Any) -> list[PaidTransaction]:
        """Pay; `details` are the other fields of `PayBody`. Returns the payments that arose."""
        answer = await self._post("/pay", {"world": world, "provider": provider, "reference": reference, **details})
        return msgspec.convert(answer["transactions"], list[PaidTransaction])

    async def forge(self, *, world: str, provider: str, reference: str) -> None:
        """Send a forged callback about an unpaid QR or charge."""
        await self._post("/forge", {"world": world, "provider": provider, "reference": reference})

    async def dispute(self, *, world: str, provider: str, reference: str, **details: Any) -> str:
        """Dispute a payment or decide its dispute; `details`: `DisputeBody`. Returns the provider's id of it."""
        body = {"world": world, "provider": provider, "reference": reference, **details}
        return str((await self._post("/dispute", body))["id"])

    async def books(self, world: str) -> dict[str, Any]:
        """What the sandbox itself believes (`books.books`)."""
        return await self._send("GET", f"/books/{world}")

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._send("POST", path, json=body)

    async def _send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise SandboxUnreachable(f"{type(error).__name__}: {error}") from error
        found: dict[str, Any] = msgspec.json.decode(answer.content) if answer.content else {}
        if answer.is_error:
            raise SandboxRefused(answer.status_code, found.get("code", ""), found.get("message", ""))
        return found
