"""What we say to GBPrimePay: the bodies of its calls, and the forms that the payer's browser posts."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from gateway.providers import gbprimepay_wire
from gateway.providers.base import ChargeRequest, Method, NextAction, ProviderAccount
from gateway.providers.gbprimepay_wire import reference_of
from ledger.money import to_text

THREE_D_SECURE: Final = "/v2/tokens/3d_secured"
REDIRECT_PATHS: Final[Mapping[Method, str]] = {
    Method.TRUEMONEY: "/v2/trueWallet",
    Method.RABBIT_LINEPAY: "/v2/linepay",
    Method.SHOPEEPAY: "/v1/shopeePay",
    Method.MOBILE_BANKING: "/v2/mobileBanking",
}
"""Methods that begin in the payer's browser; we call nobody."""
BANK_CODES: Final[Mapping[str, str]] = {"bbl": "002", "kbank": "004", "ktb": "006", "scb": "014", "bay": "025"}
"""Our word for whose app it is, and GBPrimePay's `bankCode`."""
DETAIL_LENGTH_MAX: Final = 250
"""ASSUMED: no length is documented; the description is cut rather than the charge refused."""


def card_body(account: ProviderAccount, request: ChargeRequest) -> dict[str, Any]:
    """`POST /v2/tokens/charge`. `otp` Y: nothing is charged before the payer was asked by his bank."""
    return {
        "amount": Decimal(to_text(request.amount_minor, request.currency)),
        "referenceNo": reference_of(request.provider_key),
        "detail": _detail(request),
        **_ours(request),
        "card": {"token": request.card_token},
        "otp": "Y",
        "responseUrl": request.return_url,
        "backgroundUrl": account.callback_url,
    }


def qr_form(account: ProviderAccount, request: ChargeRequest) -> dict[str, str]:
    """`POST /v3/qrcode/text`."""
    return {
        "token": account.credentials["token"],
        "amount": to_text(request.amount_minor, request.currency),
        "referenceNo": reference_of(request.provider_key),
        "backgroundUrl": account.callback_url,
        "detail": _detail(request),
        **_ours(request),
        "payType": "F",
    }


def redirect_action(account: ProviderAccount, request: ChargeRequest, return_url: str) -> NextAction:
    """The form of a wallet or of mobile banking; ASSUMED to take and hand back `merchantDefined1` like the others.

    The checksum proves that the amount is ours; the payer may read the callback address, which proves nothing by
    itself.
    """
    amount, reference_no = to_text(request.amount_minor, request.currency), reference_of(request.provider_key)
    signed = [amount, reference_no, return_url, account.callback_url]
    fields = {
        "publicKey": account.credentials["public_key"],
        "amount": amount,
        "referenceNo": reference_no,
        "detail": _detail(request),
        **_ours(request),
        "responseUrl": return_url,
        "backgroundUrl": account.callback_url,
    }
    if request.method is Method.MOBILE_BANKING:
        fields["bankCode"] = BANK_CODES[request.bank or ""]
        signed.append(fields["bankCode"])
    fields["checksum"] = gbprimepay_wire.checksum(account.credentials["secret_key"], *signed).hex()
    return NextAction(
        type="submit_form",
        redirect_url=account.base_url + REDIRECT_PATHS[request.method],
        form_fields=fields,
        expires_at=request.expires_at,
    )


def three_d_secure_action(account: ProviderAccount, gbp_reference_no: str) -> NextAction:
    """The form that leads a card's holder to his bank."""
    return NextAction(
        type="submit_form",
        redirect_url=account.base_url + THREE_D_SECURE,
        form_fields={"publicKey": account.credentials["public_key"], "gbpReferenceNo": gbp_reference_no},
    )


def _detail(request: ChargeRequest) -> str:
    return (request.description or request.attempt_id)[:DETAIL_LENGTH_MAX]


def _ours(request: ChargeRequest) -> dict[str, str]:
    return {"merchantDefined1": request.provider_key, "merchantDefined2": request.attempt_id}
