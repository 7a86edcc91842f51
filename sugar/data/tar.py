"""WebDataset tars: written whole with repeatable bytes, read with suspicion.

A sample is a run of members `KEY.SUFFIX`. The reader first looks at all headers, so that a bad name, a link,
a duplicate or a wrong size costs one sample, and the bytes of samples that are not asked for are never read.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from sugar.config import InputError
from sugar.data.atomic import atomic_path
from sugar.data.image_io import BadMedia
from sugar.triplet import check_key

OnBad = Callable[[str, str], None]
"""Told (key or member name, reason) of each sample that is skipped."""

MAX_MEMBER_BYTES = 1 << 28

_MEMBER = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,127})\.(.+)")


def write_tar(path: Path | str, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write samples (key, suffix -> bytes) one after the other; equal samples give equal bytes.

    Returns the number of samples.

    Raises:
        ValueError: a key is not allowed or appears twice.
        OSError: the disk is full, ...; nothing is left under `path` that was not there before.
    """
    path, keys = Path(path), set()
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for key, members in samples:
            if check_key(key) in keys:
                raise ValueError(f"{path}: key {key!r} appears twice")
            keys.add(key)
            for suffix, data in members.items():
                header = tarfile.TarInfo(f"{key}.{suffix}")
                header.size, header.mode = len(data), 0o644
                tar.addfile(header, io.BytesIO(data))
    return len(keys)


def read_tar(
    path: Path | str,
    suffixes: Collection[str],
    keys: Collection[str] | None = None,
    on_bad: OnBad | None = None,
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, suffix -> bytes) in the order of the tar.

    Args:
        path: the tar.
        suffixes: the members every sample must have, and the only ones it may have.
        keys: only these samples; one that is not there is bad ("missing").
        on_bad: told of every bad sample, which is skipped; without it the first one raises.

    Raises:
        InputError: the tar does not exist or is no tar at all.
        BadMedia: a sample is bad and there is no `on_bad`: "unsafe_name", "unexpected_member", "not_a_file",
            "duplicate", "too_large", "incomplete", "missing", or "truncated" for the tar itself.
    """
    path = Path(path)
    tell = on_bad or _raise_from(path)
    try:
        tar = tarfile.open(path, "r:")  # noqa: SIM115
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path}: cannot be read as a tar ({error})") from error
    with tar:
        samples, bad = _index(path.name, tar, frozenset(suffixes), tell)
        for key in sorted(set(keys) - samples.keys() - bad) if keys is not None else ():
            tell(key, "missing")
        wanted = samples.keys() if keys is None else samples.keys() & set(keys)
        for key, members in samples.items():
            if key in wanted:
                data = {suffix: _content(tar, member) for suffix, member in members.items()}
                if any(len(data[suffix]) != member.size for suffix, member in members.items()):
                    tell(key, "truncated")
                else:
                    yield key, data


def _index(
    name: str, tar: tarfile.TarFile, suffixes: frozenset[str], tell: OnBad
) -> tuple[dict[str, dict[str, tarfile.TarInfo]], set[str]]:
    """All headers as key -> suffix -> member, and the keys of the bad samples (already told)."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    bad: dict[str, str] = {}
    headers, damaged = _headers(tar)
    for member in headers:
        match = _MEMBER.fullmatch(member.name)
        if match is None:
            bad.setdefault(member.name, "unsafe_name")
            continue
        key, suffix = match.groups()
        members = samples.setdefault(key, {})
        if suffix not in suffixes:
            bad.setdefault(key, "unexpected_member")
        elif not member.isreg() or member.issparse():
            bad.setdefault(key, "not_a_file")
        elif suffix in members:
            bad.setdefault(key, "duplicate")
        elif member.size > MAX_MEMBER_BYTES:
            bad.setdefault(key, "too_large")
        members[suffix] = member
    for key, members in samples.items():
        if suffixes - members.keys():
            bad.setdefault(key, "truncated" if damaged and key == next(reversed(samples)) else "incomplete")
    if damaged:
        bad.setdefault(name, "truncated")
    for key, reason in bad.items():
        tell(key, reason)
    return {key: members for key, members in samples.items() if key not in bad}, set(bad)


def _headers(tar: tarfile.TarFile) -> tuple[list[tarfile.TarInfo], bool]:
    """All headers, and True when the tar does not end with its end mark: what lies behind is lost."""
    assert tar.fileobj is not None
    headers, offset = [], -1
    try:
        while (member := tar.next()) is not None:
            if tar.offset <= offset:
                return headers, True
            headers.append(member)
            offset = tar.offset
        tar.fileobj.seek(tar.offset)
        return headers, tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE
    except (tarfile.TarError, OSError, ValueError, OverflowError):
        return headers, True


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    try:
        with file:
            return file.read()
    except (tarfile.ReadError, OSError):
        return b""


def _raise_from(path: Path) -> OnBad:
    def tell(key: str, reason: str) -> None:
        raise BadMedia(reason, f"{path}: sample {key!r} is bad: {reason}")

    return tell
