"""What a person gives the pipeline: pictures and seeds, checked.

Legend: h w height and width of a picture.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from sugar.box import Box, Corners
from sugar.config import InputError

if TYPE_CHECKING:
    from sugar.encoders.segmentation import Segmenter

logger = logging.getLogger(__name__)

MIN_SUBJECT_SHARE = 0.005
_NO_SUBJECT_ADVICE = (
    "Show it larger, whole and before a plain background, say where it is (box), "
    "or give a cut-out as identity"
)


def cut_outs(
    image: Image.Image | Sequence[Image.Image] | None,
    identity: Image.Image | Sequence[Image.Image] | None,
    noun: str | Sequence[str],
    segmenter: Segmenter | None,
    num_clips: int,
    box: Corners | Sequence[Corners | None] | None = None,
) -> list[np.ndarray]:
    """Cut-outs, uint8 `[h, w, 4]`: as many as clips, or one for all.

    box: where the subject is in each picture, in its pixels; None: to be found.
    """
    if (image is None) == (identity is None):
        raise InputError("give a picture of the subject as either image or identity (a cut-out with alpha)")
    if identity is not None:
        if box is not None:
            raise InputError("box says where the subject is in image; an identity needs none")
        return [alpha_cut_out(picture) for picture in _one_or_each("identity", identity, num_clips)]
    pictures = _one_or_each("image", image, num_clips)
    nouns = [noun] * len(pictures) if isinstance(noun, str) else list(noun)
    if len(nouns) != len(pictures) or not all(name.strip() for name in nouns):
        raise InputError(f"noun must name the subject of each of the {len(pictures)} pictures, got {noun!r}")
    if segmenter is None:
        from sugar.encoders.segmentation import GrabCutSegmenter

        logger.info("no segmenter given: finding the subject with GrabCut")
        segmenter = GrabCutSegmenter()
    boxes = _boxes(box, pictures)
    return [find_subject(*about, segmenter) for about in zip(pictures, nouns, boxes, strict=True)]


def _boxes(box: Any, pictures: Sequence[Image.Image]) -> list[Box | None]:
    """The box in each picture, from one for one picture or a list."""
    if box is None:
        return [None] * len(pictures)
    boxes = [box] if all(isinstance(value, (int, float)) for value in box) else list(box)
    if len(boxes) != len(pictures):
        raise InputError(f"box: give one for each of the {len(pictures)} pictures, got {len(boxes)}")
    try:
        return [
            None if corners is None else Box.of(corners, picture.height, picture.width)
            for corners, picture in zip(boxes, pictures, strict=True)
        ]
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error


def _one_or_each(name: str, pictures: Any, num_clips: int) -> list[Image.Image]:
    listed = [pictures] if isinstance(pictures, Image.Image) else list(pictures)
    wrong = [type(picture).__name__ for picture in listed if not isinstance(picture, Image.Image)]
    if wrong:
        raise InputError(f"{name} must be a PIL image or a list of them, got {wrong[0]}")
    if len(listed) not in (1, num_clips):
        raise InputError(
            f"{name}: give one picture or one for each of the {num_clips} prompts, got {len(listed)}"
        )
    return listed


def alpha_cut_out(picture: Image.Image) -> np.ndarray:
    """A cut-out's pixels, uint8 `[h, w, 4]`.

    Raises:
        InputError: a picture without an alpha channel, or one that shows nothing.
    """
    if "A" not in picture.getbands():
        raise InputError(f"identity must have an alpha channel, got a picture of mode {picture.mode}")
    pixels_HWC = np.asarray(picture.convert("RGBA"))
    if not pixels_HWC[..., 3].any():
        raise InputError("identity is transparent everywhere: there is no subject in it")
    return pixels_HWC


def find_subject(picture: Image.Image, noun: str, box: Box | None, segmenter: Segmenter) -> np.ndarray:
    """The cut-out of a picture's subject, uint8 `[h, w, 4]`.

    Raises:
        InputError: the segmenter finds none, or less of it than half a percent of the picture.
    """
    from sugar.encoders.segmentation import NoSubject, cut_out

    image_HWC = np.asarray(picture.convert("RGB"))
    try:
        mask_HW = segmenter(image_HWC, noun, box=box).mask
    except NoSubject as error:
        raise InputError(f"no {noun} found in the picture: {error}. {_NO_SUBJECT_ADVICE}") from error
    share = float((mask_HW > 127).mean())
    if share < MIN_SUBJECT_SHARE:
        raise InputError(f"no {noun} found in the picture: {share:.1%} of it. {_NO_SUBJECT_ADVICE}")
    return cut_out(image_HWC, mask_HW)


def make_generators(
    seed: int | Sequence[int] | None,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    num_clips: int,
) -> list[torch.Generator]:
    """One CPU generator a clip: from one a clip, from a seed (clip i takes `seed + i`), or from nothing.

    Raises:
        InputError: both are given, or their number is not that of the clips.
    """
    if seed is not None and generator is not None:
        raise InputError("give either seed or generator, not both")
    if generator is not None:
        generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
        if len(generators) != num_clips:
            raise InputError(f"{num_clips} clips need as many generators, got {len(generators)}")
        return generators
    if seed is None:
        seed = int(torch.randint(2**31, ()).item())
    seeds = [seed + i for i in range(num_clips)] if isinstance(seed, int) else list(seed)
    if len(seeds) != num_clips:
        raise InputError(f"{num_clips} clips need as many seeds, got {len(seeds)}")
    return [torch.Generator().manual_seed(value) for value in seeds]
