"""The recipe of `synthesize` from the configuration: backends, their pipelines, what those are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sugar.config import Params
from sugar.stages.fingerprints import network_digest

if TYPE_CHECKING:
    from sugar.synthesis.backends import Generators
    from sugar.synthesis.shard import SynthesisRecipe


def synthesis_recipe(params: Params) -> SynthesisRecipe:
    """How `params` asks for triplets.

    Raises:
        InputError: a pipeline that is named is neither a folder nor a hub id.
    """
    from sugar.synthesis.shard import SynthesisRecipe

    settings, video = params.synthesize, params.video
    return SynthesisRecipe(
        seed=params.seed,
        fps=video.fps,
        num_frames=video.num_frames,
        height_px=video.height_px,
        width_px=video.width_px,
        prompts_per_subject=settings.prompts_per_subject,
        customize=settings.customize,
        expand=settings.expand,
        animate=settings.animate,
        segmentation=params.networks.segmentation.kind,
        generators=_generators(params),
    )


def _generators(params: Params) -> Generators:
    """Only those that are used: the settings of the others make no difference to a shard."""
    from sugar.synthesis.backends import Generators
    from sugar.synthesis.generators import Adapter, Generator, Machine

    settings, chosen = params.synthesize.generators, params.synthesize
    machine = Machine(params.networks.device, settings.dtype, settings.offload)

    def pipeline(key: str) -> Generator:
        about = getattr(settings, key)
        model = params.pretrained(f"synthesize.generators.{key}.model")
        return Generator(
            model=model,
            num_steps=about.num_steps,
            guidance_scale=about.guidance_scale,
            batch_size=getattr(about, "batch_size", 1),
            digest=network_digest(model),
            machine=machine,
        )

    used: dict[str, object] = {
        key: pipeline(key)
        for key in ("customize", "expand", "animate")
        if getattr(chosen, key) == "diffusers"
    }
    if "customize" in used:
        about = settings.customize
        used |= {"customize_side_px": about.side_px, "num_candidates": about.num_candidates}
        if about.adapter is not None:
            model = params.pretrained("synthesize.generators.customize.adapter.model")
            used["adapter"] = Adapter(**{**about.adapter.model_dump(), "model": model})
        if about.num_candidates > 1:
            used |= {"clip": params.network("clip"), "dino": params.network("dino")}
    if "expand" in used:
        used["expand_side_px"] = settings.expand.side_px
    if "animate" in used:
        used["native_fps"] = settings.animate.native_fps
    return Generators(**used)  # type: ignore[arg-type]
