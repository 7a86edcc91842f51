"""Windows of a clip: frames at the video's rate and size, and larger frames to cut the subject from."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sugar.box import WHOLE, Box, Corners
from sugar.data.cut_outs import fit_within
from sugar.data.image_io import BadMedia
from sugar.data.video_io import VideoInfo, iter_frames, probe
from sugar.encoders.segmentation import MIN_SIDE_PX, USUAL_PX, shrink
from sugar.ingest.survey import Survey, survey_clip

MIN_RATE = 0.75
"""Slowest clip that is used, as a share of the wanted rate: below it, frames would only be repeated."""
NUM_THUMBNAILS = 9
LEAST_IN_VIEW = 0.5
"""Share of the subject's box that lies in the view."""


class Window(NamedTuple):
    """A stretch of a clip.

    number: its number in the clip; scene: number of the scene it lies in; start_seconds: where it begins;
    frames: uint8 [T, H, W, 3]; stills: frame index -> the same view in more detail, uint8 [h, w, 3];
    box: the part of the view that the subject stays in; thumbnails: of up to NUM_THUMBNAILS frames, uint8
    [h, w, 3] of at most USUAL_PX, for what the scene usually looks like.
    """

    number: int
    scene: int
    start_seconds: float
    frames: np.ndarray
    stills: dict[int, np.ndarray]
    box: Box = WHOLE
    thumbnails: tuple[np.ndarray, ...] = ()


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


class Rules(NamedTuple):
    """What a clip, and each stretch of it, must be; None leaves a rule out.

    min_side_px, max_seconds: bounds of the clip. scene_threshold, min_change, max_flashes: see
    `survey.survey_clip` and `Survey.check_stretch`. crop_bars: cut black bars away.
    """

    min_side_px: int = 32
    max_seconds: float = 3600.0
    scene_threshold: float | None = None
    min_change: float | None = None
    max_flashes: float | None = None
    crop_bars: bool = False

    @property
    def need_survey(self) -> bool:
        """Whether the clip must be looked at as a whole first."""
        return self.crop_bars or any(
            rule is not None for rule in (self.scene_threshold, self.min_change, self.max_flashes)
        )


def scene_windows(
    scenes: list[tuple[float, float]], window_seconds: float, max_windows: int
) -> list[tuple[int, float]]:
    """(scene, start) of as many windows as fit, at most `max_windows`, spread over the scenes; none on a cut.

    Raises:
        BadMedia: "too_short" for a single scene, "no_long_scene" for several.
    """
    lengths = [end - start for start, end in scenes]
    if len(scenes) == 1:
        return [(0, start) for start in window_starts(lengths[0], window_seconds, max_windows)]
    fits = [int(length / window_seconds + 0.02) for length in lengths]
    slots = np.repeat(np.arange(len(scenes)), fits)
    if not slots.size:
        longest = f"the longest has {max(lengths):.3f} s"
        raise BadMedia("no_long_scene", f"a scene must last >= {window_seconds:.3f} s, {longest}")
    chosen = slots[np.linspace(0, slots.size - 1, min(max_windows, slots.size)).round().astype(int)]
    return [
        (int(scene), scenes[scene][0] + start)
        for scene, num in zip(*np.unique(chosen, return_counts=True), strict=True)
        for start in window_starts(lengths[scene], window_seconds, int(num))
    ]


def read_windows(
    content: Path | str | bytes,
    *,
    fps: float,
    num_frames: int,
    height_px: int,
    width_px: int,
    still_indices: list[list[int]],
    box: Corners | None = None,
    rules: Rules = Rules(),  # noqa: B008  (immutable)
    still_side_px: int = 512,
    on_skip: Callable[[int, BadMedia], None] | None = None,
) -> list[Window]:
    """Windows of a clip, none of which crosses a cut, in flat memory.

    The view is the largest centred crop of the wanted aspect, within the black bars. A frame is the one on
    screen nearest to its time, so any frame rate, also a variable one, plays at its true speed.

    Args:
        content: a file, or the bytes of one.
        fps, num_frames, height_px, width_px: the wanted rate, length and size.
        still_indices: for each possible window the frame indices to keep in detail; its length is the
            largest number of windows.
        box: what the subject stays in throughout the clip, in pixels of its upright frames.
        rules: what the clip must be.
        still_side_px: longer side of the detailed frames.
        on_skip: told (number, why) of a window that stands still or flashes.

    Raises:
        BadMedia: "too_small", "too_long", "too_short", "no_long_scene", "low_frame_rate", "static",
            "flashing", "bad_box", "box_out_of_view", or what the decoder says.
    """
    info = probe(content)
    _check_clip(info, fps, rules)
    window_seconds = num_frames / fps
    # A container that does not state its length is read from the start.
    seconds = info.seconds or len(still_indices) * window_seconds
    scenes, view = [(0.0, seconds)], WHOLE
    survey: Survey | None = None
    if rules.need_survey:
        survey = survey_clip(content, info.fps, scene_threshold=rules.scene_threshold)
        # What the frames say goes before what the container says.
        scenes = survey.scenes()
        view = survey.content if rules.crop_bars else WHOLE
    places = scene_windows(scenes, window_seconds, len(still_indices))
    windows = [
        Window(w, scene, start, np.empty((num_frames, height_px, width_px, 3), np.uint8), {})
        for w, (scene, start) in enumerate(places)
    ]
    if survey is not None:
        windows = _allowed(windows, survey, window_seconds, rules, on_skip)
    return _filled(content, info.fps, windows, fps, still_indices, still_side_px, view, box)


def _check_clip(info: VideoInfo, fps: float, rules: Rules) -> None:
    if min(info.width_px, info.height_px) < rules.min_side_px:
        raise BadMedia(
            "too_small", f"sides must be >= {rules.min_side_px} px, got {info.width_px}x{info.height_px}"
        )
    if info.seconds > rules.max_seconds:
        raise BadMedia("too_long", f"clip must last <= {rules.max_seconds:g} s, got {info.seconds:.1f} s")
    if info.fps < MIN_RATE * fps:
        raise BadMedia(
            "low_frame_rate", f"clip must have >= {MIN_RATE * fps:g} frames a second, got {info.fps:g}"
        )


def _allowed(
    windows: list[Window],
    survey: Survey,
    window_seconds: float,
    rules: Rules,
    on_skip: Callable[[int, BadMedia], None] | None,
) -> list[Window]:
    """The windows that move and do not flash; when there is none, the last reason is raised."""
    kept: list[Window] = []
    refused: list[tuple[int, BadMedia]] = []
    for window in windows:
        try:
            survey.check_stretch(
                window.start_seconds,
                window.start_seconds + window_seconds,
                min_change=rules.min_change,
                max_flashes=rules.max_flashes,
            )
            kept.append(window)
        except BadMedia as bad:
            refused.append((window.number, bad))
    if not kept:
        raise refused[-1][1]
    if on_skip is not None:
        for number, bad in refused:
            on_skip(number, bad)
    return kept


def _filled(
    content: Path | str | bytes,
    clip_fps: float,
    windows: list[Window],
    fps: float,
    still_indices: list[list[int]],
    still_side_px: int,
    view: Box,
    box: Corners | None,
) -> list[Window]:
    """The windows with their frames, those that the clip's end cuts short left out."""
    num_frames, height_px, width_px = windows[0].frames.shape[:3]
    wanted = sorted(
        (w.start_seconds + k / fps, i, k) for i, w in enumerate(windows) for k in range(num_frames)
    )
    filled = [0] * len(windows)
    thumbnails: list[list[np.ndarray]] = [[] for _ in windows]
    in_small = set(np.linspace(0, num_frames - 1, NUM_THUMBNAILS).round().astype(int).tolist())
    subject_in = WHOLE

    def show(pixels: np.ndarray, until_seconds: float) -> None:
        """Give the frame on screen to all that is wanted before `until_seconds`."""
        nonlocal subject_in
        detailed = small = None
        while wanted and wanted[0][0] < until_seconds:
            _, i, k = wanted.pop(0)
            if detailed is None or small is None:
                seen = in_view(pixels.shape, view, height_px, width_px)
                detailed = pixels[seen]
                if box is not None:
                    subject_in = box_in_view(box, pixels.shape, seen)
                small = _resized(detailed, height_px, width_px)
            windows[i].frames[k] = small
            filled[i] += 1
            if k in in_small:
                thumbnails[i].append(shrink(detailed, USUAL_PX).copy())
            if k in still_indices[windows[i].number]:
                still = fit_within(detailed, still_side_px).copy()
                if box is not None:
                    _check_cut_from(box, subject_in, still)
                windows[i].stills[k] = still

    previous: tuple[float, np.ndarray] | None = None
    for frame in iter_frames(content):
        if previous is not None:
            show(previous[1], (previous[0] + frame.seconds) / 2)
        if not wanted:
            break
        previous = (frame.seconds, frame.pixels)
    else:
        assert previous is not None
        show(previous[1], previous[0] + 0.75 / clip_fps)
    whole = [
        window._replace(box=subject_in, thumbnails=tuple(small))
        for window, count, small in zip(windows, filled, thumbnails, strict=True)
        if count == num_frames
    ]
    if not whole:
        raise BadMedia("too_short", f"clip must last >= {num_frames / fps:.3f} s, its frames end before")
    return whole


def in_view(shape: tuple[int, ...], view: Box, height_px: int, width_px: int) -> tuple[slice, slice]:
    """Rows and columns of the largest centred part of `view` with the aspect height_px : width_px.

    Args:
        shape: of the frames; view: the frame without its black bars.
    """
    rows, columns = view.slices(*shape[:2])
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = min(height / height_px, width / width_px)
    crop_h, crop_w = min(height, round(height_px * scale)), min(width, round(width_px * scale))
    top, left = rows.start + (height - crop_h) // 2, columns.start + (width - crop_w) // 2
    return slice(top, top + crop_h), slice(left, left + crop_w)


def box_in_view(box: Corners, shape: tuple[int, ...], seen: tuple[slice, slice]) -> Box:
    """The part of a box (pixels of a frame of that shape) that lies in view, as shares of the view.

    Raises:
        BadMedia: "bad_box": it leaves the frame or is under 8 px; "box_out_of_view": most of it is cut away.
    """
    try:
        Box.of(box, *shape[:2])
    except ValueError as error:
        raise BadMedia("bad_box", str(error)) from error
    rows, columns = seen
    left, right = np.clip((box[0], box[2]), columns.start, columns.stop).tolist()
    top, bottom = np.clip((box[1], box[3]), rows.start, rows.stop).tolist()
    share = (right - left) * (bottom - top) / ((box[2] - box[0]) * (box[3] - box[1]))
    if share < LEAST_IN_VIEW:
        raise BadMedia("box_out_of_view", f"{LEAST_IN_VIEW:.0%} of its box must be in view, got {share:.0%}")
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return Box(
        (left - columns.start) / width,
        (top - rows.start) / height,
        (right - columns.start) / width,
        (bottom - rows.start) / height,
    )


def _check_cut_from(box: Corners, subject_in: Box, still: np.ndarray) -> None:
    """A box must leave enough of the frame that the subject is cut from.

    Raises:
        BadMedia: "bad_box".
    """
    rows, columns = subject_in.slices(*still.shape[:2])
    width, height = columns.stop - columns.start, rows.stop - rows.start
    if min(width, height) < MIN_SIDE_PX:
        raise BadMedia(
            "bad_box",
            f"box must be at least {MIN_SIDE_PX} px wide and high in the frame that the subject is cut from "
            f"({still.shape[1]} x {still.shape[0]} px), got {width} x {height} px of "
            f"{' '.join(f'{value:g}' for value in box)}",
        )


def _resized(pixels: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    if pixels.shape[:2] == (height_px, width_px):
        return pixels
    smaller = pixels.shape[0] > height_px
    return cv2.resize(
        pixels, (width_px, height_px), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )
