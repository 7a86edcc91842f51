"""Parts of a picture that could each be one whole thing: regions of like colour, and what moves.

Masks are bool [H, W] of a small working copy. Axes: H W height and width.
"""

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from sugar.encoders.grabcut import fill_holes, overlap

LEAST_AREA, LARGEST_AREA = 0.006, 0.4
"""Share of a picture that a proposal covers."""
_NUM_COLOURS = (3, 5, 8)
_LIGHTNESS_WEIGHT = 0.7
_MOVING = (0.3, 0.6)
_SAME = 0.8
_SQUARE = np.ones((3, 3), np.uint8)
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def proposals(image_rgb: np.ndarray, moving_HW: np.ndarray, others: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Masks of all that could be a thing, the largest first, no two of them nearly the same.

    Args:
        image_rgb: uint8 [H, W, 3]; moving_HW: how much each pixel moves, in [0, 1].
        others: masks of other origin, whose parts are proposed too.
    """
    found = [*_of_colour(image_rgb), *_of_motion(image_rgb, moving_HW)]
    for mask in others:
        found += _parts(mask)
    different: list[np.ndarray] = []
    for mask in sorted(found, key=lambda one: -int(one.sum())):
        if all(overlap(mask, other) < _SAME for other in different):
            different.append(mask)
    return different


def skin(image_rgb: np.ndarray) -> np.ndarray:
    """Pixels in the colours of human skin (a box in YCrCb, Chai and Ngan 1999): bool [H, W].

    Fur, wood and sand are in it too, so it is never evidence by itself.
    """
    y, red, blue = cv2.split(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2YCrCb))
    return (y > 60) & (red >= 136) & (red <= 173) & (blue >= 90) & (blue <= 127)


def refine(image_rgb: np.ndarray, mask: np.ndarray, moving_HW: np.ndarray) -> np.ndarray | None:
    """The largest part that GrabCut finds around a mask, without holes: bool [H, W]; None: nothing.

    Where the mask moves as a whole, what does not move around it is no part of it.
    """
    rows, columns = _around(mask)
    inside, near = mask[rows, columns], np.ascontiguousarray(image_rgb[rows, columns])
    labels = _labels(inside)
    if float(moving_HW[mask].mean()) > 0.6:
        moving = moving_HW[rows, columns]
        labels[~inside & (moving < 0.15)] = cv2.GC_BGD
        labels[inside & (moving > 0.7)] = cv2.GC_FGD
    likely = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if likely.all() or not likely.any():
        return None
    # GrabCut starts its colour models with OpenCV's global random numbers.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(near, labels, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)
    found = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    count, parts, about, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(found, cv2.MORPH_OPEN, _SQUARE), connectivity=4
    )
    if count < 2:
        return None
    whole = np.zeros(mask.shape, bool)
    whole[rows, columns] = fill_holes(parts == 1 + int(about[1:, cv2.CC_STAT_AREA].argmax()))
    return whole


def _of_colour(image_rgb: np.ndarray) -> Iterator[np.ndarray]:
    """Connected regions of one of a few colours, and of all but the colour that has most of the border."""
    smooth = cv2.bilateralFilter(image_rgb, 5, 30, 3).astype(np.float32) / 255
    points = cv2.cvtColor(smooth, cv2.COLOR_RGB2Lab).reshape(-1, 3)
    points *= np.array([_LIGHTNESS_WEIGHT, 1, 1], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    for num in _NUM_COLOURS:
        cv2.setRNGSeed(0)
        start = np.zeros((0, 0), np.int32)
        _, found, _ = cv2.kmeans(points, num, start, stop, 1, cv2.KMEANS_PP_CENTERS)
        colours = found.reshape(image_rgb.shape[:2])
        border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
        masks = [colours == colour for colour in range(num)]
        for mask in (*masks, ~masks[int(np.bincount(border).argmax())]):
            yield from _parts(_opened(mask, _SQUARE))


def _of_motion(image_rgb: np.ndarray, moving_HW: np.ndarray) -> Iterator[np.ndarray]:
    """Connected regions that move, with and without what has the colour of hands."""
    no_skin = ~skin(image_rgb)
    for least in _MOVING:
        moves = cv2.morphologyEx((moving_HW > least).astype(np.uint8), cv2.MORPH_CLOSE, _DISC)
        mask = _opened(moves > 0, _DISC)
        yield from _parts(mask)
        yield from _parts(_opened(mask & no_skin, _DISC))


def _opened(mask: np.ndarray, element: np.ndarray) -> np.ndarray:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, element) > 0


def _parts(mask: np.ndarray) -> Iterable[np.ndarray]:
    """The connected parts of a mask that are neither too small nor too large, without holes."""
    count, labels, about, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = about[:, cv2.CC_STAT_AREA] / mask.size
    return [
        fill_holes(labels == part) for part in range(1, count) if LEAST_AREA <= areas[part] <= LARGEST_AREA
    ]


def _around(mask: np.ndarray, margin: float = 0.3) -> tuple[slice, slice]:
    """Rows and columns of the mask's box and a margin around it."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    more = max(3, round(margin * max(width, height)))
    return slice(max(0, y - more), y + height + more), slice(max(0, x - more), x + width + more)


def _labels(inside: np.ndarray) -> np.ndarray:
    """GrabCut's labels: its core is sure, what is far from it is not part of it."""
    width = max(1, round(0.04 * max(inside.shape)))
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    mask = inside.astype(np.uint8)
    labels = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    labels[cv2.dilate(mask, element) > 0] = cv2.GC_PR_BGD
    labels[inside] = cv2.GC_PR_FGD
    labels[cv2.erode(mask, element) > 0] = cv2.GC_FGD
    return labels
