"""The subject of a real clip without a network: the part of a frame that most looks like one whole thing.

Real clips show hands, people and shrubs beside their subject, and what stands out most is often one of them.
Where a scene is filmed from one place, what differs from its usual picture tells more: every part of the
frame is a candidate (see `sugar.encoders.proposals`), each is judged by rules that know no noun, and none is
taken when none is good. Axes: H W height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import cv2
import numpy as np

from sugar.box import Box
from sugar.encoders.grabcut import agreed_mask, overlap, soft_mask
from sugar.encoders.proposals import proposals, refine, skin
from sugar.encoders.saliency import saliency
from sugar.encoders.segmentation import GrabCutSegmenter, NoSubject, Segmentation, shrink

WORKING_PX = 160
_SQUARE = np.ones((3, 3), np.uint8)
_EDGE_PX = 2
SMOOTH = 75.0
"""Mean gradient up to which the colours of skin are skin: the median was 18 to 59 on hands, 64 to 127 on fur,
plush and wood."""
_LEAST_MOVING, _MOST_MOVING = 0.003, 0.4
"""Share of a frame that differs from the usual picture."""


@dataclass(frozen=True)
class Scene:
    """A frame and what its candidates are judged by.

    image: uint8 [H, W, 3]; gradient, usual_gradient: length of the colour gradient of the frame and of the
    usual picture; moving: how much the frame differs from that, in [0, 1]; skin: bool. All [H, W].
    """

    image: np.ndarray
    gradient: np.ndarray
    usual_gradient: np.ndarray
    moving: np.ndarray
    skin: np.ndarray


class DistinctSegmenter:
    """The candidate of a frame with the largest product of the factors of `judge`.

    Where the usual picture is unknown or nothing differs from it, the subject is GrabCutSegmenter's; where
    much of the frame does (a moving camera, somebody near), too, if it is one whole thing.

    Args:
        min_score: below it, there is no subject; the reason names what was wrong.
    """

    def __init__(self, *, min_score: float = 0.35) -> None:
        self.min_score = min_score
        self.otherwise = GrabCutSegmenter()

    def __call__(
        self,
        image_rgb: np.ndarray,
        noun: str = "",
        *,
        prior_HW: np.ndarray | None = None,
        usual_HWC: np.ndarray | None = None,
        box: Box | None = None,
    ) -> Segmentation:
        """The subject of a frame; `noun` is not used, there is no network that would know it.

        Raises:
            NoSubject: no candidate is good enough.
        """
        if box is not None:
            return self.otherwise(image_rgb, noun, box=box)
        scene = None if usual_HWC is None else observe(shrink(image_rgb, WORKING_PX), usual_HWC)
        moves = 0.0 if scene is None else float((scene.moving > 0.5).mean())
        if scene is None or not _LEAST_MOVING <= moves <= _MOST_MOVING:
            found = self.otherwise(image_rgb, noun, prior_HW=prior_HW)
            if scene is not None and moves > _MOST_MOVING:
                _check_whole(scene, shrink(found.mask, WORKING_PX) > 127)
            return found
        salient, _ = agreed_mask(scene.image, saliency(scene.image, scene.moving), trust_middle=False)
        judged: list[tuple[dict[str, float], np.ndarray]] = []
        for proposal in proposals(scene.image, scene.moving, [salient]):
            mask = refine(scene.image, proposal, scene.moving)
            if mask is not None:
                steady = min(1.0, overlap(mask, proposal) / 0.75)
                judged.append((judge(scene, mask) | {"unsteady": steady}, mask))
        if not judged:
            raise NoSubject("no part of the frame could be one whole thing")
        factors, mask = max(judged, key=lambda one: prod(one[0].values()))
        score = prod(factors.values())
        if score < self.min_score:
            reason = _what_was_wrong([factors for factors, _ in judged])
            raise NoSubject(f"the score must be >= {self.min_score}, got {score:.3f} ({reason})", reason)
        return Segmentation(soft_mask(image_rgb, mask), score)


def _what_was_wrong(judged: Sequence[Mapping[str, float]]) -> str:
    """The worst factor of the candidate that is the best one but for it."""
    worst = [min(factors, key=lambda name: factors[name]) for factors in judged]
    others = [
        prod(value for name, value in factors.items() if name != reason)
        for factors, reason in zip(judged, worst, strict=True)
    ]
    return worst[others.index(max(others))]


def observe(image_rgb: np.ndarray, usual_HWC: np.ndarray) -> Scene:
    """What candidates of a small frame are judged by; usual_HWC: the usual picture, uint8 of any size."""
    usual = cv2.resize(usual_HWC, image_rgb.shape[1::-1], interpolation=cv2.INTER_AREA)
    return Scene(
        image_rgb, _gradient(image_rgb), _gradient(usual), _change(image_rgb, usual), skin(image_rgb)
    )


def judge(scene: Scene, mask: np.ndarray) -> dict[str, float]:
    """Factors in [0, 1] by what lowers them; a good candidate has 1 in all. Assumption: decision 0022.

    not_separate: its colours differ from those around it, or it moves, as a whole, where something new is.
    ragged: it fills its convex hull. no_edge: the picture has an edge where it ends. cut_by_edge: it does not
    lie at the edge of the frame. skin: it is no hand, and no hand lies over it. small: it covers a tenth of
    the frame. still: it moves. part: what moves does not go on around it.
    """
    outline = _outline(mask)
    at_edge = _frame_edge(mask.shape) & outline
    ring = _ring(mask)
    moves, moves_around = (_mean(scene.moving, where) for where in (mask, ring))
    separate = _separation(scene.image, mask, ring)
    if moves_around < 0.35 and _is_new(scene, outline & ~at_edge):
        separate = max(separate, 0.9 * moves)
    hand_over_it = min(1.0, 2 * _mean(scene.skin, ring))
    return {
        "not_separate": separate,
        "ragged": min(1.0, _solidity(mask) / 0.8),
        "no_edge": min(1.0, _edge(scene.gradient, outline & ~at_edge)),
        "cut_by_edge": float(np.clip(1 - 8 * at_edge.sum() / max(1, outline.sum()), 0, 1)),
        "skin": float((1 - 0.85 * _hand(scene, mask)) * (1 - 0.4 * hand_over_it)),
        "small": min(1.0, float(mask.mean()) / 0.1) ** 0.3,
        "still": 0.5 + 0.5 * min(1.0, moves / 0.5),
        "part": 1 - 0.8 * moves_around,
    }


def _hand(scene: Scene, mask: np.ndarray) -> float:
    """How much of a mask is hand, arm or face, in [0, 1]: 1 from 45 % of smooth skin on."""
    smooth = cv2.blur(scene.gradient, (5, 5)) < SMOOTH
    return float(np.clip((_mean(scene.skin & smooth, mask) - 0.15) / 0.3, 0, 1))


def _check_whole(scene: Scene, mask: np.ndarray) -> None:
    """Raise NoSubject unless a mask is one part, not cut by the frame's sides or top, and no hand."""
    if cv2.connectedComponents(mask.astype(np.uint8))[0] != 2:
        raise NoSubject("what stands out is of several parts", "part")
    outline, edge = _outline(mask), _frame_edge(mask.shape)
    edge[-_EDGE_PX:, _EDGE_PX:-_EDGE_PX] = False  # subjects may stand on the lower edge
    if (cut := float((outline & edge).sum() / max(1, outline.sum()))) > 0.02:
        raise NoSubject(f"{cut:.2f} of its outline is the edge of the frame", "cut_by_edge")
    if (hand := _hand(scene, mask)) > 0.5:
        raise NoSubject(f"it looks like a hand ({hand:.2f})", "skin")


def _change(image_rgb: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Where a frame differs from the usual picture, in [0, 1]."""
    differs = cv2.absdiff(image_rgb, usual).max(axis=2).astype(np.float32)
    return np.clip((cv2.GaussianBlur(differs, (0, 0), 1.2) - 14) / 40, 0, 1)


def _gradient(image_rgb: np.ndarray) -> np.ndarray:
    lab = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2Lab).astype(np.float32)
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    return np.sqrt((across**2 + down**2).sum(axis=2))


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else 0.0


def _frame_edge(shape: tuple[int, ...]) -> np.ndarray:
    edge = np.ones(shape, bool)
    edge[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX] = False
    return edge


def _outline(mask: np.ndarray) -> np.ndarray:
    return mask & ~(cv2.erode(mask.astype(np.uint8), _SQUARE, borderValue=0) > 0)


def _ring(mask: np.ndarray) -> np.ndarray:
    """What lies around a mask, a quarter of its size wide, a pixel away from it."""
    width = max(2, round(0.25 * float(np.sqrt(mask.sum()))))
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    inside = mask.astype(np.uint8)
    return (cv2.dilate(inside, element) > 0) & ~(cv2.dilate(inside, _SQUARE) > 0)


def _separation(image_rgb: np.ndarray, mask: np.ndarray, ring: np.ndarray) -> float:
    """1 - the overlap of the colour histograms inside and around (Bhattacharyya's coefficient)."""
    lab = (cv2.cvtColor(image_rgb, cv2.COLOR_RGB2Lab) // 24).astype(np.int64)
    colour = (lab[..., 0] * 11 + lab[..., 1]) * 11 + lab[..., 2]
    inside, around = (
        np.bincount(colour[where], minlength=11**3) / max(1, where.sum()) for where in (mask, ring)
    )
    return 1.0 - float(np.sqrt(inside * around).sum())


def _solidity(mask: np.ndarray) -> float:
    """Share of its convex hull that a mask fills."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    return float(mask.sum() / max(1, hull.sum()))


def _edge(gradient: np.ndarray, outline: np.ndarray) -> float:
    """How strong the picture's edges are along an outline; 1: as those of its strongest tenth."""
    return _mean(cv2.dilate(gradient, _SQUARE), outline) / (float(np.percentile(gradient, 90)) + 1e-6)


def _is_new(scene: Scene, outline: np.ndarray) -> bool:
    """Whether the outline is one of this frame: where a thing has left, it is one of the usual picture."""
    now, usual = (
        _mean(cv2.dilate(gradient, _SQUARE), outline) for gradient in (scene.gradient, scene.usual_gradient)
    )
    return now > 1.2 * usual
