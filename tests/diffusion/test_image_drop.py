"""The early dropping of image embeddings."""

from __future__ import annotations

import pytest

from sugar.diffusion.image_drop import active_streams

BOTH = {"dino", "clip"}


@pytest.mark.parametrize(("num_steps", "until", "dropped"), [
    (20, 0.2, 4), (10, 0.3, 3), (9, 0.2, 2), (5, 0.0, 0), (5, 1.0, 5), (1, 0.2, 1),
])  # fmt: skip
def test_the_first_steps_drop(num_steps, until, dropped):
    got = [active_streams(step, num_steps, "dino", until) for step in range(num_steps)]
    assert got == [{"clip"}] * dropped + [BOTH] * (num_steps - dropped)


@pytest.mark.parametrize(
    ("drop", "left"), [("none", BOTH), ("dino", {"clip"}), ("clip", {"dino"}), ("both", set())]
)
def test_what_is_left(drop, left):
    assert active_streams(0, 10, drop, 0.2) == left
    assert active_streams(5, 10, drop, 0.2) == BOTH


@pytest.mark.parametrize(("drop", "until"), [("text", 0.2), ("dino", 1.5), ("dino", -0.1)])
def test_bad_values_are_errors(drop, until):
    with pytest.raises(ValueError, match="drop"):
        active_streams(0, 10, drop, until)
