"""One shard of synthetic triplets: a pure function from labelled pictures to scored triplets."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from sugar.encoders.weights import Weights, made_with
from sugar.sprites import BACKGROUNDS, draw_background, render_clip
from sugar.synthesis.backends import Backends, Draft, Generators, check_backends, fill_of, load_backends
from sugar.synthesis.customize import Customized
from sugar.synthesis.generators import Generator
from sugar.synthesis.prompts import REAL_MOTION_SHARE, STILL, Phrases, Prompt, make_prompt, phrases
from sugar.synthesis.wide_prompts import make_wide_prompt, wide_phrases
from sugar.triplet import Triplet


class Grammar(NamedTuple):
    """How a grammar makes a prompt, and what it says of a category's attributes."""

    make: Callable[..., Prompt]
    phrases: Callable[[str], Phrases]


GRAMMARS: Mapping[str, Grammar] = {
    "sprites": Grammar(make_prompt, phrases),
    "wide": Grammar(make_wide_prompt, wide_phrases),
}
"""Sprite World's words, which the procedural backend can draw; the wide grammar, for generators."""
MAX_REDRAWS = 20
"""Of a prompt that a subject has already."""
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
        customize, expand, animate: names of backends, see `sugar.synthesis.backends`.
        segmentation, segmentation_networks: name and networks of the segmenter, for the record.
        grammar: key of GRAMMARS.
        generators: the pipelines of the backends of diffusers.

    Raises:
        InputError: an unknown backend, or one whose pipeline is not named.
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
    grammar: str = "sprites"
    generators: Generators = field(default_factory=Generators)
    segmentation_networks: tuple[Weights, ...] = ()

    def __post_init__(self) -> None:
        if self.grammar not in GRAMMARS:
            raise InputError(f"synthesize.prompts.grammar must be one of {', '.join(GRAMMARS)}")
        if self.grammar != "sprites" and self.customize == "procedural":
            raise InputError("synthesize.prompts.grammar must be sprites when customize is procedural")
        check_backends(self.customize, self.expand, self.animate, self.generators)

    @property
    def moves_subjects(self) -> bool:
        """Whether a subject can move by itself: not where a camera alone moves over a flat picture."""
        return self.customize == "procedural" or self.animate != "procedural"

    def load(self) -> Backends:
        """Load the backends.

        Raises:
            InputError: a pipeline that cannot be loaded.
        """
        return load_backends(
            self.customize,
            self.expand,
            self.animate,
            self.generators,
            num_frames=self.num_frames,
            height_px=self.height_px,
            width_px=self.width_px,
            fps=self.fps,
        )


class Portrait(NamedTuple):
    """The input photo uint8 [H, W, 3], its cut-out uint8 [h, w, 4], how that was cut: alpha, mask or box."""

    photo: np.ndarray
    identity: np.ndarray
    segmentation: str


class Planned(NamedTuple):
    """A triplet whose clip is still to be made."""

    key: str
    subject: Subject
    portrait: Portrait
    draft: Draft


def synthesize_shard(
    subjects: Iterable[Subject],
    recipe: SynthesisRecipe,
    backends: Backends,
    cut: Segmenter,
    score: Score,
    on_skip: OnSkip,
) -> Iterator[Triplet]:
    """Scored triplets of the subjects, in order; what gives none is told to `on_skip` with its reason."""

    taken: set[str] = set()

    def planned() -> Iterator[Planned]:
        for subject in subjects:
            try:
                yield from plan_subject(subject, recipe, backends, cut, taken)
            except (BadMedia, NoSubject) as bad:
                on_skip(subject.key, bad.reason, str(bad))
            except InputError:
                raise
            except (ValueError, cv2.error) as error:
                on_skip(subject.key, "failed", str(error))

    def triplets() -> Iterator[Triplet]:
        waiting = planned()
        while batch := list(itertools.islice(waiting, backends.together)):
            yield from _animated(batch, recipe, backends, on_skip)

    return with_scores(triplets(), score, on_skip)


def plan_subject(
    subject: Subject, recipe: SynthesisRecipe, backends: Backends, cut: Segmenter, taken: set[str]
) -> Iterator[Planned]:
    """The scenes of one subject, a prompt each: customise and expand (SUGAR section 3.1).

    Args:
        taken: what a language model has written for the shard's subjects so far; grows.

    Raises:
        BadMedia, NoSubject: the subject cannot be cut out.
    """
    portrait = portrait_of(subject, recipe.seed, cut)
    keys = [f"{subject.key}-p{number:02d}" for number in range(recipe.prompts_per_subject)]
    seeds = [key_seed(recipe.seed, key, "synthesis") for key in keys]
    prompts = different_prompts(subject, recipe, seeds)
    said = GRAMMARS[recipe.grammar].phrases(subject.category)
    prompts = backends.write(prompts, subject.noun, said, taken)
    for key, seed, prompt in zip(keys, seeds, prompts, strict=True):
        scene = backends.customize(portrait.identity, subject.noun, prompt, seed)
        yield Planned(key, subject, portrait, Draft(backends.expand(scene, prompt, seed), prompt, seed))


def different_prompts(subject: Subject, recipe: SynthesisRecipe, seeds: Sequence[int]) -> list[Prompt]:
    """A prompt a seed, no two of them the same sentence.

    Raises:
        ValueError: the grammar has too few sentences for so many, or as `make_prompt`.
    """
    share = REAL_MOTION_SHARE if recipe.moves_subjects else 0.0
    make = GRAMMARS[recipe.grammar].make
    prompts: dict[str, Prompt] = {}
    for seed in seeds:
        for attempt in range(MAX_REDRAWS):
            drawn = seed if attempt == 0 else key_seed(seed, f"{attempt}", "redraw")
            prompt = make(subject.noun, subject.category, drawn, real_motion_share=share)
            if prompt.text not in prompts:
                break
        else:
            raise ValueError(f"{subject.key}: no {len(seeds)} different prompts in {MAX_REDRAWS} draws each")
        prompts[prompt.text] = prompt
    return list(prompts.values())


def _animated(
    batch: Sequence[Planned], recipe: SynthesisRecipe, backends: Backends, on_skip: OnSkip
) -> Iterator[Triplet]:
    """The triplets of a batch; where a clip fails, each is made by itself, so that one costs itself alone."""
    try:
        clips = backends.animate([planned.draft for planned in batch])
    except (ValueError, cv2.error) as error:
        if len(batch) == 1:
            on_skip(batch[0].key, "failed", str(error))
            return
        for planned in batch:
            yield from _animated([planned], recipe, backends, on_skip)
        return
    for planned, clip in zip(batch, clips, strict=True):
        yield _triplet(planned, clip, recipe)


def _triplet(planned: Planned, clip: np.ndarray, recipe: SynthesisRecipe) -> Triplet:
    key, subject, portrait, (scene, prompt, seed) = planned
    fill = fill_of(recipe.expand, recipe.height_px, recipe.width_px)
    return Triplet(
        key=key,
        subject=portrait.photo,
        identity=portrait.identity,
        video=clip,
        fps=recipe.fps,
        prompt=prompt.text,
        noun=subject.noun,
        category=subject.category,
        source="synthetic",
        style=prompt.style,
        background=prompt.background,
        motion=prompt.motion,
        texture=prompt.texture,
        colour=prompt.colour,
        seed=seed,
        source_digest=subject.source_digest,
        provenance={
            "subject": subject.key,
            "customize": _origin(recipe.customize, recipe.generators.customize),
            **_chosen(scene),
            "expand": _origin(fill, recipe.generators.expand),
            "animate": _origin(recipe.animate, recipe.generators.animate),
            "camera": prompt.camera,
            "prompt": prompt.writer,
            **({"prompt_refused": prompt.refused, "answer": prompt.answer} if prompt.refused else {}),
            "segmentation": _how_cut(portrait, recipe),
        },
    )


def _chosen(scene: Customized) -> dict[str, str]:
    """Among how many pictures a generator's was chosen, and by what score."""
    drawn = {"candidates": str(scene.num_candidates)} if scene.num_candidates else {}
    return drawn if scene.score is None else drawn | {"candidate_score": f"{scene.score:.4f}"}


def _how_cut(portrait: Portrait, recipe: SynthesisRecipe) -> str:
    """How the subject was cut, as provenance."""
    if portrait.segmentation == "alpha":
        return "alpha"
    how = recipe.segmentation if portrait.segmentation == "mask" else f"{recipe.segmentation} in a box"
    return made_with(how, recipe.segmentation_networks)


def _origin(kind: str, generator: Generator | None) -> str:
    """A backend as provenance: of a pipeline its model and revision too, "diffusers: MODEL@REVISION"."""
    return kind if kind != "diffusers" or generator is None else made_with(kind, [generator.weights])


def portrait_of(subject: Subject, seed: int, cut: Segmenter) -> Portrait:
    """Photo and cut-out of a subject.

    A picture with alpha is a cut-out already: its photo is the subject standing still in some place. Of a
    photo the segmenter cuts the subject, in its box where it has one.

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
    mask = cut(photo, subject.noun, box=subject.box).mask
    identity = cut_subject(photo, mask, min_area=MIN_CUT_AREA, max_area=MAX_CUT_AREA)
    return Portrait(photo, identity, "mask" if subject.box is None else "box")
