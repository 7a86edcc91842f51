"""Backgrounds: six places, drawn at twice the size and averaged down; the ground starts at about 70 %."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np

from sugar.sprites import randomness

Colour = tuple[float, float, float]


def _scaled(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or brighter."""
    r, g, b = (min(255.0, c * factor) for c in colour)
    return r, g, b


class Background(NamedTuple):
    """A place: its drawing and its phrases in captions."""

    draw: "Callable[[Scene], None]"
    phrases: tuple[str, ...]


class Scene:
    """Canvas of one background in unit coordinates: x and y in [0, 1], y down."""

    def __init__(self, height_px: int, width_px: int, rng: np.random.Generator) -> None:
        self.height, self.width = 2 * height_px, 2 * width_px
        self.image = np.empty((self.height, self.width, 3), dtype=np.uint8)
        self.rng = rng
        self._numbers = iter(rng.random(400).tolist())

    def number(self, low: float = 0.0, high: float = 1.0) -> float:
        """Next random number in [low, high)."""
        return low + (high - low) * next(self._numbers)

    def tint(self, colour: Colour, spread: float = 12) -> Colour:
        """The colour, shifted a little and differently for every seed."""
        shift = self.number(-spread, spread)
        r, g, b = (min(255.0, max(0.0, c + shift + self.number(-spread, spread) * 0.6)) for c in colour)
        return r, g, b

    def gradient(self, top: float, bottom: float, start: Colour, end: Colour) -> None:
        """Vertical blend over the rows top..bottom."""
        first, last = round(top * self.height), round(bottom * self.height)
        share = np.linspace(0, 1, max(1, last - first))[:, None]
        rows = np.asarray(start) * (1 - share) + np.asarray(end) * share
        self.image[first:last] = rows[: last - first, None, :]

    def polygon(self, points: list[tuple[float, float]] | np.ndarray, colour: Colour) -> None:
        """Filled polygon."""
        scaled = (np.asarray(points) * (self.width * 16, self.height * 16)).astype(np.int32)
        cv2.fillPoly(self.image, [scaled], colour, cv2.LINE_8, 4)

    def circle(self, x: float, y: float, radius: float, colour: Colour, squash: float = 1.0) -> None:
        """Filled ellipse; the radius is a share of the shorter side."""
        r = radius * min(self.width, self.height) * 16
        centre = (int(x * self.width * 16), int(y * self.height * 16))
        cv2.ellipse(self.image, centre, (int(r), int(r * squash)), 0, 0, 360, colour, -1, cv2.LINE_8, 4)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Filled rectangle."""
        corner = (round(left * self.width), round(top * self.height))
        opposite = (round(right * self.width) - 1, round(bottom * self.height) - 1)
        cv2.rectangle(self.image, corner, opposite, colour, -1)

    def hill(self, base: float, rise: float, colour: Colour) -> None:
        """Rolling land from the height `base` down to the bottom."""
        x = np.linspace(0, 1, 24)
        y = (
            base
            - rise * np.sin(x * self.number(2, 5) + self.number(0, 6.3))
            - rise * 0.4 * np.sin(x * self.number(6, 10) + self.number(0, 6.3))
        )
        self.polygon(np.concatenate([np.stack([x, y], axis=1), [[1, 1], [0, 1]]]), colour)

    def cloud(self, x: float, y: float, size: float, colour: Colour) -> None:
        """Three overlapping puffs."""
        for dx, dy, r in ((-1.1, 0.15, 0.7), (0.0, -0.2, 1.0), (1.1, 0.15, 0.75)):
            self.circle(x + dx * size * 0.8, y + dy * size, r * size, colour, 0.7)


def _meadow(s: Scene) -> None:
    s.gradient(0, 1, s.tint((104, 182, 240)), s.tint((214, 240, 250)))
    s.circle(s.number(0.08, 0.92), s.number(0.08, 0.2), 0.09, (255, 236, 130))
    for _ in range(2):
        s.cloud(s.number(), s.number(0.1, 0.34), s.number(0.06, 0.1), (252, 253, 255))
    s.hill(0.56, 0.07, s.tint((126, 190, 110)))
    s.hill(0.66, 0.03, s.tint((108, 194, 78)))
    for _ in range(16):
        x, y = s.number(), s.number(0.76, 0.99)
        s.polygon([(x - 0.012, y), (x, y - 0.05), (x + 0.012, y)], s.tint((70, 152, 56)))
    for _ in range(9):
        x, y = s.number(), s.number(0.72, 0.98)
        colour = ((255, 250, 240), (255, 140, 160), (255, 222, 80), (190, 140, 240))[int(s.number(0, 4))]
        s.circle(x, y, 0.02, colour)


def _beach(s: Scene) -> None:
    s.gradient(0, 0.46, s.tint((92, 190, 240)), s.tint((206, 240, 250)))
    s.circle(s.number(0.08, 0.92), s.number(0.08, 0.18), 0.1, (255, 240, 150))
    s.cloud(s.number(), s.number(0.1, 0.28), s.number(0.05, 0.08), (255, 255, 255))
    s.gradient(0.46, 1, s.tint((28, 122, 190)), s.tint((90, 206, 214)))
    for _ in range(6):
        x, y = s.number(), s.number(0.49, 0.6)
        s.box(x, y, x + 0.12, y + 0.014, (150, 220, 236))
    shore = s.number(0.64, 0.68)
    s.hill(shore - 0.015, 0.015, (246, 252, 250))
    sand = s.tint((240, 214, 150))
    s.hill(shore + 0.015, 0.015, sand)
    for _ in range(12):
        s.circle(s.number(), s.number(0.76, 0.99), 0.01, _scaled(sand, 0.86))
    x = s.number(0.06, 0.18) if s.number() < 0.5 else s.number(0.82, 0.94)
    lean = 0.06 if x < 0.5 else -0.06
    crown = x + lean
    s.polygon(
        [(x - 0.02, 0.76), (crown - 0.012, 0.3), (crown + 0.012, 0.3), (x + 0.02, 0.76)], (150, 104, 64)
    )
    leaf = s.tint((52, 150, 80))
    for dx, dy in ((-0.19, 0.08), (0.19, 0.08), (-0.15, -0.08), (0.15, -0.08), (0.03, 0.14)):
        tip = (crown + dx, 0.3 + dy)
        s.polygon([(crown, 0.26), (crown + dx * 0.6, 0.25 + dy * 0.3), tip, (crown, 0.33)], leaf)


def _snow(s: Scene) -> None:
    s.gradient(0, 1, s.tint((150, 184, 222)), s.tint((226, 236, 248)))
    for _ in range(2):
        x = s.number(0.0, 1.0)
        s.polygon([(x - 0.42, 0.66), (x, s.number(0.2, 0.34)), (x + 0.42, 0.66)], s.tint((186, 204, 228), 8))
    s.hill(0.62, 0.03, s.tint((224, 234, 248), 5))
    for _ in range(5):
        x, y, size = s.number(), s.number(0.6, 0.72), s.number(0.07, 0.11)
        s.box(x - 0.012, y, x + 0.012, y + 0.04, (96, 72, 56))
        for k in range(3):
            top, half = y - size * (0.8 + k * 0.8), size * (0.9 - 0.22 * k)
            s.polygon([(x - half, top + size * 1.1), (x, top), (x + half, top + size * 1.1)], (56, 112, 100))
            cap = top + size * 0.44
            s.polygon([(x - half * 0.4, cap), (x, top), (x + half * 0.4, cap)], (240, 246, 252))
    s.hill(0.72, 0.02, s.tint((244, 248, 253), 3))
    for _ in range(34):
        s.circle(s.number(), s.number(), s.number(0.008, 0.018), (255, 255, 255))


def _space(s: Scene) -> None:
    s.gradient(0, 1, s.tint((12, 10, 40), 6), s.tint((58, 36, 104), 14))
    for _ in range(55):
        s.circle(s.number(), s.number(0, 0.72), s.number(0.006, 0.014), (255, 250, s.number(190, 255)))
    x, y, r = s.number(0.12, 0.88), s.number(0.14, 0.3), s.number(0.09, 0.14)
    planet = ((240, 150, 90), (120, 190, 240), (220, 120, 190), (150, 220, 160))[int(s.number(0, 4))]
    s.circle(x, y, r * 1.8, _scaled(planet, 0.75), 0.22)
    s.circle(x, y, r * 1.45, (24, 18, 60), 0.15)
    s.circle(x, y, r, planet)
    s.circle(x - r * 0.2, y - r * 0.25, r * 0.62, _scaled(planet, 1.14))
    ground = s.tint((148, 144, 166), 10)
    s.hill(0.74, 0.03, ground)
    for _ in range(7):
        x, y, r = s.number(), s.number(0.8, 0.97), s.number(0.03, 0.07)
        s.circle(x, y, r, _scaled(ground, 0.72), 0.4)
        s.circle(x, y + 0.008, r * 0.8, _scaled(ground, 0.86), 0.36)


def _city(s: Scene) -> None:
    s.gradient(0, 1, s.tint((250, 178, 140), 16), s.tint((254, 226, 190), 10))
    walls = ((122, 104, 150), (96, 118, 160), (160, 110, 120), (110, 134, 140), (140, 124, 116))
    for back in (True, False):
        x = s.number(-0.1, 0.0)
        while x < 1.0:
            wide, top = s.number(0.13, 0.22), s.number(0.12, 0.4) + (0.0 if back else 0.14)
            wall = walls[int(s.number(0, len(walls)))]
            wall = (wall[0] + 62, wall[1] + 62, wall[2] + 62) if back else wall
            s.box(x, top, x + wide, 0.74, wall)
            if not back:
                for row in range(int((0.7 - top) / 0.08)):
                    for column in range(int(wide / 0.055)):
                        lit = (255, 232, 150) if (row * 7 + column * 3 + int(x * 50)) % 3 else (70, 66, 96)
                        left, y = x + 0.014 + column * 0.055, top + 0.035 + row * 0.08
                        s.box(left, y, left + 0.032, y + 0.045, lit)
            x += wide + (0.0 if back else 0.015)
    s.box(0, 0.72, 1, 0.79, s.tint((186, 178, 176), 8))
    s.box(0, 0.79, 1, 1, s.tint((92, 92, 102), 8))
    offset = s.number(0, 0.2)
    for k in range(-1, 5):
        s.box(offset + k * 0.27, 0.93, offset + k * 0.27 + 0.14, 0.955, (240, 232, 200))


def _room(s: Scene) -> None:
    walls = ((244, 214, 196), (200, 224, 214), (206, 214, 238), (246, 230, 178), (232, 206, 226))
    wall = s.tint(walls[int(s.number(0, len(walls)))], 8)
    s.gradient(0, 0.72, wall, _scaled(wall, 0.94))
    if s.number() < 0.6:
        for k in range(8):
            s.box(k / 8, 0, k / 8 + 0.05, 0.7, _scaled(wall, 0.95))
    s.box(0, 0.69, 1, 0.73, (250, 246, 240))
    wood = s.tint((190, 136, 88), 14)
    s.gradient(0.73, 1, wood, _scaled(wood, 1.12))
    for y in (0.79, 0.86, 0.94):
        s.box(0, y, 1, y + 0.009, _scaled(wood, 0.8))
    right = s.number() < 0.5
    x = 0.66 if right else 0.06
    s.box(x - 0.025, 0.1, x + 0.305, 0.5, (252, 250, 246))
    s.box(x, 0.13, x + 0.28, 0.47, s.tint((150, 208, 246)))
    s.box(x, 0.37, x + 0.28, 0.47, (134, 196, 120))
    s.box(x + 0.128, 0.13, x + 0.152, 0.47, (252, 250, 246))
    s.box(x, 0.29, x + 0.28, 0.31, (252, 250, 246))
    x = 0.12 if right else 0.62
    s.box(x, 0.16, x + 0.24, 0.38, (132, 92, 60))
    s.box(x + 0.025, 0.185, x + 0.215, 0.355, s.tint((240, 236, 226), 6))
    s.circle(x + 0.12, 0.27, 0.06, s.tint((226, 112, 96), 30))
    s.circle(0.5, 0.9, 0.4, s.tint((204, 96, 100), 40), 0.2)
    s.circle(0.5, 0.9, 0.33, s.tint((240, 220, 190), 10), 0.19)


BACKGROUNDS: Mapping[str, Background] = {
    "meadow": Background(_meadow, ("in a meadow", "on a green meadow")),
    "beach": Background(_beach, ("on the beach", "on a sandy beach")),
    "snow": Background(_snow, ("in the snow", "in deep snow")),
    "space": Background(_space, ("in space", "in outer space")),
    "city": Background(_city, ("in the city", "in a big city")),
    "room": Background(_room, ("in a room", "in a cosy room")),
}


def draw_background(name: str, height_px: int, width_px: int, seed: int) -> np.ndarray:
    """Picture of a place, different for every seed: uint8 [height_px, width_px, 3].

    Raises ValueError for an unknown name or a side below 8 px.
    """
    if name not in BACKGROUNDS:
        raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}, got {name!r}")
    if min(height_px, width_px) < 8:
        raise ValueError(f"height_px and width_px must be >= 8, got {height_px} x {width_px}")
    scene = Scene(height_px, width_px, randomness.stream(randomness.BACKGROUND, seed))
    BACKGROUNDS[name].draw(scene)
    return cv2.resize(scene.image, (width_px, height_px), interpolation=cv2.INTER_AREA)
