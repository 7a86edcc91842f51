"""What users write beside their photos and clips: small tables, and labels in the names of files."""

import csv
import os.path
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

from sugar.config import InputError
from sugar.data.printable import printable

CAMERA_WORDS = frozenset(
    "cimg dcim dji dsc dscf dscn gopr imag image images img mp mvimg photo photos pic pics picture pictures "
    "pxl scan screenshot untitled vid video wa".split()
)
"""Words of the names that cameras, phones and programs give: a name of these alone says nothing."""


OnBadRow = Callable[[int, str, str], None]
"""Told (line number, reason, message) of a row that is left out."""

_LONGEST_CELL = 1 << 30
"""csv refuses cells over 131,072 characters, and with them the whole file."""


def read_rows(
    file: Path, required: Sequence[str], on_bad: OnBadRow | None = None
) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header: (line number, column in lower case -> text without surrounding space).

    Args:
        required: columns that must be there and must not be empty in any row.
        on_bad: told of every wrong row ("bad_row": another length than the header's; "no_COLUMN": an empty
            required cell), which is left out; without it the first one raises.

    Raises:
        InputError: unreadable, not UTF-8, no such column, or a wrong row.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            return rows_of(stream, str(file), required, on_bad)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def rows_of(
    lines: Iterable[str], name: str, required: Sequence[str], on_bad: OnBadRow | None = None
) -> list[tuple[int, dict[str, str]]]:
    """As `read_rows`, from lines of text; `name` is what errors call them."""
    rows: list[tuple[int, dict[str, str]]] = []
    line, limit = 1, csv.field_size_limit(_LONGEST_CELL)
    try:
        reader = csv.reader(lines, strict=True)
        columns = _columns(name, next(reader, []), required)
        for cells in filter(None, reader):
            line = reader.line_num
            row = {column: text.strip() for column, text in zip(columns, cells, strict=False)}
            if wrong := _wrong(columns, cells, row, required):
                reason, rule = wrong
                message = f"{name} line {line}: {rule}, got '{printable(','.join(cells), 80)}'"
                if on_bad is None:
                    raise InputError(message)
                on_bad(line, reason, message)
            else:
                rows.append((line, row))
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: must be UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise InputError(f"{name} after line {line}: not valid CSV ({error})") from error
    finally:
        csv.field_size_limit(limit)
    return rows


def _columns(file: str, header: Sequence[str], required: Sequence[str]) -> list[str]:
    columns = [name.strip().casefold() for name in header]
    if missing := [name for name in required if name not in columns]:
        found = printable(",".join(header), 80)
        commas = len(columns) == 1 and any(mark in columns[0] for mark in ";\t|")
        raise InputError(
            f"{file}: must have the columns {', '.join(required)}, lacks {', '.join(missing)}; its first line "
            f"is '{found}'{': cells must be separated by commas' if commas else ''}"
        )
    return columns


def _wrong(
    columns: Sequence[str], cells: Sequence[str], row: Mapping[str, str], required: Sequence[str]
) -> tuple[str, str] | None:
    """Reason and rule that a row breaks."""
    if len(cells) != len(columns):
        return "bad_row", f"must have {len(columns)} cells, as the header"
    if empty := [name for name in required if not row[name]]:
        return f"no_{empty[0]}", f"{empty[0]} must not be empty"
    return None


def listed_file(folder: Path, table: Path, line: int, name: str) -> Path:
    """The file that a row of a table names, which must lie in the folder.

    Raises:
        InputError: it does not exist, or its name leaves the folder.
    """
    parts = PurePosixPath(name)
    inside = not parts.is_absolute() and ".." not in parts.parts
    # os.path says no to what no file can be called; Path.is_file raises for a name that is too long.
    if not inside or not os.path.isfile(folder / name):
        raise InputError(f"{table} line {line}: file must name a file in {folder}, got {name[:200]!r}")
    return folder / name


def label_of(relative: PurePath) -> str:
    """What its place says that a file shows: its top folder's name, at the top its own; words in lower case.

    "dogs/rex/1.jpg": "dogs"; "teddy_bear2.jpg": "teddy bear". A name without a word ("2023", "IMG_0001.jpg",
    "DCIM/1.jpg"), of single letters and `CAMERA_WORDS` alone, says nothing: "".
    """
    name = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    words = re.findall(r"[^\W\d_]+", name.lower())
    said = [word for word in words if word not in CAMERA_WORDS and (len(word) > 1 or not word.isascii())]
    return " ".join(words) if said else ""


def file_key(name: str, digest: str) -> str:
    """Key of a file: its name without the suffix, its odd characters replaced, and the digest; at most 89 long.

    Of a long name the end stays: long names differ there, as in paths and numbered series.
    """
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", name.rsplit(".", 1)[0])[-72:].strip("-_")
    return f"{stem or 'file'}-{digest[:16]}"
