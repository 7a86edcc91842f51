"""What users write beside their photos and clips: small tables, and labels in the names of files."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

from sugar.config import InputError


def read_rows(file: Path, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header: (line number, column -> text without surrounding space).

    Args:
        required: columns that must be there and must not be empty in any row.

    Raises:
        InputError: unreadable, not UTF-8, no such column, an empty required cell, or a row of another length.
    """
    rows: list[tuple[int, dict[str, str]]] = []
    line = 1
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            if missing := [name for name in required if name not in columns]:
                raise InputError(
                    f"{file}: must have the columns {', '.join(required)}, lacks {', '.join(missing)}"
                )
            reader.fieldnames = columns
            for row in reader:
                line = reader.line_num
                if None in row or None in row.values():
                    raise InputError(f"{file} line {line}: must have {len(columns)} cells, as the header")
                cells = {name: text.strip() for name, text in row.items()}
                if empty := [name for name in required if not cells[name]]:
                    raise InputError(f"{file} line {line}: {empty[0]} must not be empty")
                rows.append((line, cells))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: must be UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise InputError(f"{file} after line {line}: not valid CSV ({error})") from error
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


def noun_of(relative: PurePath) -> str:
    """Noun of a file without a label: its top folder's name, at the top its own; words in lower case.

    "dogs/rex/1.jpg": "dogs"; "teddy_bear2.jpg": "teddy bear"; a name without letters: "subject".
    """
    name = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    return " ".join(re.findall(r"[^\W\d_]+", name.lower())) or "subject"


def file_key(name: str, digest: str) -> str:
    """Key of a file: its name without the suffix, its odd characters replaced, and the digest."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", name.rsplit(".", 1)[0]).strip("-_")[:80].rstrip("-_")
    return f"{stem or 'file'}-{digest[:8]}"
