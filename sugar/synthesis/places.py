"""Where photos come from: folders, tables and tars, on this machine or behind any address of fsspec.

A `Photo` is a name, what is known of its label, and a way to read its bytes: nothing is read before it is
needed, so that a list of millions costs their names alone.
"""

from __future__ import annotations

import functools
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sugar.box import Corners, read_box
from sugar.config import InputError
from sugar.data.image_io import BadMedia
from sugar.data.tables import listed_file, noun_of, read_rows
from sugar.sprites import CATEGORIES
from sugar.synthesis.nouns import category_of

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2"}
)
TABLE = "subjects.csv"
MAX_MEMBER_BYTES = 1 << 28
"""A member of a tar that claims more is skipped unread."""

OnSkip = Callable[[str, str, str], None]
"""Called with name, reason and message of what is skipped."""


class Photo(NamedTuple):
    """A picture and its label; noun "" where none is known.

    read: its bytes; raises BadMedia when they cannot be had.
    box: what a person drew around the subject, in pixels of the picture; None: nothing.
    """

    name: str
    noun: str
    category: str
    read: Callable[[], bytes]
    box: Corners | None = None


def list_photos(folder: Path | str, *, files_name_nouns: bool = True) -> list[Photo]:
    """Files and labels of a folder of photos, here or at an address ("s3://bucket/photos").

    With `subjects.csv` (columns file, noun and, if wanted, category and box) exactly its files, in its order;
    `box` is where the subject is: left, top, right, bottom in pixels. Without the table every picture below
    the folder, sorted: in a sub-folder the folder's name is the noun, else the words of the file's name
    ("teddy_bear2.jpg": "teddy bear"; without `files_name_nouns` it has none). A missing category is that of
    `category_of`.

    Raises:
        InputError: no such folder, no picture in it, or a wrong row in the table.
    """
    system, root = open_place(folder)
    if not system.isdir(root):
        raise InputError(f"{folder}: must be an existing folder of photos")
    if system.isfile(posixpath.join(root, TABLE)):
        remote = is_remote(folder)
        photos = (
            table_photos(f"{str(folder).rstrip('/')}/{TABLE}") if remote else _photos_of_table(Path(folder))
        )
    else:
        photos = [_photo(system, root, name, files_name_nouns) for name in _pictures_below(system, root)]
    if not photos:
        raise InputError(
            f"{folder}: must hold photos ({', '.join(sorted(IMAGE_SUFFIXES))}) or {TABLE}, got none"
        )
    return photos


def table_photos(table: Path | str) -> list[Photo]:
    """Pictures of a table: CSV or Parquet with the columns file and, if known, noun, category and box.

    `file` is an address, a path, or a path relative to the table. An empty noun is left to be named.

    Raises:
        InputError: the table cannot be read, has no column file, no row, or a category that is none.
    """
    system, path = open_place(table)
    photos = []
    for number, row in enumerate(_rows(system, path, str(table)), start=1):
        file, noun, category = (str(row.get(key) or "").strip() for key in ("file", "noun", "category"))
        category = category or (category_of(noun) if noun else "")
        if not file or (category and category not in CATEGORIES):
            rule = f"category must be one of {', '.join(CATEGORIES)}" if file else "file must not be empty"
            raise InputError(f"{table} row {number}: {rule}, got {category if file else file!r}")
        absolute = is_remote(file) or PurePosixPath(file).is_absolute()
        address = file if absolute else _beside(str(table), file)
        box = _box(row.get("box"), f"{table} row {number}")
        photos.append(Photo(file, noun, category, functools.partial(_read_address, address), box))
    if not photos:
        raise InputError(f"{table}: must list at least one picture")
    return photos


def tar_photos(tars: Path | str, on_skip: OnSkip | None = None) -> Iterator[Photo]:
    """Pictures of WebDataset tars, read as a stream; a damaged tar costs what comes after the damage.

    Of a sample (members with one key) the first picture counts. Its label is `noun` and `category` of
    KEY.json, else KEY.noun or KEY.cls where that is a word; without any it is left to be named.

    Args:
        tars: a tar, a folder of tars, or a pattern ("photos-{000..099}.tar", "s3://bucket/*.tar").

    Raises:
        InputError: there is no such tar.
    """
    system, paths = _tars(tars)
    return _stream(system, paths, on_skip)


def open_place(place: Path | str) -> tuple[Any, str]:
    """File system of fsspec and path in it.

    Raises:
        InputError: an unknown kind of address, or one whose package is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(str(place))
    except (ImportError, ValueError, OSError) as error:
        raise InputError(f"{place}: cannot be opened: {str(error).splitlines()[0]}") from error


def is_remote(place: Path | str) -> bool:
    """Whether it is an address and not a path."""
    return "://" in str(place)


def _pictures_below(system: Any, root: str) -> list[str]:
    """Names relative to the root, sorted as paths; what is hidden is left out."""
    names = [path[len(root) :].lstrip("/") for path in system.find(root)]
    kept = [
        name
        for name in names
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in PurePosixPath(name).parts)
    ]
    return sorted(kept, key=lambda name: PurePosixPath(name).parts)


def _photo(system: Any, root: str, name: str, files_name_nouns: bool) -> Photo:
    read = functools.partial(_read, system, posixpath.join(root, name))
    if "/" not in name and not files_name_nouns:
        return Photo(name, "", "", read)
    noun = noun_of(PurePosixPath(name))
    return Photo(name, noun, category_of(noun), read)


def _photos_of_table(folder: Path) -> list[Photo]:
    table, photos = folder / TABLE, []
    for line, row in read_rows(table, ("file", "noun")):
        category = row.get("category") or category_of(row["noun"])
        if category not in CATEGORIES:
            raise InputError(
                f"{table} line {line}: category must be one of {', '.join(CATEGORIES)}, got {category!r}"
            )
        file = listed_file(folder, table, line, row["file"])
        box = _box(row.get("box"), f"{table} line {line}")
        read = functools.partial(_read_address, str(file))
        photos.append(Photo(row["file"], row["noun"], category, read, box))
    return photos


def _box(text: Any, where: str) -> Corners | None:
    """The box of a row; Parquet may hold a list of numbers."""
    try:
        return read_box(" ".join(map(str, text)) if isinstance(text, list) else str(text or ""))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _rows(system: Any, path: str, name: str) -> Sequence[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        with system.open(path, "rb") as file:
            if path.lower().endswith((".parquet", ".pq")):
                table = pyarrow.parquet.read_table(file)
            else:
                table = pyarrow.csv.read_csv(file)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{name}: cannot be read as CSV or Parquet: {str(error).splitlines()[0]}") from error
    if "file" not in table.column_names:
        raise InputError(f"{name}: must have the column file, has {', '.join(table.column_names)}")
    known = [name for name in ("file", "noun", "category", "box") if name in table.column_names]
    return table.select(known).to_pylist()


def _beside(table: str, file: str) -> str:
    return f"{table.rsplit('/', 1)[0]}/{file}" if "/" in table else file


def _read_address(address: str) -> bytes:
    return _read(*open_place(address))


def _read(system: Any, path: str) -> bytes:
    try:
        return system.cat_file(path)
    except OSError as error:
        raise BadMedia("unreadable_file", f"{path}: cannot be read ({error})") from error


def _tars(tars: Path | str) -> tuple[Any, list[str]]:
    """File system and paths of what a name, a folder or a pattern stands for."""
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


def _stream(system: Any, paths: Sequence[str], on_skip: OnSkip | None) -> Iterator[Photo]:
    for path in paths:
        name = PurePosixPath(path).name
        try:
            with system.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                for key, members in _samples(tar):
                    if photo := _sample_photo(f"{name}/{key}", members):
                        yield photo
        except (tarfile.TarError, OSError, EOFError) as error:
            if on_skip:
                on_skip(name, "damaged_tar", f"{name}: cannot be read on ({error})")


def _samples(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and members (suffix -> bytes) of each run of files with one key."""
    current, members = "", {}
    for member in tar:
        match = re.fullmatch(r"(?:.*/)?([^/.][^/.]*)\.([^/]+)", member.name)
        file = tar.extractfile(member) if member.isfile() and member.size <= MAX_MEMBER_BYTES else None
        if match is None or file is None:
            continue
        if match[1] != current and members:
            yield current, members
            members = {}
        current = match[1]
        members[match[2].lower()] = file.read()
    if members:
        yield current, members


def _sample_photo(name: str, members: Mapping[str, bytes]) -> Photo | None:
    suffix = next((suffix for suffix in members if f".{suffix.rsplit('.')[-1]}" in IMAGE_SUFFIXES), None)
    if suffix is None:
        return None
    noun, category = _label(members)
    return Photo(f"{name}.{suffix}", noun, category, io.BytesIO(members[suffix]).getvalue)


def _label(members: Mapping[str, bytes]) -> tuple[str, str]:
    """Noun and category of a sample; a damaged or odd label is none."""
    try:
        about = json.loads(members.get("json", b"{}"))
    except ValueError:
        about = {}
    about = about if isinstance(about, dict) else {}
    text = about.get("noun") or members.get("noun", members.get("cls", b"")).decode("utf-8", "replace")
    noun = " ".join(re.findall(r"[^\W\d_]+", str(text)))
    category = about.get("category")
    return noun, category if category in CATEGORIES else (category_of(noun) if noun else "")
