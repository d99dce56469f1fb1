"""pain.001.001.09: the customer credit transfer initiation of ISO 20022.

One payment block a file: one debtor account, one execution date, one currency. No Thai guideline of the format is
public, so only what the standard itself asks for is written; a bank's own rules belong in a writer of its own.
"""

from datetime import UTC
from typing import Final

from lxml import etree

from gateway.settlement.payout_files import IDENTIFIER_LENGTH_MAX, BankAccount, PayoutOrder, Transfer
from ledger.money import from_text, to_text

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_CLEARING_SYSTEM: Final = "THCBC"
"""Thai banks by their three digits, in ISO 20022's external list of clearing systems."""


def write(order: PayoutOrder) -> bytes:
    """The file; the same order is always the same bytes.

    Raises:
        ValueError: nothing to pay, mixed currencies, an amount that is not positive, an identifier that is used
            twice or longer than 35.
    """
    _check(order)
    count = str(order.count)
    control = to_text(order.control_minor, order.transfers[0].currency)
    document = etree.Element(_tag("Document"), nsmap={None: NAMESPACE})
    initiation = _add(document, "CstmrCdtTrfInitn")

    header = _add(initiation, "GrpHdr")
    _add(header, "MsgId", order.message_id)
    _add(header, "CreDtTm", order.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    _add(header, "NbOfTxs", count)
    _add(header, "CtrlSum", control)
    _add(_add(header, "InitgPty"), "Nm", order.debtor.holder)

    block = _add(initiation, "PmtInf")
    _add(block, "PmtInfId", order.message_id)
    _add(block, "PmtMtd", "TRF")
    _add(block, "NbOfTxs", count)
    _add(block, "CtrlSum", control)
    _add(_add(block, "ReqdExctnDt"), "Dt", order.execute_on.isoformat())
    _add(_add(block, "Dbtr"), "Nm", order.debtor.holder)
    _account(block, "DbtrAcct", order.debtor)
    _agent(block, "DbtrAgt", order.debtor)
    for transfer in order.transfers:
        _transfer(block, transfer)
    return bytes(etree.tostring(document, xml_declaration=True, encoding="UTF-8", pretty_print=True))


def totals(content: bytes, currency: str) -> tuple[int, int]:
    """What a file of ours says of itself: number of transfers, and their sum in minor units."""
    header = etree.fromstring(content).find(f"{_tag('CstmrCdtTrfInitn')}/{_tag('GrpHdr')}")
    assert header is not None, "a file that we wrote"
    return int(header.findtext(_tag("NbOfTxs"))), from_text(header.findtext(_tag("CtrlSum")), currency)


def _transfer(block: etree._Element, transfer: Transfer) -> None:
    item = _add(block, "CdtTrfTxInf")
    _add(_add(item, "PmtId"), "EndToEndId", transfer.end_to_end_id)
    amount = _add(_add(item, "Amt"), "InstdAmt", to_text(transfer.amount_minor, transfer.currency))
    amount.set("Ccy", transfer.currency)
    _agent(item, "CdtrAgt", transfer.creditor)
    _add(_add(item, "Cdtr"), "Nm", transfer.creditor.holder)
    _account(item, "CdtrAcct", transfer.creditor)
    # Banks copy the remittance text to the statement even where they drop the end-to-end id.
    _add(_add(item, "RmtInf"), "Ustrd", f"PAYOUT {transfer.end_to_end_id}")


def _account(parent: etree._Element, name: str, account: BankAccount) -> None:
    identification = _add(_add(parent, name), "Id")
    _add(_add(identification, "Othr"), "Id", account.account_number)


def _agent(parent: etree._Element, name: str, account: BankAccount) -> None:
    member = _add(_add(_add(parent, name), "FinInstnId"), "ClrSysMmbId")
    _add(_add(member, "ClrSysId"), "Cd", _CLEARING_SYSTEM)
    _add(member, "MmbId", account.bank_code)


def _add(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    child = etree.SubElement(parent, _tag(name))
    child.text = text
    return child


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _check(order: PayoutOrder) -> None:
    if not order.transfers:
        raise ValueError("a payout file needs a transfer")
    if len({transfer.currency for transfer in order.transfers}) != 1:
        raise ValueError("a payout file is of one currency")
    if any(transfer.amount_minor <= 0 for transfer in order.transfers):
        raise ValueError("a transfer is of more than nothing")
    identifiers = [transfer.end_to_end_id for transfer in order.transfers]
    if len(set(identifiers)) != len(identifiers):
        raise ValueError("an end-to-end id stands in a file once")
    if any(not 1 <= len(text) <= IDENTIFIER_LENGTH_MAX for text in [order.message_id, *identifiers]):
        raise ValueError(f"an identifier is 1 to {IDENTIFIER_LENGTH_MAX} characters")
