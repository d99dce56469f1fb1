"""What merchants may ask for, as it comes over the wire, and the rules that its fields share."""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from gateway.payments.errors import InvalidRequest
from gateway.providers.base import Method
from ledger.money import AMOUNT_MINOR_MAX

LIFE_SECONDS_MAX: Final = 24 * 60 * 60
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_LENGTH_MAX: Final = 40
METADATA_VALUE_LENGTH_MAX: Final = 500
_WEB_ADDRESS: Final = r"^https?://[!-~]+$(?!\n)"
"""Visible ASCII to the very end: a bare `$` lets a last newline through."""
EVIDENCE_FIELDS_MAX: Final = 20
EVIDENCE_TEXT_LENGTH_MAX: Final = 5_000
_FIELD_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PROVIDER_KEY_LENGTH: Final = 20
_BASE_36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Amount = Annotated[int, msgspec.Meta(gt=0, le=AMOUNT_MINOR_MAX, description="Whole minor units, e.g. satang.")]
ShortText = Annotated[str, msgspec.Meta(max_length=255)]
WebAddress = Annotated[str, msgspec.Meta(max_length=2000, pattern=_WEB_ADDRESS)]
LifeSeconds = Annotated[int, msgspec.Meta(ge=1, le=LIFE_SECONDS_MAX)]
FilledText = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
ReferenceText = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Payer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who pays, as far as the merchant can tell; nothing of it is stored but as a keyed hash.

    Attributes:
        ip: the payer's address, not the merchant's.
        card_fingerprint: the provider's or the merchant's own name for a card; never its number.
        account_hash: the merchant's own hash of the payer's bank account or wallet.
    """

    ip: FilledText | None = None
    card_fingerprint: FilledText | None = None
    account_hash: FilledText | None = None

    def __repr__(self) -> str:
        """Nothing of the payer reaches a log."""
        return "Payer(…)"


class ConfirmIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a payment is to be paid: one attempt.

    Attributes:
        card_token: the provider's single-use token, for methods that need one; card numbers never come here.
        bank: mobile banking: whose app, as `GET /v1/payment_methods` names it.
        provider: the merchant's own choice of provider; by default ours, and the next one where the first certainly
            was not reached.
        expires_in_seconds: how long the payer has, where the method lets a payer pay later; by default the
            method's own life.
        payer: for velocity rules and blocklists.
    """

    payment_method: Method
    card_token: ShortText | None = None
    bank: ShortText | None = None
    provider: str | None = None
    return_url: WebAddress | None = None
    expires_in_seconds: LifeSeconds | None = None
    payer: Payer | None = None


class CreateIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for a payment, and unless `confirm` is false confirm it in the same call.

    Attributes:
        currency: lower case, `thb`.
        capture_method: `manual`: the payment is only authorised; `POST …/capture` takes the money.
        merchant_reference: the merchant's own name for the payment, unique in its account if given.
        customer: one of the account's customers, to find its payments by.
        payment_method, card_token, bank, provider, return_url, expires_in_seconds, payer: as in `ConfirmIntent`; the
            method may be missing where it is not confirmed yet.
    """

    amount: Amount
    currency: str
    confirm: bool = True
    capture_method: Literal["automatic", "manual"] = "automatic"
    payment_method: Method | None = None
    card_token: ShortText | None = None
    bank: ShortText | None = None
    provider: str | None = None
    return_url: WebAddress | None = None
    expires_in_seconds: LifeSeconds | None = None
    payer: Payer | None = None
    customer: ReferenceText | None = None
    merchant_reference: ReferenceText | None = None
    description: ShortText = ""
    metadata: dict[str, str] = {}

    def confirmation(self) -> ConfirmIntent | None:
        """How it is to be paid; None where that is said later.

        Raises:
            InvalidRequest: `parameter_missing` or `parameter_invalid`.
        """
        details = {name: getattr(self, name) for name in ConfirmIntent.__struct_fields__}
        if not self.confirm:
            for name, value in details.items():
                if value is not None:
                    raise InvalidRequest("parameter_invalid", "said when the payment is confirmed", param=name)
            return None
        if self.payment_method is None:
            raise InvalidRequest("parameter_missing", "how is it to be paid?", param="payment_method")
        return ConfirmIntent(**details)


class CaptureIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take authorised money. `amount`: all of it, unless given; what is left is released."""

    amount: Amount | None = None


class CreateRefund(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for money to be given back.

    Attributes:
        amount: all that is left, unless given.
        via: `claim` where the provider gives nothing back (any more): the payer names a bank account to have it on.
    """

    payment_intent: str
    amount: Amount | None = None
    via: Literal["provider", "claim"] = "provider"
    reason: ShortText = ""
    metadata: dict[str, str] = {}


class SubmitEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answer a dispute.

    Attributes:
        text: what you have to say, by the name of the field, such as `product_description`.
        files: references to documents, by their name; the documents themselves stay with you.
    """

    text: dict[str, str] = {}
    files: dict[str, str] = {}


def check_evidence(evidence: SubmitEvidence) -> None:
    """Refuse evidence beyond its limits: 1 to 20 fields in all, their names and lengths.

    Raises:
        InvalidRequest: `parameter_missing` or `parameter_invalid`.
    """
    count = len(evidence.text) + len(evidence.files)
    if not count:
        raise InvalidRequest("parameter_missing", "evidence has at least one field", param="text")
    if count > EVIDENCE_FIELDS_MAX:
        raise InvalidRequest("parameter_invalid", f"at most {EVIDENCE_FIELDS_MAX} fields", param="text")
    for param, fields, length_max in (
        ("text", evidence.text, EVIDENCE_TEXT_LENGTH_MAX),
        ("files", evidence.files, METADATA_VALUE_LENGTH_MAX),
    ):
        for name, value in fields.items():
            if not _FIELD_NAME.fullmatch(name):
                raise InvalidRequest("parameter_invalid", "names are 1 to 40 of a–z, 0–9 and _", param=param)
            if not 1 <= len(value) <= length_max:
                raise InvalidRequest("parameter_invalid", f"values have 1 to {length_max} characters", param=param)


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse metadata beyond its limits: 50 keys, 40 characters a key without brackets, 500 a value.

    Raises:
        InvalidRequest: `parameter_invalid`.
    """
    if len(metadata) > METADATA_KEYS_MAX:
        raise InvalidRequest("parameter_invalid", f"at most {METADATA_KEYS_MAX} keys", param="metadata")
    for key, value in metadata.items():
        if not 1 <= len(key) <= METADATA_KEY_LENGTH_MAX or "[" in key or "]" in key:
            raise InvalidRequest(
                "parameter_invalid",
                f"keys have 1 to {METADATA_KEY_LENGTH_MAX} characters and no brackets",
                param="metadata",
            )
        if len(value) > METADATA_VALUE_LENGTH_MAX:
            raise InvalidRequest(
                "parameter_invalid", f"values have at most {METADATA_VALUE_LENGTH_MAX} characters", param="metadata"
            )


def provider_key_of(identifier: str) -> str:
    """The key that a provider knows an attempt or refund of ours by: 20 of A–Z 0–9, the same on every retry."""
    number = int.from_bytes(hashlib.sha256(identifier.encode()).digest(), "big")
    characters = []
    for _ in range(_PROVIDER_KEY_LENGTH):
        number, digit = divmod(number, len(_BASE_36))
        characters.append(_BASE_36[digit])
    return "".join(characters)
