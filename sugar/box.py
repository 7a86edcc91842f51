"""A part of a picture, such as the box that a person draws around its subject."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

LEAST_SIDE_PX = 8
"""A smaller box holds nothing that could be cut out."""

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the upright picture, from its upper left corner."""


class Box(NamedTuple):
    """Left, top, right, bottom as shares of a picture's width and height, in [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, corners: Corners, height_px: int, width_px: int) -> Box:
        """The box of pixels in a picture of that size.

        Raises:
            ValueError: it leaves the picture or is under 8 px wide or high.
        """
        left, top, right, bottom = corners
        inside = min(left, top) >= 0 and right <= width_px and bottom <= height_px
        if not inside or min(right - left, bottom - top) < LEAST_SIDE_PX:
            raise ValueError(
                f"box must be left, top, right, bottom within {width_px} x {height_px} px and at least "
                f"{LEAST_SIDE_PX} px wide and high, got {' '.join(f'{value:g}' for value in corners)}"
            )
        return cls(left / width_px, top / height_px, right / width_px, bottom / height_px)

    def slices(self, height_px: int, width_px: int) -> tuple[slice, slice]:
        """Its rows and columns in a picture of that size, at least one of each."""
        return _pixels(self.top, self.bottom, height_px), _pixels(self.left, self.right, width_px)

    def inside(self, height_px: int, width_px: int) -> np.ndarray:
        """The pixels in it of a picture of that size: bool [H, W], at least one."""
        mask = np.zeros((height_px, width_px), bool)
        mask[self.slices(height_px, width_px)] = True
        return mask


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def read_box(text: str) -> Corners | None:
    """The corners in a text: four numbers, separated by commas or spaces; None: an empty text.

    Raises:
        ValueError: anything else.
    """
    words = re.split(r"[\s,;]+", text.strip())
    if words == [""]:
        return None
    try:
        left, top, right, bottom = map(float, words)
    except ValueError:
        left = top = right = bottom = math.nan
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError(f"box must be four numbers, left top right bottom in pixels, got {text!r}")
    return left, top, right, bottom


def _pixels(first: float, last: float, length: int) -> slice:
    start = min(length - 1, round(first * length))
    return slice(start, max(start + 1, round(last * length)))
