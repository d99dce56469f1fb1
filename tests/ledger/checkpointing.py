"""Checkpoints in tests: a key, the same in each, and what a restore from an older backup leaves."""

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.checkpoint_folder import CheckpointFolder
from ledger.checkpoint_format import Checkpoint
from ledger.checkpoints import make_checkpoint
from ledger.checks_of_checkpoints import published_checkpoints
from ledger.posting import post_entries
from tests.ledger.entries import BOOK, received
from tests.ledger.test_verification import GUARD, UNGUARD


class Key:
    """A `Signer`; another seed is another key."""

    def __init__(self, seed: int = 1) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def pem(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


KEY = Key()


async def post(app: asyncpg.Connection, *amounts: int) -> None:
    for amount in amounts:
        await post_entries(app, BOOK, [received(amount)])


async def make(app: asyncpg.Connection, folder: CheckpointFolder) -> Checkpoint | None:
    made = await make_checkpoint(app, BOOK, signer=KEY, sink=folder)
    return made and made.checkpoint


async def problems(app: asyncpg.Connection, folder: CheckpointFolder) -> list[str]:
    found = await published_checkpoints(app, BOOK, await folder.published(BOOK), [KEY.public_key])
    return found.found


async def cut_off(superuser: asyncpg.Connection, after_block: int) -> None:
    """What a restore from an older backup leaves: the books end at an earlier block."""
    await superuser.execute(f"""{UNGUARD};
        DELETE FROM ledger.checkpoints WHERE last_block > {after_block};
        DELETE FROM ledger.restorations WHERE block_number > {after_block};
        DELETE FROM ledger.postings AS p USING ledger.entries AS e
            WHERE p.sequence = e.sequence AND e.block_number > {after_block};
        DELETE FROM ledger.idempotency_keys AS k USING ledger.entries AS e
            WHERE k.sequence = e.sequence AND e.block_number > {after_block};
        DELETE FROM ledger.entries WHERE block_number > {after_block};
        DELETE FROM ledger.blocks WHERE block_number > {after_block};
        UPDATE ledger.accounts AS a SET
            debits_posted = coalesce(
                (SELECT sum(p.amount_minor) FROM ledger.postings AS p WHERE p.debit_account = a.account_id), 0),
            credits_posted = coalesce(
                (SELECT sum(p.amount_minor) FROM ledger.postings AS p WHERE p.credit_account = a.account_id), 0),
            last_sequence = (SELECT max(sequence) FROM ledger.entries);
        {GUARD}""")
