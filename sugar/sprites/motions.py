"""Motions: affine maps of a sprite over time, and the clip they make on a background.

Sprite coordinates: the origin is the point on the ground below the subject, the unit is the longer side
of the subject, x right, y down; so the subject stands in y from -1 (or less tall) to 0.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np

from sugar.sprites import randomness

GROUND = 0.88
"""Height at which a subject stands, as a share of the frame."""
CAMERAS = ("none", "pan", "zoom")


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
    breath = 0.012 * np.sin(2 * np.pi * t)
    return Pose(0 * t, 0 * t, 1 - 0.5 * breath, 1 + breath, 0 * t)


def _slide(direction: int) -> Callable[[np.ndarray, float], Pose]:
    def pose(t: np.ndarray, v: float) -> Pose:
        reach = 0.42 + 0.12 * v
        return Pose(direction * reach * (2 * t - 1), 0 * t, 1 + 0 * t, 1 + 0 * t, -direction * 5 + 0 * t)

    return pose


def _jump(t: np.ndarray, v: float) -> Pose:
    height = np.abs(np.sin(2 * np.pi * t))
    squash = np.clip(1 - 2.2 * height, 0, 1) * 0.22
    stretch = np.clip(height * (1 - height) * 4, 0, 1) * 0.08
    return Pose(0 * t, (0.32 + 0.1 * v) * height, 1 + squash - stretch, 1 - squash + stretch, 0 * t)


def _spin(t: np.ndarray, v: float) -> Pose:
    turn = np.cos(2 * np.pi * t * (1 if v < 0.5 else -1))
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
    angle = 2 * np.pi * (2 * t + v)
    bounce = np.cos(2 * angle)
    return Pose(0.14 * np.sin(angle), 0.05 + 0.05 * bounce, 1 - 0.06 * bounce, 1 + 0.09 * bounce, 22 * np.sin(angle))


MOTIONS: Mapping[str, Motion] = {
    "still": Motion(_still, ("is standing still", "is resting"), ("standing still", "resting")),
    "slide left": Motion(_slide(-1), ("is sliding left", "is moving to the left"), ("sliding left", "moving to the left")),
    "slide right": Motion(
        _slide(1), ("is sliding right", "is moving to the right"), ("sliding right", "moving to the right")
    ),
    "jump": Motion(_jump, ("is jumping", "is jumping up and down"), ("jumping", "jumping up and down")),
    "spin": Motion(_spin, ("is spinning", "is spinning around"), ("spinning", "spinning around")),
    "grow": Motion(_grow, ("is growing", "is growing bigger"), ("growing", "growing bigger")),
    "float": Motion(_float, ("is floating", "is floating up in the air"), ("floating", "floating up in the air")),
    "dance": Motion(_dance, ("is dancing", "is dancing happily"), ("dancing", "dancing happily")),
}


def _pose(motion: str, num_frames: int, seed: int) -> Pose:
    if motion not in MOTIONS:
        raise ValueError(f"motion must be one of {', '.join(MOTIONS)}, got {motion!r}")
    if num_frames < 1:
        raise ValueError(f"num_frames must be >= 1, got {num_frames}")
    phase = np.linspace(0.0, 1.0, num_frames)
    return MOTIONS[motion].pose(phase, float(randomness.stream(randomness.MOTION, seed).random()))


def _affines(pose: Pose) -> np.ndarray:
    angle = np.radians(pose.lean_degrees)
    c, s = np.cos(angle), np.sin(angle)
    rows = [[c * pose.stretch_x, -s * pose.stretch_y, pose.x], [s * pose.stretch_x, c * pose.stretch_y, -pose.lift]]
    return np.array(rows).transpose(2, 0, 1)


def motion_affines(motion: str, num_frames: int, seed: int) -> np.ndarray:
    """Affine maps of the motion in sprite coordinates (see the top of this file): float64 [T, 2, 3].

    Raises ValueError for an unknown motion or num_frames < 1.
    """
    return _affines(_pose(motion, num_frames, seed))


def _camera(camera: str, num_frames: int, seed: int) -> np.ndarray:
    """Camera move in frame coordinates centred on the middle: zoom and shift [T, 3] (zoom, x, y)."""
    if camera not in CAMERAS:
        raise ValueError(f"camera must be one of {', '.join(CAMERAS)}, got {camera!r}")
    t = np.linspace(0.0, 1.0, num_frames)
    moves = np.stack([1 + 0 * t, 0 * t, 0 * t], axis=1)
    if camera == "none":
        return moves
    sign = 1 if randomness.stream(randomness.MOTION, seed).random(2)[1] < 0.5 else -1
    if camera == "pan":
        moves[:, 0] = 1.14
        moves[:, 1] = sign * 0.06 * (2 * t - 1)
    else:
        moves[:, 0] = 1 + 0.18 * (t if sign > 0 else 1 - t)
    return moves


def _shadow(pose: Pose, half_width: float, scale: float, foot: tuple[float, float], height: int, width: int) -> np.ndarray:
    """Darkness [T, H, W] of the soft shadow below the subject: wide and faint when it is high."""
    spread = half_width * np.maximum(np.abs(pose.stretch_x), 0.3) * scale * (1 + 0.25 * pose.lift)
    x = (np.arange(width) + 0.5 - foot[0] - (pose.x * scale)[:, None]) / spread[:, None]
    y = (np.arange(height) + 0.5 - foot[1]) / np.maximum(0.055 * scale, 1.0)
    strength = 0.42 / (1 + 2.2 * np.maximum(pose.lift, 0))
    across = np.exp(-(x**2) * 1.1).astype(np.float32) * strength[:, None].astype(np.float32)
    return across[:, None, :] * np.exp(-(y**2)).astype(np.float32)[None, :, None]


def _premultiplied(subject_rgba: np.ndarray, longer_side_px: float) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Subject cut to its mask and brought near its final size, premultiplied float32, and its box."""
    if subject_rgba.ndim != 3 or subject_rgba.shape[2] != 4:
        raise ValueError(f"subject_rgba must have shape [H, W, 4], got {subject_rgba.shape}")
    box = cv2.boundingRect((subject_rgba[:, :, 3] > 24).astype(np.uint8))
    x, y, w, h = box
    if w == 0 or h == 0:
        raise ValueError("subject_rgba must contain a visible subject, but its alpha is empty")
    pad = max(2, max(w, h) // 12)
    padded = cv2.copyMakeBorder(subject_rgba, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    cut = padded[y : y + h + 2 * pad, x : x + w + 2 * pad].astype(np.float32)
    cut[:, :, :3] *= cut[:, :, 3:] / 255.0
    # Sampling every second pixel of a large photo would flicker: average it down first.
    shrink = longer_side_px * 1.4 / max(w, h)
    if shrink < 0.75:
        size = (max(2, round(cut.shape[1] * shrink)), max(2, round(cut.shape[0] * shrink)))
        cut = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    return cut, (pad, pad, w, h)


def render_clip_with_masks(
    subject_rgba: np.ndarray,
    background_rgb: np.ndarray,
    motion: str,
    num_frames: int,
    seed: int,
    *,
    subject_scale: float = 0.6,
    camera: str = "none",
) -> tuple[np.ndarray, np.ndarray]:
    """Clip of the subject moving on the background, and the subject's true mask.

    subject_rgba: uint8 [h, w, 4], straight alpha, any size; its longer visible side becomes
    `subject_scale` of the frame's shorter side. background_rgb: uint8 [H, W, 3]. camera: "none", "pan" or
    "zoom", a mild move of the whole scene. Returns frames uint8 [T, H, W, 3] and masks float32 [T, H, W] in
    [0, 1]. Raises ValueError for an unknown motion or camera, no frames, or an empty subject.
    """
    height, width = background_rgb.shape[:2]
    pose = _pose(motion, num_frames, seed)
    moves = _camera(camera, num_frames, seed)
    scale = subject_scale * min(height, width)
    sprite, (left, top, box_w, box_h) = _premultiplied(subject_rgba, scale)
    pixels = scale / max(box_w, box_h)
    full_w, full_h = box_w + 2 * left, box_h + 2 * top
    to_unit = np.array([
        [full_w / sprite.shape[1] / max(box_w, box_h), 0, -(left + box_w / 2) / max(box_w, box_h)],
        [0, full_h / sprite.shape[0] / max(box_w, box_h), -(top + box_h) / max(box_w, box_h)],
        [0, 0, 1],
    ])  # fmt: skip
    foot = (0.5 * width, GROUND * height)
    affines = _affines(pose) @ to_unit * scale
    affines[:, 0, 2] += foot[0]
    affines[:, 1, 2] += foot[1]
    half_width = 0.5 * box_w * pixels / scale
    backdrop = background_rgb.astype(np.float32)
    shadow = _shadow(pose, half_width, scale, foot, height, width)
    scenes = backdrop * (1 - shadow)[:, :, :, None]
    layers = np.empty((num_frames, height, width, 4), dtype=np.float32)
    centre = np.array([width / 2, height / 2])
    for k, (zoom, dx, dy) in enumerate(moves):
        move = np.array([[zoom, 0, centre[0] * (1 - zoom) + dx * width], [0, zoom, centre[1] * (1 - zoom) + dy * height]])
        affine = affines[k]
        if camera != "none":
            affine = move @ np.concatenate([affine, [[0, 0, 1]]])
            scenes[k] = cv2.warpAffine(scenes[k], move, (width, height), borderMode=cv2.BORDER_REFLECT)
        layers[k] = cv2.warpAffine(sprite, affine, (width, height), flags=cv2.INTER_LINEAR)
    masks = layers[:, :, :, 3] / 255.0
    scenes *= (1 - masks)[:, :, :, None]
    scenes += layers[:, :, :, :3]
    return np.clip(scenes + 0.5, 0, 255).astype(np.uint8), masks


def render_clip(
    subject_rgba: np.ndarray,
    background_rgb: np.ndarray,
    motion: str,
    num_frames: int,
    seed: int,
    *,
    subject_scale: float = 0.6,
    camera: str = "none",
) -> np.ndarray:
    """Frames of `render_clip_with_masks`: uint8 [T, H, W, 3]."""
    return render_clip_with_masks(
        subject_rgba, background_rgb, motion, num_frames, seed, subject_scale=subject_scale, camera=camera
    )[0]
