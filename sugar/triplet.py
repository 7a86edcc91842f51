"""The record that all stages exchange: one picture of a subject, one sentence, one video of that subject."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

SCHEMA_VERSION = 1
"""Version of the triplet, of its shards and of the manifest; a reader refuses every other one."""

SOURCES = ("real", "synthetic")

MAX_PROMPT_LENGTH = 10_000
"""Characters of a prompt, at most, in a dataset that is trained on."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def check_key(key: str) -> str:
    """Return `key` if it can name a sample inside a WebDataset tar: letters, digits, `_`, `-`, at most 128.

    Raises:
        ValueError: the key is empty, too long, or holds a separator or a dot.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"key must be 1 to 128 letters, digits, '_' or '-', got {key!r}")
    return key


def check_picture(name: str, array: np.ndarray, channels: tuple[int, ...]) -> None:
    """Raise ValueError unless `array` is uint8 [H, W, C] with H, W >= 1 and C one of `channels`."""
    ok = isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.ndim == 3
    if not ok or array.shape[2] not in channels or 0 in array.shape:
        want = " or ".join(map(str, channels))
        raise ValueError(f"{name} must be uint8 [H, W, {want}], got {describe(array)}")


def check_frames(name: str, frames: np.ndarray) -> None:
    """Raise ValueError unless `frames` is uint8 [T, H, W, 3] with T, H, W >= 1."""
    ok = isinstance(frames, np.ndarray) and frames.dtype == np.uint8 and frames.ndim == 4
    if not ok or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"{name} must be uint8 [T, H, W, 3], got {describe(frames)}")


def describe(value: object) -> str:
    """Type and shape of a value, for messages."""
    return (
        f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else f"{type(value).__name__}"
    )


@dataclass(frozen=True, eq=False)
class Triplet:
    """Image, text and video of one subject (SUGAR section 3.1), with where it comes from and what it scored.

    Attributes:
        key: unique in its dataset; letters, digits, `_`, `-`.
        subject: uint8 [H, W, 3], the input photo (synthetic) or the frame that was segmented (real).
        identity: uint8 [h, w, 4], the subject cut out of it; alpha 0 is background.
        video: uint8 [T, H, W, 3].
        fps: frames a second, > 0.
        prompt: the sentence the video follows.
        noun: class word of the subject, "dog"; category: "animal", "active object", "static object".
        source: "real" or "synthetic".
        style, background, motion, texture, colour: tags, empty where unknown.
        seed: what the sample was drawn with; source_digest: SHA-256 of the photo or clip it was made from.
        scores: name -> finite number, always stored, whatever the thresholds say.
        accepted, reasons: the verdict of the thresholds and why not. It lives in the manifest, not in the
            shard: a threshold can change without a shard being written again.
        provenance: backend, model revision, ...: text to text.

    Raises:
        ValueError: a field breaks one of these rules.
    """

    key: str
    subject: np.ndarray
    identity: np.ndarray
    video: np.ndarray
    fps: float
    prompt: str
    noun: str
    category: str
    source: str
    style: str = ""
    background: str = ""
    motion: str = ""
    seed: int = 0
    source_digest: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    accepted: bool = True
    reasons: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    texture: str = ""
    colour: str = ""

    def __post_init__(self) -> None:
        check_key(self.key)
        check_picture(f"{self.key}: subject", self.subject, (3,))
        check_picture(f"{self.key}: identity", self.identity, (4,))
        check_frames(f"{self.key}: video", self.video)
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"{self.key}: fps must be > 0, got {self.fps}")
        if self.source not in SOURCES:
            raise ValueError(f"{self.key}: source must be one of {SOURCES}, got {self.source!r}")
        for name, value in self.scores.items():
            if not math.isfinite(value):
                raise ValueError(f"{self.key}: score {name} must be finite, got {value}")
