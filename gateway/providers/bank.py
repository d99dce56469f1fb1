"""The operator's own bank account: its statement, and the payment files that pay merchants.

Credentials: `account_number`, `access_token`. ASSUMED throughout: banks agree their host-to-host protocol with each
customer (SFTP, SWIFT, a portal's API). This one is the plainest that carries what all of them carry – an MT940 of a
day out, a pain.001 in, told apart by its message id – and stands here alone, so that a bank's real one
takes the place of this file.
"""

from collections.abc import Sequence
from datetime import date
from http import HTTPStatus
from typing import Final

import msgspec

from gateway.providers.base import (
    NOT_JSON,
    Accepted,
    Declined,
    NotAttempted,
    Outcome,
    ProviderAccount,
    StatementFile,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import Answer, ProviderHttp
from gateway.providers.invented import DIGITS, LOWER, invented

STATEMENTS: Final = "/v1/statements"
PAYMENT_FILES: Final = "/v1/payment-files"
ACCOUNT_HEADER: Final = "x-account-number"
MESSAGE_HEADER: Final = "x-message-id"
"""So that the bank knows a repeated file before it opens it."""
TAKEN: Final = "accepted"
REFUSED: Final = "file_rejected"
"""The only certain no. `duplicate_message_id` is none: the bank has paid, or will pay, from some file under that id."""
NOT_LET_IN: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


class _Receipt(msgspec.Struct, frozen=True):
    file_reference: str
    status: str


class _Refusal(msgspec.Struct, frozen=True):
    code: str
    message: str = ""


class Bank:
    """The adapter. One instance serves all accounts."""

    name = "bank"

    @staticmethod
    def invented_credentials() -> dict[str, str]:
        """Fresh credentials for a test account."""
        return {"account_number": "999" + invented(DIGITS, 7), "access_token": "bank_test_" + invented(LOWER, 32)}

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

    async def submit_payment_file(self, account: ProviderAccount, *, message_id: str, content: bytes) -> Outcome:
        """Hand in a payment file. What becomes of its payments is in the statement.

        Handing in the same bytes again is harmless and gets the same answer: do so after Unknown.

        Args:
            account: whose money pays.
            message_id: the file's own, by which the bank knows it.
            content: pain.001 in UTF-8.
        """
        headers = {**_headers(account), "content-type": "application/xml", MESSAGE_HEADER: message_id}
        answer = await self._http.send(account, "payout", "POST", PAYMENT_FILES, headers=headers, body=content)
        return _result(answer, message_id) if isinstance(answer, Answer) else answer


def _result(answer: Answer, message_id: str) -> Outcome:
    if answer.status in NOT_LET_IN:
        return NotAttempted(reason=f"http_{answer.status}")
    try:
        if answer.status == HTTPStatus.OK:
            receipt = msgspec.json.decode(answer.body, type=_Receipt)
            if receipt.status != TAKEN:
                return Unknown(reason=f"status {receipt.status!r}")
            return Accepted(provider_references=(receipt.file_reference, message_id))
        refusal = msgspec.json.decode(answer.body, type=_Refusal)
    except NOT_JSON as error:
        return Unknown(reason=f"http_{answer.status} not understood: {error}")
    if refusal.code != REFUSED:
        return Unknown(reason=f"http_{answer.status} {refusal.code}")
    return Declined(failure_code="file_rejected", provider_code=refusal.code, message=refusal.message)


def _headers(account: ProviderAccount) -> dict[str, str]:
    return {
        "authorization": f"Bearer {account.credentials['access_token']}",
        ACCOUNT_HEADER: account.credentials["account_number"],
    }
