"""Omise's objects (API version 2019-05-29) from rows, and its error envelope. No state, no decisions."""

from collections.abc import Sequence
from typing import Any, Final, NoReturn

from gateway.sandbox.wire import Refusal, Row, json_answer, utc_text

REFUNDABLE_METHODS: Final = frozenset({"card"})


def refuse(status: int, code: str, message: str) -> NoReturn:
    """Answer with Omise's error envelope.

    Raises:
        Refusal: always.
    """
    location = f"https://www.omise.co/api-errors#{code.replace('_', '-')}"
    body = {"object": "error", "location": location, "code": code, "message": message}
    raise Refusal(json_answer(body, status))


def card_object(token: Row) -> dict[str, Any]:
    """The card behind a token; the sandbox knows no name, no bank and no address."""
    return {
        "object": "card",
        "id": token["card_id"],
        "livemode": False,
        "location": None,
        "deleted": False,
        "street1": None,
        "street2": None,
        "city": None,
        "state": None,
        "phone_number": None,
        "postal_code": None,
        "country": "th",
        "financing": "credit",
        "bank": "",
        "brand": token["brand"],
        "fingerprint": None,
        "first_digits": None,
        "last_digits": token["last_digits"],
        "name": None,
        "expiration_month": token["expiration_month"],
        "expiration_year": token["expiration_year"],
        "security_code_check": True,
        "tokenization_method": None,
        "created_at": utc_text(token["created_at"]),
    }


def token_object(token: Row) -> dict[str, Any]:
    """A token; `token` of `sandbox.card_tokens`."""
    return {
        "object": "token",
        "id": token["id"],
        "livemode": False,
        "location": f"https://vault.omise.co/tokens/{token['id']}",
        "used": token["used"],
        "charge_status": "unknown",
        "card": card_object(token),
        "created_at": utc_text(token["created_at"]),
    }


def source_object(source: Row, charge: Row | None = None, sandbox_url: str = "") -> dict[str, Any]:
    """A source; with its charge it carries the QR that the payer scans."""
    scannable = None
    expires_at = None
    if charge is not None:
        expires_at = utc_text(charge["expires_at"])
        document = f"docu_test_{charge['id'].removeprefix('chrg_test_')}"
        location = f"/charges/{charge['id']}/documents/{document}"
        image = {
            "object": "document",
            "livemode": False,
            "id": document,
            "deleted": False,
            "filename": "qrcode_test.svg",
            "location": location,
            "kind": "qr",
            "download_uri": f"{sandbox_url}/omise{location}/downloads/{charge['download_token']}",
            "created_at": utc_text(charge["created_at"]),
        }
        scannable = {"object": "barcode", "type": "qr", "image": image}
    return {
        "object": "source",
        "id": source["id"],
        "livemode": False,
        "location": f"/sources/{source['id']}",
        "amount": source["amount_minor"],
        "currency": source["currency"],
        "type": source["type"],
        "flow": "offline",
        "charge_status": charge["status"] if charge is not None else "unknown",
        "references": {"expires_at": expires_at} if charge is not None else None,
        "scannable_code": scannable,
        "created_at": utc_text(source["created_at"]),
    }


def list_object(data: Sequence[dict[str, Any]], location: str, total: int, **window: Any) -> dict[str, Any]:
    """A list; `window` is limit, offset, order, from and to as Omise repeats them."""
    return {"object": "list", "data": list(data), **window, "location": location, "total": total}


def refund_object(refund: Row) -> dict[str, Any]:
    """A refund; `refund` of `sandbox.refunds`."""
    return {
        "object": "refund",
        "id": refund["id"],
        "livemode": False,
        "location": f"/charges/{refund['charge_id']}/refunds/{refund['id']}",
        "metadata": refund["metadata"],
        "charge": refund["charge_id"],
        "transaction": refund["transaction_id"],
        "amount": refund["amount_minor"],
        "funding_amount": refund["amount_minor"],
        "currency": refund["currency"],
        "funding_currency": refund["currency"],
        "status": refund["status"],
        "voided": refund["voided"],
        "acquirer_reference_number": None,
        "approval_code": None,
        "created_at": utc_text(refund["created_at"]),
    }


def transaction_object(transaction: Row) -> dict[str, Any]:
    """A transaction of the balance; `transaction` of `sandbox.transactions`."""
    return {
        "object": "transaction",
        "id": transaction["id"],
        "location": f"/transactions/{transaction['id']}",
        "amount": transaction["amount_minor"],
        "currency": transaction["currency"],
        "direction": transaction["direction"],
        "key": transaction["key"],
        "origin": transaction["origin"],
        "transferable_at": utc_text(transaction["transferable_at"]),
        "created_at": utc_text(transaction["created_at"]),
    }


def transfer_object(transfer: Row) -> dict[str, Any]:
    """A transfer to the bank; `transfer` of `sandbox.transfers`."""
    total_fee = transfer["fee_minor"] + transfer["fee_vat_minor"]
    return {
        "object": "transfer",
        "id": transfer["id"],
        "livemode": False,
        "location": f"/transfers/{transfer['id']}",
        "deleted": False,
        "amount": transfer["amount_minor"],
        "currency": transfer["currency"],
        "fee": transfer["fee_minor"],
        "fee_vat": transfer["fee_vat_minor"],
        "total_fee": total_fee,
        "net": transfer["amount_minor"] - total_fee,
        "fail_fast": False,
        "failure_code": None,
        "failure_message": None,
        "metadata": transfer["metadata"],
        "recipient": f"recp_test_{transfer['world']}",
        "schedule": None,
        "sendable": True,
        "sent": True,
        "sent_at": utc_text(transfer["created_at"]),
        "paid": transfer["paid_at"] is not None,
        "paid_at": utc_text(transfer["paid_at"]),
        "transactions": [transfer["transaction_id"]],
        "created_at": utc_text(transfer["created_at"]),
    }
