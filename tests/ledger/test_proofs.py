"""Proofs: what they show, that a stranger with one file can check them, and that no changed byte gets through."""

import ast
import asyncio
import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ledger import checkpoints, proofs, verify_proof
from ledger.accounts import open_book
from ledger.chain import block_hash
from ledger.checkpoint_folder import CheckpointFolder
from ledger.checkpoint_format import parse
from ledger.checkpoints import make_checkpoint
from ledger.errors import InvariantBroken, NotProvable
from ledger.journal import ExternalReference
from ledger.posting import post_entries
from ledger.proofs import prove
from ledger.restoring import restored
from tests.ledger.checkpointing import KEY, Key
from tests.ledger.entries import BANK, BOOK, FEES, PENDING, drawing, entry, posting, received
from tests.ledger.test_verification import UNGUARD

VERIFIER = Path(verify_proof.__file__)
OTHER_BOOK = 1001


@pytest.fixture
async def books(app: asyncpg.Connection, tmp_path: Path) -> CheckpointFolder:
    """Entries 1 … 9 in blocks of 3, 2, 1 and 3; a checkpoint after block 2 and one at the end; entry 10 after it."""
    folder = CheckpointFolder(tmp_path / "published")
    captured = entry(
        posting(BANK, PENDING, 1_000),
        posting(PENDING, FEES, 30),
        references=(ExternalReference("scb", "b"), ExternalReference("scb", "ก")),
        drawable_minor=1_000,
    )
    await post_entries(app, BOOK, [received(1), captured, received(3, metadata=b"\x00\xff", caller="acct_ก")])
    await post_entries(app, BOOK, [drawing(captured, 600), drawing(captured, -100)])
    await make_checkpoint(app, BOOK, signer=KEY, sink=folder)
    await post_entries(app, BOOK, [received(6)])
    await post_entries(app, BOOK, [received(7), received(8), received(9)])
    await make_checkpoint(app, BOOK, signer=KEY, sink=folder)
    await post_entries(app, BOOK, [received(10)])
    return folder


async def proof(app: asyncpg.Connection, first: int, last: int, book: int = BOOK) -> Any:
    return json.loads(b"".join([piece async for piece in prove(app, book, first, last)]))


def outcome(document: Any, key: Key = KEY) -> str:
    """What the verifier says; here without a process of its own."""
    try:
        return verify_proof.verify(document, load_pem_public_key(key.pem()))
    except ValueError as error:
        return f"REFUSED: {error}"


def run(folder: Path, text: str, key: bytes, *arguments: str) -> tuple[int, str]:
    """The verifier alone in a folder, as whoever got the three files runs it."""
    folder.mkdir(exist_ok=True)
    shutil.copy(VERIFIER, folder / "verify_proof.py")
    (folder / "proof.json").write_text(text, "utf-8")
    (folder / "public_key.pem").write_bytes(key)
    command = [sys.executable, "-I", "verify_proof.py", *(arguments or ("proof.json", "public_key.pem"))]
    done = subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout.strip() or done.stderr


def test_the_verifier_is_one_short_file_without_anything_of_ours():
    text = VERIFIER.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


async def test_a_stranger_checks_an_entry_and_a_range(
    app: asyncpg.Connection, books: CheckpointFolder, tmp_path: Path
) -> None:
    one, every = await proof(app, 2, 2), await proof(app, 2, 8)
    moments = [parse(content).checkpoint.recorded_at for _, content in await books.published(BOOK)]
    first, second = (moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for moment in moments)
    folder = tmp_path / "stranger"
    code, words = await asyncio.to_thread(run, folder, json.dumps(one), KEY.pem())
    assert (code, words) == (0, f"PROVED: entry 2 stands in book 1000 as shown, by signed checkpoint 1 of {first}")
    code, words = await asyncio.to_thread(run, folder, json.dumps(every), KEY.pem())
    expected = (
        f"PROVED: entries 2 … 8 are all there and stand in book 1000 as shown, by signed checkpoint 2 of {second}"
    )
    assert (code, words) == (0, expected)
    code, words = await asyncio.to_thread(run, folder, json.dumps(one), KEY.pem(), "proof.json")
    assert (code, words) == (1, "REFUSED: say which: python verify_proof.py PROOF.json PUBLIC_KEY.pem")


async def test_a_proof_shows_the_rows_of_its_entries_and_of_nobody_else(
    app: asyncpg.Connection, books: CheckpointFolder
) -> None:
    document = await proof(app, 2, 2)
    [block] = document["blocks"]
    assert [type(leaf) for leaf in block["leaves"]] == [str, dict, str]
    shown = block["leaves"][1]
    assert {name: shown[name] for name in ("sequence", "effective_on", "kind", "drawable_minor", "draws_on")} == {
        "sequence": 2,
        "effective_on": "2026-11-23",
        "kind": 310,
        "drawable_minor": 1_000,
        "draws_on": None,
    }
    assert [row["amount_minor"] for row in shown["postings"]] == [1_000, 30]
    assert shown["references"] == [{"scheme": "scb", "value": "b"}, {"scheme": "scb", "value": "ก"}]
    document = await proof(app, 3, 7)
    kinds = [[type(leaf) for leaf in block["leaves"]] for block in document["blocks"]]
    assert kinds == [[str, str, dict], [dict, dict], [dict], [dict, str, str]]
    assert document["blocks"][0]["leaves"][2]["metadata"] == "00ff"


async def test_every_entry_and_every_range_is_provable(app: asyncpg.Connection, books: CheckpointFolder) -> None:
    for first in range(1, 10):
        for last in range(first, 10):
            assert outcome(await proof(app, first, last)).startswith("PROVED"), (first, last)


async def test_what_no_checkpoint_covers_is_not_provable(app: asyncpg.Connection, books: CheckpointFolder) -> None:
    for first, last, said in (
        (10, 10, "make one first"),
        (9, 10, "make one first"),
        (10, 11, "no entries"),
        (99, 99, "no entries"),
    ):
        with pytest.raises(NotProvable, match=said):
            await proof(app, first, last)


async def test_chunks_and_large_trees_make_no_difference(
    app: asyncpg.Connection, books: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await proof(app, 1, 9)
    for blocks, entries in ((1, 1), (2, 1), (3, 4), (100, 2)):
        monkeypatch.setattr(proofs, "BLOCKS_AT_ONCE", blocks)
        monkeypatch.setattr(proofs, "ENTRIES_AT_ONCE", entries)
        monkeypatch.setattr(checkpoints, "BLOCKS_AT_ONCE", blocks)
        seen: list[tuple[int, int]] = []
        told = partial(_told, seen)
        pieces = [piece async for piece in prove(app, BOOK, 1, 9, progress=told)]
        assert json.loads(b"".join(pieces)) == expected
        assert seen == [(3, 9), (5, 9), (6, 9), (9, 9)]
    for amount in range(1, 14):
        await post_entries(app, BOOK, [received(amount)])
    await make_checkpoint(app, BOOK, signer=KEY, sink=books)
    for sequence in range(10, 24):
        assert outcome(await proof(app, sequence, sequence)).startswith("PROVED")


async def test_a_range_goes_through_a_restore(app: asyncpg.Connection, books: CheckpointFolder) -> None:
    await restored(app, BOOK, sink=books, public_key=KEY.public_key, actor="op_1", reason="drill")
    await post_entries(app, BOOK, [received(11)])
    await make_checkpoint(app, BOOK, signer=KEY, sink=books)
    document = await proof(app, 10, 11)
    assert [(block["incarnation"], len(block["leaves"])) for block in document["blocks"]] == [(1, 1), (2, 0), (2, 1)]
    assert outcome(document).startswith("PROVED")


def _told(seen: list[tuple[int, int]], done: int, total: int) -> None:
    seen.append((done, total))


Change = Callable[[Any], Any]
BLOCK = "is not what its hash says: an entry, a leaf or the header was changed"
FOLLOWS = "does not follow the block before it: one was left out, swapped or forged"


def put(*path: Any, to: Any) -> Change:
    """A change of one value of a proof; a callable makes the new one from the old one."""

    def change(document: Any) -> None:
        *way, last = path
        for step in way:
            document = document[step]
        document[last] = to(document[last]) if callable(to) else to

    return change


def other_digit(text: str) -> str:
    return text[:-1] + ("1" if text.endswith("0") else "0")


def swap(rows: list[Any]) -> list[Any]:
    return [rows[1], rows[0], *rows[2:]]


SHOWN = ("blocks", 0, "leaves", 1)
ROW = "a reference of entry 2 has not exactly"
CHANGES: dict[str, tuple[Change, str]] = {
    "amount": (put(*SHOWN, "postings", 0, "amount_minor", to=999), f"block 1 {BLOCK}"),
    "balance": (put(*SHOWN, "postings", 1, "credit_balance_after", to=31), f"block 1 {BLOCK}"),
    "account": (put(*SHOWN, "postings", 0, "debit_account", to=9), f"block 1 {BLOCK}"),
    "available_on": (put(*SHOWN, "postings", 0, "available_on", to="2026-11-24"), f"block 1 {BLOCK}"),
    "available_on taken away": (put(*SHOWN, "postings", 0, "available_on", to=None), f"block 1 {BLOCK}"),
    "line": (put(*SHOWN, "postings", 1, "line", to=3), f"block 1 {BLOCK}"),
    "lines swapped": (
        lambda d: [put(*SHOWN, "postings", n, "line", to=2 - n)(d) for n in (0, 1)],
        f"block 1 {BLOCK}",
    ),
    "posting left out": (put(*SHOWN, "postings", to=lambda rows: rows[:1]), f"block 1 {BLOCK}"),
    "posting twice": (put(*SHOWN, "postings", to=lambda rows: [*rows, rows[1]]), f"block 1 {BLOCK}"),
    "reference": (put(*SHOWN, "references", 0, "value", to="c"), f"block 1 {BLOCK}"),
    "reference left out": (put(*SHOWN, "references", to=lambda rows: rows[1:]), f"block 1 {BLOCK}"),
    "key": (put(*SHOWN, "key", to=other_digit), f"block 1 {BLOCK}"),
    "kind": (put(*SHOWN, "kind", to=311), f"block 1 {BLOCK}"),
    "effective_on": (put(*SHOWN, "effective_on", to="2026-11-24"), f"block 1 {BLOCK}"),
    "caller": (put(*SHOWN, "caller", to="acct_2"), f"block 1 {BLOCK}"),
    "metadata": (put(*SHOWN, "metadata", to="00"), f"block 1 {BLOCK}"),
    "drawable": (put(*SHOWN, "drawable_minor", to=1_001), f"block 1 {BLOCK}"),
    "reverses": (put(*SHOWN, "reverses", to=1), f"block 1 {BLOCK}"),
    "hold": (put(*SHOWN, "hold_amount_minor", to=0), f"block 1 {BLOCK}"),
    "somebody's leaf": (put("blocks", 0, "leaves", 0, to=other_digit), f"block 1 {BLOCK}"),
    "incarnation": (put("blocks", 0, "incarnation", to=2), f"block 1 {BLOCK}"),
    "previous_hash": (put("blocks", 0, "previous_hash", to=other_digit), f"block 1 {BLOCK}"),
    "hash": (put("blocks", 0, "hash", to=other_digit), f"block 1 {BLOCK}"),
    "later block": (put("blocks", 2, "leaves", 0, "caller", to="acct_2"), f"block 3 {BLOCK}"),
    "sequence": (put(*SHOWN, "sequence", to=3), "in the place of entry 2 stands another"),
    "book": (put(*SHOWN, "book_id", to=1001), "in the place of entry 2 stands another"),
    "moment": (put(*SHOWN, "recorded_at", to="2026-11-23T00:00:00.000000Z"), "in the place of entry 2 stands another"),
    "block of an entry": (put(*SHOWN, "block_number", to=2), "in the place of entry 2 stands another"),
    "rows swapped": (
        put("blocks", 0, "leaves", to=lambda rows: [rows[0], rows[2], rows[1]]),
        "in the place of entry 2",
    ),
    "leaf of another": (put("blocks", 0, "leaves", to=swap), "entry 1 must not be shown"),
    "entry left out": (
        put("blocks", 0, "leaves", to=lambda rows: [rows[0], rows[2]]),
        "block 1 holds entries 1 … 3, and 2 of them are accounted for",
    ),
    "entry hidden": (put(*SHOWN, to="00" * 32), "entry 2 must be shown"),
    "range made longer": (put("last_sequence", to=9), "entry 9 must be shown"),
    "range made shorter": (put("last_sequence", to=7), "entry 8 must not be shown"),
    "range beyond the blocks": (put("first_sequence", to=0), "entry 1 must be shown"),
    "range turned round": (put("last_sequence", to=1), "the proof shows nothing"),
    "block left out": (put("blocks", to=lambda rows: [rows[0], *rows[2:]]), f"block 3 {FOLLOWS}"),
    "blocks swapped": (put("blocks", to=swap), f"block 1 {FOLLOWS}"),
    "first block left out": (put("blocks", to=lambda rows: rows[1:]), "the blocks do not hold the range"),
    "last block left out": (put("blocks", to=lambda rows: rows[:-1]), "the blocks do not hold the range"),
    "no blocks": (put("blocks", to=[]), "the proof shows nothing"),
    "path": (put("path", 0, to=other_digit), "the path does not lead to the root that the checkpoint signs"),
    "path too long": (put("path", to=lambda path: path * 2), "the path is not as long"),
    "path too short": (put("path", to=[]), "the path is not as long"),
    "checkpoint": (
        put("checkpoint", to=lambda text: text.replace("number 2", "number 3")),
        "is not signed with this key",
    ),
    "signature": (put("signature", to=other_digit), "is not signed with this key"),
    "another book throughout": (
        put("book_id", to=1001),
        "the checkpoint is of book 1000, the proof of book 1001",
    ),
    "block of another book": (put("blocks", 0, "book_id", to=1001), "block 1 is of another book: 1001"),
    "layout": (put("blocks", 0, "layout_version", to=2), "block 1 has a layout that is unknown here: 2"),
    "format": (put("format", to="quickkub-proof 2"), "the format 'quickkub-proof 2' is unknown here"),
    "more than is sealed": (put(*SHOWN, "merchant", to="x"), "entry 2 has not exactly the fields"),
    "more about a posting": (put(*SHOWN, "postings", 0, "note", to="x"), "a posting of entry 2 has not exactly"),
    "more about a reference": (put(*SHOWN, "references", 0, "note", to="x"), ROW),
    "more about a block": (put("blocks", 0, "note", to="x"), "a block has not exactly the fields"),
    "more beside": (put("note", to="x"), "the proof has not exactly the fields"),
    "field missing": (lambda d: d["blocks"][0]["leaves"][1].pop("draws_on"), "entry 2 has not exactly the fields"),
    "number as truth": (put(*SHOWN, "sequence", to=True), "True is not a whole number"),
    "number with a fraction": (put(*SHOWN, "postings", 0, "amount_minor", to=1000.0), "1000.0 is not a whole number"),
    "same moment written otherwise": (
        put(*SHOWN, "recorded_at", to=lambda text: text.replace("Z", "+00:00")),
        "does not match format",
    ),
    "same key written otherwise": (put(*SHOWN, "key", to=str.upper), "is not written as uuid"),
    "same bytes written otherwise": (put("blocks", 0, "previous_hash", to=str.upper), "is not written as hash"),
    "leaf that is no hash": (put("blocks", 0, "leaves", 0, to="00"), "is not written as hash"),
}


async def test_each_change_is_refused_in_the_right_words(app: asyncpg.Connection, books: CheckpointFolder) -> None:
    sound = await proof(app, 2, 8)
    assert outcome(sound).startswith("PROVED")
    for name, (change, said) in CHANGES.items():
        document = copy.deepcopy(sound)
        change(document)
        try:
            words = outcome(document)
        except verify_proof.InvalidSignature:
            words = "REFUSED: the checkpoint is not signed with this key"
        assert words.startswith("REFUSED"), name
        assert said in words, (name, words)


async def test_every_hexadecimal_digit_and_every_number_counts(
    app: asyncpg.Connection, books: CheckpointFolder
) -> None:
    """Whatever one value of the file is changed to, nothing is proved."""
    sound = await proof(app, 5, 6)

    def values(document: Any, *path: Any) -> list[tuple[Any, ...]]:
        if not isinstance(document, dict | list):
            return [path]
        steps = document.items() if isinstance(document, dict) else enumerate(document)
        return [each for step, value in steps for each in values(value, *path, step)]

    places = values(sound)
    assert len(places) == 88
    for place in places:
        document, value = copy.deepcopy(sound), sound
        for step in place:
            value = value[step]
        changed = value + 1 if isinstance(value, int) else 1 if value is None else other_digit(value)
        put(*place, to=changed)(document)
        with pytest.raises((ValueError, TypeError, verify_proof.InvalidSignature)):
            verify_proof.verify(document, load_pem_public_key(KEY.pem()))


async def test_forgeries_that_are_consistent_in_themselves(app: asyncpg.Connection, books: CheckpointFolder) -> None:
    """Somebody rewrote an entry and every hash after it; without the key the checkpoint stays what it was."""
    document = await proof(app, 6, 6)
    [block] = document["blocks"]
    block["leaves"][0]["postings"][0]["amount_minor"] = 7
    leaf = verify_proof.leaf_v1(block["leaves"][0], "entry 6")
    row = await app.fetchrow("SELECT * FROM ledger.blocks WHERE book_id = $1 AND block_number = 3", BOOK)
    block["hash"] = block_hash(row, [leaf]).hex()
    assert outcome(document) == "REFUSED: the path does not lead to the root that the checkpoint signs"
    document["path"] = []
    forged = verify_proof.sha256(b"\x00" + bytes.fromhex(block["hash"])).hexdigest()
    lines = document["checkpoint"].splitlines()
    lines[4], lines[5], lines[9] = "first_block 3", "last_block 3", f"merkle_root {forged}"
    document["checkpoint"] = "\n".join(lines) + "\n"
    document["signature"] = Key(2).sign(document["checkpoint"].encode()).hex()
    assert outcome(document, Key(2)).startswith("PROVED")
    with pytest.raises(verify_proof.InvalidSignature):
        outcome(document)


async def test_a_proof_of_another_book_does_not_pass_for_this_one(
    app: asyncpg.Connection, books: CheckpointFolder
) -> None:
    await open_book(app, OTHER_BOOK, code="other", mode="test")
    await post_entries(app, OTHER_BOOK, [received(1)])
    await make_checkpoint(app, OTHER_BOOK, signer=KEY, sink=books)
    ours, theirs = await proof(app, 1, 1), await proof(app, 1, 1, OTHER_BOOK)
    assert "book 1001" in outcome(theirs)
    mixed = {**ours, "checkpoint": theirs["checkpoint"], "signature": theirs["signature"], "path": theirs["path"]}
    assert outcome(mixed) == "REFUSED: the checkpoint is of book 1001, the proof of book 1000"
    mixed = {**mixed, "book_id": OTHER_BOOK}
    assert outcome(mixed) == "REFUSED: block 1 is of another book: 1000"
    later = await proof(app, 6, 6)
    mixed = {**ours, **{name: later[name] for name in ("checkpoint", "signature", "path")}}
    assert outcome(mixed) == "REFUSED: the checkpoint covers blocks 3 … 4, the proof ends at block 1"


async def test_what_cannot_be_read_is_refused_and_never_a_traceback(
    app: asyncpg.Connection, books: CheckpointFolder, tmp_path: Path
) -> None:
    text, folder = json.dumps(await proof(app, 1, 1)), tmp_path / "stranger"
    rsa = generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for content, key, said in (
        ("", KEY.pem(), "REFUSED: Expecting value"),
        ("[]", KEY.pem(), "REFUSED: the proof has not exactly the fields"),
        ("[" * 100_000, KEY.pem(), "REFUSED: this is no proof (RecursionError"),
        (text.replace('"path"', '"book_id": 7, "path"'), KEY.pem(), "REFUSED: a field stands there twice"),
        (text.replace('"blocks": [', '"blocks": [null,'), KEY.pem(), "REFUSED: a block has not exactly the fields"),
        (text, Key(2).pem(), "REFUSED: the checkpoint is not signed with this key"),
        (text, b"no key", "REFUSED: "),
        (text, rsa, "REFUSED: the key is not an Ed25519 public key"),
    ):
        code, words = await asyncio.to_thread(run, folder, content, key)
        assert code == 1, words
        assert words.startswith(said), words
        assert "Traceback" not in words
    for arguments in (("proof.json",), ("nothing.json", "public_key.pem"), ("a", "b", "c")):
        code, words = await asyncio.to_thread(run, folder, text, KEY.pem(), *arguments)
        assert (code, words.startswith("REFUSED")) == (1, True)


async def test_books_that_contradict_themselves_give_out_no_proof(
    app: asyncpg.Connection, superuser: asyncpg.Connection, books: CheckpointFolder
) -> None:
    for statement in (
        "UPDATE ledger.postings SET amount_minor = 2 WHERE sequence = 1",
        "DELETE FROM ledger.entries WHERE sequence = 3",
        "UPDATE ledger.blocks SET hash = sha256('x') WHERE block_number = 1",
        "UPDATE ledger.blocks SET hash = sha256('x') WHERE block_number = 2",
        "DELETE FROM ledger.blocks WHERE block_number = 2",
    ):
        transaction = superuser.transaction()
        await transaction.start()
        await superuser.execute(f"{UNGUARD}; {statement}")
        with pytest.raises(InvariantBroken):
            await proof(superuser, 1, 2)
        await transaction.rollback()
    assert outcome(await proof(app, 1, 2)).startswith("PROVED")
