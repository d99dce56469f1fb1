"""Bank statements in MT940, read with the `mt-940` library under our own checks.

The library reads tags leniently; money needs more, so before a line is believed each statement must have its
account, opening and closing balance, as many lines as `:61:` tags, one currency, and opening + Σ lines = closing.
Statements of one account within a file must continue each other. The library is called on text only: its `parse`
opens a file when the text happens to be a path. It gives out Decimals, which become whole minor units at once.

The bank's `:86:` text says what a line is; `TEXTS` is the whole list. Other lines are plain credits and debits.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import msgspec
from mt940.models import Amount, Balance, Transactions
from mt940.options import Options

from ledger.money import CURRENCY_EXPONENTS, from_text
from reconciliation.errors import StatementRefused
from reconciliation.statements.base import (
    LineKind,
    LineReference,
    ParsedStatement,
    Side,
    StatementBalance,
    StatementFormat,
    StatementLine,
)

DETAIL_LINE_LENGTH: Final = 65
"""SWIFT's width of a `:86:` line: text that fills it goes on without a space."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What a `:86:` text means: groups `weak`, `strong` and `batch` of the pattern are the references.

    Attributes:
        provider: whose money it is; None: nobody's, or whom the group `provider` names.
        scheme: of the references; None: the provider's name.
    """

    pattern: re.Pattern[str]
    kind: LineKind
    provider: str | None = None
    scheme: str | None = None


TEXTS: Final = (
    Text(pattern=re.compile(r"BILLPAY FEE VAT \d+ ITEMS"), kind=LineKind.VAT, provider="scb", scheme="scb"),
    Text(pattern=re.compile(r"BILLPAY FEE \d+ ITEMS"), kind=LineKind.FEE, provider="scb", scheme="scb"),
    Text(
        pattern=re.compile(r"BILLPAY (?P<weak>[A-Z0-9]{1,20}) (?P<strong>\S+)"),
        kind=LineKind.PAYMENT,
        provider="scb",
        scheme="scb",
    ),
    Text(
        pattern=re.compile(r"OMISE TRANSFER (?P<strong>\S+)"),
        kind=LineKind.TRANSFER,
        provider="omise",
        scheme="omise",
    ),
    Text(pattern=re.compile(r"(?P<provider>[0-9A-Z]{2,20}) SETTLEMENT (?P<batch>\S+)"), kind=LineKind.TRANSFER),
    Text(pattern=re.compile(r"PAYOUT RETURN (?P<strong>\S+)"), kind=LineKind.PAYOUT_RETURN, scheme="payout"),
    Text(pattern=re.compile(r"PAYOUT (?P<strong>\S+)"), kind=LineKind.PAYOUT, scheme="payout"),
)
"""The first that fits counts. A settlement names its provider itself, so a new provider needs no new text."""

_OPTIONS: Final = Options.all()
_PROCESSORS: Final[Mapping[str, list[Any]]] = {
    "pre_statement": [],  # The library's own moves 30 February to the 28th; we refuse it.
    "post_transaction_details": [],  # Keep the text as it is.
}


def parse(content: bytes) -> ParsedStatement:
    """Read a file of one or more MT940 statements.

    Raises:
        StatementRefused: not ASCII, no statement, a part of one missing, an unreadable line, or balances that
            do not follow from the lines or from one another.
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise StatementRefused("wrong_encoding", f"byte {error.start} is not ASCII") from error
    lines: list[StatementLine] = []
    balances: list[StatementBalance] = []
    for first_line, block in _blocks(text):
        balance, block_lines = _statement(block, first_line)
        _check_continues(balances, balance, first_line)
        balances.append(balance)
        lines.extend(block_lines)
    if not balances:
        raise StatementRefused("malformed", "no :20: tag, so no statement")
    accounts = {balance.account for balance in balances}
    return ParsedStatement(
        account=balances[0].account if len(accounts) == 1 else ",".join(sorted(accounts)),
        header={"statements": str(len(balances)), "number": balances[0].number},
        lines=tuple(lines),
        balances=tuple(balances),
    )


FORMAT: Final = StatementFormat(source="mt940", side=Side.BANK, parse=parse)


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    starts = [match.start() for match in re.finditer(r"(?m)^:20:", text)]
    for start, end in pairwise([*starts, len(text)]):
        yield text.count("\n", 0, start) + 1, text[start:end]


def _statement(block: str, first_line: int) -> tuple[StatementBalance, list[StatementLine]]:
    places = [number for number, row in enumerate(block.split("\n"), start=first_line) if row.startswith(":61:")]
    parsed = Transactions(processors=dict(_PROCESSORS), options=_OPTIONS)
    try:
        parsed.parse(block)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise StatementRefused("malformed", _one_line(error), line_number=first_line) from error
    if "final_closing_balance" not in parsed.data and "intermediate_closing_balance" not in parsed.data:
        raise StatementRefused("cut_off", "no closing balance (:62F:)", line_number=first_line, field=":62F:")
    if len(parsed.transactions) != len(places):
        detail = f"{len(places)} :61: tags make {len(parsed.transactions)} lines (one has no transaction type?)"
        raise StatementRefused("malformed", detail, line_number=first_line, field=":61:")
    balance = _balance(parsed, first_line)
    lines = [
        _line(transaction.data, place, balance) for transaction, place in zip(parsed.transactions, places, strict=True)
    ]
    movement = sum(line.amount_minor for line in lines)
    if balance.opening_minor + movement != balance.closing_minor:
        detail = f"opening {balance.opening_minor} + lines {movement} is not closing {balance.closing_minor}"
        raise StatementRefused("wrong_total", detail, line_number=first_line, field=":62F:")
    return balance, lines


def _balance(parsed: Transactions, first_line: int) -> StatementBalance:
    opening = parsed.data.get("final_opening_balance") or parsed.data.get("intermediate_opening_balance")
    closing = parsed.data.get("final_closing_balance") or parsed.data.get("intermediate_closing_balance")
    account = parsed.data.get("account_identification")
    if not isinstance(opening, Balance) or opening.date is None:
        raise StatementRefused("malformed", "no opening balance", line_number=first_line, field=":60F:")
    if not isinstance(closing, Balance) or closing.date is None:
        raise StatementRefused("malformed", "no closing balance", line_number=first_line, field=":62F:")
    if not account:
        raise StatementRefused("malformed", "no account", line_number=first_line, field=":25:")
    currency, opening_minor = _minor(opening.amount, first_line, ":60F:")
    closing_currency, closing_minor = _minor(closing.amount, first_line, ":62F:")
    if currency != closing_currency:
        detail = f"opens in {currency}, closes in {closing_currency}"
        raise StatementRefused("malformed", detail, line_number=first_line, field=":62F:")
    return StatementBalance(
        account=str(account),
        currency=currency,
        number=str(parsed.data.get("statement_number") or ""),
        opened_on=_plain(opening.date),
        closed_on=_plain(closing.date),
        opening_minor=opening_minor,
        closing_minor=closing_minor,
    )


def _check_continues(earlier: list[StatementBalance], balance: StatementBalance, line_number: int) -> None:
    for before in reversed(earlier):
        if (before.account, before.currency) == (balance.account, balance.currency):
            if before.closing_minor != balance.opening_minor:
                detail = f"opens with {balance.opening_minor} after a closing of {before.closing_minor}"
                raise StatementRefused("wrong_total", detail, line_number=line_number, field=":60F:")
            return


def _line(data: Mapping[str, Any], line_number: int, balance: StatementBalance) -> StatementLine:
    _, amount_minor = _minor(data["amount"], line_number, ":61:")
    description = _description(str(data.get("transaction_details") or ""))
    kind = LineKind.CREDIT if amount_minor > 0 else LineKind.DEBIT
    provider, batch, references = None, None, []
    for text in TEXTS:
        if match := text.pattern.fullmatch(description):
            found = match.groupdict()
            named = found.pop("provider", None)
            kind, provider, batch = text.kind, text.provider or (named and named.lower()), found.get("batch")
            scheme = text.scheme or provider
            assert scheme is not None, "a text has a scheme or names a provider"
            references = [LineReference(scheme, value, strong=name != "weak") for name, value in found.items() if value]
            break
    return StatementLine(
        line_number=line_number,
        account=balance.account,
        kind=kind,
        amount_minor=amount_minor,
        currency=balance.currency,
        value_on=_plain(data["date"]),
        provider=provider,
        references=tuple(references),
        batch_reference=batch,
        description=description,
    )


def _description(details: str) -> str:
    pieces = details.split("\n")
    text = pieces[0]
    for before, piece in pairwise(pieces):
        text += piece if len(before) >= DETAIL_LINE_LENGTH else f" {piece}"
    return text.strip()


def _minor(amount: object, line_number: int, field: str) -> tuple[str, int]:
    if not isinstance(amount, Amount) or amount.currency not in CURRENCY_EXPONENTS:
        raise StatementRefused("malformed", f"{amount} has no known currency", line_number=line_number, field=field)
    value: Decimal = amount.amount
    try:
        return amount.currency, from_text(f"{value:f}", amount.currency)
    except ValueError as error:
        raise StatementRefused("malformed", str(error), line_number=line_number, field=field) from error


def _plain(value: date) -> date:
    return date(value.year, value.month, value.day)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
