"""The clips of a folder with their captions, and what lies in it that is none, with the reasons."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sugar.box import Corners, read_box
from sugar.config import InputError
from sugar.data.folders import folders_below
from sugar.data.image_io import BadMedia
from sugar.data.printable import printable
from sugar.data.tables import label_of, listed_file, read_rows
from sugar.sprites import CATEGORIES
from sugar.triplet import MAX_PROMPT_LENGTH

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .3gp .3g2 .f4v .mkv .webm .avi .mpg .mpeg .vob .ts .mts .m2ts .wmv .asf .flv .ogv "
    ".gif".split()
)
"""What is looked at without a table; a file that a table names may be called as it likes."""
TEXT_SUFFIX = ".txt"
TABLE = "captions.csv"
UNREADABLE = "unreadable_file"
"""Reason of what the rights of a file, or its disk, keep from being read."""

CategoryOf = Callable[[str], str]
"""From a noun to its category."""


class ClipFile(NamedTuple):
    """A file of a folder and its caption; box: what the subject stays in, in pixels of the upright frames."""

    file: Path
    name: str
    noun: str
    caption: str
    category: str
    box: Corners | None = None


class Skip(NamedTuple):
    """What gives no triplet, as `Skips.add` takes it."""

    name: str
    reason: str
    message: str


class Listing(NamedTuple):
    """clips: what is used; skips: what cannot be; left_out: number of clips beyond the limit."""

    clips: list[ClipFile]
    skips: list[Skip]
    left_out: int


def list_clips(
    folder: Path | str, max_clips: int | None = None, *, category_of: CategoryOf, captioned: bool = True
) -> Listing:
    """Files and captions of a folder of clips.

    With `captions.csv` (columns file, noun, caption and, if wanted, category and box) exactly its files, in
    its order; `box` is what the subject stays in throughout the clip: left, top, right, bottom in pixels.
    Without it every clip below the folder that has a `.txt` of the same name beside it, sorted; that text is
    the caption, and the noun is the sub-folder's name or, at the top, the words of the file's name.

    Args:
        category_of: gives a category where the table does not.
        captioned: False takes clips without a caption too (an empty cell, no `.txt`); theirs is "".

    Raises:
        InputError: no such folder, nothing usable in it, a table that cannot be read, or a category that is
            none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: must be an existing folder of clips")
    listed = _clips_of_table if (folder / TABLE).is_file() else _clips_of_tree
    clips, skips = listed(folder, category_of, captioned)
    if not clips and skips:
        counts = sorted(Counter(skip.reason for skip in skips).items())
        reasons = ", ".join(f"{reason} ({count})" for reason, count in counts)
        raise InputError(
            f"{folder}: must hold at least one usable clip, got none; skipped: {reasons}, "
            f"e.g. {printable(skips[0].message)}"
        )
    if not clips:
        beside = f" with a {TEXT_SUFFIX} caption beside each" if captioned else ""
        raise InputError(f"{folder}: must hold {TABLE} with a row a clip, or clips{beside}, got none")
    num = len(clips) if max_clips is None else min(max_clips, len(clips))
    return Listing(clips[:num], skips, len(clips) - num)


def columns_of(captioned: bool) -> tuple[str, ...]:
    """Columns that a table must have, and fill."""
    return ("file", "noun", "caption") if captioned else ("file", "noun")


def _clips_of_table(
    folder: Path, category_of: CategoryOf, captioned: bool
) -> tuple[list[ClipFile], list[Skip]]:
    table, clips, skips = folder / TABLE, [], []

    def skip(line: int, reason: str, message: str) -> None:
        skips.append(Skip(f"{TABLE} line {line}", reason, message))

    for line, row in read_rows(table, columns_of(captioned), skip):
        category = row.get("category") or category_of(row["noun"])
        if category not in CATEGORIES:
            raise InputError(
                f"{table} line {line}: category must be one of {', '.join(CATEGORIES)}, got {category!r}"
            )
        try:
            file = listed_file(folder, table, line, row["file"])
        except InputError as error:
            skip(line, "missing_file", str(error))
            continue
        try:
            caption = _caption(row.get("caption", ""), f"{table} line {line}")
            box = _box(row.get("box", ""), f"{table} line {line}")
        except BadMedia as bad:
            skip(line, bad.reason, str(bad))
            continue
        clips.append(ClipFile(file, row["file"], row["noun"], caption, category, box))
    return clips, skips


def _clips_of_tree(
    folder: Path, category_of: CategoryOf, captioned: bool
) -> tuple[list[ClipFile], list[Skip]]:
    clips, skips = [], []
    for file in sorted(Path(place, name) for place, names in folders_below(str(folder)) for name in names):
        relative = file.relative_to(folder)
        name, suffix = relative.as_posix(), file.suffix.lower()
        if file.name.startswith(".") or suffix == TEXT_SUFFIX:
            continue
        try:
            if suffix not in VIDEO_SUFFIXES or not file.is_file():
                raise BadMedia(
                    "not_a_clip", f"{name}: is no file with the suffix of a clip ({TABLE} may name any)"
                )
            caption = _text_beside(file)
            if captioned and not caption:
                raise BadMedia("no_caption", f"{name}: has no caption and networks.captioner is null")
            if not (noun := label_of(relative)):
                raise BadMedia("no_noun", f"{name}: its name says no noun (a sub-folder or {TABLE} may)")
        except BadMedia as bad:
            skips.append(Skip(name, bad.reason, str(bad)))
            continue
        clips.append(ClipFile(file, name, noun, caption, category_of(noun)))
    return clips, skips


def _text_beside(clip: Path) -> str:
    """The caption in the `.txt` beside a clip; "" where it is blank or there is none.

    Raises:
        BadMedia: "unreadable_file"; "bad_caption", it is not UTF-8; or as `_caption`.
    """
    file = clip.with_suffix(TEXT_SUFFIX)
    if not file.is_file():
        return ""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadMedia(UNREADABLE, f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadMedia("bad_caption", f"{file}: must be UTF-8 text ({error})") from error
    return _caption(text, str(file))


def _box(text: str, where: str) -> Corners | None:
    """Raises BadMedia: "bad_box"."""
    try:
        return read_box(text)
    except ValueError as error:
        raise BadMedia("bad_box", f"{where}: {error}") from error


def _caption(text: str, where: str) -> str:
    """The text with single spaces.

    Raises:
        BadMedia: "caption_too_long".
    """
    caption = " ".join(text.split())
    if len(caption) > MAX_PROMPT_LENGTH:
        raise BadMedia(
            "caption_too_long",
            f"{where}: a caption must have <= {MAX_PROMPT_LENGTH} characters, got {len(caption)}",
        )
    return caption
