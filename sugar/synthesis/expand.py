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
    inside = rows, columns = fitted_box(height, width, height_px, width_px)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    shrink = height_px < height or width_px < width
    fitted = cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    if size == (width_px, height_px):
        return fitted
    canvas = _border(fitted, height_px, width_px, rows.start, columns.start)
    canvas[inside] = fitted
    return canvas


def fitted_box(height: int, width: int, height_px: int, width_px: int) -> tuple[slice, slice]:
    """Rows and columns of a height_px x width_px canvas that a picture takes, scaled to fit and centred."""
    scale = min(height_px / height, width_px / width)
    fitted = (min(height_px, max(1, round(height * scale))), min(width_px, max(1, round(width * scale))))
    top, left = (height_px - fitted[0]) // 2, (width_px - fitted[1]) // 2
    return slice(top, top + fitted[0]), slice(left, left + fitted[1])


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
