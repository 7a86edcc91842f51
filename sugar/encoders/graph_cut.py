"""Minimum cuts over superpixels: which of them belong to a mask by their colours and the edges between them.

Like GrabCut's inner step, with a kernel estimate of the colours in place of mixtures, on hundreds of
superpixels in place of thousands of pixels. Axes: H W height and width, R superpixels.
"""

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from sugar.encoders.saliency import superpixels

NUM_SUPERPIXELS = 500
_COLOUR_SCALE = (7.2, 4.8, 4.8)
_MOST_SURE = 3.0
_BALANCE = 0.25
_SMOOTHNESS = 2.0
_EDGE = 0.15
_UNITS = 1000


def likeness_cut(
    image_rgb: np.ndarray, mask: np.ndarray, against: np.ndarray | None = None, rounds: int = 2
) -> np.ndarray:
    """Where a picture looks more like the inside of a mask than like its outside: bool [H, W].

    Args:
        image_rgb: uint8 [H, W, 3]; mask: bool [H, W].
        against: bool [H, W], what stands for the outside; None: all of it, estimated anew each round.
        rounds: how often colours and cut are estimated in turn.
    """
    lab = cv2.cvtColor(image_rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2Lab)
    labels = superpixels(lab, NUM_SUPERPIXELS)
    flat, count = labels.ravel(), int(labels.max()) + 1
    area = np.bincount(flat, minlength=count)
    colour = np.stack(
        [np.bincount(flat, weights=one.ravel(), minlength=count) for one in cv2.split(lab)], axis=1
    )
    colour = colour / area[:, None] / np.array(_COLOUR_SCALE)
    alike = np.exp(-np.square(colour[:, None] - colour[None]).sum(axis=-1) / 2)
    pairs, links = _links(labels, _relative_gradient(lab))
    inside = np.bincount(flat, weights=mask.ravel(), minlength=count) > area / 2
    other = (
        None if against is None else np.bincount(flat, weights=against.ravel(), minlength=count) > area / 2
    )
    for _ in range(rounds):
        parts = (inside, ~inside if other is None else other)
        if not all(part.any() for part in parts):
            break
        within, outside = ((alike @ (area * part)) / (area * part).sum() for part in parts)
        likely = np.log((within + 1e-4) / (outside + 1e-4)).clip(-_MOST_SURE, _MOST_SURE)
        inside = minimum_cut(area * likely * _BALANCE, pairs, _SMOOTHNESS * links)
    return inside[labels]


def minimum_cut(gain: np.ndarray, pairs: np.ndarray, links: np.ndarray) -> np.ndarray:
    """The x [R] of 0 and 1 that maximises sum(gain_i x_i) - sum(links_ij |x_i - x_j|): bool.

    Args:
        gain: [R]; pairs: int [2, P], each pair once; links: [P], at least 0.
    """
    count = gain.size
    node, source, sink = np.arange(count), np.full(count, count), np.full(count, count + 1)
    start = np.concatenate([pairs[0], pairs[1], source, node])
    end = np.concatenate([pairs[1], pairs[0], node, sink])
    room = np.concatenate([links, links, np.maximum(gain, 0), np.maximum(-gain, 0)])
    shape = (count + 2, count + 2)
    capacity = csr_matrix((np.rint(room * _UNITS).astype(np.int32), (start, end)), shape=shape)
    capacity.eliminate_zeros()
    left = capacity - maximum_flow(capacity, count, count + 1).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[breadth_first_order(left, count, return_predecessors=False)] = True
    return reached[:count]


def _links(labels: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of superpixels that touch, int [2, P], and how firmly: their common line, less at an edge."""
    keys, firm = [], []
    count = int(labels.max()) + 1
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        one, other = labels[here], labels[there]
        apart = one != other
        keys.append(np.minimum(one, other)[apart] * count + np.maximum(one, other)[apart])
        firm.append(np.exp(-np.maximum(gradient[here], gradient[there])[apart] / _EDGE) + 0.02)
    key, index = np.unique(np.concatenate(keys), return_inverse=True)
    return np.stack([key // count, key % count]), np.bincount(index, weights=np.concatenate(firm))


def _relative_gradient(lab_HWC: np.ndarray) -> np.ndarray:
    """Edges against the usual strength of edges around them, in [0, 1): float32 [H, W]."""
    smooth = cv2.GaussianBlur(lab_HWC, (0, 0), 1.0)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.sqrt((across**2 + down**2).sum(axis=2))
    usual = cv2.blur(strength, (31, 31)) + 0.25 * float(strength.mean())
    return strength / (strength + 1.5 * usual + 1e-6)
