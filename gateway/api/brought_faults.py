"""`QuickKub-Test-Fault`: a request in test mode names the fault that its own provider call is to meet."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from litestar.openapi.spec import OpenAPIType, Parameter, Schema

from gateway.api.idempotency import MoneyOperation
from gateway.api.problems import Problem
from gateway.api.services import ApiRequest
from gateway.api.test_faults import sandbox_of
from gateway.foundation import test_faults
from gateway.merchants.principals import MerchantPrincipal
from gateway.sandbox.faults import FAULTS_OF_OPERATION

_POSSIBLE: Final = {operation: sorted(FAULTS_OF_OPERATION[operation]) for operation in FAULTS_OF_OPERATION}
_ANY: Final = sorted({fault for name in ("charge", "capture", "cancel", "refund") for fault in _POSSIBLE[name]})


@dataclass
class ProviderOperation(MoneyOperation):
    """For the OpenAPI page: an address that asks a provider, which a test key can let go wrong."""

    def __post_init__(self) -> None:
        """Add the header."""
        super().__post_init__()
        fault = Parameter(
            name=test_faults.HEADER,
            param_in="header",
            required=False,
            description="Test keys only: how the provider call of this very request is to go wrong.",
            schema=Schema(type=OpenAPIType.STRING, enum=_ANY),
        )
        self.parameters = [*(self.parameters or []), fault]


def brought_fault(request: ApiRequest, merchant: MerchantPrincipal, operation: str) -> AbstractContextManager[None]:
    """Within it the provider call of this operation goes wrong as the request's header says, if it has one.

    Raises:
        Problem: `test_mode_only`, `sandbox_off`, `test_fault_unknown`; in this order, before anything begins.
    """
    fault = request.headers.get(test_faults.HEADER)
    if fault is not None:
        sandbox_of(request, merchant)
        possible = _POSSIBLE[operation]
        if fault not in possible:
            raise Problem(
                "test_fault_unknown", f"A {operation} can meet: {', '.join(possible)}.", param=test_faults.HEADER
            )
    return test_faults.brought(operation, fault)
