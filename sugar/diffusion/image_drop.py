"""When the sampler drops image embeddings."""

from __future__ import annotations

import math
from typing import Literal

Drop = Literal["dino", "clip", "both", "none"]
DROPPED: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "dino": frozenset({"dino"}),
    "clip": frozenset({"clip"}),
    "both": frozenset({"dino", "clip"}),
}


def active_streams(step: int, num_steps: int, drop: Drop, drop_until: float) -> frozenset[str]:
    """The image streams, of "dino" and "clip", that condition a step.

    The streams of `drop` are left out for the first `ceil(drop_until * num_steps)` steps.

    Args:
        step: 0 for the noisiest.
        drop_until: fraction of the steps, 0 to 1.

    Raises:
        ValueError: an unknown `drop`, or a fraction outside [0, 1].

    Source: SUGAR section 3.2 "Improved Sampling". Assumption: decision 0007.
    """
    if drop not in DROPPED:
        raise ValueError(f"sampling.drop must be one of {', '.join(DROPPED)}, got {drop!r}")
    if not 0.0 <= drop_until <= 1.0:
        raise ValueError(f"sampling.drop_until must be within [0, 1], got {drop_until}")
    # The subtraction keeps 0.3 * 10 = 3.0000000000000004 at three steps.
    dropping = step < math.ceil(drop_until * num_steps - 1e-9)
    return DROPPED["both"] - (DROPPED[drop] if dropping else frozenset())
