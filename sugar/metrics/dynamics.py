"""How much a video moves: VBench's dynamic degree.

Axes: T frames, 2 = (x, y), H W height and width in pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sugar.metrics.arrays import as_array

TOP_SHARE = 0.05
SAMPLE_FPS = 8


def frame_stride(fps: float) -> int:
    """Every how many frames VBench samples a video: max(1, round(fps / 8)), Python's round.

    Raises:
        ValueError: when fps is not positive.
    """
    if not fps > 0 or not np.isfinite(fps):
        raise ValueError(f"fps must be > 0, got {fps}")
    return max(1, round(float(fps) / SAMPLE_FPS))


def flow_strength(flows: Any) -> np.ndarray:
    """Mean length of the largest 5 % of the flow vectors of each pair of frames, VBench's `max_rad`.

    Args:
        flows: [T-1, 2, h, w] in pixels.

    Returns:
        [T-1] in pixels. nan for flow fields of fewer than 20 vectors, as 5 % of them is none.
    """
    flow = as_array(flows, "T2HW", "flows")
    if flow.shape[1] != 2:
        raise ValueError(f"flows must be [T-1, 2, h, w], got shape {flow.shape}")
    lengths = np.hypot(flow[:, 0], flow[:, 1]).reshape(flow.shape[0], -1)
    count = int(lengths.shape[1] * TOP_SHARE)
    if count == 0:
        return np.full(flow.shape[0], np.nan)
    largest = np.partition(lengths, lengths.shape[1] - count, axis=1)[:, -count:]
    return largest.mean(axis=1)


def is_dynamic(flows: Any, height: int, width: int) -> bool:
    """Whether a video moves, by VBench's rule.

    A pair of frames moves when its `flow_strength` exceeds 6 * min(height, width) / 256; the video is dynamic
    when the number of moving pairs reaches round(4 * T / 16) (Python's round), T the number of sampled
    frames. Three frames or fewer can round that to none or one, and none is reached by any pair: VBench's own
    edge case, kept.

    Args:
        flows: [T-1, 2, h, w] in pixels between the T sampled frames (see `frame_stride`); none: not dynamic.
        height, width: of the frames, in pixels.
    """
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be >= 1, got {height} and {width}")
    if len(flows) == 0:
        return False
    strength = flow_strength(flows)
    threshold = 6.0 * min(height, width) / 256.0
    needed = round(4 * (len(strength) + 1) / 16.0)
    return bool(np.count_nonzero(strength > threshold) >= needed)


def dynamic_degree(verdicts: Sequence[bool]) -> float:
    """Share of dynamic videos in a set."""
    if len(verdicts) == 0:
        raise ValueError("dynamic_degree needs at least one video")
    return float(np.mean([bool(verdict) for verdict in verdicts]))
