"""Counter-based random streams: every picture of Sprite World is a pure function of its seed."""

import numpy as np

IDENTITY, PATTERN, STYLE, BACKGROUND, MOTION, CAPTION, CLIP = range(7)
"""Purposes of the streams: the same seed gives unrelated numbers for two purposes."""


def stream(purpose: int, seed: int) -> np.random.Generator:
    """Random generator of (purpose, seed), the same in every process and on every machine.

    Raises ValueError unless 0 <= seed < 2**64.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in [0, 2**64), got {seed}")
    return np.random.Generator(np.random.Philox(key=np.array([purpose, seed], dtype=np.uint64)))
