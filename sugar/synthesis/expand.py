"""Fill and resize: bring a picture to the aspect of the video; only the missing border is made up."""

import cv2
import numpy as np

from sugar.synthesis.customize import Customized

INPAINT_SIDE_PX = 160
"""Longer side at which the border is inpainted: the fast-marching fill is slow, and it is smooth anyway."""


def expand_opencv(image_rgb: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """The whole picture inside the wanted size, the rest inpainted: uint8 [height_px, width_px, 3].

    The picture is scaled to fit and centred; its own pixels are never changed but by that scaling.

    Args:
        image_rgb: uint8 [h, w, 3], any size.

    Raises:
        ValueError: not uint8 RGB, or a side below 1.
    """
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(f"image_rgb must be uint8 [H, W, 3], got {image_rgb.dtype} {image_rgb.shape}")
    if min(height_px, width_px) < 1:
        raise ValueError(f"height_px and width_px must be >= 1, got {height_px} x {width_px}")
    height, width = image_rgb.shape[:2]
    if (height, width) == (height_px, width_px):
        return image_rgb.copy()
    scale = min(height_px / height, width_px / width)
    size = (min(width_px, max(1, round(width * scale))), min(height_px, max(1, round(height * scale))))
    fitted = cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (width_px - size[0]) // 2, (height_px - size[1]) // 2
    if size == (width_px, height_px):
        return fitted
    inside = (slice(top, top + size[1]), slice(left, left + size[0]))
    canvas = _border(fitted, height_px, width_px, top, left)
    canvas[inside] = fitted
    return canvas


def _border(fitted: np.ndarray, height_px: int, width_px: int, top: int, left: int) -> np.ndarray:
    """Picture of the wanted size whose border continues the fitted picture."""
    shrink = min(1.0, INPAINT_SIDE_PX / max(height_px, width_px))
    small_size = (max(3, round(width_px * shrink)), max(3, round(height_px * shrink)))
    bottom, right = height_px - top - fitted.shape[0], width_px - left - fitted.shape[1]
    padded = cv2.copyMakeBorder(fitted, top, bottom, left, right, cv2.BORDER_REPLICATE)
    missing = np.full((height_px, width_px), 255, np.uint8)
    missing[top : top + fitted.shape[0], left : left + fitted.shape[1]] = 0
    small = cv2.resize(padded, small_size, interpolation=cv2.INTER_AREA)
    hole = cv2.resize(missing, small_size, interpolation=cv2.INTER_AREA)
    filled = cv2.inpaint(small, (hole > 0).astype(np.uint8), 4, cv2.INPAINT_TELEA)
    return cv2.resize(filled, (width_px, height_px), interpolation=cv2.INTER_CUBIC)


def expand_scene(scene: Customized, height_px: int, width_px: int) -> Customized:
    """The scene at the size of the video: its picture and, where it has layers, its background."""
    background = scene.background
    return scene._replace(
        image=expand_opencv(scene.image, height_px, width_px),
        background=None if background is None else expand_opencv(background, height_px, width_px),
    )
