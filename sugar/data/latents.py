"""The latent cache: what the encoders make of each triplet, computed once, read at random.

    index.parquet                              key, triplet digest, shard, row, held_out; meta as metadata
    latents-000000-0123456789ab.safetensors    every tensor of `shard_size` samples, stacked
    digests.json     SHA-256 of each of these files

A sample's address is the SHA-256 of `meta` (encoders, sizes, type) and of its triplet's digest. A shard is
named by its number and the addresses in it: a file with the right name that is whole is the right file, and
files of the state before stay until the index is replaced. Rows of samples that did not change are copied, not
encoded again; those of damaged files are encoded again. The bytes depend on the samples and `meta` alone, not on
what was there before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sugar.config import InputError
from sugar.data.atomic import atomic_path, remove_file, sha256_bytes, write_bytes_atomic
from sugar.data.latent_files import (
    addresses_in,
    file_name,
    is_as_noted,
    is_whole,
    latent_files,
    note_digests,
    read_digests,
    tensors_in,
)
from sugar.data.latent_index import COLUMNS, INDEX, LATENTS_VERSION, about_of, held_out, read_index
from sugar.data.stacked_rows import StackedRows

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass
class _Shard:
    """A shard to be written: positions it awaits, rows to copy (row, old file, old row), rows that will not
    come, tensors so far."""

    number: int
    start: int
    addresses: list[str]
    awaited: set[int] = field(default_factory=set)
    copies: list[tuple[int, Path, int]] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    tensors: dict[str, Tensor] = field(default_factory=dict)


class LatentWriter:
    """Brings the cache in `folder` to a list of samples, encoding only those that it does not hold.

        writer = LatentWriter(folder, meta, shard_size, held_out_fraction)
        for positions in in_batches(writer.plan(keys, digests)):
            writer.add(positions, encode(positions))
        writer.finish()

    A sample that turns out to be unreadable is told by `drop`; then `plan` is called again, without it, which
    has nothing left to encode.

    A shard is written as soon as it has its last sample: with positions in the order of `plan`, memory holds
    one shard, and after a kill at most one shard is encoded again.

    Args:
        folder: of the cache.
        meta: JSON values; all that changes the tensors besides the triplet must be in it.
        shard_size: samples a shard, >= 1.
        held_out_fraction: share of the samples, by hash of the key, that training leaves out.
    """

    def __init__(
        self, folder: Path | str, meta: Mapping[str, Any], shard_size: int, held_out_fraction: float = 0.0
    ) -> None:
        if shard_size < 1:
            raise ValueError(f"shard_size must be >= 1, got {shard_size}")
        if not 0 <= held_out_fraction < 1:
            raise ValueError(f"held_out_fraction must be in [0, 1), got {held_out_fraction}")
        self.folder, self.shard_size, self.held_out_fraction = Path(folder), shard_size, held_out_fraction
        self.meta = dict(meta)
        self._keys: list[str] = []
        self._digests: list[str] = []
        self._names: list[str] = []
        self._pending: dict[int, _Shard] = {}
        self._shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        self._digests_of_files = read_digests(self.folder)
        self._sound: dict[Path, bool] = {}

    def whole(self, keys: pa.ChunkedArray, digests: pa.ChunkedArray) -> pa.Table | None:
        """The index, if the cache is what `plan`, `add` and `finish` would make of these; None: something is
        to be done. Takes no hash of a sample."""
        try:
            table = read_index(self.folder)
        except InputError:
            return None
        same = (
            (table.schema.metadata or {}).get(b"about") == self._about().encode()
            and table["key"].equals(keys)
            and table["digest"].equals(digests)
            and table["held_out"].to_pylist() == held_out(keys.to_pylist(), self.held_out_fraction)
        )
        if not same or not len(keys):
            return None
        shards = table["shard"].combine_chunks().dictionary_encode()
        numbers, rows = np.divmod(np.arange(len(keys)), self.shard_size)
        as_cut = np.array_equal(shards.indices, numbers) and np.array_equal(table["row"], rows)
        names = shards.dictionary.to_pylist()
        there = {path.name for path in latent_files(self.folder)}
        as_named = as_cut and there == {*names} and all(is_whole(self.folder / name) for name in names)
        return table if as_named else None

    def _about(self) -> str:
        return json.dumps({"meta": self.meta, "held_out_fraction": self.held_out_fraction}, sort_keys=True)

    def plan(self, keys: Sequence[str], digests: Sequence[str]) -> list[int]:
        """Say which samples the cache is to hold, in which order; returns the positions to encode, ascending.

        Args:
            keys: of the samples, unique.
            digests: `digest` of each in its manifest.

        Raises:
            ValueError: lengths differ or a key appears twice.
        """
        if len(keys) != len(digests):
            raise ValueError(f"keys and digests must be of one length, got {len(keys)} and {len(digests)}")
        if len(set(keys)) != len(keys):
            raise ValueError(f"keys must be unique, got {len(keys) - len(set(keys))} more than once")
        self._keys, self._digests, self._names, self._pending = list(keys), list(digests), [], {}
        about = json.dumps(self.meta, sort_keys=True, allow_nan=False)
        addresses = [sha256_bytes(f"{about}\n{digest}".encode()) for digest in digests]
        for number, start in enumerate(range(0, len(keys), self.shard_size)):
            own = addresses[start : start + self.shard_size]
            name = file_name(number, own)
            self._names.append(name)
            if not is_whole(self.folder / name):
                self._pending[number] = _Shard(number, start, own)
        held = self._held() if self._pending else {}
        for number, shard in list(self._pending.items()):
            for row, address in enumerate(shard.addresses):
                if address in held and self._is_sound(held[address][0]):
                    shard.copies.append((row, *held[address]))
                else:
                    shard.awaited.add(shard.start + row)
            self._write_if_full(number)
        return sorted(position for shard in self._pending.values() for position in shard.awaited)

    def add(self, positions: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        """Give the tensors [len(positions), ...] of some of the planned samples.

        Raises:
            ValueError: a position was not asked for; a name, shape or type differs from the samples before; a
                value is not finite.
            OSError: the disk is full, ...; finished shards stay.
        """
        self._check(positions, tensors)
        for row, position in enumerate(positions):
            shard = self._pending.get(position // self.shard_size)
            if shard is None or position not in shard.awaited:
                raise ValueError(f"position must be one that plan returned and not yet given, got {position}")
            self._put(shard, position - shard.start, {name: value[row] for name, value in tensors.items()})
            shard.awaited.remove(position)
            self._write_if_full(position // self.shard_size)

    def drop(self, position: int) -> None:
        """Say that a planned sample will not come: its neighbours are kept, for the next `plan` to find."""
        shard = self._pending[position // self.shard_size]
        shard.awaited.remove(position)
        shard.dropped.add(position - shard.start)
        self._write_if_full(position // self.shard_size)

    def finish(self) -> None:
        """Write the digests, then the index, then remove the files that it does not name.

        Raises:
            ValueError: a planned sample was not given.
        """
        if self._pending:
            left = sum(len(shard.awaited) for shard in self._pending.values())
            raise ValueError(f"{self.folder}: {left} of the planned samples were not given")
        size = self.shard_size
        columns = {
            "key": self._keys,
            "digest": self._digests,
            "shard": [self._names[position // size] for position in range(len(self._keys))],
            "row": [position % size for position in range(len(self._keys))],
            "held_out": held_out(self._keys, self.held_out_fraction),
        }
        note_digests(self.folder, self._names, self._digests_of_files)
        table = pa.table({name: pa.array(columns[name], kind) for name, kind in COLUMNS.items()})
        metadata = {"schema_version": str(LATENTS_VERSION), "about": self._about()}
        with atomic_path(self.folder / INDEX) as temporary, open(temporary, "wb") as file:
            pq.write_table(table.replace_schema_metadata(metadata), file, compression="zstd")
        for path in {*latent_files(self.folder)} - {self.folder / name for name in self._names}:
            path.unlink()

    def _held(self) -> dict[str, tuple[Path, int]]:
        """Address -> (file, row) of all that the folder holds in whole files."""
        held: dict[str, tuple[Path, int]] = {}
        for path in latent_files(self.folder):
            try:
                addresses = addresses_in(path)
            except InputError as error:
                logger.warning("%s; what it held is encoded again", error)
                continue
            held.update({address: (path, row) for row, address in enumerate(addresses)})
        return held

    def _is_sound(self, path: Path) -> bool:
        """Whether a file may be copied from: what is copied gets a new digest. Reads a file once."""
        if path not in self._sound:
            self._sound[path] = is_as_noted(path, self._digests_of_files)
            if not self._sound[path]:
                logger.warning("%s: is not what was written; what it held is encoded again", path)
        return self._sound[path]

    def _check(self, positions: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        import torch

        shapes = {name: (tuple(value.shape[1:]), str(value.dtype)) for name, value in tensors.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            raise ValueError(f"tensors must be {self._shapes} as the samples before, got {shapes}")
        for name, value in tensors.items():
            if len(value) != len(positions):
                raise ValueError(f"{name} must have {len(positions)} rows, got {len(value)}")
            if not torch.isfinite(value).all():
                bad = torch.isfinite(value).flatten(1).all(1).logical_not().nonzero()[0].item()
                raise ValueError(f"{self._keys[positions[int(bad)]]}: {name} must be finite")

    def _put(self, shard: _Shard, row: int, values: Mapping[str, Tensor]) -> None:
        if not shard.tensors:
            many = len(shard.addresses)
            shard.tensors = {name: value.new_empty(many, *value.shape) for name, value in values.items()}
        for name, value in values.items():
            shard.tensors[name][row] = value

    def _write_if_full(self, number: int) -> None:
        if self._pending[number].awaited:
            return
        shard = self._pending.pop(number)
        rows = [row for row in range(len(shard.addresses)) if row not in shard.dropped]
        if rows:
            self._write(shard, rows)

    def _write(self, shard: _Shard, rows: list[int]) -> None:
        """Write these rows of a shard."""
        from safetensors.torch import save

        files: dict[Path, dict[str, Tensor]] = {}
        for row, path, old_row in shard.copies:
            old = files[path] if path in files else files.setdefault(path, tensors_in(path))
            self._put(shard, row, {name: value[old_row] for name, value in old.items()})
        all_rows = len(rows) == len(shard.addresses)
        tensors = {
            name: (value if all_rows else value[rows]).contiguous() for name, value in shard.tensors.items()
        }
        addresses = [shard.addresses[row] for row in rows]
        # One key of metadata: with more, safetensors writes them in an order that changes from run to run.
        data = save(tensors, metadata={"addresses": json.dumps(addresses)})
        name = file_name(shard.number, addresses)
        write_bytes_atomic(self.folder / name, data)
        self._digests_of_files[name] = sha256_bytes(data)
        self._sound[self.folder / name] = True


class LatentCache:
    """Random access to what `LatentWriter` wrote; rows are read from the files, the page cache does the rest.

    Attributes:
        keys: of the samples, in order; digests: of their triplets.
        meta: what the writer was given, and "shapes": name -> shape of one sample's tensor.
        train_indices, held_out_indices: int64, ascending; together all samples.
    """

    def __init__(self, folder: Path, table: pa.Table) -> None:
        about = about_of(table)
        self.folder = folder
        self.keys: list[str] = table["key"].to_pylist()
        self.digests: list[str] = table["digest"].to_pylist()
        is_held_out = table["held_out"].to_numpy()
        self.held_out_indices = np.flatnonzero(is_held_out)
        self.train_indices = np.flatnonzero(~is_held_out)
        shards = table["shard"].combine_chunks().dictionary_encode()
        self._names: list[str] = shards.dictionary.to_pylist()
        self._shard = shards.indices.to_numpy()
        self._row = table["row"].to_numpy().astype(np.int64)
        self._files: dict[int, StackedRows] = {}
        shapes = self._rows_of(0).shapes if self.keys else {}
        self.meta: dict[str, Any] = {**about["meta"], "shapes": shapes}

    @classmethod
    def open(cls, folder: Path | str) -> LatentCache:
        """The cache in `folder`.

        Raises:
            InputError: the index or a shard is missing, damaged, or of another version.
        """
        folder = Path(folder)
        try:
            table = read_index(folder)
        except InputError as error:
            raise InputError(f"{error}; run encode again") from error
        for name in table["shard"].unique().to_pylist():
            if not (folder / name).is_file():
                raise InputError(f"{folder / name}: no such file, but {INDEX} names it; run encode again")
        return cls(folder, table)

    def __len__(self) -> int:
        return len(self.keys)

    def get(self, index: int) -> dict[str, Tensor]:
        """The tensors of one sample: "mean", "std" [F, C, h, w], "text", "dino", "clip" [L, D].

        Raises:
            IndexError: the index is not in 0..len-1.
        """
        return {name: value[0] for name, value in self.batch([index]).items()}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The tensors of several samples, stacked in that order: name -> [len(indices), ...].

        Raises:
            IndexError: an index is not in 0..len-1; ValueError: there is no index at all.
        """
        chosen = np.asarray(indices, np.int64)
        if not len(chosen):
            raise ValueError("indices must not be empty")
        if chosen.min() < 0 or chosen.max() >= len(self):
            raise IndexError(f"indices must be in 0..{len(self) - 1}, got {chosen.min()}..{chosen.max()}")
        numbers, rows = self._shard[chosen], self._row[chosen]
        stacked = self._rows_of(int(numbers[0])).empty(len(chosen))
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            self._rows_of(int(number)).read_into(stacked, places, rows[places])
        return stacked

    def _rows_of(self, number: int) -> StackedRows:
        if number not in self._files:
            try:
                self._files[number] = StackedRows(self.folder / self._names[number])
            except InputError as error:
                raise InputError(f"{error}; run encode again") from error
        return self._files[number]
