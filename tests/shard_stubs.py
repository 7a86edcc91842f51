"""Shards of a few tiny triplets, importable by worker processes."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sugar.config import InputError
from sugar.data.key_seed import key_seed
from sugar.data.shard_pool import MakeShard, OnSkip
from sugar.triplet import Triplet

NUM_TRIPLETS = 3


def tiny_triplet(key: str) -> Triplet:
    """A pure function of the key."""
    rng = np.random.default_rng(key_seed(0, key, "stub"))
    video = np.repeat(rng.integers(0, 256, (1, 16, 16, 3), np.uint8), 5, axis=0)
    identity = np.dstack([video[0], np.full((16, 16, 1), 255, np.uint8)])
    return Triplet(key, video[0], identity, video, 8.0, f"a dog {key}", "dog", "animal", "synthetic")


def tiny_shard(index: int, on_skip: OnSkip) -> Iterator[Triplet]:
    """Three triplets and one skip."""
    on_skip(f"bad-{index}", "broken", f"bad-{index}: is broken")
    for number in range(NUM_TRIPLETS):
        yield tiny_triplet(f"s{index}-t{number}")


def prepare() -> MakeShard:
    """Pure and quick."""
    return tiny_shard


def prepare_slow() -> MakeShard:
    """A pause after each triplet, so that there is time to kill it."""

    def make(index: int, on_skip: OnSkip) -> Iterator[Triplet]:
        for triplet in tiny_shard(index, on_skip):
            yield triplet
            time.sleep(0.15)

    return make


def prepare_with_error() -> MakeShard:
    """Shard 1 stops with an error of the user's."""

    def make(index: int, on_skip: OnSkip) -> Iterator[Triplet]:
        yield from tiny_shard(index, on_skip)
        if index == 1:
            raise InputError("networks.dino must be a folder")

    return make


def prepare_with_death() -> MakeShard:
    """The worker of shard 1 dies, as if the system had killed it."""

    def make(index: int, on_skip: OnSkip) -> Iterator[Triplet]:
        if index == 1:
            os._exit(9)
        yield from tiny_shard(index, on_skip)

    return make


def note_process(file: Path) -> None:
    """Writes which process it runs in."""
    file.write_text(str(os.getpid()))
