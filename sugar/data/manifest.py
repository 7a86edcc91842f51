"""The manifest of a dataset: one Parquet row a triplet, with every score and the verdict.

All operations work on whole columns: a dataset has millions of rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sugar.config import InputError
from sugar.data.atomic import atomic_path
from sugar.triplet import SCHEMA_VERSION, Triplet

MANIFEST = "manifest.parquet"
SCORE_PREFIX = "score_"

COLUMNS: Mapping[str, pa.DataType] = {
    "key": pa.string(),
    "shard": pa.string(),
    "source": pa.string(),
    "noun": pa.string(),
    "category": pa.string(),
    "prompt": pa.string(),
    "style": pa.string(),
    "background": pa.string(),
    "motion": pa.string(),
    "fps": pa.float64(),
    "num_frames": pa.int32(),
    "height_px": pa.int32(),
    "width_px": pa.int32(),
    "accepted": pa.bool_(),
    "reasons": pa.list_(pa.field("element", pa.string())),
    "seed": pa.int64(),
    "source_digest": pa.string(),
    "digest": pa.string(),
    "provenance": pa.string(),
}
"""The columns every manifest has, in this order; one nullable float64 `score_NAME` a score follows.

`digest` is the SHA-256 of what encoders see (identity image, video, prompt): equal digest, equal latents.
`provenance` is a JSON object.
"""
EXTRA_TAGS: Mapping[str, pa.DataType] = {"texture": pa.string(), "colour": pa.string()}
"""Columns that follow those in a manifest of which a row has such a tag (prompts of the wide grammar); "" in
the others."""
_LARGE_BYTES = 1 << 20
ORIGIN: Mapping[str, pa.DataType] = {"git_revision": pa.string(), "image_digest": pa.string()}
"""Columns that follow those: what made the shard (`sugar.data.origin`), null where unknown. They say nothing
about the sample, so `dataset_digest` leaves them out."""


def manifest_row(triplet: Triplet, shard: str, digest: str) -> dict[str, Any]:
    """The manifest's row of a triplet that lies in the shard of that file name."""
    num_frames, height_px, width_px = triplet.video.shape[:3]
    tags = ("key", "source", "noun", "category", "prompt", "style", "background", "motion")
    row: dict[str, Any] = {name: getattr(triplet, name) for name in tags}
    row |= {"shard": shard, "fps": float(triplet.fps), "seed": triplet.seed}
    row |= {"num_frames": num_frames, "height_px": height_px, "width_px": width_px}
    row |= {"accepted": triplet.accepted, "reasons": list(triplet.reasons)}
    row |= {"source_digest": triplet.source_digest, "digest": digest}
    row |= {name: tag for name in EXTRA_TAGS if (tag := getattr(triplet, name))}
    row["provenance"] = json.dumps(dict(triplet.provenance), sort_keys=True)
    return row | {f"{SCORE_PREFIX}{name}": float(value) for name, value in triplet.scores.items()}


def rows_table(rows: Iterable[Mapping[str, Any]], origin: Mapping[str, str | None] | None = None) -> pa.Table:
    """A manifest table of rows; a score that a row lacks is null, a tag of EXTRA_TAGS is "".

    Args:
        origin: of all of them, see ORIGIN; None: unknown.

    Raises:
        ValueError: a row lacks a column or has an unknown one.
    """
    rows = list(rows)
    names = sorted(set().union(*rows) - COLUMNS.keys())
    scores = [name for name in names if name.startswith(SCORE_PREFIX)]
    if unknown := set(names) - set(scores) - EXTRA_TAGS.keys():
        key = next(row.get("key") for row in rows if not unknown.isdisjoint(row))
        raise ValueError(f"row {key!r} has unknown columns {sorted(unknown)}")
    for row in rows:
        if not row.keys() >= COLUMNS.keys():
            missing = sorted(COLUMNS.keys() - row.keys())
            raise ValueError(f"row {row.get('key')!r} lacks columns {missing}")
    arrays = {name: pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()}
    for name in EXTRA_TAGS.keys() & names:
        arrays[name] = pa.array([row.get(name, "") for row in rows], EXTRA_TAGS[name])
    for name, kind in ORIGIN.items():
        arrays[name] = pa.repeat(pa.scalar((origin or {}).get(name), kind), len(rows))
    for name in scores:
        arrays[name] = pa.array([row.get(name) for row in rows], pa.float64())
    return pa.table(arrays)


def merge_manifests(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of several, in the order given; associative.

    Raises:
        ValueError: a key appears twice.
    """
    merged = pa.concat_tables(tables, promote_options="default") if tables else rows_table([])
    for name in ORIGIN.keys() - set(merged.column_names):
        merged = merged.append_column(name, pa.nulls(merged.num_rows, ORIGIN[name]))
    scores = sorted(name for name in merged.column_names if name.startswith(SCORE_PREFIX))
    tags = extra_tags(merged)
    for name in tags:
        filled = pc.fill_null(merged[name], "")
        merged = merged.set_column(merged.column_names.index(name), name, filled)
    merged = merged.select([*COLUMNS, *tags, *ORIGIN, *scores]).combine_chunks()
    counts = merged.group_by("key").aggregate([("key", "count")])
    twice = counts.filter(pc.field("key_count") > 1)["key"].to_pylist()
    if twice:
        raise ValueError(f"keys must be unique, got {sorted(twice)[:3]} more than once")
    return merged


def write_manifest(folder: Path | str, rows: Iterable[Mapping[str, Any]] | pa.Table) -> pa.Table:
    """Write the manifest of `folder` atomically; equal rows give equal bytes. Returns the table.

    Raises:
        ValueError: as `rows_table`; a key appears twice.
        OSError: the disk is full, ...; the old manifest is untouched.
    """
    table = merge_manifests([rows if isinstance(rows, pa.Table) else rows_table(rows)])
    table = table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})
    with atomic_path(Path(folder) / MANIFEST) as temporary, open(temporary, "wb") as file:
        pq.write_table(table, file, compression="zstd")
    return table


def read_manifest(folder: Path | str, only: Collection[str] | None = None) -> pa.Table:
    """The manifest of a dataset folder; with `only`, these columns of it, the others are not read.

    Raises:
        InputError: it is not there, is damaged, or is of another schema version; names file, rule and value.
    """
    return read_table(Path(folder) / MANIFEST, SCHEMA_VERSION, COLUMNS, only)


def manifest_columns(folder: Path | str) -> list[str]:
    """Names of the columns of a dataset's manifest; raises as `read_manifest`."""
    return list(_open_table(Path(folder) / MANIFEST, SCHEMA_VERSION, COLUMNS).schema_arrow.names)


def read_table(
    path: Path, schema_version: int, columns: Mapping[str, pa.DataType], only: Collection[str] | None = None
) -> pa.Table:
    """A Parquet file whose metadata says `schema_version` and which has at least these columns.

    Args:
        only: read these of its columns alone, in the file's order; None: all.

    Raises:
        InputError: it is not there, is damaged, is of another version, or a column is not as it must be.
    """
    file = _open_table(path, schema_version, columns)
    schema = file.schema_arrow
    names = [name for name in schema.names if only is None or name in only]
    arrays = [_column(file, path, name) for name in names]
    try:
        fields = [schema.field(name) for name in names]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields, schema.metadata))
    except (pa.ArrowException, KeyError) as error:  # the file's header and its columns disagree
        raise _unreadable(path, error) from error


def _open_table(path: Path, schema_version: int, columns: Mapping[str, pa.DataType]) -> pq.ParquetFile:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        # Not `pq.read_table`: it imports the machinery for many files, and takes twice the memory.
        file = pq.ParquetFile(path, pre_buffer=False)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    version = (schema.metadata or {}).get(b"schema_version", b"none").decode(errors="replace")
    if version != str(schema_version):
        raise InputError(f"{path}: schema_version must be {schema_version}, got {version}")
    for name, kind in columns.items():
        if name not in schema.names:
            raise InputError(f"{path}: must have a column {name!r}, got {schema.names}")
        if (other := schema.field(name).type) != kind:
            raise InputError(f"{path}: column {name!r} must be of type {kind}, got {other}")
    return file


def _column(file: pq.ParquetFile, path: Path, name: str) -> pa.ChunkedArray:
    """One column, checked; what Arrow took to decode a large one goes back to the system."""
    try:
        table = file.read([name], use_threads=False)
        # Damage inside a page goes unnoticed until somebody reads the value: text that is no UTF-8, say.
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if table.nbytes >= _LARGE_BYTES:
        release_memory()
    return table[name]


def release_memory() -> None:
    """Give back what Arrow holds for later: after each large column, so that it does not add up."""
    pa.default_memory_pool().release_unused()


def _unreadable(path: Path, error: Exception) -> InputError:
    why = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path}: cannot be read as Parquet ({why})")


def accepted_rows(table: pa.Table) -> pa.Table:
    """The rows that passed the thresholds."""
    return table.filter(table["accepted"])


def balanced_rows(table: pa.Table, column: str, max_share: float, seed: int = 0) -> pa.Table:
    """As many rows as possible of which no value of `column` has more than `max_share`, in their order.

    Of a value with too many rows those with the lowest hash of (seed, key) are kept: which rows stay depends
    on the rows of that value alone, not on the order of the table.

    Raises:
        ValueError: max_share is not in (0, 1], or there are too few values to reach it.
    """
    from pandas.core.util.hashing import hash_array

    if not 0 < max_share <= 1:
        raise ValueError(f"max_share must be in (0, 1], got {max_share}")
    if not table.num_rows:
        return table
    codes = table[column].combine_chunks().dictionary_encode().indices.to_numpy()
    counts = np.bincount(codes)
    if len(counts) * max_share < 1:
        raise ValueError(f"{column}: {len(counts)} values cannot have at most {max_share:g} each")
    limit = _largest_limit(counts, max_share)
    too_many = counts > limit
    if not too_many.any():
        return table
    keep = ~too_many[codes]
    rows = np.flatnonzero(~keep)
    keys = table["key"].take(pa.array(rows)).to_pandas()
    hashes = hash_array(keys.to_numpy(dtype=object), hash_key=f"{seed:016x}")
    order = np.lexsort((hashes, codes[rows]))
    starts = np.concatenate([[0], np.cumsum(counts[too_many])[:-1]])
    rank = np.arange(len(rows)) - np.repeat(starts, counts[too_many])
    keep[rows[order[rank < limit]]] = True
    return table.filter(pa.array(keep))


def _largest_limit(counts: np.ndarray, max_share: float) -> int:
    """The largest number of rows a value that leaves none of them above max_share of what is kept."""
    low, high = 1, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        kept = np.minimum(counts, middle)
        low, high = (middle, high) if kept.max() <= max_share * kept.sum() + 1e-9 else (low, middle - 1)
    return low


def extra_tags(table: pa.Table) -> list[str]:
    """Which of EXTRA_TAGS a manifest has."""
    return [name for name in EXTRA_TAGS if name in table.column_names]


def score_names(table: pa.Table) -> list[str]:
    """Names of the scores in a manifest, without the prefix."""
    return [name.removeprefix(SCORE_PREFIX) for name in table.column_names if name.startswith(SCORE_PREFIX)]


def dataset_digest(folder: Path | str) -> str:
    """SHA-256 over everything the manifest says, contents of the samples included (through `digest`).

    It does not depend on how the dataset came to be (interrupted, in parallel, by which version of Parquet,
    by which revision of the code or container image).
    """
    path = Path(folder) / MANIFEST
    file = _open_table(path, SCHEMA_VERSION, COLUMNS)
    names = [name for name in file.schema_arrow.names if name not in ORIGIN]
    digest = hashlib.sha256(f"{SCHEMA_VERSION} {names} {file.metadata.num_rows}".encode())
    for name in names:
        column = _column(file, path, name)
        if pa.types.is_list(column.type):
            column = pc.call_function("binary_join", [column, ","])
        text = pc.fill_null(column.cast(pa.large_string()), "null").combine_chunks()
        if len(text):
            ends = np.frombuffer(text.buffers()[1], np.int64, len(text) + 1, text.offset * 8)
            digest.update(np.diff(ends).tobytes())
            digest.update(memoryview(text.buffers()[2])[ends[0] : ends[-1]])
    return digest.hexdigest()
