"""Cutting the subject out of a picture, to turn the subject image into the identity image (SUGAR section 3).

A segmenter is called with a picture and the subject's noun. `GrabCutSegmenter` needs no network and no noun:
it finds what stands out. `sugar.encoders.grounded_sam` looks for the noun, as the paper does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from sugar.config import InputError
from sugar.encoders.saliency import saliency

if TYPE_CHECKING:
    import torch

SEGMENTER_KINDS = ("grabcut", "grounded_sam")


class NoSubject(ValueError):
    """The picture shows no subject that can be told from its surroundings; `reason` is a short slug."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.reason = "no_subject"


@dataclass(frozen=True)
class Segmentation:
    """Where the subject is.

    mask: uint8 [H, W], 0 background to 255 subject, soft at the edge.
    score: confidence in [0, 1]; its meaning is the segmenter's own.
    """

    mask: np.ndarray
    score: float


class Segmenter(Protocol):
    """Finds the subject of a picture."""

    def __call__(
        self, image_rgb: np.ndarray, noun: str, *, prior_HW: np.ndarray | None = None
    ) -> Segmentation:
        """The subject of a uint8 [H, W, 3] picture.

        prior_HW: evidence in [0, 1] from outside the picture (see `motion_prior`); a segmenter may ignore it.

        Raises NoSubject when there is none.
        """
        ...


def make_segmenter(
    kind: str,
    *,
    detector: str | Path | None = None,
    segmenter: str | Path | None = None,
    box_threshold: float = 0.35,
    mask_threshold: float = 0.5,
    device: str | torch.device = "cpu",
) -> Segmenter:
    """The segmenter of a configuration (`networks.segmentation`).

    Args:
        kind: "grabcut", or "grounded_sam" with `detector` (GroundingDINO) and `segmenter` (SAM 2), each a
        folder or
            hub id.
        box_threshold: least confidence of a detected box.
        mask_threshold: least share of certainty of a pixel of the mask.

    Raises:
        InputError: for an unknown kind or networks that are missing.
    """
    if kind == "grabcut":
        return GrabCutSegmenter()
    if kind == "grounded_sam":
        from sugar.encoders.grounded_sam import GroundedSamSegmenter

        if detector is None or segmenter is None:
            raise InputError("networks.segmentation needs detector and segmenter for kind grounded_sam")
        return GroundedSamSegmenter.from_pretrained(
            detector, segmenter, box_threshold=box_threshold, mask_threshold=mask_threshold, device=device
        )
    raise InputError(f"networks.segmentation.kind must be one of {SEGMENTER_KINDS}, got {kind!r}")


def cut_out(image_rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The identity image: the picture with the mask as its alpha, cropped to nothing: uint8 [H, W, 4]."""
    if image_rgb.shape[:2] != mask.shape:
        raise ValueError(f"image and mask must have one size, got {image_rgb.shape[:2]} and {mask.shape}")
    return np.dstack([image_rgb, mask])


def motion_prior(frames_THWC: np.ndarray, index: int) -> np.ndarray:
    """Where frame `index` of a clip differs from the clip's usual picture: float32 [H, W] in [0, 1].

    The usual picture is the median over time, so a subject that moves through a still scene stands out from
    it. The evidence fades with the camera: where most of the picture differs, it says nothing and is zero.
    """
    usual = np.median(frames_THWC, axis=0)
    change = np.abs(frames_THWC[index].astype(np.float32) - usual).max(axis=-1)
    moving = np.clip((cv2.GaussianBlur(change, (0, 0), 1.0) - 12.0) / 36.0, 0.0, 1.0)
    trust = np.clip(1.0 - (float(moving.mean()) - 0.25) / 0.25, 0.0, 1.0)
    return (moving * trust).astype(np.float32)


class GrabCutSegmenter:
    """The subject as what stands out from the border, cut along its edges by GrabCut (Rother et al. 2004).

    Saliency (`sugar.encoders.saliency`) says where to look, GrabCut's colour models and graph cut find the
    outline, the connected parts that carry most of the saliency are kept and their holes filled. All of it
    runs on a copy of at most `working_px`; the mask is then brought to the picture's size along the picture's
    own edges.

    The score is how well the subject's colours are told from its surroundings', times how much of the
    saliency lies inside the mask. The same picture always gives the same mask.

    Args:
        working_px: longer side of the working copy.
        min_score: below it, there is no subject.
        min_area, max_area: least and largest share of the picture that a subject covers.
    """

    def __init__(
        self,
        *,
        working_px: int = 160,
        min_score: float = 0.2,
        min_area: float = 0.004,
        max_area: float = 0.92,
    ) -> None:
        self.working_px = working_px
        self.min_score = min_score
        self.min_area = min_area
        self.max_area = max_area

    def __call__(
        self, image_rgb: np.ndarray, noun: str = "", *, prior_HW: np.ndarray | None = None
    ) -> Segmentation:
        """The subject of a picture; `noun` is not used, there is no network that would know it.

        Raises:
            NoSubject: when nothing stands out, or what does is too small, too large or not separate.
            ValueError: for something that is not a uint8 RGB picture of at least 16 x 16 px.
        """
        if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
            raise ValueError(f"image must be uint8 [H, W, 3], got {image_rgb.dtype} {image_rgb.shape}")
        if min(image_rgb.shape[:2]) < 16:
            raise ValueError(f"image must be at least 16 x 16 px, got {image_rgb.shape[:2]}")
        small = _shrink(image_rgb, self.working_px)
        size = (small.shape[1], small.shape[0])
        prior = None if prior_HW is None else cv2.resize(prior_HW, size, interpolation=cv2.INTER_AREA)
        salient = saliency(small, prior)
        if float(salient.max()) <= 0.0:
            raise NoSubject("nothing in the picture stands out from its border")
        salient = _focus(salient)
        mask = _keep_parts(_grab(small, salient), salient)
        area = float(mask.mean())
        if not self.min_area <= area <= self.max_area:
            raise NoSubject(
                f"the subject must cover {self.min_area} to {self.max_area} of the picture, got {area:.3f}"
            )
        score = _separation(small, mask) * _agreement(salient, mask)
        if score < self.min_score:
            raise NoSubject(f"the subject's score must be >= {self.min_score}, got {score:.3f}")
        return Segmentation(_soft_mask(image_rgb, mask), float(score))


def _shrink(image_rgb: np.ndarray, longer_px: int) -> np.ndarray:
    height, width = image_rgb.shape[:2]
    scale = longer_px / max(height, width)
    if scale >= 1.0:
        return image_rgb
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    return cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)


def _grab(image_rgb: np.ndarray, salient: np.ndarray, rounds: int = 4) -> np.ndarray:
    """GrabCut from the saliency: bool [H, W].

    The clear ends of the saliency are fixed, the middle is left to GrabCut.
    """
    middle = _otsu(salient)
    trimap = np.where(salient > middle, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[salient > middle + 0.5 * (1.0 - middle)] = cv2.GC_FGD
    trimap[salient < 0.4 * middle] = cv2.GC_BGD
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    # GrabCut starts its colour models with OpenCV's global random numbers.
    cv2.setRNGSeed(0)
    cv2.grabCut(image_rgb, trimap, (0, 0, 1, 1), background, foreground, rounds, cv2.GC_INIT_WITH_MASK)
    return (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)


def _focus(salient: np.ndarray, rounds: int = 5, width: float = 1.4) -> np.ndarray:
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
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    centre = np.exp(-(((y + 0.5) / height - 0.5) ** 2 + ((x + 0.5) / width - 0.5) ** 2) / (2 * 0.3**2))
    weight = np.bincount(labels.ravel(), weights=(salient * centre).ravel(), minlength=count)
    weight[0] = 0.0
    kept = np.isin(labels, np.flatnonzero(weight >= 0.35 * weight.max()))
    return _fill_holes(kept)


_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with everything that the outside cannot reach."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside != 2)[1:-1, 1:-1]


def _separation(image_rgb: np.ndarray, mask: np.ndarray) -> float:
    """1 - the overlap of the colour histograms inside and outside (Bhattacharyya's coefficient)."""
    lab = np.asarray(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2Lab)).astype(np.uint8) >> np.uint8(4)
    index = (lab[..., 0].astype(np.int64) << 8) | (lab[..., 1].astype(np.int64) << 4) | lab[..., 2]
    inside = np.bincount(index[mask], minlength=4096) / max(1, mask.sum())
    outside = np.bincount(index[~mask], minlength=4096) / max(1, (~mask).sum())
    return 1.0 - float(np.sqrt(inside * outside).sum())


def _agreement(salient: np.ndarray, mask: np.ndarray) -> float:
    """How much more salient the mask is than the rest, in [0, 1]."""
    return float(np.clip(salient[mask].mean() - salient[~mask].mean(), 0.0, 1.0))


def _soft_mask(image_rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
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
