"""Motions: affine maps of a sprite over time, and the words for them.

Sprite coordinates: the origin is the point on the ground below the subject, the unit is the longer side
of the subject, x right, y down; so the subject stands in y from -1 (or less tall) to 0.

Nothing moves faster than nine frames can show: one hop, half a turn, one sway a clip. (Faster motions
alternate from frame to frame, and a VAE that keeps one latent for four frames shows them as ghosts.)
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from sugar.sprites import randomness


class Pose(NamedTuple):
    """Pose at every frame, arrays [T]: place, stretch around the ground point, lean and turn."""

    x: np.ndarray
    lift: np.ndarray
    stretch_x: np.ndarray
    stretch_y: np.ndarray
    lean_degrees: np.ndarray


class Motion(NamedTuple):
    """A motion: pose as a function of phase [T] in [0, 1] and a variation in [0, 1), and its verbs."""

    pose: Callable[[np.ndarray, float], Pose]
    verbs: tuple[str, ...]
    participles: tuple[str, ...]


def _still(t: np.ndarray, v: float) -> Pose:
    breath = 0.008 * np.sin(2 * np.pi * t)
    return Pose(0 * t, 0 * t, 1 - 0.5 * breath, 1 + breath, 0 * t)


def _slide(direction: int) -> Callable[[np.ndarray, float], Pose]:
    def pose(t: np.ndarray, v: float) -> Pose:
        reach = 0.42 + 0.12 * v
        return Pose(direction * reach * (2 * t - 1), 0 * t, 1 + 0 * t, 1 + 0 * t, -direction * 5 + 0 * t)

    return pose


def _jump(t: np.ndarray, v: float) -> Pose:
    height = np.sin(np.pi * t)
    squash = np.clip(1 - 2.2 * height, 0, 1) * 0.22
    stretch = np.clip(height * (1 - height) * 4, 0, 1) * 0.08
    return Pose(0 * t, (0.32 + 0.1 * v) * height, 1 + squash - stretch, 1 - squash + stretch, 0 * t)


def _spin(t: np.ndarray, v: float) -> Pose:
    turn = np.cos(np.pi * t) * (1 if v < 0.5 else -1)
    # Edge on, a flat sprite keeps a little width.
    wide = np.where(turn >= 0, 1, -1) * np.maximum(np.abs(turn), 0.14)
    return Pose(0 * t, 0.03 * np.sin(np.pi * t), wide, 1 + 0 * t, 0 * t)


def _grow(t: np.ndarray, v: float) -> Pose:
    size = 0.45 + (0.75 + 0.1 * v) * t
    return Pose(0 * t, 0 * t, size, size, 0 * t)


def _float(t: np.ndarray, v: float) -> Pose:
    angle = 2 * np.pi * (t + v)
    lift = 0.08 + 0.34 * t + 0.04 * np.sin(2 * angle)
    return Pose(0.16 * np.sin(angle), lift, 1 + 0 * t, 1 + 0 * t, 9 * np.cos(angle))


def _dance(t: np.ndarray, v: float) -> Pose:
    angle = 2 * np.pi * (t + v)
    bounce = np.cos(2 * angle)
    sway = np.sin(angle)
    return Pose(0.14 * sway, 0.05 + 0.05 * bounce, 1 - 0.06 * bounce, 1 + 0.09 * bounce, 22 * sway)


MOTIONS: Mapping[str, Motion] = {
    "still": Motion(_still, ("is standing still", "is resting"), ("standing still", "resting")),
    "slide left": Motion(
        _slide(-1), ("is sliding left", "is moving to the left"), ("sliding left", "moving to the left")
    ),
    "slide right": Motion(
        _slide(1), ("is sliding right", "is moving to the right"), ("sliding right", "moving to the right")
    ),
    "jump": Motion(_jump, ("is jumping", "is jumping up and down"), ("jumping", "jumping up and down")),
    "spin": Motion(_spin, ("is spinning", "is spinning around"), ("spinning", "spinning around")),
    "grow": Motion(_grow, ("is growing", "is growing bigger"), ("growing", "growing bigger")),
    "float": Motion(
        _float, ("is floating", "is floating up in the air"), ("floating", "floating up in the air")
    ),
    "dance": Motion(_dance, ("is dancing", "is dancing happily"), ("dancing", "dancing happily")),
}


def pose_of(motion: str, num_frames: int, seed: int) -> Pose:
    """Pose at every frame. Raises ValueError for an unknown motion or num_frames < 1."""
    if motion not in MOTIONS:
        raise ValueError(f"motion must be one of {', '.join(MOTIONS)}, got {motion!r}")
    if num_frames < 1:
        raise ValueError(f"num_frames must be >= 1, got {num_frames}")
    phase = np.linspace(0.0, 1.0, num_frames)
    return MOTIONS[motion].pose(phase, float(randomness.stream(randomness.MOTION, seed).random()))


def affines_of(pose: Pose) -> np.ndarray:
    """Affine maps in sprite coordinates, float64 [T, 2, 3]: stretch, lean, then move."""
    angle = np.radians(pose.lean_degrees)
    c, s = np.cos(angle), np.sin(angle)
    first = [c * pose.stretch_x, -s * pose.stretch_y, pose.x]
    second = [s * pose.stretch_x, c * pose.stretch_y, -pose.lift]
    return np.array([first, second]).transpose(2, 0, 1)


def motion_affines(motion: str, num_frames: int, seed: int) -> np.ndarray:
    """Affine maps of the motion in sprite coordinates (see the top of this file): float64 [T, 2, 3].

    Raises ValueError for an unknown motion or num_frames < 1.
    """
    return affines_of(pose_of(motion, num_frames, seed))
