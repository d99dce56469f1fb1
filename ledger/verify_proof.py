"""Checks a proof of a QuickKub ledger; needs only `cryptography`: `python verify_proof.py proof.json public_key.pem`.

Hashes the entries shown into their blocks, follows those to the last one, and from it a path to a signed checkpoint.
"""

import json
import struct
import sys
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

TYPES = {"int8": 20, "int2": 21, "int4": 23, "date": 1082, "at": 1184}  # PostgreSQL's numbers of them
TIMES, EPOCH = {"at": "%Y-%m-%dT%H:%M:%S.%fZ", "date": "%Y-%m-%d"}, datetime(2000, 1, 1)  # noqa: DTZ001 -- all in UTC
HEADER = "layout_version:int2 book_id incarnation:int4 block_number first_sequence last_sequence recorded_at:at"
ENTRY = "book_id sequence recorded_at:at block_number key:uuid effective_on:date kind:int2 caller:text metadata:hex"
RARE = """booked_on:date occurred_at:at group_first draws_on drawn_minor drawable_minor reverses hold_action:int2 hold
    hold_debit_account hold_credit_account hold_amount_minor hold_expires_at:at"""
POSTING = "line:int2 debit_account credit_account amount_minor debit_balance_after credit_balance_after"  # else int8
POSTING_RARE, REFERENCE = "reverses_line:int2 available_on:date up_to_minor", "scheme:text value:text"


def need(condition: object, words: str) -> bool:
    """Go on only if it is so."""
    if not condition:
        raise ValueError(words)
    return True


def exactly(value: Any, columns: str, what: str) -> None:
    """Refuse other fields than these: nothing that is not sealed may stand beside what is."""
    expected = {column.split(":")[0] for column in columns.split()}
    need(isinstance(value, dict) and set(value) == expected, f"{what} has not exactly the fields that it must have")


def to_bytes(kind: str, value: Any) -> bytes:
    """A value as it is sealed; refuses a second way of writing the same."""
    if kind in {"int2", "int4", "int8"}:
        need(type(value) is int, f"{value!r} is not a whole number")
        return struct.pack({"int2": ">h", "int4": ">i", "int8": ">q"}[kind], value)
    text, data = value, str.encode(value)
    if kind in TIMES:
        since = datetime.strptime(value, TIMES[kind]) - EPOCH  # noqa: DTZ007
        data = struct.pack(">i", since.days) if kind == "date" else struct.pack(">q", since // datetime.resolution)
        text = f"{(EPOCH + since).isoformat(timespec='microseconds')}Z" if kind == "at" else str((EPOCH + since).date())
    elif kind == "uuid":
        text, data = str(UUID(value)), UUID(value).bytes
    elif kind != "text":
        text, data = bytes.fromhex(value).hex(), bytes.fromhex(value)
    need(text == value and (kind != "hash" or len(data) == sha256().digest_size), f"{value!r} is not written as {kind}")
    return struct.pack(">i", len(data)) + data if kind in {"hex", "text"} else data


def pack(columns: str, row: Any, form: str) -> bytes:
    """Columns one by one ("plain"), as PostgreSQL's "record", or "rare": 0 when all are NULL, else 1 and the record."""
    pairs = [f"{column}:int8".split(":")[:2] for column in columns.split()]
    if form == "rare" and all(row[name] is None for name, _ in pairs):
        return b"\0"
    cells: list[Any] = [(kind, None if row[name] is None else to_bytes(kind, row[name])) for name, kind in pairs]
    if form == "plain":
        return b"".join(data for _, data in cells)
    parts = [struct.pack(">ii", TYPES[kind], -1 if data is None else len(data)) + (data or b"") for kind, data in cells]
    return b"\1" * (form == "rare") + struct.pack(">i", len(parts)) + b"".join(parts)


def leaf_v1(entry: Any, what: str) -> bytes:
    """The leaf of an entry, layout version 1."""
    exactly(entry, f"{ENTRY} {RARE} postings references", what)
    data = b"\0\1" + pack(ENTRY, entry, "plain")
    data += struct.pack(">ii", len(entry["postings"]), len(entry["references"])) + pack(RARE, entry, "rare")
    for row in sorted(entry["postings"], key=lambda row: row["line"]):
        exactly(row, f"{POSTING} {POSTING_RARE}", f"a posting of {what}")
        data += pack(POSTING, row, "plain") + pack(POSTING_RARE, row, "rare")
    for row in sorted(entry["references"], key=lambda row: (row["scheme"].encode(), row["value"].encode())):
        exactly(row, REFERENCE, f"a reference of {what}")
        data += pack(REFERENCE, row, "plain")
    return sha256(data).digest()


def check_block(block: Any, proof: Any, before: Any) -> None:
    """A block shows what it must, is what its hash says, and follows the one before."""
    exactly(block, f"{HEADER} previous_hash leaves hash", "a block")
    layouts, leaves = {1: leaf_v1}, b""
    header, what = pack(HEADER, block, "record"), f"block {block['block_number']}"
    need(block["layout_version"] in layouts, f"{what} has a layout that is unknown here: {block['layout_version']}")
    need(block["book_id"] == proof["book_id"], f"{what} is of another book: {block['book_id']}")
    first, last, count = block["first_sequence"], block["last_sequence"], len(block["leaves"])
    need(count == last - first + 1, f"{what} holds entries {first} … {last}, and {count} of them are accounted for")
    for sequence, leaf in enumerate(block["leaves"], first):
        shown, place = proof["first_sequence"] <= sequence <= proof["last_sequence"], {**block, "sequence": sequence}
        need(isinstance(leaf, dict) == shown, f"entry {sequence} must {'' if shown else 'not '}be shown")
        leaves += layouts[block["layout_version"]](leaf, f"entry {sequence}") if shown else to_bytes("hash", leaf)
        same = not shown or all(leaf[n] == place[n] for n in ("book_id", "sequence", "block_number", "recorded_at"))
        need(same, f"in the place of entry {sequence} stands another")
    digest = sha256(to_bytes("hash", block["previous_hash"]) + header + sha256(leaves).digest()).hexdigest()
    need(digest == block["hash"], f"{what} is not what its hash says: an entry, a leaf or the header was changed")
    follows = before is None or (block["previous_hash"], first) == (before["hash"], before["last_sequence"] + 1)
    need(follows, f"{what} does not follow the block before it: one was left out, swapped or forged")


def verify(proof: Any, key: Any) -> str:
    """What is proved, in words; ValueError says what is wrong."""
    exactly(proof, "format book_id first_sequence last_sequence blocks path checkpoint signature", "the proof")
    need(proof["format"] == "quickkub-proof 1", f"the format {proof['format']!r} is unknown here")
    need(isinstance(key, Ed25519PublicKey), "the key is not an Ed25519 public key")
    key.verify(bytes.fromhex(proof["signature"]), proof["checkpoint"].encode())
    signed = dict(line.split(" ") for line in proof["checkpoint"].splitlines())
    need(signed.get("quickkub-checkpoint") == "1", "the version of the checkpoint is unknown here")
    book, first, last, blocks = (proof[name] for name in ("book_id", "first_sequence", "last_sequence", "blocks"))
    need(signed["book"] == str(book), f"the checkpoint is of book {signed['book']}, the proof of book {book}")
    need(type(first) is int and type(last) is int and first <= last and blocks, "the proof shows nothing")
    for before, block in zip([None, *blocks], blocks, strict=False):
        check_block(block, proof, before)
    need(
        blocks[0]["first_sequence"] <= first <= last <= blocks[-1]["last_sequence"], "the blocks do not hold the range"
    )
    start, end, number = int(signed["first_block"]), int(signed["last_block"]) + 1, blocks[-1]["block_number"]
    need(start <= number < end, f"the checkpoint covers blocks {start} … {end - 1}, the proof ends at block {number}")
    node, on_the_right = sha256(b"\0" + bytes.fromhex(blocks[-1]["hash"])).digest(), []
    while end - start > 1:  # the tree of RFC 6962: its left half is the largest power of two that is less than all
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        on_the_right.append(number >= middle)
        start, end = (middle, end) if number >= middle else (start, middle)
    need(len(proof["path"]) == len(on_the_right), "the path is not as long as the checkpoint's tree is high")
    for right, sibling in zip(on_the_right[::-1], (to_bytes("hash", each) for each in proof["path"]), strict=True):
        node = sha256(b"\1" + (sibling + node if right else node + sibling)).digest()
    need(node.hex() == signed["merkle_root"], "the path does not lead to the root that the checkpoint signs")
    what = f"entry {first} stands" if first == last else f"entries {first} … {last} are all there and stand"
    return f"PROVED: {what} in book {book} as shown, by signed checkpoint {signed['number']} of {signed['recorded_at']}"


if __name__ == "__main__":
    once = lambda pairs: need(len(dict(pairs)) == len(pairs), "a field stands there twice") and dict(pairs)  # noqa: E731
    try:
        need(sys.argv[2:] and not sys.argv[3:], "say which: python verify_proof.py PROOF.json PUBLIC_KEY.pem")
        file, key_file = (Path(name).read_bytes() for name in sys.argv[1:])
        words = verify(json.loads(file, object_pairs_hook=once), load_pem_public_key(key_file))
    except InvalidSignature:
        words = "REFUSED: the checkpoint is not signed with this key"
    except Exception as error:  # noqa: BLE001 -- whatever cannot be read proves nothing
        words = f"REFUSED: {error}" if isinstance(error, ValueError) else f"REFUSED: this is no proof ({error!r})"
    print(words)  # noqa: T201
    sys.exit(not words.startswith("PROVED"))
