"""From a picture and a mask to an identity image: the subject alone, trimmed, or a reason why not."""

import cv2
import numpy as np

from sugar.data.image_io import BadMedia

VISIBLE = 24
"""Alpha above which a pixel counts as part of the subject."""
MARGIN = 0.06
"""Room left around the subject, as a share of the longer side of its box."""


def mask_share(mask: np.ndarray) -> float:
    """Share of a picture that a mask (uint8 [H, W], 0..255) covers, in [0, 1]."""
    return float(np.count_nonzero(mask > 127) / mask.size)


def cut_subject(
    image_rgb: np.ndarray,
    mask: np.ndarray,
    *,
    min_area: float = 0.0,
    max_area: float = 1.0,
    max_side_px: int = 512,
) -> np.ndarray:
    """The masked subject as uint8 [h, w, 4], trimmed to its box with a margin of 6 %.

    Args:
        image_rgb: uint8 [H, W, 3].
        mask: uint8 [H, W], 0..255.
        min_area, max_area: allowed share of the picture that the mask covers.
        max_side_px: larger cut-outs are averaged down to this longer side.

    Raises:
        BadMedia: "no_subject", "mask_too_small" or "mask_too_large".
        ValueError: mask and picture differ in size.
    """
    if mask.shape != image_rgb.shape[:2]:
        raise ValueError(f"mask must be {image_rgb.shape[:2]} as its picture, got {mask.shape}")
    share = mask_share(mask)
    if share == 0:
        raise BadMedia("no_subject", "no subject was found in the picture")
    if share < min_area:
        raise BadMedia(
            "mask_too_small", f"the mask must cover >= {min_area:g} of the picture, got {share:.4f}"
        )
    if share > max_area:
        raise BadMedia(
            "mask_too_large", f"the mask must cover <= {max_area:g} of the picture, got {share:.4f}"
        )
    return fit_within(trim(np.dstack([image_rgb, mask])), max_side_px)


def trim(rgba: np.ndarray) -> np.ndarray:
    """The box of what is visible and a margin around it, cut by the picture's edge: uint8 [h, w, 4].

    Raises:
        BadMedia: "no_subject", nothing is visible.
    """
    x, y, width, height = cv2.boundingRect((rgba[:, :, 3] > VISIBLE).astype(np.uint8))
    if not width:
        raise BadMedia("no_subject", "nothing in the cut-out is visible")
    margin = max(1, round(MARGIN * max(width, height)))
    rows = slice(max(0, y - margin), y + height + margin)
    return np.ascontiguousarray(rgba[rows, max(0, x - margin) : x + width + margin])


def fit_within(picture: np.ndarray, max_side_px: int) -> np.ndarray:
    """A picture uint8 [H, W, 3 or 4], averaged down so that its longer side is at most `max_side_px`."""
    height, width = picture.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if picture.shape[2] == 3:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    # Colours behind alpha 0 must not bleed into the edge.
    weighted = picture.astype(np.float32)
    weighted[:, :, :3] *= weighted[:, :, 3:] / 255
    small = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
    small[:, :, :3] *= 255 / np.maximum(small[:, :, 3:], 1)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)
