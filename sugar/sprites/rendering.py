"""The clip that a moving sprite makes on a background, with its shadow and a mild camera."""

import cv2
import numpy as np

from sugar.sprites import randomness
from sugar.sprites.motions import Pose, affines_of, pose_of

GROUND = 0.88
"""Height at which a subject stands, as a share of the frame."""
CAMERAS = ("none", "pan", "zoom")
VISIBLE_ALPHA = 24
"""Alpha (0..255) above which a pixel belongs to the subject's bounding box."""


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


def _shadow(
    pose: Pose, half_width: float, scale: float, foot: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Darkness [T, H, W] of the soft shadow below the subject: wide and faint when it is high."""
    height, width = size
    spread = half_width * np.maximum(np.abs(pose.stretch_x), 0.3) * scale * (1 + 0.25 * pose.lift)
    x = (np.arange(width) + 0.5 - foot[0] - (pose.x * scale)[:, None]) / spread[:, None]
    y = (np.arange(height) + 0.5 - foot[1]) / max(0.055 * scale, 1.0)
    strength = 0.42 / (1 + 2.2 * np.maximum(pose.lift, 0))
    across = (np.exp(-(x**2) * 1.1) * strength[:, None]).astype(np.float32)
    return across[:, None, :] * np.exp(-(y**2)).astype(np.float32)[None, :, None]


def _cut_out(subject_rgba: np.ndarray, longer_side_px: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Subject cut to its mask, near its final size, with the map from its pixels to sprite coordinates.

    Returns the premultiplied float32 cut-out [h, w, 4], the map float64 [3, 3], and the width of the
    visible subject in sprite units.
    """
    if subject_rgba.ndim != 3 or subject_rgba.shape[2] != 4:
        raise ValueError(f"subject_rgba must have shape [H, W, 4], got {subject_rgba.shape}")
    x, y, w, h = cv2.boundingRect((subject_rgba[:, :, 3] > VISIBLE_ALPHA).astype(np.uint8))
    if w == 0 or h == 0:
        raise ValueError("subject_rgba must contain a visible subject, but its alpha is empty")
    longer = max(w, h)
    pad = max(2, longer // 12)
    padded = cv2.copyMakeBorder(subject_rgba, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    cut = padded[y : y + h + 2 * pad, x : x + w + 2 * pad].astype(np.float32)
    cut[:, :, :3] *= cut[:, :, 3:] / 255.0
    per_x = per_y = 1.0 / longer
    # Sampling every second pixel of a large photo would flicker: average it down first.
    shrink = longer_side_px * 1.4 / longer
    if shrink < 0.75:
        before_h, before_w = cut.shape[:2]
        size = (max(2, round(before_w * shrink)), max(2, round(before_h * shrink)))
        cut = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
        per_x, per_y = per_x * before_w / size[0], per_y * before_h / size[1]
    to_unit = np.array([[per_x, 0, -(pad + w / 2) / longer], [0, per_y, -(pad + h) / longer], [0, 0, 1]])
    return cut, to_unit, w / longer


def _tripled(planes_THW: np.ndarray) -> np.ndarray:
    """The same plane for red, green and blue: [T, H, W, 3]."""
    rows = planes_THW.reshape(-1, planes_THW.shape[-1])
    return cv2.merge([rows, rows, rows]).reshape(*planes_THW.shape, 3)


def _to_frame(move: np.ndarray, height: int, width: int) -> np.ndarray:
    """Affine map [2, 3] of the frame's pixels for one camera position (zoom, x, y)."""
    zoom, dx, dy = move
    shift = [width / 2 * (1 - zoom) + dx * width, height / 2 * (1 - zoom) + dy * height]
    return np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])


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
    sprite, to_unit, unit_width = _cut_out(subject_rgba, scale)
    foot = np.array([0.5 * width, GROUND * height])
    affines = affines_of(pose) @ to_unit * scale
    affines[:, :, 2] += foot
    shade = _tripled(1 - _shadow(pose, 0.5 * unit_width, scale, foot, (height, width)))
    scenes = background_rgb.astype(np.float32) * shade
    layers = np.empty((num_frames, height, width, 4), dtype=np.float32)
    for k in range(num_frames):
        affine = affines[k]
        if camera != "none":
            move = _to_frame(moves[k], height, width)
            affine = move @ np.concatenate([affine, [[0, 0, 1]]])
            scenes[k] = cv2.warpAffine(scenes[k], move, (width, height), borderMode=cv2.BORDER_REFLECT)
        layers[k] = cv2.warpAffine(sprite, affine, (width, height), flags=cv2.INTER_LINEAR)
    masks = layers[:, :, :, 3] / 255.0
    scenes *= _tripled(1 - masks)
    scenes += cv2.cvtColor(layers.reshape(-1, width, 4), cv2.COLOR_RGBA2RGB).reshape(scenes.shape)
    frames = cv2.convertScaleAbs(scenes.reshape(-1, width * 3))
    return frames.reshape(num_frames, height, width, 3), masks


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
