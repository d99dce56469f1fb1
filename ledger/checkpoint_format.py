"""A checkpoint: what is signed, byte by byte. Version 1.

Lines of ASCII, each a name, one space, a value and a line feed, in exactly this order; integers without leading
zeros, hashes as 64 lower-case hexadecimal digits, times in UTC to the microsecond:

    quickkub-checkpoint 1
    book 1
    incarnation 1
    number 3
    first_block 120
    last_block 245
    last_sequence 61032
    recorded_at 2026-11-23T17:00:00.000000Z
    head_hash 0f…
    merkle_root 1e…
    previous_checkpoint 2d…

`recorded_at` and `head_hash` are those of the last block. `merkle_root` is the RFC 6962 root over the hashes of the
blocks first … last, which begin after the checkpoint before; `previous_checkpoint` is the SHA-256 of that one's bytes,
32 zero bytes for number 1. The Ed25519 signature is over these bytes. A published file is these bytes and one more
line, `signature ` and 128 hexadecimal digits.
"""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.errors import CheckpointMalformed

VERSION_LINE: Final = "quickkub-checkpoint 1"
NO_CHECKPOINT: Final = bytes(32)
"""What number 1 follows."""


class Signer(Protocol):
    """Whoever keeps the Ed25519 key; the ledger never sees it."""

    @property
    def public_key(self) -> bytes:
        """The raw public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of a message, 64 bytes."""
        ...


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint of a book, as above; fields in the order of the lines."""

    book: int
    incarnation: int
    number: int
    first_block: int
    last_block: int
    last_sequence: int
    recorded_at: datetime
    head_hash: bytes
    merkle_root: bytes
    previous_checkpoint: bytes

    @property
    def name(self) -> str:
        """Its name within its book; names sort as checkpoints follow each other."""
        return f"{self.incarnation:06d}-{self.number:09d}"

    def to_bytes(self) -> bytes:
        """What is signed."""
        lines = (f"{field} {_text_of(getattr(self, field))}" for field in self.__struct_fields__)
        return "".join(f"{line}\n" for line in (VERSION_LINE, *lines)).encode("ascii")

    @property
    def hash(self) -> bytes:
        """What the next checkpoint names."""
        return sha256(self.to_bytes()).digest()


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint with its signature."""

    checkpoint: Checkpoint
    signature: bytes

    def to_bytes(self) -> bytes:
        """What is published."""
        return self.checkpoint.to_bytes() + f"signature {self.signature.hex()}\n".encode("ascii")

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the raw public key's owner signed it."""
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, self.checkpoint.to_bytes())
        except InvalidSignature:
            return False
        return True


def signed(checkpoint: Checkpoint, signer: Signer) -> SignedCheckpoint:
    """The checkpoint, signed."""
    return SignedCheckpoint(checkpoint=checkpoint, signature=signer.sign(checkpoint.to_bytes()))


def parse(published: bytes) -> SignedCheckpoint:
    """What a published file says.

    Raises:
        CheckpointMalformed: it is not exactly what `to_bytes` writes; the version may be unknown.
    """
    try:
        version, *lines, last = published.decode("ascii").split("\n")
        pairs = [line.split(" ") for line in lines]
        values = {name: value for name, value in pairs}  # noqa: C416 -- refuses lines that are no pairs
        signature = bytes.fromhex(values.pop("signature"))
        fields: dict[str, Any] = {name: _value_of(name, text) for name, text in values.items()}
        found = SignedCheckpoint(checkpoint=Checkpoint(**fields), signature=signature)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointMalformed("the file is not a checkpoint") from error
    if version != VERSION_LINE or last or found.to_bytes() != published:
        raise CheckpointMalformed(f"the file is not a checkpoint as this version writes it ({version[:40]!r})")
    return found


def _text_of(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return str(value)


def _value_of(name: str, text: str) -> Any:
    if name == "recorded_at":
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    if name in {"head_hash", "merkle_root", "previous_checkpoint"}:
        return bytes.fromhex(text)
    return int(text)
