"""Cutting the subject out of a picture, to turn the subject image into the identity image (SUGAR section 3).

A segmenter is called with a picture and the subject's noun. `GrabCutSegmenter` needs no network and no noun:
it finds what stands out; `sugar.encoders.distinct` finds the most thing-like part of a real clip's frame.
`sugar.encoders.grounded_sam` looks for the noun, as the paper does. Where a person drew a box around the
subject, each looks in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from sugar.box import Box
from sugar.config import InputError
from sugar.encoders.boxed import boxed_mask
from sugar.encoders.grabcut import CLEAR_SEPARATION, agreed_mask, separation, soft_mask
from sugar.encoders.saliency import saliency
from sugar.encoders.whole import whole_subject

if TYPE_CHECKING:
    import torch

SEGMENTER_KINDS = ("grabcut", "distinct", "grounded_sam")
MIN_SIDE_PX = 16
"""Of a picture that a subject is found in."""
MIN_STILLS = 10
"""Of a scene; from fewer, what is usual cannot be told from what is there for long."""
USUAL_PX = 160
PHOTO_PX = 256
"""Longer side from which on a picture without evidence from a clip is treated as a photo."""


class NoSubject(ValueError):
    """The picture shows no subject that can be told from its surroundings; `reason` is a short slug."""

    def __init__(self, message: str, reason: str = "no_subject") -> None:
        super().__init__(message)
        self.reason = reason


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
        self,
        image_rgb: np.ndarray,
        noun: str,
        *,
        prior_HW: np.ndarray | None = None,
        usual_HWC: np.ndarray | None = None,
        box: Box | None = None,
    ) -> Segmentation:
        """The subject of a uint8 [H, W, 3] picture.

        prior_HW: evidence in [0, 1] from outside the picture (see `motion_prior`).
        usual_HWC: what the scene usually looks like (see `usual_picture`). A segmenter may ignore both.
        box: what a person drew around the subject; nothing outside of it is the subject.

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
    min_mask_quality: float = 0.0,
    device: str | torch.device = "cpu",
) -> Segmenter:
    """The segmenter of a configuration (`networks.segmentation`).

    Args:
        kind: one of SEGMENTER_KINDS.
        detector, segmenter: GroundingDINO and SAM 2 of "grounded_sam", each a folder or hub id.
        box_threshold: least confidence of a detected box.
        mask_threshold: least share of certainty of a pixel of the mask.
        min_mask_quality: least overlap with the truth (IoU) that SAM 2 predicts of its mask.

    Raises:
        InputError: for an unknown kind or networks that are missing.
    """
    if kind == "grabcut":
        return GrabCutSegmenter()
    if kind == "distinct":
        from sugar.encoders.distinct import DistinctSegmenter

        return DistinctSegmenter()
    if kind == "grounded_sam":
        from sugar.encoders.grounded_sam import GroundedSamSegmenter

        if detector is None or segmenter is None:
            raise InputError("networks.segmentation needs detector and segmenter for kind grounded_sam")
        return GroundedSamSegmenter.from_pretrained(
            detector,
            segmenter,
            box_threshold=box_threshold,
            mask_threshold=mask_threshold,
            min_mask_quality=min_mask_quality,
            device=device,
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


def usual_picture(stills: Sequence[np.ndarray]) -> np.ndarray | None:
    """The median of a scene's frames uint8 [H, W, 3], small: uint8 [h, w, 3]; None: too few to tell."""
    if len(stills) < MIN_STILLS:
        return None
    small = [shrink(still, USUAL_PX) for still in stills]
    return np.median(np.stack(small), axis=0).astype(np.uint8)


class GrabCutSegmenter:
    """The subject as what stands out from the border, cut along its edges by GrabCut (Rother et al. 2004).

    GrabCut needs a first guess, and its result is only as good as that. So it starts from several (see
    `sugar.encoders.grabcut`), takes the mask that agrees best with the others, and how well they agree is the
    confidence: a subject that is really separate is found from everywhere. All of it runs on a copy of at
    most `working_px`; the mask is then brought to the picture's size along the picture's own edges. The same
    picture always gives the same mask.

    The score is the mean overlap (intersection over union) of the mask with those from the other guesses,
    less where the colours inside and outside are alike. A photo in which nothing is found, or nothing clear,
    is looked at again with more contrast (see `_better_of`).

    Args:
        working_px: longer side of the working copy.
        min_score: below it, there is no subject.
        min_area, max_area: least and largest share of the picture that a subject covers.
    """

    def __init__(
        self,
        *,
        working_px: int = 128,
        min_score: float = 0.3,
        min_area: float = 0.004,
        max_area: float = 0.92,
    ) -> None:
        self.working_px = working_px
        self.min_score = min_score
        self.min_area = min_area
        self.max_area = max_area

    def __call__(
        self,
        image_rgb: np.ndarray,
        noun: str = "",
        *,
        prior_HW: np.ndarray | None = None,
        usual_HWC: np.ndarray | None = None,
        box: Box | None = None,
    ) -> Segmentation:
        """The subject of a picture; `noun` and `usual_HWC` are not used, with a box neither is `prior_HW`.

        Raises:
            NoSubject: when nothing stands out, or what does is too small, too large or not separate.
            ValueError: for something that is not a uint8 RGB picture of at least 16 x 16 px.
        """
        if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
            raise ValueError(f"image must be uint8 [H, W, 3], got {image_rgb.dtype} {image_rgb.shape}")
        if min(image_rgb.shape[:2]) < MIN_SIDE_PX:
            raise ValueError(
                f"image must be at least {MIN_SIDE_PX} x {MIN_SIDE_PX} px, got {image_rgb.shape[:2]}"
            )
        if box is not None:
            return self._within(image_rgb, box)
        inner = _between_bars(image_rgb)
        if inner != (slice(None), slice(None)):
            found = self(np.ascontiguousarray(image_rgb[inner]), noun, prior_HW=_part(prior_HW, inner))
            mask = np.zeros(image_rgb.shape[:2], np.uint8)
            mask[inner] = found.mask
            return Segmentation(mask, found.score)
        if prior_HW is not None or max(image_rgb.shape[:2]) < PHOTO_PX:
            return self._found(image_rgb, prior_HW)
        return self._better_of(image_rgb)

    def _better_of(self, image_rgb: np.ndarray) -> Segmentation:
        """What stands out of a photo; where that is unclear, what stands out of a copy with more contrast.

        The second look is taken when the first one finds nothing, when its score is higher by
        `_CLEARLY_BETTER`, or when the first one is unsure and the second leaves out a thing that only hangs
        on to the rest (see `_hangs_on`).

        Raises:
            NoSubject: when neither finds a subject.
        """
        first = self._tried(image_rgb)
        if isinstance(first, Segmentation) and first.score > 1.0 - _CLEARLY_BETTER:
            return first
        second = self._tried(equalised(image_rgb))
        if isinstance(second, NoSubject):
            if isinstance(first, NoSubject):
                raise first
            return first
        if isinstance(first, NoSubject) or second.score - first.score >= _CLEARLY_BETTER:
            return second
        masks = (shrink(look.mask, self.working_px) > 127 for look in (first, second))
        return second if first.score < _UNSURE and _hangs_on(*masks) else first

    def _tried(self, image_rgb: np.ndarray) -> Segmentation | NoSubject:
        """What stands out of a photo, or why nothing does."""
        try:
            return self._photo(image_rgb)
        except NoSubject as error:
            return error

    def _found(self, image_rgb: np.ndarray, prior_HW: np.ndarray | None) -> Segmentation:
        """What stands out."""
        mask, score = self._agreed(image_rgb, prior_HW)
        return Segmentation(soft_mask(image_rgb, mask), score)

    def _photo(self, image_rgb: np.ndarray) -> Segmentation:
        """What stands out of a photo, and the rest of it."""
        mask, score = self._agreed(image_rgb, None)
        small = shrink(image_rgb, PHOTO_PX)
        enlarged = cv2.resize(mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        mask = whole_subject(image_rgb, small, enlarged > 0.5)
        return Segmentation(soft_mask(image_rgb, mask), score)

    def _agreed(self, image_rgb: np.ndarray, prior_HW: np.ndarray | None) -> tuple[np.ndarray, float]:
        """Mask bool [h, w] of the working copy, and score.

        Raises:
            NoSubject: as the segmenter.
        """
        small = shrink(image_rgb, self.working_px)
        moves = prior_HW is not None and float(prior_HW.max()) > 0.0
        salient = saliency(small, prior_HW)
        if float(salient.max()) <= 0.0:
            raise NoSubject("nothing in the picture stands out from its border")
        mask, agreement = agreed_mask(small, salient, trust_middle=not moves)
        area = float(mask.mean())
        if not self.min_area <= area <= self.max_area:
            raise NoSubject(
                f"the subject must cover {self.min_area} to {self.max_area} of the picture, got {area:.3f}"
            )
        score = agreement * min(1.0, separation(small, mask) / CLEAR_SEPARATION)
        if score < self.min_score:
            raise NoSubject(f"the subject's score must be >= {self.min_score}, got {score:.3f}")
        return mask, float(score)

    def _within(self, image_rgb: np.ndarray, box: Box) -> Segmentation:
        """The subject in a box, see `boxed_mask`."""
        small = shrink(image_rgb, PHOTO_PX)
        try:
            found = shrink(self(image_rgb).mask, PHOTO_PX) > 127
        except NoSubject:
            found = None
        mask, score = boxed_mask(small, box.inside(*small.shape[:2]), found)
        if score < self.min_score:
            raise NoSubject(f"the subject's score must be >= {self.min_score}, got {score:.3f} in its box")
        return Segmentation(soft_mask(image_rgb, mask) * box.inside(*image_rgb.shape[:2]), score)


_BLACK = 20
_LEAST_BAR = 0.03
_CONTRAST, _TILES = 4.0, 4
_CLEARLY_BETTER, _UNSURE = 0.2, 0.6
_INSIDE, _LEAST_REST, _NECK = 0.9, 0.05, 1 / 3


def _between_bars(image_rgb: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns between black bars on two opposite sides, which say nothing of the surroundings.

    A bar is black all over, at least 3 % of the side, and ends at once: most of the next line is not black.
    """
    bright = image_rgb.max(axis=2) >= _BLACK
    return _inner(bright.mean(axis=1)), _inner(bright.mean(axis=0))


def _inner(brightness: np.ndarray) -> slice:
    """What lies between the bars, from the share of each line that is not black."""
    lit = np.flatnonzero(brightness > 0.01)
    if lit.size < 16:
        return slice(None)
    first, last = int(lit[0]), int(lit[-1])
    bars = min(first, brightness.size - 1 - last) >= _LEAST_BAR * brightness.size
    # A line or two at the edge may be blurred.
    sharp = min(brightness[first : first + 3].max(), brightness[last - 2 : last + 1].max()) > 0.6
    return slice(first, last + 1) if bars and sharp else slice(None)


def equalised(image_rgb: np.ndarray) -> np.ndarray:
    """The picture with its brightness equalised locally (CLAHE, Zuiderveld 1994): uint8 [H, W, 3]."""
    lab = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2Lab)
    lab[..., 0] = cv2.createCLAHE(_CONTRAST, (_TILES, _TILES)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def _hangs_on(whole: np.ndarray, part: np.ndarray) -> bool:
    """Whether the rest of a mask touches a part of it with less than a third of its outline.

    Two things that touch do so along a little of their outlines; what is cut off one thing, along much.

    Args:
        whole, part: bool [H, W]; not so where the part lies elsewhere or the rest is small.
    """
    kept = whole & part
    rest = cv2.morphologyEx((whole & ~part).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if kept.sum() <= _INSIDE * part.sum() or rest.sum() < _LEAST_REST * whole.sum():
        return False
    outline = (rest > 0) & (cv2.erode(rest, np.ones((3, 3), np.uint8), borderValue=0) == 0)
    touching = (rest > 0) & (cv2.dilate(kept.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    return int(touching.sum()) < _NECK * int(outline.sum())


def _part(prior_HW: np.ndarray | None, inner: tuple[slice, slice]) -> np.ndarray | None:
    return None if prior_HW is None else prior_HW[inner]


def shrink(image_rgb: np.ndarray, longer_px: int) -> np.ndarray:
    """A picture uint8 [H, W, 3] or mask [H, W], averaged down to that longer side where it is larger."""
    height, width = image_rgb.shape[:2]
    scale = longer_px / max(height, width)
    if scale >= 1.0:
        return image_rgb
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    return cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)
