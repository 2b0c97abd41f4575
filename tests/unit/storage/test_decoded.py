"""What is kept of decoded blocks: within its bound, the latest used longest, nothing of a closed segment."""

from __future__ import annotations

import os

from chronicle.storage.codec.decoded import DecodedBlocks, decoded_blocks


def test_the_bound_holds_and_the_least_recently_used_goes_first() -> None:
    blocks = DecodedBlocks(bytes_max=100)
    one, other = blocks.owner(), blocks.owner()
    blocks.put(one, 0, (0, bytes(40)))
    blocks.put(one, 1, (8, bytes(40)))
    assert blocks.get(one, 0) == (0, bytes(40))
    blocks.put(other, 0, (0, bytes(50)))
    assert blocks.get(one, 1) is None
    assert blocks.get(one, 0) is not None
    assert blocks.bytes == 90


def test_a_block_above_the_bound_is_kept_alone() -> None:
    blocks = DecodedBlocks(bytes_max=100)
    blocks.put(0, 0, (0, bytes(40)))
    blocks.put(0, 1, (0, bytes(400)))
    assert blocks.get(0, 0) is None
    assert blocks.bytes == 400


def test_a_piece_replaces_the_one_of_its_block() -> None:
    blocks = DecodedBlocks(bytes_max=100)
    blocks.put(0, 0, (0, bytes(40)))
    blocks.put(0, 0, (8, bytes(60)))
    assert blocks.bytes == 60
    assert blocks.get(0, 0) == (8, bytes(60))


def test_a_closed_segment_leaves_nothing() -> None:
    blocks = DecodedBlocks(bytes_max=100)
    for owner, position in ((3, 0), (3, 1), (4, 0)):
        blocks.put(owner, position, (0, bytes(10)))
    blocks.drop(3)
    assert blocks.bytes == 10
    assert blocks.get(3, 1) is None
    assert blocks.get(4, 0) is not None


def test_a_fork_may_use_them_whoever_held_the_lock() -> None:
    blocks = decoded_blocks()
    owner = blocks.owner()
    with blocks._lock:
        child = os.fork()
        if child == 0:
            blocks.put(owner, 0, (0, b"x"))
            os._exit(0 if blocks.get(owner, 0) == (0, b"x") else 1)
    assert os.waitpid(child, 0)[1] == 0
