"""Triplet shards: WebDataset tars, each with a completion record beside it.

shard-000000.tar    KEY.subject.png, KEY.identity.png (alpha), KEY.mp4, KEY.json, sample after sample
shard-000000.json   written after the tar: its size and SHA-256, its rows of the manifest, what made it, the
                    digest of what it was made from, and first the SHA-256 of all this; a shard without it, or
                    with a damaged one, does not count as there
"""

from __future__ import annotations

import functools
import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sugar.config import InputError
from sugar.data.atomic import json_bytes, remove_file, sha256_bytes, sha256_file, write_json_atomic
from sugar.data.image_io import BadMedia, encode_png, load_image
from sugar.data.manifest import EXTRA_TAGS, manifest_row
from sugar.data.origin import origin
from sugar.data.tar import OnBad, read_tar, write_tar
from sugar.data.video_io import decode_video, encode_mp4
from sugar.triplet import SCHEMA_VERSION, Triplet

_CHECKSUM = re.compile(rb'\{\n  "checksum": "([0-9a-f]{64})",\n')
"""How a completion record begins."""
SUFFIXES = ("subject.png", "identity.png", "mp4", "json")

_TEXTS = ("prompt", "noun", "category", "source", "style", "background", "motion", "source_digest")


def shard_name(index: int) -> str:
    """File name of the shard with that number."""
    return f"shard-{index:06d}.tar"


def record_path(path: Path | str) -> Path:
    """The completion record of a shard."""
    return Path(path).with_suffix(".json")


def write_shard(
    path: Path | str,
    triplets: Iterable[Triplet],
    *,
    inputs_digest: str = "",
    notes: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Write a shard and then its completion record; returns its rows of the manifest.

    The triplets are encoded one at a time, so that a generator keeps memory flat. Equal triplets give equal
    bytes, so two processes that write the same shard do no harm: whoever reads it meanwhile finds it whole.
    The verdict (`accepted`, `reasons`) goes into the rows alone.

    Args:
        path: `.../shard-000000.tar`.
        triplets: samples with different keys.
        inputs_digest: digest of all that the shard is made from, asked for by `is_complete`.
        notes: JSON values to keep in the record (counts of skips, ...); read after the last triplet was
            drawn, so that a generator may fill them.

    Raises:
        ValueError: a triplet cannot be written (key twice, odd frame size).
        OSError: the disk is full, ...; the message names the shard, nothing of it is left.
    """
    path, rows = Path(path), []
    # A record must not outlive its tar; one of the same inputs is as true of the tar that comes.
    if not is_complete(path, inputs_digest):
        remove_file(record_path(path))

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        for triplet in triplets:
            members = _encode(triplet)
            rows.append(manifest_row(triplet, path.name, content_digest(members, triplet.prompt)))
            yield triplet.key, members

    write_tar(path, samples())
    write_record(path, rows, inputs_digest=inputs_digest, notes=notes)
    return rows


def write_record(
    path: Path | str,
    rows: Sequence[Mapping[str, Any]],
    *,
    inputs_digest: str = "",
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write the completion record of a tar that is there; arguments as `write_shard`."""
    path = Path(path)
    record = {
        "schema_version": SCHEMA_VERSION,
        "inputs_digest": inputs_digest,
        "num_bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        "origin": origin(),
        "rows": rows,
        "notes": dict(notes or {}),
    }
    # The bytes without the first line, as `read_record` finds them: cheaper than to write it out again there.
    write_json_atomic(record_path(path), record | {"checksum": sha256_bytes(json_bytes(record))})


def read_record(path: Path | str) -> dict[str, Any]:
    """The completion record of a shard: inputs_digest, num_bytes, sha256, origin, rows, notes.

    Raises:
        InputError: the record is missing, damaged, or of another schema version.
    """
    record_file = record_path(path)
    try:
        data = record_file.read_bytes()
        record = json.loads(data)
    except (OSError, ValueError) as error:
        raise InputError(f"{record_file}: not a completion record ({error})") from error
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{record_file}: schema_version must be {SCHEMA_VERSION}, got {version}")
    begin = _CHECKSUM.match(data)
    if begin is None or sha256_bytes(b"{\n" + data[begin.end() :]) != begin[1].decode():
        raise InputError(f"{record_file}: is not what was written (another checksum, or none)")
    return record


def is_complete(path: Path | str, inputs_digest: str) -> bool:
    """Is the shard there, whole, and made from these inputs? If so, `read_record` has its rows.

    The tar's size is compared, its bytes are not: see `remove_damaged_shards`. A damaged record or one of
    another schema version means no: the shard is to be made again.
    """
    path = Path(path)
    if not (path.is_file() and record_path(path).is_file()):
        return False
    try:
        record = read_record(path)
    except InputError:
        return False
    return record["inputs_digest"] == inputs_digest and record["num_bytes"] == path.stat().st_size


def remove_damaged_shards(folder: Path | str) -> list[str]:
    """Read every shard and remove the record of those whose bytes are not what was written: they do not count
    as there any more. Returns their names."""
    damaged = []
    for record_file in sorted(Path(folder).glob("shard-*.json")):
        path = record_file.with_suffix(".tar")
        try:
            whole = path.is_file() and read_record(path)["sha256"] == sha256_file(path)
        except InputError:
            whole = False
        if not whole:
            remove_file(record_file)
            damaged.append(path.name)
    return damaged


def read_shard(
    path: Path | str, keys: Collection[str] | None = None, on_bad: OnBad | None = None
) -> Iterator[Triplet]:
    """Yield the triplets of a shard in its order; `accepted` is True throughout (see `read_triplets`).

    Args:
        path: the tar.
        keys: only these; the others are not even read.
        on_bad: told (key, reason) of every sample that is skipped; without it the first one raises.

    Raises:
        InputError: the tar does not exist or is no tar.
        BadMedia: a sample is bad and there is no `on_bad`.
    """
    yield from _decoded(_samples(Path(path), keys, on_bad), on_bad, num_workers=0, ahead=0)


def read_triplets(
    folder: Path | str,
    table: pa.Table,
    on_bad: OnBad | None = None,
    *,
    num_workers: int = 0,
    ahead: int = 16,
) -> Iterator[Triplet]:
    """Yield the triplets that the rows of a manifest name, shard by shard, with the rows' verdict.

    A sample whose bytes do not have the `digest` of its row is bad ("changed"), where the table has that column.

    Args:
        folder: where the shards lie.
        table: a manifest, or some rows of one: `accepted_rows(read_manifest(folder))`.
        on_bad: as for `read_shard`; also told of each sample of a shard that is no tar any more ("no_tar").
        num_workers: threads that decode ahead while the caller works with what it has (decoders run outside
            of Python's lock); 0: none. Order and content are the same.
        ahead: triplets that may be decoded before they are asked for; bounds the memory.

    Raises:
        InputError, BadMedia: as `read_shard`.
    """
    verdicts: dict[str, tuple[bool, tuple[str, ...]]] = {}
    digests: dict[str, str] = {}
    columns = table.select([name for name in ("key", "accepted", "reasons", "digest") if name in table.column_names])

    def samples() -> Iterator[_Sample]:
        # As Python objects the rows of one shard at a time: a dataset has millions.
        for shard, numbers in _rows_of_shards(table):
            rows = columns.take(numbers).to_pylist()
            verdicts.update({row["key"]: (row["accepted"], tuple(row["reasons"])) for row in rows})
            digests.update({row["key"]: row["digest"] for row in rows if "digest" in row})
            path, keys = Path(folder) / shard, {row["key"] for row in rows}
            try:
                yield from _samples(path, keys, on_bad)
            except InputError:
                if on_bad is None or not path.is_file():
                    raise
                for key in sorted(keys):
                    on_bad(key, "no_tar")

    for triplet in _decoded(samples(), on_bad, num_workers, ahead, digests):
        accepted, reasons = verdicts.pop(triplet.key)
        yield replace(triplet, accepted=accepted, reasons=reasons)


def _rows_of_shards(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """Shard -> numbers of its rows, in the order in which the table first names the shards."""
    shards = table["shard"].combine_chunks().dictionary_encode()
    codes = shards.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(shards.dictionary)))
    for name, start, end in zip(shards.dictionary.to_pylist(), [0, *ends[:-1]], ends, strict=True):
        yield name, pa.array(order[start:end])


_Sample = tuple[Path, str, dict[str, bytes]]
"""Tar, key and members."""


def _samples(path: Path, keys: Collection[str] | None, on_bad: OnBad | None) -> Iterator[_Sample]:
    for key, members in read_tar(path, SUFFIXES, keys, on_bad):
        yield path, key, members


def _decoded(
    samples: Iterable[_Sample],
    on_bad: OnBad | None,
    num_workers: int,
    ahead: int,
    digests: MutableMapping[str, str] | None = None,
) -> Iterator[Triplet]:
    """The triplets in order; a bad one is told to `on_bad`, or raised. digests: of those that must have one."""
    with ThreadPoolExecutor(max(num_workers, 1), "decode") as pool:
        waiting: deque[tuple[str, Callable[[], Triplet]]] = deque()

        def next_one() -> Iterator[Triplet]:
            key, result = waiting.popleft()
            try:
                yield result()
            except BadMedia as error:
                if on_bad is None:
                    raise
                on_bad(key, error.reason)

        try:
            for path, key, members in samples:
                digest = digests.pop(key, None) if digests else None
                work = functools.partial(_decode, f"{path}: {key}", key, members, digest)
                waiting.append((key, pool.submit(work).result if num_workers else work))
                if len(waiting) > ahead:
                    yield from next_one()
            while waiting:
                yield from next_one()
        finally:
            pool.shutdown(cancel_futures=True)


def content_digest(members: Mapping[str, bytes], prompt: str) -> str:
    """SHA-256 of what the encoders see of a sample: identity image, video and prompt, as stored."""
    parts = (members["identity.png"], members["mp4"], prompt.encode())
    return sha256_bytes("".join(sha256_bytes(part) for part in parts).encode())


def _encode(triplet: Triplet) -> dict[str, bytes]:
    about: dict[str, Any] = {name: getattr(triplet, name) for name in _TEXTS}
    about |= {name: tag for name in EXTRA_TAGS if (tag := getattr(triplet, name))}
    about |= {"schema_version": SCHEMA_VERSION, "fps": float(triplet.fps), "seed": triplet.seed}
    about |= {"scores": {name: float(value) for name, value in triplet.scores.items()}}
    about |= {"provenance": dict(triplet.provenance)}
    return {
        "subject.png": encode_png(triplet.subject),
        "identity.png": encode_png(triplet.identity),
        "mp4": encode_mp4(triplet.video, triplet.fps),
        "json": json.dumps(about, sort_keys=True, ensure_ascii=False).encode(),
    }


def _decode(name: str, key: str, members: Mapping[str, bytes], digest: str | None) -> Triplet:
    try:
        about = json.loads(members["json"])
        if about.pop("schema_version") != SCHEMA_VERSION:
            raise BadMedia("schema_version", f"{name}: schema_version must be {SCHEMA_VERSION}")
        triplet = Triplet(
            key=key,
            subject=_png(name, members["subject.png"], channels=3),
            identity=_png(name, members["identity.png"], channels=4),
            video=decode_video(members["mp4"])[0],
            **about,
        )
        if digest is not None and content_digest(members, triplet.prompt) != digest:
            raise BadMedia("changed", "not the bytes that the manifest is about")
        return triplet
    except BadMedia as error:
        raise BadMedia(error.reason, f"{name}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadMedia("bad_json", f"{name}: its json does not describe a triplet ({error})") from error


def _png(name: str, data: bytes, channels: int) -> np.ndarray:
    picture = load_image(data, keep_alpha=True)
    if picture.shape[2] != channels:
        raise BadMedia("channels", f"{name}: picture must have {channels} channels, got {picture.shape[2]}")
    return picture
