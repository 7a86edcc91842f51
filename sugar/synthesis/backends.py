"""The backends of a recipe, loaded: what draws the customised image, fills its border and animates it.

"procedural" and "opencv" need no network; "diffusers" loads the pipelines of `Generators`. All are functions
of their arguments and a seed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sugar.config import InputError
from sugar.sprites import BACKGROUNDS
from sugar.synthesis.animate import animate_procedural
from sugar.synthesis.customize import Customized, customize_procedural
from sugar.synthesis.expand import expand_scene
from sugar.synthesis.generators import Adapter, Generator
from sugar.synthesis.prompts import Phrases, Prompt
from sugar.synthesis.writer import Writer

logger = logging.getLogger(__name__)

CUSTOMIZE = ("procedural", "diffusers")
EXPAND = ("opencv", "diffusers")
ANIMATE = ("procedural", "diffusers")


@dataclass(frozen=True)
class Generators:
    """The pipelines of the "diffusers" backends; None for those that are not used.

    Attributes:
        customize_side_px, expand_side_px: see `DiffusersCustomizer` and `DiffusersExpander`.
        num_candidates: customised images a prompt; with several, `clip` and `dino` choose.
        adapter: IP-Adapter of Stable Diffusion XL.
        native_fps: frame rate of the image-to-video pipeline.
        writer: the language model that enriches prompts.
        clip, dino: folders or hub ids.
    """

    customize: Generator | None = None
    expand: Generator | None = None
    animate: Generator | None = None
    customize_side_px: int = 1024
    expand_side_px: int = 1024
    num_candidates: int = 1
    adapter: Adapter | None = None
    native_fps: float = 8.0
    writer: Writer | None = None
    clip: str = ""
    dino: str = ""


Write = Callable[[Sequence[Prompt], str, Phrases, set[str]], list[Prompt]]


class Draft(NamedTuple):
    """A clip on its way: the scene that is to move, the prompt and the seed."""

    scene: Customized
    prompt: Prompt
    seed: int


class Backends(NamedTuple):
    """Loaded backends.

    customize: (cut-out, noun, prompt, seed) -> customised image; expand: (image, prompt, seed) -> the same at
    the size of the video; animate: drafts -> clips uint8 [T, H, W, 3], one each; together: how many
    drafts are best animated in one call; write: (prompts, noun, phrases of the grammar, sentences taken) ->
    the prompts, enriched, see `PromptWriter`.
    """

    customize: Callable[[np.ndarray, str, Prompt, int], Customized]
    expand: Callable[[Customized, Prompt, int], Customized]
    animate: Callable[[Sequence[Draft]], list[np.ndarray]]
    together: int
    write: Write


def check_backends(customize: str, expand: str, animate: str, generators: Generators) -> None:
    """Raise InputError for an unknown backend, one of diffusers whose pipeline is not named, or a fill of
    procedural pictures, which have the size of the video and no border."""
    chosen = {"customize": (customize, CUSTOMIZE), "expand": (expand, EXPAND), "animate": (animate, ANIMATE)}
    for key, (kind, known) in chosen.items():
        if kind not in known:
            raise InputError(f"synthesize.{key} must be one of {', '.join(known)}, got {kind!r}")
        if kind == "diffusers" and getattr(generators, key) is None:
            raise InputError(f"synthesize.generators.{key}.model must be named when {key} is diffusers")
    if expand == "diffusers" and customize == "procedural":
        raise InputError("synthesize.expand must be opencv when customize is procedural, got 'diffusers'")


def load_backends(
    customize: str,
    expand: str,
    animate: str,
    generators: Generators,
    *,
    num_frames: int,
    height_px: int,
    width_px: int,
    fps: float,
) -> Backends:
    """Load what the three names ask for.

    Raises:
        InputError: as `check_backends` and the loaders.
    """
    check_backends(customize, expand, animate, generators)
    frames, together = _animate(animate, generators, num_frames, fps)
    return Backends(
        customize=_customize(customize, generators, height_px, width_px),
        expand=_expand(expand, generators, height_px, width_px),
        animate=frames,
        together=together,
        write=_write(generators.writer),
    )


def _write(writer: Writer | None) -> Write:
    if writer is None:
        return lambda prompts, noun, phrases, taken: list(prompts)
    from sugar.synthesis.writer import PromptWriter

    return PromptWriter(writer)


def _customize(
    kind: str, generators: Generators, height_px: int, width_px: int
) -> Callable[[np.ndarray, str, Prompt, int], Customized]:
    if kind == "procedural":
        return lambda identity, noun, prompt, seed: customize_procedural(
            identity, prompt, seed, height_px, width_px
        )
    from sugar.synthesis.customize_diffusers import ClipDinoRank, load_customizer

    assert generators.customize is not None
    device = generators.customize.machine.device
    draw = load_customizer(
        generators.customize,
        generators.customize_side_px,
        generators.num_candidates,
        ClipDinoRank(generators.clip, generators.dino, device) if generators.num_candidates > 1 else None,
        generators.adapter,
    )
    return lambda identity, noun, prompt, seed: draw(identity, noun, prompt.text, seed)


def fill_of(kind: str, height_px: int, width_px: int) -> str:
    """The backend that brings a generator's square picture to a video's size: a square one has no border, so
    there is nothing that a pipeline could draw."""
    return "opencv" if height_px == width_px else kind


def _expand(
    kind: str, generators: Generators, height_px: int, width_px: int
) -> Callable[[Customized, Prompt, int], Customized]:
    if (used := fill_of(kind, height_px, width_px)) != kind:
        logger.info("synthesize.expand: pictures and videos are square, so %s and not %s", used, kind)
    if used == "opencv":
        return lambda scene, prompt, seed: expand_scene(scene, height_px, width_px)
    from sugar.synthesis.expand_diffusers import DiffusersExpander

    assert generators.expand is not None
    fill = DiffusersExpander(generators.expand, generators.expand_side_px)

    def expand(scene: Customized, prompt: Prompt, seed: int) -> Customized:
        place = (
            BACKGROUNDS[prompt.background].phrases[0]
            if prompt.background in BACKGROUNDS
            else prompt.background
        )
        image = fill(scene.image, place, height_px, width_px, seed)
        layers = expand_scene(scene, height_px, width_px)
        return layers._replace(image=image)

    return expand


def _animate(
    kind: str, generators: Generators, num_frames: int, fps: float
) -> tuple[Callable[[Sequence[Draft]], list[np.ndarray]], int]:
    if kind == "procedural":
        return lambda drafts: [
            animate_procedural(draft.scene, draft.prompt, num_frames, draft.seed) for draft in drafts
        ], 1
    from sugar.synthesis.animate_diffusers import DiffusersAnimator, Shot, shot_text

    assert generators.animate is not None
    animator = DiffusersAnimator(generators.animate, generators.native_fps)

    def animate(drafts: Sequence[Draft]) -> list[np.ndarray]:
        shots = [
            Shot(draft.scene.image, shot_text(draft.prompt.text, draft.prompt.camera), draft.seed)
            for draft in drafts
        ]
        return animator(shots, num_frames, fps)

    return animate, animator.batch_size
