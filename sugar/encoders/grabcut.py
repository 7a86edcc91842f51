"""GrabCut from several first guesses, and what makes a usable mask of its result.

Axes: H W height and width.
"""

from collections.abc import Iterator

import cv2
import numpy as np

_AS_GOOD_AS_EQUAL = 0.8
_LEAST_OF_PHOTO = 0.03
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


def agreed_mask(
    image_rgb: np.ndarray, salient: np.ndarray, *, trust_middle: bool = True
) -> tuple[np.ndarray, float]:
    """Of the masks from all first guesses, the one nearest to the others, and its mean overlap with them.

    Args:
        image_rgb: uint8 [H, W, 3]; salient: float32 [H, W] in [0, 1].
        trust_middle: whether the subject is likely in the middle, as on a photo. Without it there are fewer
            guesses, and when the first two give as good as equal masks, no more are made.
    """
    masks: list[np.ndarray] = []
    for trimap, weight in _guesses(salient, trust_middle):
        masks.append(_keep_parts(grab(image_rgb, trimap), weight))
        if not trust_middle and len(masks) == 2 and overlap(*masks) >= _AS_GOOD_AS_EQUAL:
            break
    if trust_middle:
        masks = _believable(masks)
    overlaps = np.array([[overlap(one, other) for other in masks] for one in masks])
    means = (overlaps.sum(axis=1) - 1.0) / (len(masks) - 1)
    # Of masks that agree as well, the better one leaves out what lies along the sides of a photo, and what
    # looks like its surroundings.
    likely = [(1.0 - 2.0 * _along_sides(mask)) * separation(image_rgb, mask) ** 0.5 for mask in masks]
    best = int((means * (likely if trust_middle else 1.0)).argmax())
    return masks[best], float(means[best])


def _believable(masks: list[np.ndarray]) -> list[np.ndarray]:
    """The masks that could be what a photo is of: a glint or a badge alone is a guess gone wrong.

    Two guesses at such a spot agree well with each other; so they are left out where at least two masks are
    larger.
    """
    large = [mask for mask in masks if mask.mean() >= _LEAST_OF_PHOTO]
    return large if len(large) >= 2 else masks


def _along_sides(mask: np.ndarray) -> float:
    """Share of the picture's top, left and right edge that a mask covers; subjects may stand on the lower."""
    return float((mask[0].mean() + mask[:, 0].mean() + mask[:, -1].mean()) / 3)


def _guesses(salient: np.ndarray, trust_middle: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """GrabCut's labels, and where in its result the subject is most likely, for each first guess.

    Where saliency gathers; all but the frame of the picture; what is salient and near the middle. With
    `trust_middle` also: what is salient or near the middle; all but a wide frame, salient or not.
    """
    middle = _middle(salient.shape)
    focused = _focus(salient)
    yield _trimap(focused), focused
    yield _all_but_frame(salient, top=0.06, side=0.06, bottom=0.03, least=0.3), middle
    near_middle = _to_one(np.sqrt(salient) * middle)
    yield _trimap(near_middle), near_middle
    if trust_middle:
        either = _to_one(salient + middle)
        yield _trimap(either), either
        yield _all_but_frame(salient, top=0.10, side=0.12, bottom=0.05, least=0.0), middle


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union; two empty masks do not overlap."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def _to_one(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to 0 .. 1."""
    low = float(values.min())
    return ((values - low) / max(float(values.max()) - low, 1e-6)).astype(np.float32)


def _middle(shape: tuple[int, ...], spread: float = 0.3) -> np.ndarray:
    """A bump in the middle of the picture, where photographers put their subjects: float32 [H, W]."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    off = ((y + 0.5) / height - 0.5) ** 2 + ((x + 0.5) / width - 0.5) ** 2
    return np.exp(-off / (2 * spread**2)).astype(np.float32)


def grab(image_rgb: np.ndarray, trimap: np.ndarray, rounds: int = 2) -> np.ndarray:
    """GrabCut from a first guess: bool [H, W]; nothing where the guess is all of one kind."""
    likely = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    if likely.all() or not likely.any():
        return np.zeros(trimap.shape, bool)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    # GrabCut starts its colour models with OpenCV's global random numbers.
    cv2.setRNGSeed(0)
    nowhere = (0, 0, 0, 0)
    cv2.grabCut(image_rgb, trimap, nowhere, background, foreground, rounds, cv2.GC_INIT_WITH_MASK)
    return (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)


def _trimap(guess: np.ndarray) -> np.ndarray:
    """GrabCut's labels from a guess in [0, 1]: its clear ends are fixed, the middle is left to GrabCut."""
    middle = _otsu(guess)
    trimap = np.where(guess > middle, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[guess > middle + 0.5 * (1.0 - middle)] = cv2.GC_FGD
    trimap[guess < 0.4 * middle] = cv2.GC_BGD
    return trimap


def _all_but_frame(
    salient: np.ndarray, *, top: float, side: float, bottom: float, least: float
) -> np.ndarray:
    """GrabCut's labels: a frame around the picture is background, what is hardly salient probably too.

    Args:
        top, side, bottom: widths of the frame, as shares of the picture.
        least: share of Otsu's threshold under which saliency counts as hardly any.
    """
    height, width = salient.shape
    trimap = np.full(salient.shape, cv2.GC_BGD, np.uint8)
    inner = (
        slice(int(top * height), int((1 - bottom) * height)),
        slice(int(side * width), int((1 - side) * width)),
    )
    hardly = salient[inner] < least * _otsu(salient)
    trimap[inner] = np.where(hardly, cv2.GC_PR_BGD, cv2.GC_PR_FGD)
    return trimap


def _focus(salient: np.ndarray, rounds: int = 5, width: float = 1.8) -> np.ndarray:
    """Saliency times a window that settles on its heaviest cluster (mean shift)."""
    rows, columns = salient.shape
    y, x = np.mgrid[:rows, :columns]
    points = np.stack([((y + 0.5) / rows).ravel(), ((x + 0.5) / columns).ravel()])
    mass = np.square(salient).ravel().astype(np.float64)
    window = np.exp(-np.square(points - 0.5).sum(axis=0) / (2 * 0.3**2))
    for _ in range(rounds):
        weights = mass * window
        weights /= weights.sum() + 1e-12
        centre = (points * weights).sum(axis=1, keepdims=True)
        spread = np.sqrt(((points - centre) ** 2 * weights).sum(axis=1, keepdims=True)) + 0.02
        window = np.exp(-np.square((points - centre) / (width * spread)).sum(axis=0) / 2.0)
    focused = salient * window.reshape(rows, columns)
    return (focused / max(float(focused.max()), 1e-6)).astype(np.float32)


def _otsu(values: np.ndarray) -> float:
    """Otsu's threshold of values in [0, 1]."""
    scaled = np.rint(values * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return threshold / 255.0


def _keep_parts(mask: np.ndarray, salient: np.ndarray) -> np.ndarray:
    """The part with most saliency and what is nearly as salient, without specks and holes: bool [H, W]."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    closed = cv2.morphologyEx(opened if opened.any() else mask.astype(np.uint8), cv2.MORPH_CLOSE, _DISC)
    count, labels = cv2.connectedComponents(closed, connectivity=8)
    if count <= 1:
        return np.zeros(mask.shape, bool)
    weight = np.bincount(labels.ravel(), weights=(salient * _middle(mask.shape)).ravel(), minlength=count)
    weight[0] = 0.0
    kept = np.isin(labels, np.flatnonzero(weight >= 0.35 * weight.max()))
    return fill_holes(kept)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with everything that the outside cannot reach."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside != 2)[1:-1, 1:-1]


CLEAR_SEPARATION = 0.3
"""From this `separation` on, the colours inside and outside count as fully apart."""


def separation(image_rgb: np.ndarray, mask: np.ndarray) -> float:
    """1 - the overlap of the colour histograms inside and outside (Bhattacharyya's coefficient)."""
    lab = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2Lab) // 32
    index = (lab[..., 0].astype(np.int64) << 6) | (lab[..., 1].astype(np.int64) << 3) | lab[..., 2]
    inside = np.bincount(index[mask], minlength=512) / max(1, mask.sum())
    outside = np.bincount(index[~mask], minlength=512) / max(1, (~mask).sum())
    return 1.0 - float(np.sqrt(inside * outside).sum())


def soft_mask(image_rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A small mask at the picture's size with an edge of a pixel or two that follows the picture's own edges.

    Enlarged, then pulled to the edges with a guided filter (He et al. 2013) on the picture's brightness.
    """
    height, width = image_rgb.shape[:2]
    enlarge = max(height, width) / max(mask.shape)
    coarse = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    if enlarge <= 1.0:
        return (cv2.GaussianBlur(coarse, (0, 0), 0.5) * 255).round().astype(np.uint8)
    guide = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    side = 2 * round(2 * enlarge) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (side, side))

    guide_mean, coarse_mean = mean(guide), mean(coarse)
    slope = (mean(guide * coarse) - guide_mean * coarse_mean) / (mean(guide * guide) - guide_mean**2 + 1e-4)
    offset = coarse_mean - slope * guide_mean
    fine = mean(slope) * guide + mean(offset)
    return np.rint(np.clip((fine - 0.5) * 2.0 + 0.5, 0.0, 1.0) * 255).astype(np.uint8)
