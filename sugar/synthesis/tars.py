"""Photos of WebDataset tars, read as a stream, here or behind any address of fsspec."""

from __future__ import annotations

import functools
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from tarfile import ReadError
from typing import IO, Any, NoReturn, Self

from sugar.config import InputError
from sugar.data.image_io import BadMedia
from sugar.data.tables import label_of
from sugar.sprites import CATEGORIES
from sugar.synthesis.nouns import category_of
from sugar.synthesis.places import IMAGE_SUFFIXES, MAX_PHOTO_BYTES, Photo, open_place

LABELS = ("json", "noun", "cls")
"""Suffixes of the members that may hold a sample's label."""
_DAMAGE = (tarfile.TarError, OSError, EOFError)
_BAD_HEADER = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # pyright: ignore[reportAttributeAccessIssue]


class _Header(tarfile.TarInfo):
    """A header whose damage is an error: tarfile takes all damaged ones but the first for the tar's end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _BAD_HEADER as error:
            raise ReadError(str(error)) from error


def tar_photos(tars: Path | str) -> Iterator[Photo]:
    """Pictures of WebDataset tars; a damaged tar costs what comes after the damage, and is counted.

    A sample is a run of members with one key: the path up to the first dot of the file's name, folder
    included. Of its pictures the first counts. Its label is `noun` and `category` of KEY.json, else KEY.noun
    or KEY.cls, the first that holds a word; where none does (a class's number is no word), the top folder of
    the key, as in a folder of photos; else it is left to be named.

    What cannot be used (a member without a key, a second one of its name, a sample without a picture, a
    damaged tar) comes as a photo whose `read` raises BadMedia and says why, so that it is counted.

    Args:
        tars: a tar, a folder of tars, or a pattern ("photos-{000..099}.tar", "s3://bucket/*.tar").

    Raises:
        InputError: there is no such tar.
    """
    return _stream(*tar_files(tars))


def tar_files(tars: Path | str) -> tuple[Any, list[str]]:
    """File system and paths of what a name, a folder or a pattern stands for.

    Raises:
        InputError: there is no such tar.
    """
    import braceexpand

    system, first = open_place(tars)
    if system.isdir(first):
        paths = sorted(system.glob(posixpath.join(first, "*.tar")))
    else:
        names = [open_place(name)[1] for name in braceexpand.braceexpand(str(tars))]
        paths = [path for name in names for path in (sorted(system.glob(name)) if "*" in name else [name])]
    missing = [path for path in paths if not system.isfile(path)]
    if missing or not paths:
        raise InputError(f"{tars}: must name tar files, got {missing[0] if missing else 'none'}")
    return system, paths


def _stream(system: Any, paths: Sequence[str]) -> Iterator[Photo]:
    for path in paths:
        name = PurePosixPath(path).name
        opened = False
        try:
            with system.open(path, "rb") as file, _open(file) as tar:
                opened = True
                yield from _photos(tar, name)
        except _DAMAGE as error:
            if opened:
                yield _unusable(name, "damaged_tar", f"{name}: cannot be read on ({error})")
            else:
                yield _unusable(name, "not_a_tar", f"{name}: must be a tar file ({error})")


def _open(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header)


def _photos(tar: tarfile.TarFile, name: str) -> Iterator[Photo]:
    """A photo of each sample, and one of each member that belongs to none.

    Raises:
        TarError, OSError or EOFError: the tar cannot be read on; a sample that was whole has come before.
    """
    current, members, damage = "", {}, None
    for member in _headers(tar):
        if isinstance(member, Exception):
            damage = member
            break
        if member.isdir():
            continue
        where = f"{name}/{member.name}"
        try:
            key, suffix = _key(member, where)
            if key != current:
                if members:
                    yield _sample_photo(name, current, members)
                current, members = key, {}
            if suffix in members:
                raise BadMedia("repeated_member", f"{where}: is in the sample already; the first one counts")
            members[suffix] = _content(tar, member, suffix, members, where)
        except BadMedia as bad:
            yield _unusable(where, bad.reason, str(bad))
    if members:
        yield _sample_photo(name, current, members)
    if damage is not None:
        raise damage


def _headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo | Exception]:
    """Members in their order; the error last where they cannot be read on."""
    try:
        yield from tar
    except _DAMAGE as error:
        yield error


def _key(member: tarfile.TarInfo, where: str) -> tuple[str, str]:
    """Key of the sample that a member belongs to, and the member's suffix in lower case.

    Raises:
        BadMedia: it can belong to none.
    """
    folder, base = posixpath.split(member.name)
    stem, _, suffix = base.partition(".")
    if not member.isfile():
        raise BadMedia("not_a_file", f"{where}: must be a file, not a link or device")
    if base.startswith("."):
        raise BadMedia("hidden_member", f"{where}: its name must not start with a dot")
    if not suffix:
        raise BadMedia("no_suffix", f"{where}: its name must have a suffix")
    return posixpath.join(folder, stem), suffix.lower()


def _content(
    tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, members: Mapping[str, bytes], where: str
) -> bytes:
    """Bytes of a member that its sample uses, else none: what is never looked at must take no memory.

    Args:
        members: those of the sample so far.

    Raises:
        BadMedia: with it the sample would be larger than `MAX_PHOTO_BYTES`.
    """
    if suffix not in LABELS and (not _is_picture(suffix) or any(map(_is_picture, members))):
        return b""
    if (size := member.size + sum(map(len, members.values()))) > MAX_PHOTO_BYTES:
        raise BadMedia("too_large", f"{where}: its sample must have <= {MAX_PHOTO_BYTES} bytes, got {size}")
    file = tar.extractfile(member)
    assert file is not None  # a file, or the key would have been refused
    return file.read()


def _is_picture(suffix: str) -> bool:
    return f".{suffix.rsplit('.')[-1]}" in IMAGE_SUFFIXES


def _sample_photo(tar: str, key: str, members: Mapping[str, bytes]) -> Photo:
    name = f"{tar}/{key}"
    suffix = next(filter(_is_picture, members), None)
    if suffix is None:
        return _unusable(name, "no_picture", f"{name}: no picture among {', '.join(sorted(members))}")
    noun, category = _label(key, members)
    return Photo(f"{name}.{suffix}", noun, category, io.BytesIO(members[suffix]).getvalue)


def _label(key: str, members: Mapping[str, bytes]) -> tuple[str, str]:
    """Noun and category of a sample; a damaged or odd label is none."""
    try:
        about = json.loads(members.get("json", b"{}"))
    except ValueError:
        about = {}
    about = about if isinstance(about, dict) else {}
    labels = [str(about.get("noun") or "")]
    labels += [members[name].decode("utf-8", "replace") for name in ("noun", "cls") if name in members]
    noun = next(filter(None, map(_words, labels)), "")
    if not noun and "/" in key:
        noun = label_of(PurePosixPath(key))
    category = about.get("category")
    return noun, category if category in CATEGORIES else (category_of(noun) if noun else "")


def _words(label: str) -> str:
    """The words of a label; none in a number or an identifier ("3", "n02084071")."""
    noun = " ".join(re.findall(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*", label))
    return noun if len(noun) > 1 or not noun.isascii() else ""


def _unusable(name: str, reason: str, message: str) -> Photo:
    return Photo(name, "", "", functools.partial(_refuse, reason, message))


def _refuse(reason: str, message: str) -> NoReturn:
    raise BadMedia(reason, message)
