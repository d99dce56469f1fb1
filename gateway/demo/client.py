"""A merchant's program: the public API over HTTP, retried the way the API asks for."""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import httpx

from gateway.foundation.ids import uuid7

ATTEMPTS_MAX: Final = 60
PAUSE_SECONDS: Final = 0.5


class CallFailed(Exception):
    """The API refused, for certain; `problem` is its answer."""

    def __init__(self, response: httpx.Response) -> None:
        """Keep the problem document."""
        super().__init__(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
        self.status = response.status_code
        self.problem: dict[str, Any] = response.json() if "json" in response.headers.get("content-type", "") else {}


class MerchantClient:
    """Calls the API with one key. Every POST carries an Idempotency-Key and repeats it when it retries."""

    def __init__(self, base_url: str, api_key: str) -> None:
        """`api_key`: a merchant's or an operator's secret key."""
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=30,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """GET, retried while nobody answers."""
        return await self._call("GET", path, params=parameters)

    async def post(self, path: str, body: dict[str, Any], *, key: str | None = None) -> dict[str, Any]:
        """POST under one Idempotency-Key, retried while the outcome is not known.

        Raises:
            CallFailed: a definite no.
        """
        headers = {"Idempotency-Key": key or str(uuid7())}
        return await self._call("POST", path, json=body, headers=headers)

    async def all(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """Every object of a list, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.get(path, limit=100, **parameters)
            found.extend(page["data"])
            if not page["has_more"]:
                return found
            parameters["starting_after"] = page["data"][-1]["id"]

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        failure: Exception | None = None
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(PAUSE_SECONDS)
            try:
                response = await self._http.request(method, path, **options)
            except httpx.TransportError as error:
                failure = error
                continue
            if response.is_success:
                result: dict[str, Any] = response.json()
                return result
            failure = CallFailed(response)
            if response.headers.get("QuickKub-Should-Retry") != "true":
                break
        assert failure is not None
        raise failure
