"""What users write beside their photos and clips: small tables, and labels in the names of files."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath

from sugar.config import InputError

CAMERA_WORDS = frozenset(
    "cimg dcim dji dsc dscf dscn gopr imag image images img mp mvimg photo photos pic pics picture pictures "
    "pxl scan screenshot untitled vid video wa".split()
)
"""Words of the names that cameras, phones and programs give: a name of these alone says nothing."""


def read_rows(file: Path, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header: (line number, column -> text without surrounding space).

    Args:
        required: columns that must be there and must not be empty in any row.

    Raises:
        InputError: unreadable, not UTF-8, no such column, an empty required cell, or a row of another length.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            return rows_of(stream, str(file), required)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def rows_of(lines: Iterable[str], name: str, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """As `read_rows`, from lines of text; `name` is what errors call them."""
    rows: list[tuple[int, dict[str, str]]] = []
    line = 1
    try:
        reader = csv.DictReader(lines, strict=True)
        columns = [column.strip() for column in reader.fieldnames or ()]
        if missing := [column for column in required if column not in columns]:
            raise InputError(
                f"{name}: must have the columns {', '.join(required)}, lacks {', '.join(missing)}, "
                f"has {', '.join(columns) or 'none'}"
            )
        reader.fieldnames = columns
        for row in reader:
            line = reader.line_num
            if None in row or None in row.values():
                raise InputError(f"{name} line {line}: must have {len(columns)} cells, as the header")
            cells = {column: text.strip() for column, text in row.items()}
            if empty := [column for column in required if not cells[column]]:
                raise InputError(f"{name} line {line}: {empty[0]} must not be empty")
            rows.append((line, cells))
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: must be UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise InputError(f"{name} after line {line}: not valid CSV ({error})") from error
    return rows


def listed_file(folder: Path, table: Path, line: int, name: str) -> Path:
    """The file that a row of a table names, which must lie in the folder.

    Raises:
        InputError: it does not exist, or its name leaves the folder.
    """
    parts = PurePosixPath(name)
    inside = not parts.is_absolute() and ".." not in parts.parts and "\0" not in name
    if not inside or not (folder / name).is_file():
        raise InputError(f"{table} line {line}: file must name a file in {folder}, got {name!r}")
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


def noun_of(relative: PurePath) -> str:
    """`label_of`, and "subject" where the name says nothing."""
    return label_of(relative) or "subject"


def file_key(name: str, digest: str) -> str:
    """Key of a file: its name without the suffix, its odd characters replaced, and the digest."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", name.rsplit(".", 1)[0]).strip("-_")[:80].rstrip("-_")
    return f"{stem or 'file'}-{digest[:8]}"
