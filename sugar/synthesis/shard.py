"""One shard of synthetic triplets: a pure function from labelled pictures to scored triplets."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from sugar.config import InputError
from sugar.data.cut_outs import VISIBLE, cut_subject, fit_within
from sugar.data.image_io import BadMedia
from sugar.data.key_seed import key_seed
from sugar.data.scored import Score, with_scores
from sugar.data.shard_pool import OnSkip
from sugar.data.subjects import Subject
from sugar.encoders.segmentation import NoSubject, Segmenter
from sugar.sprites import BACKGROUNDS, draw_background, render_clip
from sugar.synthesis.animate import animate_procedural
from sugar.synthesis.customize import Customized, customize_procedural
from sugar.synthesis.expand import expand_scene
from sugar.synthesis.prompts import STILL, Prompt, make_prompt
from sugar.triplet import Triplet

CUSTOMIZE: Mapping[str, Callable[[np.ndarray, Prompt, int, int, int], Customized]] = {
    "procedural": customize_procedural
}
EXPAND: Mapping[str, Callable[[Customized, int, int], Customized]] = {"opencv": expand_scene}
ANIMATE: Mapping[str, Callable[[Customized, Prompt, int, int], np.ndarray]] = {
    "procedural": animate_procedural
}

PHOTO_SIDE_PX = 512
"""Longer side of the photo that a triplet keeps and that the subject is cut from."""
MIN_CUT_AREA, MAX_CUT_AREA = 0.005, 0.98
"""Share of a photo that a believable cut-out covers."""


@dataclass(frozen=True)
class SynthesisRecipe:
    """How subjects become triplets.

    Attributes:
        seed: prompts and drawings; fps, num_frames, height_px, width_px: the videos.
        prompts_per_subject: triplets of one subject.
        customize, expand, animate: keys of CUSTOMIZE, EXPAND and ANIMATE.
        segmentation: name of the segmenter, for the record.

    Raises:
        InputError: an unknown backend.
    """

    seed: int
    fps: float
    num_frames: int
    height_px: int
    width_px: int
    prompts_per_subject: int
    customize: str = "procedural"
    expand: str = "opencv"
    animate: str = "procedural"
    segmentation: str = "grabcut"

    def __post_init__(self) -> None:
        for key, table in (("customize", CUSTOMIZE), ("expand", EXPAND), ("animate", ANIMATE)):
            if getattr(self, key) not in table:
                raise InputError(
                    f"synthesize.{key} must be one of {', '.join(table)}, got {getattr(self, key)!r}"
                )


class Portrait(NamedTuple):
    """The input photo uint8 [H, W, 3], its cut-out uint8 [h, w, 4], and how that was cut."""

    photo: np.ndarray
    identity: np.ndarray
    segmentation: str


def synthesize_shard(
    subjects: Iterable[Subject], recipe: SynthesisRecipe, cut: Segmenter, score: Score, on_skip: OnSkip
) -> Iterator[Triplet]:
    """Scored triplets of the subjects, in order; what gives none is told to `on_skip` with its reason."""

    def triplets() -> Iterator[Triplet]:
        for subject in subjects:
            try:
                yield from synthesize_subject(subject, recipe, cut)
            except (BadMedia, NoSubject) as bad:
                on_skip(subject.key, bad.reason, str(bad))
            except InputError:
                raise
            except (ValueError, cv2.error) as error:
                on_skip(subject.key, "failed", str(error))

    return with_scores(triplets(), score, on_skip)


def synthesize_subject(subject: Subject, recipe: SynthesisRecipe, cut: Segmenter) -> Iterator[Triplet]:
    """The triplets of one subject, a prompt each: customise, expand, animate (SUGAR section 3.1).

    Raises:
        BadMedia, NoSubject: the subject cannot be cut out.
    """
    portrait = portrait_of(subject, recipe.seed, cut)
    for number in range(recipe.prompts_per_subject):
        key = f"{subject.key}-p{number:02d}"
        seed = key_seed(recipe.seed, key, "synthesis")
        prompt = make_prompt(subject.noun, subject.category, seed)
        scene = CUSTOMIZE[recipe.customize](
            portrait.identity, prompt, seed, recipe.height_px, recipe.width_px
        )
        scene = EXPAND[recipe.expand](scene, recipe.height_px, recipe.width_px)
        yield Triplet(
            key=key,
            subject=portrait.photo,
            identity=portrait.identity,
            video=ANIMATE[recipe.animate](scene, prompt, recipe.num_frames, seed),
            fps=recipe.fps,
            prompt=prompt.text,
            noun=subject.noun,
            category=subject.category,
            source="synthetic",
            style=prompt.style,
            background=prompt.background,
            motion=prompt.motion,
            seed=seed,
            source_digest=subject.source_digest,
            provenance={
                "subject": subject.key,
                "customize": recipe.customize,
                "expand": recipe.expand,
                "animate": recipe.animate,
                "camera": prompt.camera,
                "segmentation": recipe.segmentation if portrait.segmentation == "mask" else "alpha",
            },
        )


def portrait_of(subject: Subject, seed: int, cut: Segmenter) -> Portrait:
    """Photo and cut-out of a subject.

    A picture with alpha is a cut-out already: its photo is the subject standing still in some place. Of a
    photo the segmenter cuts the subject.

    Raises:
        BadMedia, NoSubject: nothing is visible, or the mask covers too little or too much to be believed.
    """
    if subject.image.shape[2] == 4:
        identity = fit_within(subject.image, PHOTO_SIDE_PX)
        if identity[:, :, 3].max() <= VISIBLE:
            raise BadMedia("no_subject", f"{subject.key}: nothing in the cut-out is visible")
        number = key_seed(seed, subject.key, "photo")
        place = list(BACKGROUNDS)[number % len(BACKGROUNDS)]
        side_px = max(identity.shape[:2])
        background = draw_background(place, side_px, side_px, number)
        photo = render_clip(identity, background, STILL, 1, number, subject_scale=0.7)[0]
        return Portrait(photo, identity, "alpha")
    photo = fit_within(subject.image, PHOTO_SIDE_PX)
    mask = cut(photo, subject.noun).mask
    identity = cut_subject(photo, mask, min_area=MIN_CUT_AREA, max_area=MAX_CUT_AREA)
    return Portrait(photo, identity, "mask")
