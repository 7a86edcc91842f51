"""A first, cheap pass over a clip: where its scenes lie, its black bars, what stands still and what flashes.

Frames are looked at as thumbnails. Axes: T frames, H W height and width.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sugar.box import WHOLE, Box
from sugar.data.image_io import BadMedia
from sugar.data.video_io import iter_frames

THUMBNAIL_PX = 160
BAR_LUMA = 24
"""Brightest luma of a black bar: the limit of FFmpeg's cropdetect."""
FLASH_CHANGE, FLASH_DARKER = 0.1, 0.8
"""WCAG 2.3.1: a flash is a pair of opposing changes of relative luminance of 10 % or more, the darker below
0.80. Taken over the mean of the frame."""

_LINEAR = ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
_LINEAR[:11] = np.arange(11) / 255 / 12.92
"""sRGB to linear light (IEC 61966-2-1)."""
_LUMA = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class Survey:
    """What one pass over a clip found.

    Attributes:
        times: float64 [T], seconds of each frame; end_seconds: of the last frame's end.
        cuts: seconds at which a new scene begins, ascending, without the start.
        luminance: float64 [T], mean relative luminance in [0, 1].
        change: float64 [T], mean absolute difference to the frame before, as a share of 255; the first is 0.
        content: the picture without its black bars.
    """

    times: np.ndarray
    end_seconds: float
    cuts: tuple[float, ...]
    luminance: np.ndarray
    change: np.ndarray
    content: Box

    def scenes(self) -> list[tuple[float, float]]:
        """Start and end of each scene in seconds."""
        edges = [0.0, *self.cuts, self.end_seconds]
        return list(itertools.pairwise(edges))

    def check_stretch(
        self, start: float, end: float, *, min_change: float | None, max_flashes: float | None
    ) -> None:
        """Raise BadMedia when what lies between two times (seconds) stands still or flashes.

        Args:
            min_change: least mean difference of neighbouring frames; None: anything.
            max_flashes: flashes a second, at most; None: any.

        Raises:
            BadMedia: "static" or "flashing".
        """
        inside = (self.times >= start) & (self.times < end)
        change = float(self.change[inside][1:].mean()) if inside.sum() > 1 else 0.0
        if min_change is not None and change < min_change:
            raise BadMedia(
                "static", f"frames must differ by >= {min_change:g}, got {change:.5f} at {start:.2f} s"
            )
        flashes = num_flashes(self.luminance[inside]) / max(end - start, 1e-9)
        if max_flashes is not None and flashes > max_flashes:
            raise BadMedia(
                "flashing",
                f"must have <= {max_flashes:g} flashes a second, got {flashes:.1f} at {start:.2f} s",
            )


def survey_clip(content: Path | str | bytes, fps: float, *, scene_threshold: float | None = 27.0) -> Survey:
    """Look once at every frame of a clip, in flat memory.

    Args:
        content: a file, or the bytes of one; fps: its frame rate.
        scene_threshold: of PySceneDetect's content detector (mean change of hue, saturation and brightness,
            0 to 255); None: the clip counts as one scene.

    Raises:
        BadMedia, InputError: as `iter_frames`.
    """
    from scenedetect import FrameTimecode
    from scenedetect.detectors import ContentDetector

    # Every cut counts, however near to the one before: a window must not hold one.
    detector = None if scene_threshold is None else ContentDetector(scene_threshold, min_scene_len=1)
    times: list[float] = []
    cuts: list[float] = []
    luminance: list[float] = []
    change: list[float] = []
    previous = brightest = None
    for number, frame in enumerate(iter_frames(content, max_side_px=THUMBNAIL_PX)):
        bgr = np.ascontiguousarray(frame.pixels[..., ::-1])
        if previous is not None and previous.shape != bgr.shape:
            raise BadMedia("size_changes", "the size of the frames changes within the clip")
        luma = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        brightest = luma if brightest is None else np.maximum(brightest, luma)
        times.append(frame.seconds)
        luminance.append(_relative_luminance(bgr))
        change.append(0.0 if previous is None else float(cv2.absdiff(bgr, previous).mean()) / 255)
        previous = bgr
        if detector is not None and detector.process_frame(FrameTimecode(number, float(fps)), bgr):
            cuts.append(frame.seconds)
    assert brightest is not None  # a clip without frames has been refused
    return Survey(
        np.array(times), times[-1] + 1 / fps, tuple(cuts), np.array(luminance), np.array(change),
        content_box(brightest),
    )  # fmt: skip


def content_box(brightest_HW: np.ndarray) -> Box:
    """The picture without its black bars, from the brightest luma (uint8) that each pixel ever had.

    A row or column belongs to a bar when 98 % of its pixels never exceed 24; where there is a bar, one pixel
    more is cut, for its soft edge. A picture that is dark all over has no bars.
    """
    bright = brightest_HW > BAR_LUMA
    spans = []
    for axis in (1, 0):
        lines = np.flatnonzero(bright.mean(axis=axis) > 0.02)
        if not lines.size:
            return WHOLE
        size = bright.shape[1 - axis]
        first, last = int(lines[0]), int(lines[-1]) + 1
        first, last = first + (first > 0), last - (last < size)
        if last - first < size // 4:
            return WHOLE
        spans += [first / size, last / size]
    top, bottom, left, right = spans
    return Box(left, top, right, bottom)


def num_flashes(luminance_T: np.ndarray) -> float:
    """Flashes (pairs of opposing jumps, see FLASH_CHANGE) in a series of relative luminances."""
    jumps = np.diff(luminance_T)
    darker = np.minimum(luminance_T[1:], luminance_T[:-1])
    signs = np.sign(jumps[(np.abs(jumps) >= FLASH_CHANGE) & (darker < FLASH_DARKER)])
    return float(np.count_nonzero(signs[1:] != signs[:-1]) + 1) / 2 if signs.size > 1 else 0.0


def _relative_luminance(bgr: np.ndarray) -> float:
    """Mean relative luminance (WCAG 2) of a uint8 [H, W, 3] picture."""
    counts = [cv2.calcHist([bgr], [channel], None, [256], [0, 256]).ravel() for channel in (2, 1, 0)]
    pixels = bgr.shape[0] * bgr.shape[1]
    return float(sum(w * (c @ _LINEAR) for w, c in zip(_LUMA, counts, strict=True)) / pixels)
