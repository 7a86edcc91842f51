"""Accepted triplets that cannot be read any more: left out of the latents, counted, tried again each time."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sugar.config import InputError
from sugar.data.atomic import remove_file, write_json_atomic
from sugar.data.shard_pool import Skips
from sugar.data.shards import read_triplets
from sugar.triplet import Triplet

logger = logging.getLogger(__name__)

REJECTIONS = "rejections.json"
"""Beside the latents, where there are any: count and examples of each reason, the reason of each key."""


class Rejected:
    """The triplets of a dataset that encoding leaves out.

    Args:
        dataset: folder of the triplets; output: of their latents.
        made_by: the stage that makes the dataset, for the message.
    """

    def __init__(self, dataset: Path, output: Path, made_by: str) -> None:
        self.dataset, self.file, self.made_by = dataset, output / REJECTIONS, made_by
        self.reasons: dict[str, str] = {}

    def before(self, table: pa.Table) -> pa.Table:
        """The rows without those that could not be read the last time and still cannot."""
        try:
            suspects = pa.array([*json.loads(self.file.read_bytes())["keys"]], pa.string())
        except (OSError, ValueError, KeyError, TypeError):  # those of Arrow are ValueError or TypeError
            return table
        rows = table.filter(pc.field("key").isin(suspects))
        for _ in self.read(rows):
            pass
        return self.without(table)

    def read(self, rows: pa.Table, *, num_workers: int = 0, ahead: int = 16) -> Iterator[Triplet]:
        """The triplets of these rows; those that cannot be read are counted."""
        keys = set(rows["key"].to_pylist())

        def note(key: str, reason: str) -> None:
            if key in keys:  # a tar tells of all that is wrong in it
                self.reasons[key] = reason

        try:
            yield from read_triplets(self.dataset, rows, note, num_workers=num_workers, ahead=ahead)
        except InputError as error:
            raise InputError(f"{error}; run {self.made_by} again") from error

    def without(self, table: pa.Table) -> pa.Table:
        """The rows of a table that are not rejected.

        Raises:
            InputError: there is none.
        """
        if not self.reasons:
            return table
        kept = table.filter(~pc.field("key").isin(pa.array([*self.reasons], pa.string())))
        if not kept.num_rows:
            raise InputError(f"{self.dataset}: {self._told(table.num_rows)}")
        return kept

    def write(self, num_accepted: int) -> None:
        """Write the file, or remove it where nothing is rejected, and say so in the log."""
        if not self.reasons:
            remove_file(self.file)
            return
        logger.warning("%s: %s", self.dataset, self._told(num_accepted))
        about = {"triplets": num_accepted, "skipped": self._skips().as_json(), "keys": self.reasons}
        write_json_atomic(self.file, about)

    def counts(self) -> dict[str, float]:
        """Figures: how many, and for which reasons."""
        counts = self._skips().counts
        each = {f"skipped_{name}": float(counts[name]) for name in sorted(counts)}
        return {"skipped": float(counts.total()), **each}

    def _skips(self) -> Skips:
        skips = Skips()
        for key, reason in sorted(self.reasons.items()):
            skips.add(key, reason, key)
        return skips

    def _told(self, num_accepted: int) -> str:
        found = ", ".join(
            f"{reason} {entry['count']} ({', '.join(entry['examples'])})"
            for reason, entry in self._skips().as_json().items()
        )
        return (
            f"{len(self.reasons)} of {num_accepted} accepted triplets cannot be read and are left out: "
            f"{found}; `sugar {self.made_by} --check` makes damaged shards anew"
        )
