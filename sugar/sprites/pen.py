"""A pen that paints by numbers: polygons of colour labels on a supersampled canvas.

Coordinates are x right and y down, about [-1, 1] each. Every shape is one polygon, filled twice: widened
in the outline's label, then as it is in its colour's label. Colours come later, from a lookup table.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

LABELS = (
    "nothing",
    "outline",
    "pattern",  # primary colour, with the identity's pattern in the secondary colour
    "primary",
    "secondary",
    "accent",
    "light",  # pale tint of the primary
    "deep",  # shade of the primary
    "white",
    "dark",
    "cream",
    "blush",
    "metal",
    "glass",
    "flame",
    "ember",
    "leaf",
    "wood",
)
LABEL_OF = {name: number for number, name in enumerate(LABELS)}
HALF_EXTENT = 1.45
"""The canvas shows [-HALF_EXTENT, HALF_EXTENT]; what is drawn is cropped and fitted afterwards."""
OUTLINE_WIDTH = 0.055
SUBPIXEL_BITS = 4

Points = Sequence[tuple[float, float]]


class Proportions(NamedTuple):
    """Six numbers in [-1, 1] that every noun's drawing reads in its own way."""

    width: float
    height: float
    head: float
    limb: float
    face: float
    extra: float


@lru_cache(maxsize=4)
def _unit_circle(num_points: int = 28) -> np.ndarray:
    angle = np.arange(num_points) * (2 * np.pi / num_points)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@lru_cache(maxsize=1)
def _spline_weights(steps: int = 5) -> np.ndarray:
    """Catmull-Rom weights [steps, 4] of four control points."""
    t = np.arange(steps)[:, None] / steps
    columns = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
    return 0.5 * np.concatenate(columns, axis=1)


def smooth_closed(points: Points) -> np.ndarray:
    """Closed Catmull-Rom curve through the points, [5 N, 2]."""
    p = np.asarray(points, dtype=np.float64)
    n = len(p)
    index = (np.arange(n)[:, None] + np.arange(-1, 3)) % n
    return np.einsum("sk,nkd->nsd", _spline_weights(), p[index]).reshape(-1, 2)


def smooth_open(points: Points) -> np.ndarray:
    """Open Catmull-Rom curve through the points, [5 (N - 1) + 1, 2]."""
    p = np.asarray(points, dtype=np.float64)
    n = len(p)
    index = np.clip(np.arange(n - 1)[:, None] + np.arange(-1, 3), 0, n - 1)
    curve = np.einsum("sk,nkd->nsd", _spline_weights(), p[index]).reshape(-1, 2)
    return np.concatenate([curve, p[-1:]])


def _widened(polygon: np.ndarray, by: float) -> np.ndarray:
    """Polygon moved outwards along its normals, mitred but never by more than 2.5 times `by`."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    x, y = polygon[:, 0], polygon[:, 1]
    signed_area = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    length = np.maximum(np.sqrt((edge**2).sum(axis=1)), 1e-9)
    normal = edge[:, ::-1] * (np.array([1.0, -1.0]) if signed_area > 0 else np.array([-1.0, 1.0]))
    normal /= length[:, None]
    mean = normal + np.roll(normal, 1, axis=0)
    # For unit normals a and b the mitre is 2 (a + b) / |a + b|^2.
    squared = np.maximum((mean**2).sum(axis=1, keepdims=True), 0.64)
    return polygon + mean * (2.0 * by / squared)


class Pen:
    """Draws labelled shapes onto `labels`, a uint8 array [canvas_px, canvas_px]."""

    def __init__(self, canvas_px: int) -> None:
        self.labels = np.zeros((canvas_px, canvas_px), dtype=np.uint8)
        self._scale = canvas_px / (2 * HALF_EXTENT) * (1 << SUBPIXEL_BITS)

    def _fill(self, polygon: np.ndarray, label: int) -> None:
        fixed = ((polygon + HALF_EXTENT) * self._scale).astype(np.int32)
        cv2.fillPoly(self.labels, [fixed], label, cv2.LINE_8, SUBPIXEL_BITS)

    def polygon(self, points: Points | np.ndarray, colour: str, outline: float = OUTLINE_WIDTH) -> None:
        """Straight-edged polygon with an outline of the given width (0 for none)."""
        polygon = np.asarray(points, dtype=np.float64)
        if outline:
            self._fill(_widened(polygon, outline), LABEL_OF["outline"])
        self._fill(polygon, LABEL_OF[colour])

    def blob(self, points: Points, colour: str, outline: float = OUTLINE_WIDTH) -> None:
        """Smooth closed shape through the points."""
        self.polygon(smooth_closed(points), colour, outline)

    def vessel(self, right_half: Points, colour: str, outline: float = OUTLINE_WIDTH) -> None:
        """Smooth closed shape, symmetric about x = 0, from the points of its right half, top to bottom."""
        left_half = [(-x, y) for x, y in reversed(right_half) if x]
        self.blob([*right_half, *left_half], colour, outline)

    def ellipse(
        self,
        x: float,
        y: float,
        radius_x: float,
        radius_y: float,
        colour: str,
        outline: float = OUTLINE_WIDTH,
        degrees: float = 0.0,
    ) -> None:
        """Ellipse around (x, y), turned clockwise by `degrees`."""
        circle = _unit_circle()
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        axes = np.array([[radius_x * c, radius_x * s], [-radius_y * s, radius_y * c]])
        grown = np.array([[c, s], [-s, c]]) * np.array([[radius_x + outline], [radius_y + outline]])
        if outline:
            self._fill(circle @ grown + (x, y), LABEL_OF["outline"])
        self._fill(circle @ axes + (x, y), LABEL_OF[colour])

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        colour: str,
        radius: float = 0.12,
        outline: float = OUTLINE_WIDTH,
    ) -> None:
        """Rectangle with rounded corners."""
        radius = min(radius, (right - left) / 2, (bottom - top) / 2)
        circle = _unit_circle()
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        half = np.array([(right - left) / 2 - radius, (bottom - top) / 2 - radius])
        corner = np.where(circle >= -1e-9, half, -half)
        if outline:
            self._fill(centre + corner + circle * (radius + outline), LABEL_OF["outline"])
        self._fill(centre + corner + circle * radius, LABEL_OF[colour])

    def stroke(
        self,
        points: Points,
        width: float,
        colour: str,
        end_width: float | None = None,
        outline: float = OUTLINE_WIDTH,
    ) -> None:
        """Thick smooth line with round ends, tapering from `width` to `end_width` (diameters)."""
        curve = smooth_open(points) if len(points) > 2 else np.asarray(points, dtype=np.float64)
        tangent = np.gradient(curve, axis=0)
        tangent /= np.maximum(np.sqrt((tangent**2).sum(axis=1, keepdims=True)), 1e-9)
        normal = tangent[:, ::-1] * (-1.0, 1.0)
        radius = np.linspace(width, width if end_width is None else end_width, len(curve))[:, None] / 2
        for grow, label in ((outline, "outline"), (0.0, colour)):
            if label == "outline" and not outline:
                continue
            r = radius + grow
            self._fill(np.concatenate([curve + normal * r, (curve - normal * r)[::-1]]), LABEL_OF[label])
            for end in (0, -1):
                self._fill(_unit_circle() * r[end] + curve[end], LABEL_OF[label])

    def eye(self, x: float, y: float, radius: float, look: float = 0.0) -> None:
        """Big round eye: white, dark pupil looking sideways by `look`, and a highlight."""
        self.ellipse(x, y, radius, radius * 1.1, "white", outline=0.035)
        pupil = x + look * radius * 0.35
        self.ellipse(pupil, y + radius * 0.08, radius * 0.68, radius * 0.78, "dark", outline=0)
        self.ellipse(pupil - radius * 0.25, y - radius * 0.3, radius * 0.28, radius * 0.3, "white", outline=0)

    def eyes(self, x: float, y: float, apart: float, radius: float, look: float = 0.0) -> None:
        """Two eyes `apart` to the left and right of x."""
        self.eye(x - apart, y, radius, look)
        self.eye(x + apart, y, radius, look)

    def smile(self, x: float, y: float, half_width: float, depth: float = 0.08) -> None:
        """Smiling mouth: a thin dark arc."""
        points = [(x - half_width, y), (x, y + depth), (x + half_width, y)]
        self.stroke(points, 0.05, "dark", outline=0)
