"""The operator's own bank account: its statement, and the payment files that pay merchants.

Credentials: `account_number`, `access_token`. ASSUMED throughout: banks agree their host-to-host protocol with each
customer (SFTP, SWIFT, a portal's API). This one is the plainest that carries what all of them carry – an MT940 of a
day out, a pain.001 in, told apart by the file's own reference – and stands here alone, so that a bank's real one
takes the place of this file.
"""

from collections.abc import Sequence
from datetime import date
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec

from gateway.providers.base import Declined, NotAttempted, ProviderAccount, StatementFile, StatementUnavailable, Unknown
from gateway.providers.http import Answer, ProviderHttp

STATEMENTS: Final = "/v1/statements"
PAYMENT_FILES: Final = "/v1/payment-files"
ACCOUNT_HEADER: Final = "x-account-number"
REFERENCE_HEADER: Final = "x-file-reference"
"""The message id of the pain.001 once more, so that the bank knows a repeated file before it opens it."""
TAKEN: Final = {"accepted", "duplicate"}
REJECTED: Final = "rejected"
NOT_LET_IN: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


class FileTaken(msgspec.Struct, frozen=True, kw_only=True):
    """The bank has the file; what becomes of its payments is in the statement.

    Attributes:
        duplicate: it had it before; nothing is paid twice.
    """

    file_reference: str
    duplicate: bool = False


class _Receipt(msgspec.Struct, frozen=True):
    file_reference: str
    status: str
    reason: str = ""


class Bank:
    """The adapter. One instance serves all accounts."""

    name = "bank"

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http

    async def statements(self, account: ProviderAccount, on: date) -> Sequence[StatementFile]:
        """The account's MT940 of a day.

        Raises:
            StatementUnavailable: not there yet, or no answer.
        """
        answer = await self._http.send(
            account, "statement", "GET", f"{STATEMENTS}/{on.isoformat()}", headers=_headers(account)
        )
        if not isinstance(answer, Answer):
            raise StatementUnavailable(f"bank statement of {on.isoformat()}: {answer.reason}")
        if answer.status != HTTPStatus.OK:
            raise StatementUnavailable(f"bank statement of {on.isoformat()}: http_{answer.status}")
        name = f"bank-{account.credentials['account_number']}-{on:%Y%m%d}.sta"
        return (StatementFile(source="mt940", name=name, content=answer.body),)

    async def submit_payment_file(
        self, account: ProviderAccount, file_reference: str, content: bytes
    ) -> FileTaken | Declined | NotAttempted | Unknown:
        """Hand in a payment file. Handing in the same reference again is harmless: ask again after Unknown.

        Args:
            account: whose money pays.
            file_reference: the message id inside the file.
            content: pain.001 in UTF-8.
        """
        headers = {
            **_headers(account),
            "content-type": "application/xml",
            REFERENCE_HEADER: quote(file_reference, safe=""),
        }
        answer = await self._http.send(account, "payout", "POST", PAYMENT_FILES, headers=headers, body=content)
        if not isinstance(answer, Answer):
            return answer
        if answer.status in NOT_LET_IN:
            return NotAttempted(reason=f"http_{answer.status}")
        try:
            receipt = msgspec.json.decode(answer.body, type=_Receipt)
        except msgspec.DecodeError as error:
            return Unknown(reason=f"http_{answer.status} not understood: {error}")
        return _result(receipt, file_reference)


def _result(receipt: _Receipt, file_reference: str) -> FileTaken | Declined | Unknown:
    if receipt.file_reference != file_reference:
        return Unknown(reason="the receipt is for another file")
    if receipt.status in TAKEN:
        return FileTaken(file_reference=file_reference, duplicate=receipt.status == "duplicate")
    if receipt.status == REJECTED:
        return Declined(failure_code="file_rejected", provider_code=receipt.status, message=receipt.reason)
    return Unknown(reason=f"status {receipt.status!r}")


def _headers(account: ProviderAccount) -> dict[str, str]:
    return {
        "authorization": f"Bearer {account.credentials['access_token']}",
        ACCOUNT_HEADER: account.credentials["account_number"],
    }
