import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.metrics.dynamics import dynamic_degree, flow_strength, frame_stride, is_dynamic


def vbench_strength(flow: np.ndarray) -> float:
    """VBench's get_score of one flow field [2, h, w]."""
    lengths = np.sqrt(np.square(flow[0]) + np.square(flow[1]))
    height, width = lengths.shape
    cut = int(height * width * 0.05)
    return np.mean(abs(np.sort(-lengths.flatten()))[:cut]).item()


def vbench_moves(flows: np.ndarray, height: int, width: int) -> bool:
    """VBench's check_move."""
    threshold = 6.0 * (min(height, width) / 256.0)
    needed = round(4 * ((len(flows) + 1) / 16.0))
    count = 0
    for flow in flows:
        if vbench_strength(flow) > threshold:
            count += 1
        if count >= needed:
            return True
    return False


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    pairs=st.integers(1, 20),
    height=st.integers(5, 20),
    width=st.integers(5, 20),
    speed=st.floats(0.01, 1.0),
)
def test_is_dynamic_is_vbenchs_loop(seed, pairs, height, width, speed):
    rng = np.random.default_rng(seed)
    flows = rng.normal(size=(pairs, 2, height, width)) * speed * rng.random((pairs, 1, 1, 1))
    np.testing.assert_allclose(flow_strength(flows), [vbench_strength(flow) for flow in flows])
    assert is_dynamic(flows, height, width) == vbench_moves(flows, height, width)


def fields(strengths: list[float]) -> np.ndarray:
    flows = np.zeros((len(strengths), 2, 64, 64), np.float32)
    flows[:, 0] = np.array(strengths)[:, None, None]
    return flows


def test_threshold_and_count():
    # 64 px: pairs above 1.5 px move; nine sampled frames need round(36 / 16) = 2 of them.
    assert is_dynamic(fields([1.6, 1.6, 0, 0, 0, 0, 0, 0]), 64, 64)
    assert not is_dynamic(fields([1.6, 1.5, 0, 0, 0, 0, 0, 0]), 64, 64)
    # Python rounds halves to even: ten frames need round(2.5) = 2, fourteen need round(3.5) = 4.
    assert is_dynamic(fields([1.6] * 2 + [0] * 7), 64, 64)
    assert not is_dynamic(fields([1.6] * 3 + [0] * 10), 64, 64)
    assert is_dynamic(fields([1.6] * 4 + [0] * 9), 64, 64)
    # The shorter side sets the threshold, whatever the size of the flow field.
    assert not is_dynamic(fields([1.6] * 8), 128, 256)


def test_only_the_largest_five_percent_count():
    flows = np.zeros((8, 2, 20, 20))
    flows[:, 1, 0, :20] = -3.0
    assert flow_strength(flows)[0] == pytest.approx(3.0)
    assert is_dynamic(flows, 64, 64)
    flows[:, 1, 0, :10] = 0.0
    assert flow_strength(flows)[0] == pytest.approx(1.5)
    assert not is_dynamic(flows, 64, 64)


def test_tensors_and_kinds():
    flows = fields([1.6] * 8)
    assert is_dynamic(torch.from_numpy(flows), 64, 64) is True
    assert is_dynamic(flows * 0, 64, 64) is False
    assert is_dynamic(np.zeros((0, 2, 64, 64)), 64, 64) is False


def test_vbenchs_edge_cases():
    assert is_dynamic(fields([0.0]), 64, 64)  # two frames need round(0.5) = 0 moving pairs
    assert np.isnan(flow_strength(np.ones((1, 2, 4, 4)))).all()
    assert not is_dynamic(np.full((8, 2, 4, 4), 100.0), 4, 4)


@pytest.mark.parametrize(
    ("fps", "stride"), [(8, 1), (1, 1), (12, 2), (20, 2), (24, 3), (28, 4), (30, 4), (60, 8)]
)
def test_frame_stride(fps, stride):
    assert frame_stride(fps) == stride
    assert type(frame_stride(float(fps))) is int


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_frame_stride_wants_a_rate(fps):
    with pytest.raises(ValueError, match="fps"):
        frame_stride(fps)


def test_bad_flows_are_refused():
    with pytest.raises(ValueError, match="flows"):
        is_dynamic(np.ones((3, 8, 8)), 8, 8)
    with pytest.raises(ValueError, match=r"T-1, 2"):
        is_dynamic(np.ones((3, 3, 8, 8)), 8, 8)
    with pytest.raises(ValueError, match="height"):
        is_dynamic(np.ones((3, 2, 8, 8)), 0, 8)


def test_dynamic_degree():
    assert dynamic_degree([True, False, True, True]) == 0.75
    with pytest.raises(ValueError, match="at least one"):
        dynamic_degree([])
