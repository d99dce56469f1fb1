"""The Merkle tree of RFC 6962 (§2.1), as pure functions over leaves in order.

    root()          SHA-256("")
    root(d)         SHA-256(0x00 ‖ d)
    root(d1 … dn)   SHA-256(0x01 ‖ root(the first k) ‖ root(the rest)), k the largest power of two below n

A tree here is that of one checkpoint, which names the one before by its hash: trees never grow, so the consistency
proofs of the RFC have nothing to prove and are left out.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256


class MerkleRoot:
    """The root of leaves that come one by one; keeps log₂ n hashes, so a day of blocks is never in memory."""

    def __init__(self) -> None:
        self._trees: list[tuple[int, bytes]] = []  # (leaves, root) of perfect trees, largest first
        self.size = 0

    def add(self, data: bytes) -> None:
        """Add the next leaf."""
        size, node = 1, sha256(b"\x00" + data).digest()
        while self._trees and self._trees[-1][0] == size:
            node = _parent(self._trees.pop()[1], node)
            size *= 2
        self._trees.append((size, node))
        self.size += 1

    def root(self) -> bytes:
        """The root of what was added so far."""
        if not self._trees:
            return sha256(b"").digest()
        *rest, (_, node) = self._trees
        for _, left in reversed(rest):
            node = _parent(left, node)
        return node


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over all leaves."""
    tree = MerkleRoot()
    for data in leaves:
        tree.add(data)
    return tree.root()


def sibling_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Which ranges of leaves (first, one after the last) have the roots of an inclusion path, leaf upwards.

    They are disjoint and cover everything but the leaf, so whoever reads the leaves once, in order, can build the
    path without keeping them.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of {size}")
    found: list[tuple[int, int]] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + (1 << (end - first - 1).bit_length() - 1)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((first, middle))
            first = middle
    return found[::-1]


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The nodes that lead from a leaf to the root, leaf upwards."""
    return [root_of(leaves[first:end]) for first, end in sibling_ranges(index, len(leaves))]


def root_from_path(data: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which a path leads from a leaf; None when the path is not as long as this place needs."""
    ranges = sibling_ranges(index, size)
    if len(path) != len(ranges):
        return None
    node = sha256(b"\x00" + data).digest()
    for (first, _), sibling in zip(ranges, path, strict=True):
        node = _parent(sibling, node) if first < index else _parent(node, sibling)
    return node


def _parent(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
