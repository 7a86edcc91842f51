"""Windows of a clip: frames at the video's rate and size, and larger frames to cut the subject from."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sugar.data.cut_outs import fit_within
from sugar.data.image_io import BadMedia
from sugar.data.video_io import iter_frames, probe

MIN_RATE = 0.75
"""Slowest clip that is used, as a share of the wanted rate: below it, frames would only be repeated."""


class Window(NamedTuple):
    """A stretch of a clip.

    number: its number in the clip; start_seconds: where it begins; frames: uint8 [T, H, W, 3]; stills:
    frame index -> the same view in more detail, uint8 [h, w, 3].
    """

    number: int
    start_seconds: float
    frames: np.ndarray
    stills: dict[int, np.ndarray]


def window_starts(clip_seconds: float, window_seconds: float, max_windows: int) -> list[float]:
    """Starts of as many windows as fit one after the other, at most `max_windows`, spread over the clip.

    Raises:
        BadMedia: "too_short".
    """
    # A clip of exactly one window must not fail for the rounding of its time base.
    num = min(max_windows, int(clip_seconds / window_seconds + 0.02))
    if num < 1:
        raise BadMedia("too_short", f"clip must last >= {window_seconds:.3f} s, got {clip_seconds:.3f} s")
    if num == 1:
        return [max(0.0, (clip_seconds - window_seconds) / 2)]
    return np.linspace(0.0, clip_seconds - window_seconds, num).tolist()


def read_windows(
    content: Path | str | bytes,
    *,
    fps: float,
    num_frames: int,
    height_px: int,
    width_px: int,
    still_indices: list[list[int]],
    min_side_px: int = 32,
    max_seconds: float = 3600.0,
    still_side_px: int = 512,
) -> list[Window]:
    """Windows of a clip in one pass and in flat memory.

    The view is the largest centred crop of the wanted aspect. A frame is the one on screen nearest to its
    time, so any frame rate, also a variable one, plays at its true speed.

    Args:
        content: a file, or the bytes of one.
        fps, num_frames, height_px, width_px: the wanted rate, length and size.
        still_indices: for each possible window the frame indices to keep in detail; its length is the
            largest number of windows.
        min_side_px, max_seconds: bounds of the clip.
        still_side_px: longer side of the detailed frames.

    Raises:
        BadMedia: "too_small", "too_long", "too_short", "low_frame_rate", or what the decoder says.
    """
    info = probe(content)
    if min(info.width_px, info.height_px) < min_side_px:
        raise BadMedia(
            "too_small", f"sides must be >= {min_side_px} px, got {info.width_px}x{info.height_px}"
        )
    if info.seconds > max_seconds:
        raise BadMedia("too_long", f"clip must last <= {max_seconds:g} s, got {info.seconds:.1f} s")
    if info.fps < MIN_RATE * fps:
        raise BadMedia(
            "low_frame_rate", f"clip must have >= {MIN_RATE * fps:g} frames a second, got {info.fps:g}"
        )
    # A container that does not state its length is read from the start.
    seconds = info.seconds or len(still_indices) * num_frames / fps
    starts = window_starts(seconds, num_frames / fps, len(still_indices))
    wanted = sorted((start + k / fps, w, k) for w, start in enumerate(starts) for k in range(num_frames))
    windows = [
        Window(w, start, np.empty((num_frames, height_px, width_px, 3), np.uint8), {})
        for w, start in enumerate(starts)
    ]
    filled = [0] * len(starts)

    def show(pixels: np.ndarray, until_seconds: float) -> None:
        """Give the frame on screen to all that is wanted before `until_seconds`."""
        cropped = small = None
        while wanted and wanted[0][0] < until_seconds:
            _, w, k = wanted.pop(0)
            if cropped is None or small is None:
                cropped = centre_crop(pixels, height_px, width_px)
                small = _resized(cropped, height_px, width_px)
            windows[w].frames[k] = small
            filled[w] += 1
            if k in still_indices[w]:
                windows[w].stills[k] = fit_within(cropped, still_side_px).copy()

    previous: tuple[float, np.ndarray] | None = None
    for frame in iter_frames(content):
        if previous is not None:
            show(previous[1], (previous[0] + frame.seconds) / 2)
        if not wanted:
            break
        previous = (frame.seconds, frame.pixels)
    else:
        assert previous is not None
        show(previous[1], previous[0] + 0.75 / info.fps)
    whole = [window for window, count in zip(windows, filled, strict=True) if count == num_frames]
    if not whole:
        raise BadMedia("too_short", f"clip must last >= {num_frames / fps:.3f} s, its frames end before")
    return whole


def centre_crop(pixels: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """The largest centred part of uint8 [H, W, 3] with the aspect height_px : width_px."""
    height, width = pixels.shape[:2]
    scale = min(height / height_px, width / width_px)
    crop_h, crop_w = min(height, round(height_px * scale)), min(width, round(width_px * scale))
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return pixels[top : top + crop_h, left : left + crop_w]


def _resized(pixels: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    if pixels.shape[:2] == (height_px, width_px):
        return pixels
    smaller = pixels.shape[0] > height_px
    return cv2.resize(
        pixels, (width_px, height_px), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )
