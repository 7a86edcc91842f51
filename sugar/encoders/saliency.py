"""Where the subject probably is: saliency by robust background detection, from one picture and no network.

Zhu et al., "Saliency Optimization from Robust Background Detection" (CVPR 2014): superpixels that can reach
the border without crossing an edge are background; what differs from the background is the subject; a small
linear system joins both with smoothness. Axes: H W height and width, R superpixels.
"""

import cv2
import numpy as np
from scipy.sparse.csgraph import shortest_path

NUM_SUPERPIXELS = 180
_COMPACTNESS = 12.0
_ROUNDS = 5
_SIGMA_COLOUR = 10.0
_SIGMA_PLACE = 0.4
_SIGMA_CENTRE = 0.45
_SMOOTHNESS = 0.1


def superpixels(lab_HWC: np.ndarray, num_wanted: int = NUM_SUPERPIXELS) -> np.ndarray:
    """SLIC superpixels (Achanta et al. 2012) of a float32 Lab picture: int64 labels [H, W], 0 .. R - 1.

    k-means in (Lab, position), each pixel choosing among the nine cells of the start grid around it.
    """
    height, width = lab_HWC.shape[:2]
    step = max(2.0, float(np.sqrt(height * width / num_wanted)))
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scale = np.float32(_COMPACTNESS / step)
    points = np.concatenate([lab_HWC.reshape(-1, 3), np.stack([y, x], -1).reshape(-1, 2) * scale], axis=1)
    cell_y = np.minimum(y.ravel() * rows / height, rows - 1).astype(np.int64)
    cell_x = np.minimum(x.ravel() * columns / width, columns - 1).astype(np.int64)
    around = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    near_y = np.clip(cell_y + around[:, :1], 0, rows - 1)
    near_x = np.clip(cell_x + around[:, 1:], 0, columns - 1)
    candidates = near_y * columns + near_x
    labels = cell_y * columns + cell_x
    everyone = np.arange(labels.size)
    for _ in range(_ROUNDS):
        centres = _means(points, labels, rows * columns)
        distances = np.square(points[None] - centres[candidates]).sum(axis=-1)
        labels = candidates[distances.argmin(axis=0), everyone]
    _, dense = np.unique(labels, return_inverse=True)
    return dense.reshape(height, width)


def saliency(image_rgb: np.ndarray, prior_HW: np.ndarray | None = None) -> np.ndarray:
    """How much each pixel belongs to what stands out from the border: float32 [H, W] in [0, 1].

    Args:
        image_rgb: uint8 [H, W, 3], best at 64 to 256 px. prior_HW: other evidence for the subject in [0, 1],
        for instance where a clip moves; it raises the saliency
            and frees what it marks from counting as background.
    """
    lab = cv2.cvtColor(image_rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2Lab)
    labels = superpixels(lab)
    count = int(labels.max()) + 1
    height, width = labels.shape
    flat = labels.ravel()
    y, x = np.mgrid[:height, :width]
    places = np.stack([(y.ravel() + 0.5) / height, (x.ravel() + 0.5) / width], axis=1)
    colour = _means(lab.reshape(-1, 3), flat, count)
    place = _means(places, flat, count)
    border = np.zeros(count, bool)
    border[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True
    apart = np.linalg.norm(colour[:, None] - colour[None], axis=-1)
    neighbours = _adjacency(labels, count)

    background = _background(apart, neighbours, border)
    prior = np.zeros(count)
    if prior_HW is not None:
        prior = _means(prior_HW.reshape(-1, 1), flat, count)[:, 0]
        background *= 1.0 - prior
    far = np.square(place[:, None] - place[None]).sum(axis=-1)
    contrast = (apart * np.exp(-far / (2 * _SIGMA_PLACE**2))) @ background
    contrast *= np.exp(-np.square(place - 0.5).sum(axis=1) / (2 * _SIGMA_CENTRE**2))
    foreground = _stretch(contrast)
    if prior_HW is not None:
        foreground = np.maximum(foreground, prior)
    return _optimise(background, foreground, apart, neighbours)[labels].astype(np.float32)


def _means(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean of the rows of `values` over each label: [count, columns]; zero for a label nobody has."""
    sizes = np.maximum(np.bincount(labels, minlength=count), 1)[:, None]
    sums = [np.bincount(labels, weights=column, minlength=count) for column in values.T]
    return (np.stack(sums, axis=1) / sizes).astype(np.float32)


def _adjacency(labels: np.ndarray, count: int) -> np.ndarray:
    """Which superpixels touch: bool [R, R], symmetric, no superpixel touching itself."""
    touching = np.zeros((count, count), bool)
    touching[labels[:, :-1], labels[:, 1:]] = True
    touching[labels[:-1], labels[1:]] = True
    touching |= touching.T
    np.fill_diagonal(touching, False)
    return touching


def _background(apart: np.ndarray, neighbours: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Probability of being background from boundary connectivity (equations 3 to 7 of the paper): [R].

    A superpixel's connectivity is the length of the border that its connected region of like colour covers,
    over the root of the region's area. Border superpixels count as touching each other.
    """
    linked = neighbours | (border[:, None] & border[None])
    np.fill_diagonal(linked, False)
    # Steps of ordinary size within one surface cost nothing, or a long gradient would add up to an edge.
    nearest = np.where(neighbours, apart, np.inf).min(axis=1)
    free = float(np.mean(nearest[np.isfinite(nearest)])) if np.isfinite(nearest).any() else 0.0
    steps = np.where(linked, np.maximum(apart - free, 0.0) + 1e-6, 0.0)
    geodesic = shortest_path(steps, directed=False)
    like = np.exp(-np.square(geodesic) / (2 * _SIGMA_COLOUR**2))
    connectivity = like[:, border].sum(axis=1) / np.sqrt(like.sum(axis=1))
    return 1.0 - np.exp(-np.square(connectivity) / 2.0)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to 0 .. 1 (all zero when they are equal)."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low + 1e-12 else np.zeros_like(values)


def _optimise(
    background: np.ndarray, foreground: np.ndarray, apart: np.ndarray, neighbours: np.ndarray
) -> np.ndarray:
    """The s [R] that minimises sum(bg s^2) + sum(fg (s - 1)^2) + sum(w_ij (s_i - s_j)^2) (equation 9)."""
    second = (neighbours.astype(np.float32) @ neighbours) > 0
    weights = np.exp(-np.square(apart) / (2 * _SIGMA_COLOUR**2)) + _SMOOTHNESS
    weights = np.where(neighbours | second, weights, 0.0)
    np.fill_diagonal(weights, 0.0)
    system = np.diag(weights.sum(axis=1) + background + foreground + 1e-6) - weights
    return _stretch(np.linalg.solve(system, foreground))
