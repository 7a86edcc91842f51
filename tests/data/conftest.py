"""Triplets of a few pixels, in colours that a video codec keeps."""

from collections.abc import Callable

import numpy as np
import pytest

from sugar.triplet import Triplet


def smooth_clip(seed: int, num_frames: int = 5, height: int = 32, width: int = 48) -> np.ndarray:
    """uint8 [T, H, W, 3] of slow colour waves that move."""
    rng = np.random.default_rng(seed)
    t, y, x = np.mgrid[:num_frames, :height, :width].astype(float)
    waves = [np.sin(x / 9 + y / 11 + t / 3 + phase) for phase in rng.uniform(0, 6, 3)]
    return np.stack([np.round(127 + 90 * wave) for wave in waves], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., np.ndarray]:
    return smooth_clip


@pytest.fixture(scope="session")
def make_triplet() -> Callable[..., Triplet]:
    def make(number: int = 0, **changes: object) -> Triplet:
        video = smooth_clip(number)
        alpha = np.zeros((*video.shape[1:3], 1), np.uint8)
        alpha[8:24, 8:40] = 255
        fields: dict = {
            "key": f"sample-{number:04d}",
            "subject": video[0],
            "identity": np.concatenate([video[0], alpha], axis=2),
            "video": video,
            "fps": 8.0,
            "prompt": f"a dog number {number} — naïve 🐕",
            "noun": ("dog", "cat", "fox")[number % 3],
            "category": "animal",
            "source": "synthetic",
            "style": ("neon", "gold")[number % 2],
            "background": "beach",
            "motion": "jump",
            "seed": number,
            "source_digest": "ab" * 32,
            "scores": {"identity": 0.5 + number / 100, "flow_px": 1.5},
            "provenance": {"animate": "procedural"},
        }
        return Triplet(**(fields | changes))

    return make
