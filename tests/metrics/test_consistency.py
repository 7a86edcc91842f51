import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.metrics.consistency import (
    consecutive_similarity,
    random_pair_similarity,
    set_consistency,
    temporal_consistency,
)


def features(seed: int, frames: int, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


def vbench_loop(videos: list[np.ndarray]) -> tuple[float, list[float]]:
    """The loop of VBench's subject_consistency, frame by frame."""
    total, count, per_video = 0.0, 0, []
    for video in videos:
        video_sum = 0.0
        first = former = torch.empty(0)
        for i, frame in enumerate(torch.from_numpy(video).split(1)):
            current = functional.normalize(frame, dim=-1, p=2)
            if i == 0:
                first = current
            else:
                to_former = max(0.0, functional.cosine_similarity(former, current).item())
                to_first = max(0.0, functional.cosine_similarity(first, current).item())
                video_sum += (to_former + to_first) / 2
                count += 1
            former = current
        per_video.append(video_sum / (len(video) - 1))
        total += video_sum
    return total / count, per_video


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(2, 9))
def test_temporal_consistency_is_vbenchs_loop(seed, frames):
    video = features(seed, frames)
    assert temporal_consistency(video) == pytest.approx(vbench_loop([video])[1][0], abs=1e-6)


def test_set_consistency_weights_videos_by_frames():
    videos = [features(1, 3), features(2, 9), features(3, 2)]
    assert set_consistency(videos) == pytest.approx(vbench_loop(videos)[0], abs=1e-6)
    with pytest.raises(ValueError, match="at least one video"):
        set_consistency([])


def test_known_values():
    still = np.ones((4, 3))
    assert temporal_consistency(still) == pytest.approx(1.0)
    turning = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert temporal_consistency(turning) == 0.0
    back = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert temporal_consistency(back) == pytest.approx(0.25)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100.0))
def test_length_of_the_features_does_not_matter(seed, scale):
    video = features(seed, 5)
    assert temporal_consistency(video * scale) == pytest.approx(temporal_consistency(video), abs=1e-6)


def test_tensors_arrays_and_lists_give_one_float():
    video = features(0, 5)
    expected = temporal_consistency(video)
    assert type(expected) is float
    assert temporal_consistency(torch.from_numpy(video).requires_grad_()) == expected
    assert temporal_consistency(video.tolist()) == pytest.approx(expected)
    assert temporal_consistency(torch.from_numpy(video).bfloat16()) == pytest.approx(expected, abs=0.02)


def test_pair_similarities_are_the_loops():
    clips = np.stack([features(seed, 5) for seed in range(4)])
    unit = clips / np.linalg.norm(clips, axis=-1, keepdims=True)
    for i, clip in enumerate(unit):
        neighbours = [float(clip[t] @ clip[t + 1]) for t in range(4)]
        pairs = [float(clip[s] @ clip[t]) for s in range(5) for t in range(5) if s != t]
        assert consecutive_similarity(clips)[i] == pytest.approx(np.mean(neighbours), abs=1e-6)
        assert random_pair_similarity(clips)[i] == pytest.approx(np.mean(pairs), abs=1e-6)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.ones((1, 3)), "at least two frames"),
        (np.ones(3), "T, D"),
        (np.ones((0, 3)), "T, D"),
        (np.array([[1.0, np.nan], [1.0, 1.0]]), "finite"),
    ],
)
def test_bad_features_are_refused(video, message):
    with pytest.raises(ValueError, match=message):
        temporal_consistency(video)
