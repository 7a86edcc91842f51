"""Who makes the shards of a dataset: this machine's processes, one group among several, or a cluster.

A stage works shard by shard, and a shard is a pure function of its number. So the same stage runs whole on
one machine, or its shards are dealt out to groups that know nothing of each other: each makes its own, and
the stage that finds all of them complete writes the manifest.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from sugar.config import InputError

Elsewhere = Callable[[int], None]
"""Has shards made elsewhere: called with the number of shards, returns when there is no more to wait for."""


class GroupDone(Exception):
    """A group has made its shards: there is no manifest to write here."""

    def __init__(self, num_made: int) -> None:
        super().__init__(f"{num_made} shards made")
        self.num_made = num_made


@dataclass(frozen=True)
class ShardGroup:
    """Every `count`-th shard, from `index` on."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(
                f"group must be INDEX/COUNT with 0 <= INDEX < COUNT, got {self.index}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> ShardGroup:
        """From "3/64".

        Raises:
            InputError: it is not of that form.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise InputError(f"group must be INDEX/COUNT, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def own(self, shards: Sequence[int]) -> list[int]:
        """Those of the shards that belong to this group."""
        return [shard for shard in shards if shard % self.count == self.index]


_driver: ContextVar[ShardGroup | Elsewhere | None] = ContextVar("shard_driver", default=None)


@contextlib.contextmanager
def shards_by(driver: ShardGroup | Elsewhere | None) -> Iterator[None]:
    """Within it, `run_shards` makes the shards of one group alone, or has them made elsewhere first."""
    token = _driver.set(driver)
    try:
        yield
    finally:
        _driver.reset(token)


def current_driver() -> ShardGroup | Elsewhere | None:
    """What `shards_by` set; None: this process makes every shard."""
    return _driver.get()
