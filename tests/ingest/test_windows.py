"""Windows: the right frames at the right time for any frame rate, or a reason."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sugar.data.image_io import BadMedia
from sugar.data.video_io import encode_mp4
from sugar.ingest.windows import Rules, centre_crop, read_windows, window_starts


def ramp(num_frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame k is grey of brightness 2k, so that a picture tells its time."""
    grey = np.arange(num_frames, dtype=np.uint8) * 2
    return np.broadcast_to(grey[:, None, None, None], (num_frames, height, width, 3)).copy()


def windows_of(content, num_windows=1, stills=(0,), **changes):
    limits = {"min_side_px": 16} | {n: changes.pop(n) for n in ("min_side_px", "max_seconds") if n in changes}
    arguments = {"fps": 8.0, "num_frames": 5, "height_px": 32, "width_px": 32, "rules": Rules(**limits)}
    return read_windows(content, still_indices=[list(stills)] * num_windows, **(arguments | changes))


@pytest.mark.parametrize("fps", [8, 12, 24, 30, 60])
def test_frames_are_the_nearest_in_time(fps):
    clip = encode_mp4(ramp(2 * fps), fps)
    windows = windows_of(clip, 3)
    assert len(windows) == 3
    for window in windows:
        for k, frame in enumerate(window.frames):
            seconds = window.start_seconds + k / 8
            # Half a frame, and a grey level (half a frame too) that the codec may be off.
            assert abs(frame.mean() / 2 - seconds * fps) <= 1.05


def test_a_clip_of_exactly_one_window_is_taken_whole():
    frames = ramp(5) * 10
    (window,) = windows_of(encode_mp4(frames, 8))
    assert window.start_seconds == pytest.approx(0, abs=1e-3)
    assert np.abs(window.frames.mean(axis=(1, 2, 3)) - frames.mean(axis=(1, 2, 3))).max() < 2


def test_a_clip_whose_rate_is_no_divisor():
    assert len(windows_of(encode_mp4(ramp(60), 30000 / 1001), 4)) == 3


def test_stills_show_the_same_view_in_more_detail():
    rng = np.random.default_rng(0)
    picture = np.repeat(np.repeat(rng.integers(60, 200, (9, 16, 3), np.uint8), 20, 0), 20, 1)
    clip = encode_mp4(np.stack([picture] * 5), 8)
    (window,) = windows_of(clip, stills=(4, 1))
    assert set(window.stills) == {1, 4}
    assert window.stills[4].shape == (180, 180, 3)
    assert np.abs(window.stills[4].astype(int) - centre_crop(picture, 32, 32)).mean() < 6


@pytest.mark.parametrize(
    "frames, fps, changes, reason",
    [
        (ramp(4), 8, {}, "too_short"),
        (ramp(20), 5, {}, "low_frame_rate"),
        (ramp(8), 8, {"max_seconds": 0.9}, "too_long"),
        (ramp(8), 8, {"min_side_px": 40}, "too_small"),
    ],
)
def test_reasons(frames, fps, changes, reason):
    with pytest.raises(BadMedia) as error:
        windows_of(encode_mp4(frames, fps), **changes)
    assert error.value.reason == reason


@given(st.floats(0.01, 1000), st.floats(0.1, 20), st.integers(1, 8))
def test_windows_lie_inside_the_clip_and_apart(clip, window, most):
    try:
        starts = window_starts(clip, window, most)
    except BadMedia:
        assert clip < window
        return
    assert 1 <= len(starts) <= most
    assert starts[0] >= 0
    assert starts[-1] + window <= clip * 1.03 + 1e-6
    assert all(b - a >= window * 0.97 for a, b in itertools.pairwise(starts))


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 40), st.integers(1, 40))
def test_the_crop_is_the_largest_of_its_aspect(height, width, to_height, to_width):
    crop_h, crop_w = centre_crop(np.zeros((height, width, 3), np.uint8), to_height, to_width).shape[:2]
    assert crop_h == height or crop_w == width
    assert abs(crop_h * to_width - crop_w * to_height) <= max(to_width, to_height)
