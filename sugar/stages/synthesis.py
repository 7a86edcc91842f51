"""`source` and `synthesize` from the configuration: photos, backends, their pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sugar.config import Params
from sugar.stages.fingerprints import network_digest

if TYPE_CHECKING:
    from sugar.data.subjects import Subject
    from sugar.synthesis.backends import Generators
    from sugar.synthesis.naming import ClipNouns, DinoFeatures
    from sugar.synthesis.places import OnSkip
    from sugar.synthesis.shard import SynthesisRecipe


def subjects_of(params: Params, on_skip: OnSkip) -> Iterator[Subject]:
    """The labelled pictures that the section `source` asks for.

    Raises:
        InputError: what is named cannot be used.
    """
    from sugar.synthesis.places import is_remote, list_photos, table_photos, tar_photos
    from sugar.synthesis.sourcing import PhotoRules, photo_subjects, sprite_subjects

    settings = params.source
    if settings.kind == "sprites":
        size_px = min(params.video.height_px, params.video.width_px)
        return sprite_subjects(settings.num_subjects, params.seed, size_px)
    place = str(settings.folder)
    place = place if is_remote(place) else str(params.given(place))
    listed = {
        "folder": lambda: list_photos(place, files_name_nouns=settings.nouns == "label"),
        "table": lambda: table_photos(place),
        "webdataset": lambda: tar_photos(place, on_skip),
    }
    same = ("max_per_noun", "min_side_px", "max_pixels", "max_hash_distance", "max_dino_cosine", "balance")
    rules = PhotoRules(settings.num_subjects, **{key: getattr(settings, key) for key in same})
    name, features = _namer(params), _features(params)
    return photo_subjects(
        listed[settings.kind](), place, rules, seed=params.seed, name=name, features=features, on_skip=on_skip
    )


def _namer(params: Params) -> ClipNouns | None:
    """Names photos without a noun, where `source.nouns` is clip."""
    if params.source.nouns != "clip":
        return None
    from sugar.synthesis.naming import ClipNouns
    from sugar.synthesis.nouns import read_vocabulary, vocabulary

    settings = params.source
    nouns = read_vocabulary(params.given(settings.vocabulary)) if settings.vocabulary else vocabulary()
    return ClipNouns(params.network("clip"), nouns, settings.min_noun_probability, params.networks.device)


def _features(params: Params) -> DinoFeatures | None:
    """Finds photos that look alike, where `source.max_dino_cosine` is given."""
    if params.source.max_dino_cosine is None:
        return None
    from sugar.synthesis.naming import DinoFeatures

    return DinoFeatures(params.network("dino"), params.networks.device)


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
        grammar=settings.prompts.grammar,
        generators=_generators(params),
    )


def _generators(params: Params) -> Generators:
    """Only those that are used: the settings of the others make no difference to a shard."""
    from sugar.synthesis.backends import Generators
    from sugar.synthesis.generators import Adapter, Generator, Machine
    from sugar.synthesis.writer import Writer

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
    if chosen.prompts.writer is not None:
        model = params.pretrained("synthesize.prompts.writer")
        used["writer"] = Writer(model, chosen.prompts.max_words, network_digest(model), machine)
    return Generators(**used)  # type: ignore[arg-type]
