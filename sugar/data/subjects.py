"""The subjects: one picture each, with its noun; WebDataset tars, each with its completion record, and one
Parquet manifest."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sugar.box import Box
from sugar.data.atomic import atomic_path, remove_file, sha256_bytes
from sugar.data.image_io import BadMedia, encode_png, load_image
from sugar.data.manifest import MANIFEST, read_table
from sugar.data.shards import record_path, shard_name, write_record
from sugar.data.tar import OnBad, read_tar, write_tar
from sugar.triplet import SCHEMA_VERSION, check_key, check_picture

COLUMNS = {
    "key": pa.string(),
    "shard": pa.string(),
    "noun": pa.string(),
    "category": pa.string(),
    "height_px": pa.int32(),
    "width_px": pa.int32(),
    "has_alpha": pa.bool_(),
    "seed": pa.int64(),
    "source_digest": pa.string(),
    "digest": pa.string(),
}
"""Columns of the manifest; `digest` is the SHA-256 of the picture and what is said of it, as stored."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture of a subject and what it is.

    Attributes:
        key: unique; letters, digits, `_`, `-`.
        image: uint8 [H, W, 3], or [H, W, 4] where the subject is already cut out.
        noun: class word; category: "animal", "active object", "static object".
        source_digest: SHA-256 of the file it came from; seed: what it was drawn with.
        box: what a person drew around the subject; None: nothing.
    """

    key: str
    image: np.ndarray
    noun: str
    category: str
    source_digest: str = ""
    seed: int = 0
    box: Box | None = None

    def __post_init__(self) -> None:
        check_key(self.key)
        check_picture(f"{self.key}: image", self.image, (3, 4))


def write_subjects(folder: Path | str, subjects: Iterable[Subject], shard_size: int = 1024) -> pa.Table:
    """Write subjects in the order given, `shard_size` a tar, then the manifest; returns the manifest.

    Shards of an earlier, longer run are removed after the manifest no longer names them.

    Raises:
        ValueError: a key is not allowed or appears twice.
        OSError: the disk is full, ...; the message names the file.
    """
    folder, rows, keys = Path(folder), [], set()
    remaining = iter(subjects)
    for index in itertools.count():
        chunk = list(itertools.islice(remaining, shard_size))
        if not chunk and index:
            break
        if twice := keys.intersection(subject.key for subject in chunk):
            raise ValueError(f"{folder}: keys must be unique, got {sorted(twice)[:3]} more than once")
        keys.update(subject.key for subject in chunk)
        encoded = [(subject, _encode(subject)) for subject in chunk]
        path = folder / shard_name(index)
        remove_file(record_path(path))
        write_tar(path, ((subject.key, members) for subject, members in encoded))
        write_record(path, [])
        rows += [_row(subject, path.name, members) for subject, members in encoded]
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()})
    table = table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})
    with atomic_path(folder / MANIFEST) as temporary, open(temporary, "wb") as file:
        pq.write_table(table, file, compression="zstd")
    for path in set(folder.glob("shard-*.tar")) - {folder / name for name in table["shard"].to_pylist()}:
        remove_file(record_path(path))
        path.unlink()
    return table


def subjects_manifest(folder: Path | str, only: Collection[str] | None = None) -> pa.Table:
    """The manifest of the subjects in `folder`; with `only`, these columns of it.

    Raises:
        InputError: it is not there, is damaged, or is of another schema version.
    """
    return read_table(Path(folder) / MANIFEST, SCHEMA_VERSION, COLUMNS, only)


def read_subjects(
    folder: Path | str, keys: Collection[str] | None = None, on_bad: OnBad | None = None
) -> Iterator[Subject]:
    """Yield the subjects of `folder` in the order of its manifest.

    Args:
        folder: what `write_subjects` wrote.
        keys: only these; shards without any of them are not opened.
        on_bad: told (key, reason) of every bad sample, which is skipped; without it the first one raises.
            One whose bytes do not have the `digest` of its row is bad ("changed").

    Raises:
        InputError: the manifest or a shard is missing or damaged.
        BadMedia: a subject is bad and there is no `on_bad`.
    """
    table = subjects_manifest(folder, ("key", "shard", "digest"))
    if keys is not None:
        table = table.filter(pc.field("key").isin(pa.array(keys, pa.string())))
    shards: dict[str, dict[str, str]] = {}
    for row in table.to_pylist():
        shards.setdefault(row["shard"], {})[row["key"]] = row["digest"]
    for shard, wanted in shards.items():
        for key, members in read_tar(Path(folder) / shard, ("png", "json"), wanted, on_bad):
            try:
                subject = _decode(f"{shard}: {key}", key, members)
                if _digest(members) != wanted[key]:
                    raise BadMedia("changed", f"{shard}: {key}: not the bytes that the manifest is about")
            except BadMedia as error:
                if on_bad is None:
                    raise
                on_bad(key, error.reason)
            else:
                yield subject


def _encode(subject: Subject) -> dict[str, bytes]:
    about = {name: getattr(subject, name) for name in ("noun", "category", "source_digest", "seed")}
    if subject.box is not None:
        about["box"] = list(subject.box)
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return {"png": encode_png(subject.image), "json": text.encode()}


def _row(subject: Subject, shard: str, members: dict[str, bytes]) -> dict[str, Any]:
    height_px, width_px, channels = subject.image.shape
    about = {name: getattr(subject, name) for name in ("key", "noun", "category", "source_digest", "seed")}
    size = {"height_px": height_px, "width_px": width_px, "has_alpha": channels == 4}
    return about | size | {"shard": shard, "digest": _digest(members)}


def _digest(members: Mapping[str, bytes]) -> str:
    return sha256_bytes("".join(sha256_bytes(members[name]) for name in ("png", "json")).encode())


def _decode(name: str, key: str, members: dict[str, bytes]) -> Subject:
    try:
        about = json.loads(members["json"])
        box = Box(*about.pop("box")) if "box" in about else None
        return Subject(key=key, image=load_image(members["png"], keep_alpha=True), box=box, **about)
    except BadMedia as error:
        raise BadMedia(error.reason, f"{name}: {error}") from error
    except (ValueError, TypeError) as error:
        raise BadMedia("bad_json", f"{name}: its json does not describe a subject ({error})") from error
