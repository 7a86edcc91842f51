"""The clip that a moving sprite makes on a background, with its shadow and a mild camera."""

import cv2
import numpy as np

from sugar.sprites import randomness
from sugar.sprites.motions import Pose, affines_of, pose_of

GROUND = 0.88
"""Height at which a subject stands, as a share of the frame."""
CAMERAS = ("none", "pan", "zoom")


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
    pose = pose_of(motion, num_frames, seed)
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
    affines = affines_of(pose) @ to_unit * scale
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
