"""From what stands out in a photo to the whole thing: what is walled in with it, its twin, but no arm.

GrabCut parts colours, so it leaves out what has the colours of the surroundings: the white bowl around the
berries on a white sheet, the white chest of a dog before a white sky. The steps here look for other evidence,
and each has a condition under which it may speak. Masks are bool [H, W] of a working copy of the photo.
Assumption: all bounds are ours, decision 0014. Axes: H W height and width.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from sugar.encoders.grabcut import fill_holes, overlap
from sugar.encoders.graph_cut import likeness_cut
from sugar.encoders.proposals import skin

_SQUARE = np.ones((3, 3), np.uint8)
_WALLS = np.geomspace(0.4, 8.0, 22)
_SHARP = np.linspace(0.15, 0.7, 23)
_STABLE = 0.9
_GROWN, _LEFT_GROWN, _LARGEST_GROWTH = 1.25, 1.1, 6.0
_LIKE_GROWN = (1.1, 3.0)
_COVERED = 0.85
_MOST_OF_A_SIDE, _MOST_OF_THE_SIDES = 0.3, 1.0
_LEAST_SOLIDITY = 0.84
_LOST_SOLIDITY = 0.03
_LEAST_SOLIDITY_OF_TWINS = 0.75
_HALF_A_WALL = 2
_SMOOTH = 6.0
_LEAST_ARM = 0.15


def whole_subject(image_rgb: np.ndarray, small_rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The subject of a photo from a mask of what stands out in it: bool [h, w].

    Args:
        image_rgb: uint8 [H, W, 3], the photo; small_rgb: uint8 [h, w, 3], a working copy of it.
        mask: bool [h, w].
    """
    alone = without_arm(small_rgb, mask)
    if alone is not mask:
        return refined(small_rgb, alone, never=mask & ~alone)
    mask = with_twin(small_rgb, mask)
    sharpness = _sharpness(image_rgb, mask.shape)
    regions = [*walled_in(_gradient(small_rgb), _WALLS, mask), *walled_in(sharpness, _SHARP, mask)]
    least = max(_LEAST_SOLIDITY, _solidity(mask) - _LOST_SOLIDITY)
    for region in regions:
        if region.sum() > _GROWN * mask.sum() and _solidity(region) > least:
            whole = snapped(small_rgb, region | mask)
            if whole.sum() > _LEFT_GROWN * mask.sum():
                return whole
    return refined(small_rgb, with_like_parts(small_rgb, mask, regions))


def without_arm(image_rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask without smooth skin, if all of it that reaches the frame is that: an arm."""
    smooth = cv2.blur(_gradient(image_rgb), (5, 5)) < _SMOOTH
    arm = cv2.morphologyEx(
        (mask & skin(image_rgb) & smooth).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5))
    )
    arm_HW = largest_part(arm > 0) & mask
    frame = np.ones(mask.shape, bool)
    frame[1:-1, 1:-1] = False
    at_frame = mask & frame
    if arm_HW.sum() < _LEAST_ARM * mask.sum() or not at_frame.any() or arm_HW[at_frame].mean() < 0.8:
        return mask
    thing = mask & ~(cv2.dilate(arm_HW.astype(np.uint8), _SQUARE) > 0)
    thing &= likeness_cut(image_rgb, thing, against=arm_HW, rounds=1)
    thing = largest_part(cv2.morphologyEx(thing.astype(np.uint8), cv2.MORPH_OPEN, _disc(2)) > 0)
    return thing if thing.sum() > 0.1 * mask.sum() else mask


def walled_in(structure: np.ndarray, levels: np.ndarray, mask: np.ndarray) -> Iterator[np.ndarray]:
    """Regions around a mask that walls of structure keep from the border, bool [H, W], the largest first.

    What the border cannot reach over pixels under some level of structure is walled in. It may be a thing
    if it stays nearly the same at the next level (as MSER's regions, Matas et al. 2002), holds the mask, and
    does not lie along the sides of the photo.

    Args:
        structure: float32 [H, W], the strength of edges or the sharpness of each pixel; levels: rising.
    """
    regions = _regions(structure, levels, mask)
    region = next(regions)
    for following in regions:
        sides = [float(side.mean()) for side in (region[0], region[:, 0], region[:, -1], region[-1])]
        if (
            overlap(region, following) > _STABLE
            and region.sum() < _LARGEST_GROWTH * mask.sum()
            and (region & mask).sum() > _COVERED * mask.sum()
            and max(sides[:3]) < _MOST_OF_A_SIDE
            and sum(sides) < _MOST_OF_THE_SIDES
        ):
            yield region
        region = following


def _regions(structure: np.ndarray, levels: np.ndarray, mask: np.ndarray) -> Iterator[np.ndarray]:
    """At each level, the part walled in that holds most of the mask: bool [H, W]."""
    for level in levels:
        walls = cv2.morphologyEx((structure > level).astype(np.uint8), cv2.MORPH_CLOSE, _disc(3))
        inside = cv2.morphologyEx(fill_holes(walls > 0).astype(np.uint8), cv2.MORPH_OPEN, _disc(4))
        count, labels = cv2.connectedComponents(inside, connectivity=4)
        held = np.bincount(labels[mask], minlength=count)
        held[0] = 0
        yield (labels == held.argmax()) & (held.max() > 0)


def with_like_parts(image_rgb: np.ndarray, mask: np.ndarray, regions: Sequence[np.ndarray]) -> np.ndarray:
    """The mask and what looks like it within the first region that is a tenth larger and not too large."""
    for region in regions:
        if _LIKE_GROWN[0] < region.sum() / mask.sum() < _LIKE_GROWN[1]:
            like = (likeness_cut(image_rgb, mask) & region) | mask
            grown = largest_part(cv2.morphologyEx(like.astype(np.uint8), cv2.MORPH_OPEN, _disc(2)) > 0)
            return grown if grown.sum() > _LIKE_GROWN[0] * mask.sum() else mask
    return mask


def with_twin(image_rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask and a part beside it of its size and colours, if there is one: the other lens of a pair."""
    if _solidity(mask) < _LEAST_SOLIDITY_OF_TWINS:
        return mask
    like = likeness_cut(image_rgb, mask) & ~(cv2.dilate(mask.astype(np.uint8), _SQUARE) > 0)
    count, labels, _, centres = cv2.connectedComponentsWithStats(like.astype(np.uint8), connectivity=4)
    area = float(mask.sum())
    row = float(np.nonzero(mask)[0].mean())
    away = cv2.distanceTransform(1 - mask.astype(np.uint8), cv2.DIST_L2, 3)
    for part in range(1, count):
        twin = fill_holes(labels == part)
        if (
            0.6 < twin.sum() / area < 1.67
            and abs(centres[part][1] - row) < 0.4 * area**0.5
            and away[twin].min() < 0.15 * area**0.5
            and _solidity(twin) > _LEAST_SOLIDITY_OF_TWINS
        ):
            return mask | twin
    return mask


def refined(image_rgb: np.ndarray, mask: np.ndarray, never: np.ndarray | None = None) -> np.ndarray:
    """GrabCut once more around the outline, without specks and holes; `never` bool [H, W] stays out."""
    size = float(np.sqrt(mask.sum()))
    inside = mask.astype(np.uint8)
    labels = np.full(mask.shape, cv2.GC_BGD, np.uint8)
    labels[cv2.dilate(inside, _disc(max(2, round(0.1 * size)))) > 0] = cv2.GC_PR_BGD
    labels[mask] = cv2.GC_PR_FGD
    labels[cv2.erode(inside, _disc(max(1, round(0.1 * size)))) > 0] = cv2.GC_FGD
    if never is not None:
        labels[never] = cv2.GC_BGD
    likely = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if likely.all() or not likely.any():
        return mask
    # GrabCut starts its colour models with OpenCV's global random numbers.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(image_rgb, labels, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)
    found = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    count, parts, about, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(found, cv2.MORPH_OPEN, _SQUARE)
    )
    areas = about[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    kept = fill_holes(np.isin(parts, np.flatnonzero(areas > 0.05 * areas.max()))) if count > 1 else mask
    return kept if overlap(kept, mask) > 0.6 else mask


def snapped(image_rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask with its outline moved by a few pixels to the edge that is there (watershed)."""
    inside = mask.astype(np.uint8)
    width = max(2, round(0.03 * float(np.sqrt(mask.sum()))))
    markers = np.zeros(mask.shape, np.int32)
    markers[cv2.erode(inside, _disc(2 * width + _HALF_A_WALL)) > 0] = 1
    markers[cv2.dilate(inside, _disc(width)) == 0] = 2
    cv2.watershed(cv2.bilateralFilter(image_rgb, 5, 20, 3), markers)
    found = cv2.dilate((markers == 1).astype(np.uint8), _SQUARE)
    found = cv2.morphologyEx(fill_holes(found > 0).astype(np.uint8), cv2.MORPH_OPEN, _disc(2))
    count, parts, about, _ = cv2.connectedComponentsWithStats(found, connectivity=4)
    return np.isin(
        parts, [part for part in range(1, count) if about[part, cv2.CC_STAT_AREA] > 0.05 * mask.sum()]
    )


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, without holes; nothing of nothing."""
    count, labels, about, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return np.zeros(mask.shape, bool)
    return fill_holes(labels == 1 + int(about[1:, cv2.CC_STAT_AREA].argmax()))


def _gradient(image_rgb: np.ndarray) -> np.ndarray:
    """Strength of the edges in units of Lab a pixel: float32 [H, W]."""
    lab = cv2.cvtColor(image_rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2Lab)
    lab = cv2.GaussianBlur(lab, (0, 0), 1.0)
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(lab, cv2.CV_32F, 0, 1) / 8
    return np.sqrt((across**2 + down**2).sum(axis=2))


def _sharpness(image_rgb: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How much fine detail there is around each pixel, from 0 to 1 of a photo: float32 of `shape`.

    A lens throws what lies before and behind the subject out of focus. The median leaves out single edges.
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), max(grey.shape) / 512))
    small = cv2.resize(np.log(detail + 0.5), shape[1::-1], interpolation=cv2.INTER_AREA)
    smooth = cv2.blur(cv2.medianBlur(small, 5), (9, 9))
    low, high = float(smooth.min()), float(smooth.max())
    return (smooth - low) / max(high - low, 1e-6)


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _solidity(mask: np.ndarray) -> float:
    """Share that a mask fills of the convex hull of all its parts; 0 of nothing."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0.0
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    return float(mask.sum() / hull.sum())
