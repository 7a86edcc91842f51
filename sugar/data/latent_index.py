"""The index of a latent cache: which sample lies in which file and row, what made it, what is held out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sugar.config import InputError
from sugar.data.atomic import remove_file, sha256_bytes
from sugar.data.manifest import read_table

LATENTS_VERSION = 1
INDEX = "index.parquet"

COLUMNS = {
    "key": pa.string(),
    "digest": pa.string(),
    "shard": pa.string(),
    "row": pa.int32(),
    "held_out": pa.bool_(),
}


def remove_damaged_index(folder: Path) -> list[str]:
    """Remove the index where it cannot be read or its samples are not held out as it says itself; returns its
    name if so. The rest of it is compared with the dataset (`LatentWriter.whole`)."""
    if not (folder / INDEX).is_file():
        return []
    try:
        table = read_index(folder)
        fraction = about_of(table)["held_out_fraction"]
        if table["held_out"].to_pylist() == held_out(table["key"].to_pylist(), fraction):
            return []
    except InputError:
        pass
    remove_file(folder / INDEX)
    return [INDEX]


def read_index(folder: Path) -> pa.Table:
    """The index of a cache.

    Raises:
        InputError: it is missing, damaged, or of another version.
    """
    table = read_table(folder / INDEX, LATENTS_VERSION, COLUMNS)
    for name in COLUMNS:
        if nulls := table[name].null_count:
            raise InputError(f"{folder / INDEX}: column {name!r} must have no nulls, got {nulls} (damaged?)")
    try:
        about_of(table)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{folder / INDEX}: its metadata cannot be read ({error})") from error
    return table


def about_of(table: pa.Table) -> dict[str, Any]:
    """What the index says of the cache: meta, held_out_fraction."""
    about = json.loads(table.schema.metadata[b"about"])
    return {"meta": {**about["meta"]}, "held_out_fraction": float(about["held_out_fraction"])}


def held_out(keys: Sequence[str], fraction: float) -> list[bool]:
    """Which samples training leaves out: those whose key's hash lies below `fraction`.

    Each key is judged alone, so no sample changes sides when others come or go. Where none of several lies
    below a fraction above 0, the one with the lowest hash is held out.
    """
    hashes = [int(sha256_bytes(key.encode())[:12], 16) / 16**12 for key in keys]
    lowest = min(hashes, default=0.0)
    if fraction and len(keys) > 1 and lowest >= fraction:
        return [value == lowest for value in hashes]
    return [value < fraction for value in hashes]
