"""A model and judges whose right answers are known: a frame is four quarters that say what it shows.

Top left the subject's identity picture, then a colour for the style, one for the place (bottom left), one for
the motion. The judges read the quarters, and the sentences by their phrases, so a model that does as told is
right everywhere, and a model with a known fault is wrong exactly there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from sugar.encoders.image import identity_canvas
from sugar.evaluation.benchmark import Pair
from sugar.evaluation.judges import Judges
from sugar.sprites import BACKGROUNDS, MOTIONS, STYLES

CANVAS_PX = 32
NAMES = {"style": list(STYLES), "background": list(BACKGROUNDS), "motion": list(MOTIONS)}
COLOURS = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)


def phrases(attribute: str, name: str) -> tuple[str, ...]:
    if attribute == "style":
        return STYLES[name].prefixes + STYLES[name].suffixes
    return BACKGROUNDS[name].phrases if attribute == "background" else MOTIONS[name].participles


def heard(text: str, attribute: str) -> int:
    """Which style, place or motion a sentence names; as-is where it names no style."""
    for index, name in enumerate(NAMES[attribute]):
        if any(phrase in text for phrase in phrases(attribute, name)):
            return index
    assert attribute == "style", text
    return NAMES[attribute].index("as is")


def seen(quarters: np.ndarray) -> np.ndarray:
    """Index of the colour of each picture [B, h, w, 3], as unit vectors [B, 8]."""
    mean = quarters.reshape(len(quarters), -1, 3).mean(axis=1)
    nearest = np.abs(mean[:, None] - COLOURS[None].astype(float)).sum(axis=2).argmin(axis=1)
    return np.eye(len(COLOURS))[nearest]


def identity(pictures: np.ndarray) -> np.ndarray:
    quarters = pictures[:, :CANVAS_PX, :CANVAS_PX]
    small = np.stack([cv2.resize(picture, (8, 8), interpolation=cv2.INTER_AREA) for picture in quarters])
    features = small.reshape(len(small), -1).astype(np.float32) - 128 + 1e-3
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def picture(pictures: np.ndarray) -> np.ndarray:
    style, place = pictures[:, :CANVAS_PX, CANVAS_PX:], pictures[:, CANVAS_PX:, :CANVAS_PX]
    return np.concatenate([seen(style), seen(place)], axis=1) / np.sqrt(2)


def text(texts: Sequence[str]) -> np.ndarray:
    one_hot = np.eye(len(COLOURS))
    rows = [np.concatenate([one_hot[heard(t, "style")], one_hot[heard(t, "background")]]) for t in texts]
    return np.stack(rows) / np.sqrt(2)


def video_text(videos: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    motion = seen(videos[:, 0, CANVAS_PX:, CANVAS_PX:])
    return np.array([row[heard(t, "motion")] for row, t in zip(motion, texts, strict=True)])


def judges(name: str = "oracle", flow_px: float = 10.0) -> Judges:
    return Judges(
        identity=identity,
        picture=picture,
        text=text,
        video_text=video_text,
        flow=lambda frames: np.full((len(frames) - 1, 2, *frames.shape[1:3]), flow_px, np.float32),
        canvas_px=CANVAS_PX,
        sources={
            key: {"source": name, "class": "Oracle", "digest": ""}
            for key in ("metrics_dino", "metrics_clip", "video_text", "flow")
        },
    )


class Model:
    """Does as told, but for its faults; counts what it was asked for."""

    def __init__(self, subject_of: Callable[[Pair], np.ndarray] | None = None, deaf_to: str = "") -> None:
        self.subject_of = subject_of or (lambda pair: pair.subject.identity)
        self.deaf_to = deaf_to
        self.asked: list[str] = []
        self.dies_after: int | None = None

    def __call__(self, pairs: Sequence[Pair], image_scale: float) -> np.ndarray:
        if self.dies_after is not None and len(self.asked) + len(pairs) > self.dies_after:
            raise KeyboardInterrupt
        self.asked += [pair.key for pair in pairs]
        return np.stack([self.video(pair) for pair in pairs])

    def video(self, pair: Pair) -> np.ndarray:
        frame = np.zeros((2 * CANVAS_PX, 2 * CANVAS_PX, 3), np.uint8)
        frame[:CANVAS_PX, :CANVAS_PX] = identity_canvas(self.subject_of(pair), CANVAS_PX)
        corners = {"style": (0, CANVAS_PX), "background": (CANVAS_PX, 0), "motion": (CANVAS_PX, CANVAS_PX)}
        for attribute, (top, left) in corners.items():
            name = "as is" if attribute == self.deaf_to == "style" else getattr(pair.prompt, attribute)
            index = 0 if attribute == self.deaf_to else NAMES[attribute].index(name)
            frame[top : top + CANVAS_PX, left : left + CANVAS_PX] = COLOURS[index]
        return np.stack([frame] * 5)
