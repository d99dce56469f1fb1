"""Checkpoints of every book: who signs them, where they are published, one a day. Real time throughout."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from gateway.foundation.clock import business_date_of, real_now
from gateway.foundation.database import Database
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import LEDGER_CHECKPOINT_AGE_SECONDS, LEDGER_CHECKPOINTS_FAILING
from gateway.foundation.settings import Settings, SettingsInvalid
from ledger.checkpoint_folder import CheckpointFolder
from ledger.checkpoints import books_behind, make_checkpoint
from ledger.errors import LedgerError

KEY_MISSING: Final = "CHECKPOINT_SIGNING_KEY must be set to sign checkpoints (a new key: openssl rand -hex 32)"
FOLDER_MISSING: Final = "QUICKKUB_CHECKPOINT_FOLDER must name the folder where checkpoints are published"

_log = get_logger("quickkub.checkpoints")


class SigningKey:
    """The house's Ed25519 key, as the ledger's `Signer`."""

    def __init__(self, seed: bytes) -> None:
        """`seed`: 32 random bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public_key(self) -> bytes:
        """Raw, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def public_key_pem(self) -> str:
        """For whoever checks proofs."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(message)


def public_key_of(pem: bytes) -> bytes:
    """The raw key, 32 bytes, of what `public-key` prints.

    Raises:
        ValueError: it is no public key in PEM; TypeError: it is another kind of key.
    """
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("not an Ed25519 public key")
    return key.public_bytes_raw()


def signing_key(settings: Settings) -> SigningKey:
    """The key of the settings.

    Raises:
        SettingsInvalid: there is none.
    """
    if settings.checkpoint_signing_key is None:
        raise SettingsInvalid(KEY_MISSING)
    return SigningKey(settings.checkpoint_signing_key)


def folder(settings: Settings) -> CheckpointFolder:
    """Where the settings publish.

    Raises:
        SettingsInvalid: they do not say.
    """
    if settings.checkpoint_folder is None:
        raise SettingsInvalid(FOLDER_MISSING)
    return CheckpointFolder(settings.checkpoint_folder)


async def make_due(database: Database, settings: Settings) -> int:
    """Make today's checkpoint of every book that has something new and none of today; returns how many were made.

    Any number of workers may do it at once. A book whose checkpoint cannot be made is logged and counted and keeps
    nobody else's back; without key or folder none is made, and the age on the dashboard grows.
    """
    made = failing = 0
    today = business_date_of(real_now())
    async with database.ledger_pool.acquire() as connection:
        if settings.checkpoint_signing_key is None or settings.checkpoint_folder is None:
            _log.warning(
                "no checkpoints are made", extra={"because": "CHECKPOINT_SIGNING_KEY or the folder is not set"}
            )
        else:
            signer, sink = signing_key(settings), folder(settings)
            for book in await books_behind(connection):
                if book.made_at is not None and business_date_of(book.made_at) >= today:
                    continue
                try:
                    made += await make_checkpoint(connection, book.book_id, signer=signer, sink=sink) is not None
                except (LedgerError, OSError):
                    failing += 1
                    _log.exception("checkpoint failed", extra={"book_id": book.book_id})
        ages = [real_now() - book.since for book in await books_behind(connection)]
    LEDGER_CHECKPOINT_AGE_SECONDS.set(max(ages).total_seconds() if ages else 0)
    LEDGER_CHECKPOINTS_FAILING.set(failing)
    if made:
        _log.info("checkpoints made", extra={"checkpoints": made})
    return made
