import sys

import cv2
import numpy as np
import pytest
import torch

from sugar.config import InputError
from sugar.encoders.flow import make_flow, raft_flow


def moving_texture(shifts_px: list[float], height: int = 64, width: int = 80) -> np.ndarray:
    texture = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    moves = [np.array([[1, 0, shift], [0, 1, shift / 2]], np.float32) for shift in shifts_px]
    size = (width, height)
    return np.stack([cv2.warpAffine(texture, m, size, borderMode=cv2.BORDER_REFLECT) for m in moves]).astype(
        np.uint8
    )


def test_dis_finds_a_known_shift():
    flows = make_flow("dis")(moving_texture([0, 2, 5, 5]))
    assert flows.shape == (3, 2, 64, 80)
    assert flows.dtype == np.float32
    np.testing.assert_allclose(np.median(flows, axis=(2, 3)), [[2, 1], [3, 1.5], [0, 0]], atol=0.1)


def test_dis_searches_large_frames_smaller_and_gives_lengths_in_their_pixels():
    flows = make_flow("dis")(moving_texture([0, 8, 20], height=256, width=320))
    assert flows.shape == (2, 2, 128, 160)
    np.testing.assert_allclose(np.median(flows, axis=(2, 3)), [[8, 4], [12, 6]], atol=0.4)


def test_dis_does_not_depend_on_the_number_of_threads():
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        many = make_flow("dis")(frames)
        assert cv2.getNumThreads() == 3
        cv2.setNumThreads(1)
        np.testing.assert_array_equal(many, make_flow("dis")(frames))
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 64, 64, 3), "two frames"), ((3, 8, 64, 3), "at least 16 px"), ((3, 64, 64), "uint8")],
)
def test_dis_refuses_what_it_cannot_do(shape, message):
    with pytest.raises(ValueError, match=message):
        make_flow("dis")(np.zeros(shape, np.uint8))


def test_unknown_kind_and_missing_torchvision(monkeypatch):
    with pytest.raises(InputError, match=r"networks\.flow\.kind"):
        make_flow("guess")
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    with pytest.raises(InputError, match="torchvision"):
        make_flow("raft")


@pytest.mark.parametrize(("height", "width"), [(64, 72), (130, 150)])
def test_raft_pads_enlarges_and_undoes_both(height, width):
    calls = []

    def network(first: torch.Tensor, second: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
        """RAFT's contract; the "flow" is each pixel's red, x of the first picture and y of the second."""
        calls.append((tuple(first.shape), num_flow_updates))
        assert min(first.shape[2:]) >= 128
        assert first.shape[2] % 8 == first.shape[3] % 8 == 0
        assert -1.0 <= first.min() <= first.max() <= 1.0
        return [torch.zeros(0), torch.stack([first[:, 0], second[:, 0]], dim=1)]

    frames = np.zeros((11, height, width, 3), np.uint8)
    frames += np.arange(11, dtype=np.uint8)[:, None, None, None] * 20
    frames[:, :4] = 255
    flows = raft_flow(network, frames)
    assert flows.shape == (10, 2, height, width)
    assert [shape[0] for shape, _ in calls] == [8, 2]
    assert {updates for _, updates in calls} == {20}
    enlarge = 2 if height == 64 else 1
    middle = flows[:, :, height // 2, width // 2] * enlarge
    expected = np.arange(11) * 20 / 127.5 - 1
    np.testing.assert_allclose(middle, np.stack([expected[:-1], expected[1:]], axis=1), atol=1e-5)
    np.testing.assert_allclose(flows[:, :, 0] * enlarge, 1.0, atol=1e-5)

    some = np.array([0, 2, 3, 9])
    calls.clear()
    np.testing.assert_array_equal(raft_flow(network, frames, first=some), flows[some])
    assert [shape[0] for shape, _ in calls] == [4]


def test_the_flow_of_some_pairs_is_that_of_all():
    tiles = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    ground = tiles.repeat(8, axis=0).repeat(8, axis=1)
    frames = np.stack([ground[:32, 2 * shift : 2 * shift + 40] for shift in (0, 1, 3, 4, 6, 9)])
    flow, some = make_flow("dis"), np.array([1, 4])
    np.testing.assert_array_equal(flow(frames, some), flow(frames)[some])
