"""Where photos come from: folders and tables, on this machine or behind any address of fsspec.

A `Photo` is a name, what is known of its label, and a way to read its bytes: nothing is read before it is
needed, so that a list of millions costs their names alone.
"""

from __future__ import annotations

import functools
import io
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sugar.box import Corners, read_box
from sugar.config import InputError
from sugar.data.folders import folders_below
from sugar.data.image_io import BadMedia
from sugar.data.printable import printable
from sugar.data.tables import label_of, listed_file, rows_of
from sugar.sprites import CATEGORIES
from sugar.synthesis.nouns import category_of

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2"}
)
MAX_PHOTO_BYTES = 1 << 28
"""A photo that claims more is skipped unread; so is what would make a sample of a tar larger."""
TABLE = "subjects.csv"
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


def list_photos(folder: Path | str, *, labelled: bool = True) -> list[Photo]:
    """Files and labels of a folder of photos, here or at an address ("s3://bucket/photos").

    With `subjects.csv` (columns file, noun and, if wanted, category and box) exactly its files, in its order;
    `box` is where the subject is: left, top, right, bottom in pixels. Without the table every picture below
    the folder, sorted: in a sub-folder the folder's name is the noun, else the words of the file's name
    ("teddy_bear2.jpg": "teddy bear"); a name without a word gives none, see `label_of`. A missing category is
    that of `category_of`.

    Args:
        labelled: False leaves photos to be named: a row may lack its noun, and no file's name is one.

    Raises:
        InputError: no such folder, no picture in it, or a wrong row in the table.
    """
    system, root = open_place(folder)
    if not system.isdir(root):
        raise InputError(f"{folder}: must be an existing folder of photos")
    if (table := folder_table(system, root, folder)) is not None:
        photos = _table_photos(table, ("file", "noun") if labelled else ("file",), inside=folder)
    else:
        photos = [_photo(system, root, name, labelled) for name in pictures_below(system, root)]
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
    photos = _table_photos(table, ("file",))
    if not photos:
        raise InputError(f"{table}: must list at least one picture")
    return photos


def table_files(table: Path | str) -> list[str]:
    """Path or address of each picture of a table, in its order.

    Raises:
        InputError: the table cannot be read, or has no column file.
    """
    return [_address(table, str(row["file"])) for _, row in _rows(table, ("file",))]


def folder_table(system: Any, root: str, folder: Path | str) -> str | None:
    """The table of a folder of photos (`subjects.csv`), if it has one; `system`, `root`: the open folder."""
    return f"{str(folder).rstrip('/')}/{TABLE}" if system.isfile(posixpath.join(root, TABLE)) else None


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


def is_here(system: Any) -> bool:
    """Whether a file system of fsspec is that of this machine."""
    return "file" in ([system.protocol] if isinstance(system.protocol, str) else system.protocol)


def pictures_below(system: Any, root: str) -> dict[str, Mapping[str, Any]]:
    """Name relative to the root -> what fsspec says of it, sorted as paths; what is hidden is left out.

    Of files here it says nothing: asking costs ten times what listing does. Links to folders here are
    followed: photos often lie on another disk.
    """
    if is_here(system):
        walked = ((folder[len(root) :].lstrip("/"), files) for folder, files in folders_below(root))
        found = {posixpath.join(folder, file): {} for folder, files in walked for file in files}
    else:
        found = {path[len(root) :].lstrip("/"): info for path, info in system.find(root, detail=True).items()}
    kept = {
        name: info
        for name, info in found.items()
        if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES and "/." not in f"/{name}"
    }
    return dict(sorted(kept.items(), key=lambda entry: entry[0].split("/")))


def _photo(system: Any, root: str, name: str, labelled: bool) -> Photo:
    read = functools.partial(_read, system, posixpath.join(root, name))
    noun = label_of(PurePosixPath(name)) if labelled or "/" in name else ""
    return Photo(name, noun, category_of(noun) if noun else "", read)


def _table_photos(
    table: Path | str, required: Sequence[str], inside: Path | str | None = None
) -> list[Photo]:
    """Photos of a table's rows; `inside`: the folder, here, that the files of a row must lie in."""
    photos = []
    for line, row in _rows(table, required):
        file, noun, given = (str(row.get(key) or "") for key in ("file", "noun", "category"))
        if given and given not in CATEGORIES:
            raise InputError(
                f"{table} line {line}: category must be one of {', '.join(CATEGORIES)}, got {given!r}"
            )
        if inside is not None and not is_remote(inside):
            listed_file(Path(inside), Path(table), line, file)
        category = given or (category_of(noun) if noun else "")
        read = functools.partial(_read_address, _address(table, file))
        photos.append(Photo(file, noun, category, read, _box(row.get("box"), f"{table} line {line}")))
    return photos


def _box(text: Any, where: str) -> Corners | None:
    """The box of a row; Parquet may hold a list of numbers."""
    try:
        return read_box(" ".join(map(str, text)) if isinstance(text, list) else str(text or ""))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _rows(table: Path | str, required: Sequence[str]) -> list[tuple[int, Mapping[str, Any]]]:
    """Rows of a CSV or Parquet table, all cells but a list of numbers as text; the header's line is 1."""
    import pyarrow as pa
    import pyarrow.parquet

    system, path = open_place(table)
    try:
        with system.open(path, "rb") as file:
            if not path.lower().endswith((".parquet", ".pq")):
                lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
                return list(rows_of(lines, str(table), required))
            cells = pyarrow.parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        problem = " ".join(str(error).splitlines()[:1]) or type(error).__name__
        raise InputError(f"{table}: cannot be read as CSV or Parquet: {problem}") from error
    cells = cells.rename_columns(_columns(cells.column_names, table, required))
    rows = enumerate(cells.to_pylist(), 2)
    return [(line, _cells(row, f"{table} row {line - 1}", required)) for line, row in rows]


def _columns(found: Sequence[str], table: Path | str, required: Sequence[str]) -> list[str]:
    """Names of the columns of a Parquet table as those of CSV are read: without case or space around them."""
    names = [name.strip().casefold() for name in found]
    if missing := [name for name in required if name not in names]:
        raise InputError(
            f"{table}: must have the columns {', '.join(required)}, lacks {', '.join(missing)}; "
            f"its columns are '{printable(','.join(found), 80)}'"
        )
    if len(set(names)) < len(names):
        raise InputError(f"{table}: columns must differ, got '{printable(','.join(found), 80)}'")
    return names


def _cells(row: Mapping[str, Any], where: str, required: Sequence[str]) -> dict[str, Any]:
    cells = {name: value if isinstance(value, list) else _text(value) for name, value in row.items()}
    if missing := [name for name in required if not cells[name]]:
        raise InputError(f"{where}: {missing[0]} must not be empty")
    return cells


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _address(table: Path | str, file: str) -> str:
    """Path or address of what a row names, relative to its table."""
    beside = not is_remote(file) and not PurePosixPath(file).is_absolute() and "/" in str(table)
    return f"{str(table).rsplit('/', 1)[0]}/{file}" if beside else file


def _read_address(address: str) -> bytes:
    return _read(*open_place(address))


def _read(system: Any, path: str) -> bytes:
    """Bytes of a file.

    Raises:
        BadMedia: they cannot be had, or are more than `MAX_PHOTO_BYTES`.
    """
    try:
        about = system.info(path)
        if about["type"] != "file":  # to open a pipe would wait for ever
            raise BadMedia("not_a_file", f"{path}: must be a file, got {about['type']}")
        if (size := about.get("size") or 0) > MAX_PHOTO_BYTES:
            raise BadMedia("too_large", f"{path}: must have <= {MAX_PHOTO_BYTES} bytes, got {size}")
        return system.cat_file(path)
    except OSError as error:
        raise BadMedia("unreadable_file", f"{path}: cannot be read ({error})") from error
