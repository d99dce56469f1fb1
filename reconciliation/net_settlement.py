"""Net settlement: what a provider's money on the bank account pays for, proved to the satang, then booked.

Four shapes:

- `net_transfer` (Omise): one bank credit ↔ one transfer ↔ many lines. A transfer takes the whole transferable
  balance, so it pays for every line that became available (the end of its hold) after the transfer before it and
  not after itself; no other grouping is stated by the lists. Σ lines must be the transfer's amount, and every line
  must be matched to our books, because its gross, fee and VAT come from there.
- `net_batch` (every provider whose credit names a batch): one bank credit ↔ the lines that name that batch. Where none
  of the provider's lines names it, those that became due for payment after its credit before and by the day of this
  one; a line that does not say when is due on the day after.
- `direct_credits` (SCB): the bank credits each bill payment by itself; those of one value date make one group.
- `biller_fee` (SCB): the day's fee and the VAT on it, debited as two lines.

Σ payments − Σ refunds − Σ fee − Σ VAT − transfer fee and its VAT = the bank's amount, or there is no group: the
table's CHECK says so once more. What cannot be grouped stays open and becomes a break; nothing is booked for it.

A group is committed before it is posted, and its entry's key comes from its id, so a run that died in between
posts the same entry again and the ledger answers with the first.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from ledger.journal import ExternalReference, JournalEntry, Posted, Refused
from ledger.money import half_up
from ledger.posting_rules.fees_and_tax import Fee, vat_rate_on
from ledger.posting_rules.settlement import provider_fee_charged, provider_settled
from reconciliation.errors import SettlementRefused, UnknownBankAccount
from reconciliation.sql import Connection, queries

GROUP_SCHEME: Final = "settled_group"
"""External reference of the entries that a settled group makes."""

CALLER: Final = "reconciliation"

Post: TypeAlias = Callable[[int, JournalEntry], Awaitable[Posted | Refused]]
"""Posts an entry on a connection of its own, as `ledger.posting.Ledger.post` does."""


class OpenTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer that is not settled.

    Attributes:
        transfer_minor: what left the provider's balance, before the transfer's own fee and VAT.
        items_minor: Σ of the statement's lines that it should pay for, net as the statement has them.
        unmatched_count: how many of those are not in our books.
        bank_line_id: the bank's credit, once there is one.
    """

    line_id: str
    provider: str
    currency: str
    batch_reference: str | None
    transfer_minor: int
    transfer_fee_minor: int
    transfer_vat_minor: int
    bank_line_id: str | None
    bank_account: str | None
    bank_on: date | None
    bank_minor: int | None
    item_count: int
    unmatched_count: int
    items_minor: int
    payments_minor: int
    refunds_minor: int
    fee_minor: int
    vat_minor: int
    line_ids: Sequence[str]

    @property
    def difference_minor(self) -> int:
        """Transfer less what it should pay for; anything but 0 forbids the group."""
        return self.transfer_minor - self.items_minor

    @property
    def provable(self) -> bool:
        """Whether bank, provider and books agree to the satang."""
        return self.bank_line_id is not None and self.unmatched_count == 0 and self.difference_minor == 0


class OpenBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A bank credit that names a provider's batch and is not settled.

    Attributes:
        items_minor: Σ of the statement's lines that it should pay for, net as the statement has them.
        unmatched_count: how many of those are not in our books.
        stated_line_id: the provider's own line that says it made this payment, where its statement has such lines.
        stated_minor: the amount of that line.
    """

    line_id: str
    provider: str
    currency: str
    batch_reference: str
    bank_account: str
    bank_on: date
    bank_minor: int
    stated_line_id: str | None
    stated_minor: int | None
    item_count: int
    unmatched_count: int
    items_minor: int
    payments_minor: int
    refunds_minor: int
    fee_minor: int
    vat_minor: int
    line_ids: Sequence[str]

    @property
    def difference_minor(self) -> int:
        """Bank's credit less what it should pay for; anything but 0 forbids the group."""
        return self.bank_minor - self.items_minor

    @property
    def misstated_minor(self) -> int:
        """Bank's credit less what the provider says that it paid; anything but 0 forbids the group."""
        return 0 if self.stated_minor is None else self.bank_minor - self.stated_minor

    @property
    def provable(self) -> bool:
        """Whether bank, provider and books agree to the satang. Fees given back on the whole are not booked."""
        agree = self.unmatched_count == 0 and self.difference_minor == 0 and self.misstated_minor == 0
        return agree and self.bank_minor > 0 and self.fee_minor >= 0 and self.vat_minor >= 0


class BillerFee(msgspec.Struct, frozen=True, kw_only=True):
    """A day's fee lines of a provider on the bank statement."""

    provider: str
    currency: str
    bank_account: str
    bank_on: date
    fee_minor: int
    vat_minor: int
    bank_minor: int
    line_ids: Sequence[str]

    @property
    def expected_vat_minor(self) -> int:
        """VAT on the fee by the law's table."""
        return half_up(self.fee_minor, vat_rate_on(self.bank_on).rate_ppm)

    @property
    def provable(self) -> bool:
        """Whether there is a fee and the VAT is what the law says."""
        return self.fee_minor > 0 and self.vat_minor == self.expected_vat_minor


async def open_transfers(connection: Connection, *, book_id: int, through: date) -> list[OpenTransfer]:
    """Transfers made through that business date that are not settled, oldest first."""
    rows = await connection.fetch(queries("net_settlement")["open_transfers"], book_id, through)
    return [OpenTransfer(**dict(row)) for row in rows]


async def open_batches(connection: Connection, *, book_id: int, through: date) -> list[OpenBatch]:
    """Bank credits through that date that name a batch and are not settled, oldest first."""
    rows = await connection.fetch(queries("net_settlement")["open_batches"], book_id, through)
    return [OpenBatch(**dict(row)) for row in rows]


async def open_biller_fees(connection: Connection, *, book_id: int, through: date) -> list[BillerFee]:
    """Fee lines of the bank through that date that are not booked, a row for each provider, account and day."""
    rows = await connection.fetch(queries("net_settlement")["biller_fees"], book_id, through)
    return [BillerFee(**dict(row)) for row in rows]


async def form_groups(
    connection: Connection, *, book_id: int, through: date, run_id: str, new_id: Callable[[str], str]
) -> int:
    """Write down every group that can be proved; returns how many. One transaction."""
    async with connection.transaction():
        groups = [
            *[
                _transfer_group(each)
                for each in await open_transfers(connection, book_id=book_id, through=through)
                if each.provable
            ],
            *[
                _batch_group(each)
                for each in await open_batches(connection, book_id=book_id, through=through)
                if each.provable
            ],
            *[
                _group("direct_credits", dict(row), refunds_minor=0)
                for row in await connection.fetch(queries("net_settlement")["direct_credits"], book_id, through)
            ],
            *[
                _group("biller_fee", msgspec.structs.asdict(each), payments_minor=0, refunds_minor=0)
                for each in await open_biller_fees(connection, book_id=book_id, through=through)
                if each.provable
            ],
        ]
        for group in groups:
            group_id, line_ids = new_id("sgr"), group.pop("line_ids")
            await connection.execute(
                queries("net_settlement")["insert_group"], book_id, group_id, *group.values(), run_id
            )
            await connection.execute(queries("net_settlement")["insert_items"], book_id, group_id, line_ids)
    return len(groups)


async def post_groups(
    connection: Connection,
    *,
    book_id: int,
    banks: Mapping[str, str],
    post: Post,
    entry_key: Callable[[str, str], UUID],
) -> int:
    """Post the entry of every group that has none; returns how many were posted. Safe to repeat.

    Args:
        connection: outside a transaction, since `post` commits on another connection.
        banks: account as the bank's statement names it → owner of the ledger's bank account.
        entry_key: the entry's key from a row id and a purpose.

    Raises:
        SettlementRefused: the ledger refused a recording entry.
        UnknownBankAccount: the statement is of an account that is not ours.
    """
    assert not connection.is_in_transaction(), "post commits elsewhere"
    rows = await connection.fetch(queries("net_settlement")["groups_to_post"], book_id)
    for row in rows:
        group_id = row["group_id"]
        result = await post(book_id, _entry(dict(row), banks, entry_key(group_id, "settled")))
        if not isinstance(result, Posted):
            raise SettlementRefused(f"{group_id}: {result.refusal.code}")
        await connection.execute(queries("net_settlement")["group_posted"], book_id, group_id, result.sequence)
    return len(rows)


def _transfer_group(transfer: OpenTransfer) -> dict[str, Any]:
    return _group(
        "net_transfer",
        msgspec.structs.asdict(transfer),
        transfer_line_id=transfer.line_id,
        transfer_reference=transfer.batch_reference,
        transfer_fee_minor=transfer.transfer_fee_minor,
        transfer_vat_minor=transfer.transfer_vat_minor,
    )


def _batch_group(batch: OpenBatch) -> dict[str, Any]:
    return _group(
        "net_batch",
        msgspec.structs.asdict(batch),
        transfer_line_id=batch.stated_line_id,
        transfer_reference=batch.batch_reference,
        line_ids=[*batch.line_ids, batch.line_id],
    )


def _group(kind: str, row: Mapping[str, Any], **columns: Any) -> dict[str, Any]:
    """Values in the order of the query `insert_group`, then `line_ids`."""
    values = {
        "transfer_line_id": None,
        "transfer_fee_minor": 0,
        "transfer_vat_minor": 0,
        "transfer_reference": None,
        **dict(row),
        **columns,
    }
    return {
        "kind": kind,
        **{
            name: values[name]
            for name in (
                "provider",
                "transfer_line_id",
                "bank_on",
                "currency",
                "payments_minor",
                "refunds_minor",
                "fee_minor",
                "vat_minor",
                "transfer_fee_minor",
                "transfer_vat_minor",
                "bank_minor",
                "bank_account",
                "transfer_reference",
                "line_ids",
            )
        },
    }


def _entry(row: Mapping[str, Any], banks: Mapping[str, str], key: UUID) -> JournalEntry:
    bank = banks.get(row["bank_account"])
    if bank is None:
        raise UnknownBankAccount(f"account {row['bank_account']} of group {row['group_id']}")
    references = [ExternalReference(GROUP_SCHEME, row["group_id"])]
    if row["transfer_reference"] is not None:
        references.append(ExternalReference(row["provider"], row["transfer_reference"]))
    common: dict[str, Any] = {
        "key": key,
        "provider": row["provider"],
        "bank": bank,
        "fee": Fee(amount_minor=row["fee_minor"], vat_minor=row["vat_minor"]),
        "currency": row["currency"],
        "effective_on": row["value_on"],
        "references": tuple(references),
        "metadata": msgspec.json.encode({"settled_group": row["group_id"], "kind": row["kind"]}),
        "caller": CALLER,
    }
    if row["kind"] == "biller_fee":
        return provider_fee_charged(**common)
    return provider_settled(**common, received_minor=row["bank_minor"])
