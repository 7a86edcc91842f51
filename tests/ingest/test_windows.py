"""Windows: the right frames at the right time for any frame rate, or a reason."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sugar.box import WHOLE, Box
from sugar.data.image_io import BadMedia
from sugar.data.video_io import encode_mp4
from sugar.ingest.windows import Rules, box_in_view, in_view, read_windows, window_starts


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
    assert np.abs(window.stills[4].astype(int) - picture[in_view(picture.shape, WHOLE, 32, 32)]).mean() < 6


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
    seen = in_view((height, width, 3), WHOLE, to_height, to_width)
    crop_h, crop_w = np.zeros((height, width))[seen].shape
    assert crop_h == height or crop_w == width
    assert abs(crop_h * to_width - crop_w * to_height) <= max(to_width, to_height)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 20), st.integers(0, 20))
def test_a_view_is_never_empty(height, width, top, left):
    view = Box(left / 41, top / 41, 1 - left / 41, 1 - top / 41)
    assert np.zeros((height, width))[in_view((height, width), view, 9, 16)].size


def test_a_box_is_told_as_a_part_of_the_view():
    seen = in_view((100, 200, 3), WHOLE, 50, 50)
    assert seen == (slice(0, 100), slice(50, 150))
    assert box_in_view((60, 20, 100, 90), (100, 200, 3), seen) == pytest.approx((0.1, 0.2, 0.5, 0.9))
    assert box_in_view((40, 0, 80, 100), (100, 200, 3), seen) == pytest.approx((0, 0, 0.3, 1))
    for box, reason in (((0, 0, 60, 50), "box_out_of_view"), ((150, 0, 210, 50), "bad_box")):
        with pytest.raises(BadMedia) as error:
            box_in_view(box, (100, 200, 3), seen)
        assert error.value.reason == reason


def test_a_box_too_narrow_to_cut_from_is_the_boxs_fault():
    content = encode_mp4(ramp(8, 64, 96), 8)
    (window,) = windows_of(content, box=(40, 0, 56, 64), height_px=64, width_px=64, still_side_px=64)
    assert window.stills
    with pytest.raises(
        BadMedia, match=r"16 px wide and high .*\(64 x 64 px\), got 15 x 64 px of 40 0 55 64"
    ) as e:
        windows_of(content, box=(40, 0, 55, 64), height_px=64, width_px=64, still_side_px=64)
    assert e.value.reason == "bad_box"
    with pytest.raises(BadMedia, match=r"got 8 x 32 px of"):
        windows_of(content, box=(40, 0, 56, 64), height_px=64, width_px=64, still_side_px=32)


def test_windows_have_thumbnails_of_their_whole_time():
    content = encode_mp4(ramp(40, 240, 320), 8)
    (window,) = windows_of(content, num_frames=20)
    assert len(window.thumbnails) == 9
    assert {small.shape for small in window.thumbnails} == {(160, 160, 3)}
    shown = [float(small.mean()) for small in window.thumbnails]
    assert shown[0] == pytest.approx(window.frames[0].mean(), abs=3)
    assert shown[-1] == pytest.approx(window.frames[-1].mean(), abs=3)
    assert shown == sorted(shown)


def test_windows_know_their_box():
    content = encode_mp4(ramp(8), 8)
    assert [w.box for w in windows_of(content)] == [WHOLE]
    (window,) = windows_of(content, box=(12, 8, 36, 24), height_px=32, width_px=32)
    assert window.box == pytest.approx((4 / 32, 0.25, 28 / 32, 0.75))
