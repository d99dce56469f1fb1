"""RFC 6962 trees: the published vectors of Certificate Transparency, and what must hold for every size."""

from hashlib import sha256

import pytest

from ledger.merkle import MerkleRoot, inclusion_path, root_from_path, root_of, sibling_ranges

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the first n leaves, n = 0 … 8."""


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    assert root_of(LEAVES[:size]).hex() == ROOTS[size]


def test_published_inclusion_paths():
    assert inclusion_path(LEAVES[:1], 0) == []
    assert [node.hex() for node in inclusion_path(LEAVES, 0)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [node.hex() for node in inclusion_path(LEAVES[:3], 2)] == [ROOTS[2]]


def by_definition(leaves):
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + by_definition(leaves[:split]) + by_definition(leaves[split:])).digest()


@pytest.mark.parametrize("size", [*range(1, 35), 64, 65, 100])
def test_every_leaf_of_every_size_has_a_path_to_the_root_and_no_other_does(size):
    leaves = [number.to_bytes(32, "big") for number in range(size)]
    root, tree = by_definition(leaves), MerkleRoot()
    for leaf in leaves:
        tree.add(leaf)
    assert (tree.root(), tree.size) == (root, size)
    for index, leaf in enumerate(leaves):
        path = inclusion_path(leaves, index)
        assert len(path) <= (size - 1).bit_length()
        assert root_from_path(leaf, index, size, path) == root
        assert root_from_path(b"other", index, size, path) != root
        assert root_from_path(leaf, (index + 1) % size, size, path) != root or size == 1
        assert root_from_path(leaf, index, size, [*path, path[0] if path else root]) is None
        covered = sorted(n for first, end in sibling_ranges(index, size) for n in range(first, end))
        assert covered == [n for n in range(size) if n != index]


def test_there_is_no_path_for_a_leaf_that_is_not_there():
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(IndexError):
            sibling_ranges(index, size)
