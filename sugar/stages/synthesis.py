"""`source` and `synthesize` from the configuration: photos, backends, their pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sugar.config import InputError, Params
from sugar.data.file_states import local_state
from sugar.stages.fingerprints import network_digest, weights_of

if TYPE_CHECKING:
    from collections import Counter

    from sugar.data.subjects import Subject
    from sugar.synthesis.backends import Generators
    from sugar.synthesis.naming import ClipNouns, DinoFeatures
    from sugar.synthesis.places import OnSkip
    from sugar.synthesis.shard import SynthesisRecipe

PUBLISHED_CLIP = "openai/clip-vit-large-patch14"


def subjects_of(params: Params, on_skip: OnSkip, left_out: Counter[str] | None = None) -> Iterator[Subject]:
    """The labelled pictures that the section `source` asks for.

    Args:
        on_skip, left_out: as for `photo_subjects`.

    Raises:
        InputError: what is named cannot be used.
    """
    from sugar.synthesis.places import list_photos, table_photos
    from sugar.synthesis.sourcing import PhotoRules, photo_subjects, sprite_subjects
    from sugar.synthesis.tars import tar_photos

    settings = params.source
    if settings.kind == "sprites":
        assert settings.num_subjects is not None
        size_px = min(params.video.height_px, params.video.width_px)
        return sprite_subjects(settings.num_subjects, params.seed, size_px)
    place = _place(params)
    listed = {
        "folder": lambda: list_photos(place, labelled=settings.nouns == "label"),
        "table": lambda: table_photos(place),
        "webdataset": lambda: tar_photos(place),
    }
    same = ("max_per_noun", "min_side_px", "max_pixels", "max_hash_distance", "max_dino_cosine", "balance")
    rules = PhotoRules(settings.num_subjects, **{key: getattr(settings, key) for key in same})
    name, features = _namer(params), _features(params)
    return photo_subjects(
        listed[settings.kind](),
        place,
        rules,
        seed=params.seed,
        name=name,
        features=features,
        on_skip=on_skip,
        left_out=left_out,
    )


def subjects_made_from(params: Params) -> tuple[Any, ...] | None:
    """All that the subjects depend on besides the code of drawn ones; None: their place cannot tell.

    Raises:
        InputError: what is named cannot be used.
    """
    from sugar.data.code_digest import code_digest
    from sugar.synthesis.dataset import PHOTOS_CODE

    settings, video = params.source, params.video
    if settings.kind == "sprites":
        return (params.seed, video.height_px, video.width_px, settings.num_subjects)
    if (state := photos_state_of(params)) is None:
        return None
    used = {"clip": settings.nouns == "clip", "dino": settings.max_dino_cosine is not None}
    networks = [network_digest(params.network(name)) for name, needed in used.items() if needed]
    if settings.vocabulary is not None:
        networks.append(local_state(params.given(settings.vocabulary)))
    return (params.seed, settings.model_dump(mode="json"), state, networks, code_digest(PHOTOS_CODE))


def photos_state_of(params: Params) -> str | None:
    """`photos_state` of what the section `source` names, which is not Sprite World."""
    from sugar.synthesis.states import photos_state

    return photos_state(params.source.kind, _place(params))


def _place(params: Params) -> str:
    from sugar.synthesis.places import is_remote

    place = str(params.source.folder)
    return place if is_remote(place) else str(params.given(place))


def _namer(params: Params) -> ClipNouns | None:
    """Names photos without a noun, where `source.nouns` is clip."""
    if params.source.nouns != "clip":
        return None
    from sugar.sprites import NOUNS
    from sugar.synthesis.naming import ClipNouns
    from sugar.synthesis.nouns import read_vocabulary, vocabulary

    settings, clip = params.source, params.network("clip")
    nouns = read_vocabulary(params.given(settings.vocabulary)) if settings.vocabulary else vocabulary()
    if unknown := [noun for noun in nouns if noun not in NOUNS and _knows_only_sprites(clip)]:
        raise InputError(
            f"networks.clip must be a published CLIP, such as {PUBLISHED_CLIP}, to name photos "
            f"(source.nouns: clip): {params.networks.clip} knows Sprite World alone and not {unknown[0]!r}"
        )
    return ClipNouns(clip, nouns, settings.min_noun_probability, params.networks.device)


def _knows_only_sprites(network: str) -> bool:
    """Whether it is one of those that `sugar foundation` trains, by its card."""
    from sugar.foundation.cards import KNOWS

    card = Path(network) / "README.md"
    return card.is_file() and KNOWS in card.read_text(encoding="utf-8", errors="replace")


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
    from sugar.stages.scoring import cutter
    from sugar.synthesis.shard import SynthesisRecipe

    settings, video, cut = params.synthesize, params.video, cutter(params)
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
        segmentation=cut.kind,
        segmentation_networks=weights_of(cut.detector, cut.segmenter),
        grammar=settings.prompts.grammar,
        generators=_generators(params),
    )


def is_drawn(params: Params, subjects: Path) -> bool:
    """Whether triplets of these subjects are of Sprite World: its subjects, drawn and moved by procedures."""
    from sugar.data.subjects import subjects_manifest
    from sugar.synthesis.sourcing import is_sprite

    settings = params.synthesize
    if (settings.customize, settings.animate) != ("procedural", "procedural"):
        return False
    columns = ("noun", "seed", "source_digest")
    table = subjects_manifest(subjects, columns)
    return all(map(is_sprite, *(table[name].to_pylist() for name in columns)))


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
