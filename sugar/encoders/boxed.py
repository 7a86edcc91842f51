"""The subject of a picture within a box that a person drew around it.

GrabCut was made for that (Rother et al. 2004): all outside of the box is background. What the box says beyond
it is that the subject reaches its sides, which tells a good mask from a bad one, and whether the mask that
was found without the box may stay. Assumption: all bounds are ours, decision 0014. Axes: H W height and
width.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from sugar.encoders.grabcut import CLEAR_SEPARATION, fill_holes, grab, overlap, separation

_REACHES = 0.8
"""Share of the box (width times height) that a mask of the subject spans."""
_SPILL = 0.02
"""Share of the mask found without the box that may lie outside."""
_UNSURE = 0.3
"""Score below which GrabCut's mask in the box is not believed."""
_HEART = 0.12
_LEAST_PART = 0.2
_ROUNDS = 5


def boxed_mask(
    image_rgb: np.ndarray, inside: np.ndarray, found: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """The mask bool [H, W] of what the box is around, and a score in [0, 1].

    The mask that was `found` without the box stays where it reaches the box's sides, without what lies
    outside. If that was more than a little, it was wrong there and may be within: then only what GrabCut,
    started from the box, takes too. Where it does not reach the sides, it is GrabCut's alone. A box that cuts
    through the subject, so that GrabCut sees it as background, gives what was found within.

    Args:
        image_rgb: uint8 [H, W, 3].
        inside: bool [H, W], the box.
        found: bool [H, W], the mask without the box; None: there was none.
    """
    masks = [_parts(grab(image_rgb, trimap, _ROUNDS) & inside) & inside for trimap in _trimaps(inside)]
    agreement = np.array([np.mean([overlap(one, other) for other in masks]) for one in masks])
    reach = np.array([_reach(mask, inside) for mask in masks])
    best = int((agreement * reach).argmax())
    mask = masks[best]
    score = float(agreement[best] * reach[best]) * min(1.0, separation(image_rgb, mask) / CLEAR_SEPARATION)
    if found is None or not found.any():
        return mask, score
    within = found & inside
    kept = within if within.sum() >= (1.0 - _SPILL) * found.sum() else within & mask
    if _reach(kept, inside) >= _REACHES:
        return kept, _reach(kept, inside)
    return (within, _reach(within, inside)) if score < _UNSURE else (mask, score)


def _trimaps(inside: np.ndarray) -> Iterator[np.ndarray]:
    """GrabCut's labels: all of the box or the ellipse in it is likely, its heart sure or likely too."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    y, x = np.mgrid[: inside.shape[0], : inside.shape[1]]
    off = ((y - rows.mean()) / (rows.size / 2)) ** 2 + ((x - columns.mean()) / (columns.size / 2)) ** 2
    for likely in (inside, inside & (off <= 1.0)):
        for heart in (False, True):
            trimap = np.where(inside, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
            trimap[likely] = cv2.GC_PR_FGD
            if heart:
                trimap[inside & (off < _HEART)] = cv2.GC_FGD
            yield trimap


def _parts(mask: np.ndarray) -> np.ndarray:
    """The largest part and those of a fifth of its size, without specks and holes."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened)
    if count <= 1:
        return np.zeros(mask.shape, bool)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    return fill_holes(np.isin(labels, 1 + np.flatnonzero(areas >= _LEAST_PART * areas.max())))


def _reach(mask: np.ndarray, inside: np.ndarray) -> float:
    """Width times height that a mask spans, as a share of the box's."""
    _, _, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return width * height / max(1, int(inside.sum()))
