"""Captioned clips: of Sprite World, as H.264 files, or of a folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from sugar.box import Corners
from sugar.config import InputError
from sugar.data.atomic import sha256_bytes, sha256_file
from sugar.data.key_seed import key_seed
from sugar.data.tables import listed_file, noun_of, read_rows
from sugar.data.video_io import encode_mp4
from sugar.sprites import MOTIONS, STYLES, sample_clip

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv"}
)
TABLE = "captions.csv"
AS_IS = "as is"


class Clip(NamedTuple):
    """A clip and what is known of it.

    content: the file, or the bytes of one; digest: SHA-256 of those bytes; style, background, motion: tags,
    empty where unknown; box: what the subject stays in, in pixels of the upright frames.
    """

    key: str
    content: Path | bytes
    digest: str
    noun: str
    caption: str
    category: str = ""
    style: str = ""
    background: str = ""
    motion: str = ""
    seed: int = 0
    box: Corners | None = None


class ClipFile(NamedTuple):
    """A file of a folder and its caption."""

    file: Path
    name: str
    noun: str
    caption: str
    category: str
    box: Corners | None = None


class Clips(Protocol):
    """A list of clips that can be sent to a worker and loads each clip there."""

    def __len__(self) -> int: ...

    def digest(self, index: int) -> str:
        """Text that changes when the clip does."""
        ...

    def load(self, index: int) -> Clip: ...


@dataclass(frozen=True)
class SpriteClips:
    """Clips of Sprite World, encoded as a camera would have: clip i is a pure function of i and the fields.

    All motions are equally likely. With probability `styled_share` a clip is in another style than "as is":
    large sets of real clips hold paintings and cartoons too, and a base model knows them. Assumption:
    decision 0014.
    """

    num: int
    seed: int
    styled_share: float
    num_frames: int
    height_px: int
    width_px: int
    fps: float

    def __len__(self) -> int:
        return self.num

    def digest(self, index: int) -> str:
        """Everything the clip depends on."""
        return f"{index} {self}"

    def load(self, index: int) -> Clip:
        """Clip number `index` as the bytes of an H.264 file."""
        key = f"clip-{index:07d}"
        u = np.random.default_rng(key_seed(self.seed, key, "tags")).random(3).tolist()
        styles = [name for name in STYLES if name != AS_IS]
        number = key_seed(self.seed, key, "clip")
        clip = sample_clip(
            number,
            style=styles[int(u[1] * len(styles))] if u[0] < self.styled_share else AS_IS,
            motion=list(MOTIONS)[int(u[2] * len(MOTIONS))],
            num_frames=self.num_frames,
            height_px=self.height_px,
            width_px=self.width_px,
        )
        content = encode_mp4(clip.frames_THWC, self.fps)
        return Clip(
            key=key,
            content=content,
            digest=sha256_bytes(content),
            noun=clip.identity.noun,
            caption=clip.caption,
            category=clip.identity.category,
            style=clip.style,
            background=clip.background,
            motion=clip.motion,
            seed=number,
        )


class FolderClips:
    """The clips of `list_clips`; files with the bytes of an earlier one go to `repeated` instead.

    Args:
        captioned: False takes clips without a caption too.

    Raises:
        InputError: as `list_clips`.
    """

    def __init__(
        self, folder: Path | str, seed: int, max_clips: int | None = None, *, captioned: bool = True
    ) -> None:
        self.seed = seed
        self.entries: list[tuple[ClipFile, str]] = []
        self.repeated: list[tuple[str, str]] = []
        first: dict[str, str] = {}
        for entry in list_clips(folder, max_clips, captioned=captioned):
            digest = sha256_file(entry.file)
            if digest in first:
                self.repeated.append((entry.name, first[digest]))
            else:
                first[digest] = entry.name
                self.entries.append((entry, digest))

    def __len__(self) -> int:
        return len(self.entries)

    def digest(self, index: int) -> str:
        """Name, label and contents of the file."""
        entry, digest = self.entries[index]
        return "\x1f".join((entry.name, entry.noun, entry.caption, entry.category, digest, str(self.seed)))

    def load(self, index: int) -> Clip:
        """The clip; its key holds the start of its digest, so that equal names stay apart."""
        entry, digest = self.entries[index]
        stem = (
            re.sub(r"[^A-Za-z0-9_]+", "-", entry.name.rsplit(".", 1)[0]).strip("-_")[:80].strip("-_")
            or "clip"
        )
        key = f"{stem}-{digest[:8]}"
        number = key_seed(self.seed, key, "clip")
        return Clip(key, entry.file, digest, entry.noun, entry.caption, category=entry.category, seed=number)


def list_clips(folder: Path | str, max_clips: int | None = None, *, captioned: bool = True) -> list[ClipFile]:
    """Files and captions of a folder of clips.

    With `captions.csv` (columns file, noun, caption and, if wanted, category) exactly its files, in its
    order. Without it every clip below the folder that has a `.txt` of the same name beside it, sorted; that
    text is the caption, and the noun is the sub-folder's name or, at the top, the words of the file's name.

    Args:
        captioned: False takes clips without a caption too (an empty cell, no `.txt`); theirs is "".

    Raises:
        InputError: no such folder, no captioned clip in it, a wrong row in the table, or a row whose file is
            missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: must be an existing folder of clips")
    table = folder / TABLE
    by_table = table.is_file()
    clips = _clips_of_table(folder, table, captioned) if by_table else _clips_of_tree(folder, captioned)
    if not clips:
        beside = " with a .txt caption beside each" if captioned else ""
        raise InputError(f"{folder}: must hold {TABLE}, or clips{beside}, got none")
    return clips[:max_clips]


def _clips_of_table(folder: Path, table: Path, captioned: bool) -> list[ClipFile]:
    clips = []
    for line, row in read_rows(table, ("file", "noun", "caption") if captioned else ("file", "noun")):
        file = listed_file(folder, table, line, row["file"])
        clips.append(
            ClipFile(file, row["file"], row["noun"], row.get("caption", ""), row.get("category", ""))
        )
    return clips


def _clips_of_tree(folder: Path, captioned: bool) -> list[ClipFile]:
    clips = []
    for file in sorted(folder.rglob("*")):
        relative, caption = file.relative_to(folder), file.with_suffix(".txt")
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or file.suffix.lower() not in VIDEO_SUFFIXES or not file.is_file():
            continue
        if captioned and not caption.is_file():
            continue
        text = _caption(caption) if caption.is_file() else ""
        clips.append(ClipFile(file, relative.as_posix(), noun_of(relative), text, ""))
    return clips


def _caption(file: Path) -> str:
    try:
        text = " ".join(file.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: must be UTF-8 text ({error})") from error
    if not text:
        raise InputError(f"{file}: a caption must not be empty")
    return text
