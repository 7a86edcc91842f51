import cv2
import numpy as np
import pytest

from sugar.metrics.quality import exposure, sharpness


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 190, (2, 3, 24, 32, 3), np.uint8)


def test_sharpness_is_the_variance_of_opencvs_laplacian():
    frames = noise()
    grey = (frames @ np.array([0.299, 0.587, 0.114])).round().astype(np.float32)
    expected = [
        np.median([cv2.Laplacian(one, cv2.CV_32F)[1:-1, 1:-1].var() for one in video]) for video in grey
    ]
    assert sharpness(frames) == pytest.approx(expected, rel=2e-3)


def test_a_blurred_video_is_less_sharp_and_a_flat_one_not_at_all():
    frames = noise()
    blurred = np.stack([[cv2.GaussianBlur(one, (0, 0), 1.5) for one in video] for video in frames])
    assert (sharpness(blurred) < 0.1 * sharpness(frames)).all()
    assert sharpness(np.full((1, 2, 8, 8, 3), 99, np.uint8)) == 0


def test_exposure_is_the_share_of_pixels_that_show_something():
    frames = np.full((4, 2, 10, 10, 3), 128, np.uint8)
    frames[1, :, :5] = 0
    frames[2, 0] = 255
    frames[3] = 255
    assert exposure(frames).tolist() == [1.0, 0.5, 0.5, 0.0]


def test_what_is_no_video_is_refused():
    for function in (sharpness, exposure):
        with pytest.raises(ValueError, match="must be uint8"):
            function(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=">= 3 pixels"):
        sharpness(np.zeros((1, 1, 2, 9, 3), np.uint8))


def test_of_long_videos_even_spaced_frames_are_looked_at():
    frames = np.full((1, 31, 6, 6, 3), 128, np.uint8)
    frames[:, 1::2] = 0  # never looked at: 16 of 31 frames are every second one
    assert exposure(frames) == 1.0
