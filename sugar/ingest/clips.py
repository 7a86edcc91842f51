"""Captioned clips: of Sprite World, as H.264 files, or of a folder."""

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from sugar.box import Corners
from sugar.data.atomic import sha256_bytes, sha256_file
from sugar.data.key_seed import key_seed
from sugar.data.tables import file_key
from sugar.data.video_io import encode_mp4
from sugar.ingest.listing import UNREADABLE, CategoryOf, ClipFile, Skip, list_clips
from sugar.ingest.states import clips_state
from sugar.sprites import MOTIONS, STYLES, sample_clip

AS_IS = "as is"

logger = logging.getLogger(__name__)


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
    """The clips of `list_clips`, which are listed and read when they are asked for.

    Args:
        category_of, captioned: as of `list_clips`.
        categories: changes when `category_of` does.

    Raises:
        InputError: as `list_clips`, when the clips are asked for.
    """

    def __init__(
        self,
        folder: Path | str,
        seed: int,
        max_clips: int | None = None,
        *,
        category_of: CategoryOf,
        captioned: bool = True,
        categories: str = "",
    ) -> None:
        self.folder, self.seed, self.max_clips = folder, seed, max_clips
        self.category_of, self.captioned, self.categories = category_of, captioned, categories

    def look(self) -> str:
        """Text that changes when a clip, or what is skipped, does; it is found without reading a clip.

        Raises:
            InputError: as `clips_state`.
        """
        state = clips_state(self.folder, captioned=self.captioned)
        about = (self.folder, self.seed, self.max_clips, self.captioned, self.categories)
        return "\x1f".join(map(str, (*about, state)))

    @property
    def entries(self) -> list[tuple[ClipFile, str]]:
        """The clips, each with the SHA-256 of its file."""
        return self._read[0]

    @property
    def skips(self) -> list[Skip]:
        """What gives no clip, files with the bytes of an earlier one too."""
        return self._read[1]

    @property
    def left_out(self) -> int:
        """Number of clips beyond `max_clips`."""
        return self._read[2]

    @property
    def has_unreadable(self) -> bool:
        """Whether a file may become a clip without a change that `look` sees: its rights may change."""
        return any(skip.reason == UNREADABLE for skip in self.skips)

    @functools.cached_property
    def _read(self) -> tuple[list[tuple[ClipFile, str]], list[Skip], int]:
        listed, skips, left_out = list_clips(
            self.folder, self.max_clips, category_of=self.category_of, captioned=self.captioned
        )
        if left_out:
            logger.warning(
                "%s: %d clips are left out, ingest.num_clips is %s", self.folder, left_out, self.max_clips
            )
        entries: list[tuple[ClipFile, str]] = []
        first: dict[str, str] = {}
        for entry in listed:
            try:
                digest = sha256_file(entry.file)
            except OSError as error:
                message = f"{entry.name}: cannot be read ({error.strerror})"
                skips.append(Skip(entry.name, UNREADABLE, message))
                continue
            if digest in first:
                message = f"{entry.name}: the same bytes as {first[digest]}"
                skips.append(Skip(entry.name, "duplicate", message))
            else:
                first[digest] = entry.name
                entries.append((entry, digest))
        return entries, skips, left_out

    def __len__(self) -> int:
        return len(self.entries)

    def digest(self, index: int) -> str:
        """Name, label and contents of the file."""
        entry, digest = self.entries[index]
        box = () if entry.box is None else (str(entry.box),)
        return "\x1f".join(
            (entry.name, entry.noun, entry.caption, entry.category, digest, str(self.seed), *box)
        )

    def load(self, index: int) -> Clip:
        """The clip; its key holds the start of its digest, so that equal names stay apart."""
        entry, digest = self.entries[index]
        key = file_key(entry.name, digest)
        number = key_seed(self.seed, key, "clip")
        return Clip(
            key, entry.file, digest, entry.noun, entry.caption, entry.category, seed=number, box=entry.box
        )
