"""One pass over a clip finds its cuts, bars, stills and flashes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sugar.box import WHOLE
from sugar.data.image_io import BadMedia
from sugar.data.video_io import encode_mp4
from sugar.ingest.survey import content_box, num_flashes, survey_clip
from sugar.ingest.windows import Rules, read_windows, scene_windows

FPS = 8


def moving(num_frames: int, seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A bright square that walks over a coloured ground."""
    rng = np.random.default_rng(seed)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[:] = rng.integers(40, 200, 3)
    for k in range(num_frames):
        frames[k, 20:40, 10 + 2 * k : 30 + 2 * k] = 255 - frames[0, 0, 0]
    return frames


def windows_of(frames: np.ndarray, rules: Rules, num_windows: int = 4, **changes):
    arguments = {"fps": FPS, "num_frames": 5, "height_px": 32, "width_px": 32}
    content = encode_mp4(frames, FPS)
    return read_windows(content, still_indices=[[0]] * num_windows, rules=rules, **(arguments | changes))


def test_cuts_are_found_and_no_window_holds_one():
    frames = np.concatenate([moving(12, 1), moving(7, 2), moving(3, 3), moving(14, 4)])
    survey = survey_clip(encode_mp4(frames, FPS), FPS)
    assert [round(cut * FPS) for cut in survey.cuts] == [12, 19, 22]
    windows = windows_of(frames, Rules(scene_threshold=27.0), 6)
    assert [window.scene for window in windows] == [0, 0, 1, 3, 3]
    for window in windows:
        first = round(window.start_seconds * FPS)
        assert not {12, 19, 22} & set(range(first + 1, first + 5))
    # Without the rule a window does cross them.
    starts = [round(w.start_seconds * FPS) for w in windows_of(frames, Rules(), 6)]
    assert any({12, 19, 22} & set(range(start + 1, start + 5)) for start in starts)


def test_a_clip_of_short_scenes_is_refused():
    frames = np.concatenate([moving(3, seed) for seed in (1, 2, 4, 5)])
    with pytest.raises(BadMedia, match=r"a scene must last >= 0.625 s") as error:
        windows_of(frames, Rules(scene_threshold=27.0))
    assert error.value.reason == "no_long_scene"


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=12), st.floats(0.2, 5), st.integers(1, 9))
def test_windows_stay_in_their_scenes(lengths, window, most):
    ends = np.cumsum(lengths).tolist()
    scenes = list(zip([0.0, *ends[:-1]], ends, strict=True))
    try:
        places = scene_windows(scenes, window, most)
    except BadMedia:
        assert max(lengths) < window
        return
    assert 1 <= len(places) <= most
    for scene, start in places:
        assert scenes[scene][0] - 1e-9 <= start
        assert start + window <= scenes[scene][1] + 0.03 * window
    assert places == sorted(places)


@pytest.mark.parametrize("top, left", [(0, 0), (10, 0), (0, 14), (8, 12)])
def test_black_bars_are_cut_away(top, left):
    frames = moving(6, 1)
    frames[:, :top] = frames[:, frames.shape[1] - top :] = 0
    frames[:, :, :left] = frames[:, :, frames.shape[2] - left :] = 0
    (window, *_) = windows_of(
        frames, Rules(crop_bars=True), 1, height_px=64 - 2 * top, width_px=96 - 2 * left
    )
    assert window.frames.min() > 10
    if top:
        (with_bars, *_) = windows_of(frames, Rules(), 1, height_px=64, width_px=96)
        assert with_bars.frames.min() < 10


def test_a_dark_picture_has_no_bars():
    assert content_box(np.full((40, 60), 5, np.uint8)) == WHOLE
    night = np.zeros((100, 100), np.uint8)
    night[48:52, 48:52] = 255
    assert content_box(night) == WHOLE


def test_static_and_flashing_stretches_are_told():
    still = np.repeat(moving(1, 1), 10, axis=0)
    flashing = moving(10, 1) // 8
    flashing[::2] = np.minimum(flashing[::2].astype(int) * 8 + 120, 255)
    rules = Rules(min_change=0.0005, max_flashes=3.0)
    for frames, reason in ((still, "static"), (flashing, "flashing")):
        with pytest.raises(BadMedia) as error:
            windows_of(frames, rules)
        assert error.value.reason == reason
        assert windows_of(frames, Rules())
    told = []
    frames = np.concatenate([moving(8, 1), still])
    windows = windows_of(frames, rules, 3, on_skip=lambda number, bad: told.append((number, bad.reason)))
    assert [window.number for window in windows] == [0, 1]
    assert told == [(2, "static")]


def test_flashes_are_pairs_of_opposing_jumps():
    assert num_flashes(np.array([0.1, 0.1, 0.1])) == 0
    assert num_flashes(np.array([0.1, 0.5, 0.5])) == 0  # one jump: a cut
    assert num_flashes(np.array([0.1, 0.5, 0.1])) == 1
    assert num_flashes(np.array([0.1, 0.5, 0.1, 0.5, 0.1])) == 2
    assert num_flashes(np.array([0.1, 0.15, 0.1, 0.15])) == 0  # too weak
    assert num_flashes(np.array([0.85, 1.0, 0.85])) == 0  # the darker is bright
