"""From subjects and clips to latents: source, synthesize, ingest, validate, encode."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from sugar.config import Params
from sugar.stages.stage import Paths, StageFailure, declare

if TYPE_CHECKING:
    from pathlib import Path

    from sugar.tracking import Tracker

VIDEO = ("seed", "video")
FILTER_NETWORKS = (
    "networks.dino",
    "networks.clip",
    "networks.segmentation",
    "networks.flow",
    "networks.aesthetic",
    "networks.device",
)


def _note_dataset(tracker: Tracker, name: str, folder: Path, context: str) -> None:
    """Link a dataset of triplets to the tracked run, by the digest of all that its manifest says."""
    from sugar.data.manifest import accepted_rows, dataset_digest, read_manifest

    if tracker.run_id is None:  # a digest of millions of rows takes seconds
        return
    table = read_manifest(folder, ("accepted",))
    profile = {"rows": table.num_rows, "accepted": accepted_rows(table).num_rows}
    tracker.log_dataset(name, dataset_digest(folder), context, str(folder), profile)


SOURCE_NETWORKS = ("networks.clip", "networks.dino", "networks.device")


@declare(
    "", "subjects", ("seed", "video.height_px", "video.width_px", *SOURCE_NETWORKS, "source"), may_rest=True
)
def source(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Gather labelled pictures of subjects: drawn, or photos of a folder, a table or tars."""
    from collections import Counter

    from sugar.data.shard_pool import Skips
    from sugar.stages.synthesis import subjects_made_from, subjects_of
    from sugar.synthesis.dataset import source_dataset

    skips, left_out = Skips(), Counter[str]()
    return source_dataset(
        outputs["subjects"],
        lambda: subjects_of(params, skips.add, left_out),
        skips,
        subjects_made_from(params),
        tracker.begin,
        left_out,
    )


@declare("subjects", "synthetic", (*VIDEO, *FILTER_NETWORKS, "synthesize"), may_rest=True)
def synthesize(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Make customised image-video-text triplets from the subjects (SUGAR section 3.1)."""
    from sugar.stages.scoring import limits, networks_digest, scorers
    from sugar.stages.synthesis import is_drawn, synthesis_recipe
    from sugar.stages.truth import sprite_truth
    from sugar.synthesis.dataset import synthesize_dataset

    settings = params.synthesize
    make_cut, make_score, judge = scorers(params, settings.filters)
    figures = synthesize_dataset(
        inputs["subjects"],
        outputs["synthetic"],
        synthesis_recipe(params),
        make_cut=make_cut,
        make_score=make_score,
        networks_digest=networks_digest(params),
        judge=judge,
        limits=limits(settings.filters),
        truth=sprite_truth(params, settings.filters, functools.partial(is_drawn, params, inputs["subjects"])),
        shard_size=settings.shard_size,
        num_workers=settings.num_workers,
        verdict_key=settings.filters.model_dump_json(),
        on_work=tracker.begin,
    )
    tracker.log_artifacts(outputs["synthetic"] / "report")
    _note_dataset(tracker, "synthetic", outputs["synthetic"], "made")
    return figures


def _categories_digest() -> str:
    """Changes when `category_of` does, besides the nouns of Sprite World."""
    from sugar.data.code_digest import code_digest
    from sugar.data.shard_pool import inputs_digest
    from sugar.synthesis.nouns import vocabulary

    return inputs_digest(code_digest(("sugar.synthesis.nouns",)), dict(vocabulary()))


@declare("", "real", (*VIDEO, *FILTER_NETWORKS, "networks.captioner", "ingest"), may_rest=True)
def ingest(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Cut real clips into triplets; the identity image comes from a random frame (SUGAR section 3.2)."""
    from sugar.ingest.clips import FolderClips, SpriteClips
    from sugar.ingest.dataset import ingest_dataset
    from sugar.ingest.shard import IngestRecipe
    from sugar.ingest.windows import Rules
    from sugar.stages.fingerprints import weights_of
    from sugar.stages.scoring import captioner, limits, networks_digest, scorers
    from sugar.stages.truth import sprite_truth
    from sugar.synthesis.nouns import category_of

    settings, video = params.ingest, params.video
    size = {"num_frames": video.num_frames, "height_px": video.height_px, "width_px": video.width_px}
    rules, described_by = Rules(min_side_px=settings.min_side_px, max_seconds=settings.max_seconds), ()
    make_caption, digest = captioner(params), networks_digest(params)
    make_cut, make_score, judge = scorers(params, settings.filters)
    if settings.kind == "sprites":
        clips = SpriteClips(settings.num_clips, params.seed, settings.styled_share, fps=video.fps, **size)
    else:
        clips = FolderClips(
            params.given(str(settings.folder)),
            params.seed,
            settings.num_clips,
            category_of=category_of,
            captioned=make_caption is None,
            categories=_categories_digest(),
        )
        names = ("scene_threshold", "min_change", "max_flashes", "crop_bars")
        rules = rules._replace(**{name: getattr(settings, name) for name in names})
        # Real clips show more than their subject.
        make_cut = replace(make_cut, kind="distinct") if make_cut.kind == "grabcut" else make_cut
        if make_caption is not None:
            described_by = weights_of(make_caption.name)
            digest = f"{digest} {described_by[0].digest}"
    recipe = IngestRecipe(
        seed=params.seed,
        fps=video.fps,
        **size,
        max_windows=1 if settings.kind == "sprites" else settings.max_windows,
        num_identities=settings.num_identities,
        rules=rules,
        min_mask_area=settings.min_mask_area,
        max_mask_area=settings.max_mask_area,
        segmentation=make_cut.kind,
        segmentation_networks=weights_of(make_cut.detector, make_cut.segmenter),
        captioner=described_by,
    )
    figures = ingest_dataset(
        outputs["real"],
        clips,
        recipe,
        make_cut=make_cut,
        make_score=make_score,
        make_caption=make_caption,
        networks_digest=digest,
        judge=judge,
        limits=limits(settings.filters),
        truth=sprite_truth(params, settings.filters, functools.partial(bool, settings.kind == "sprites")),
        shard_size=settings.shard_size,
        num_workers=settings.num_workers,
        verdict_key=settings.filters.model_dump_json(),
        on_work=tracker.begin,
    )
    tracker.log_artifacts(outputs["real"] / "report")
    _note_dataset(tracker, "real", outputs["real"], "made")
    return figures


@declare("synthetic real", "gate", ("validate",), may_rest=True)
def validate(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Check both manifests; a failing gate stops the run."""
    from sugar.data.gate import GateBounds
    from sugar.stages.gating import check_datasets

    settings = params.validate_
    bounds = {
        "real": GateBounds(
            source="real",
            min_rows=settings.min_rows.real,
            min_acceptance=settings.min_acceptance.real,
            max_noun_share=settings.max_noun_share,
            max_drift=settings.max_drift,
        ),
        "synthetic": GateBounds(
            source="synthetic",
            min_rows=settings.min_rows.synthetic,
            min_acceptance=settings.min_acceptance.synthetic,
            max_noun_share=settings.max_noun_share,
            max_style_share=settings.max_style_share,
            max_background_share=settings.max_background_share,
            max_motion_share=settings.max_motion_share,
            max_texture_share=settings.max_texture_share,
            max_colour_share=settings.max_colour_share,
            max_drift=settings.max_drift,
        ),
    }
    results = check_datasets(inputs, bounds, outputs["gate"], settings.baseline, on_work=tracker.begin)
    for name, folder in inputs.items():
        _note_dataset(tracker, name, folder, "checked")
    tracker.log_artifacts(outputs["gate"])
    failures = [f"{name}: {failure}" for name, result in results.items() for failure in result.failures]
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise StageFailure(f"{failures[0]}{more}; see {outputs['gate'] / 'index.html'}")
    figures: dict[str, float] = {"failures": len(failures)}
    for name, result in results.items():
        figures |= {f"{name}_{key}": value for key, value in result.statistics.items()}
    return figures


MADE_BY = {"real": ingest.name, "synthetic": synthesize.name}
"""Dataset -> its stage."""


@declare(
    "synthetic real gate",
    "latents_real latents_synthetic",
    ("networks.base", "networks.dino", "networks.clip", "networks.device", "encode"),
    may_rest=True,
)
def encode(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Write the latent caches of the accepted triplets, of the datasets that are among the inputs."""
    from sugar.stages.encoding import Networks, encode_dataset
    from sugar.stages.gating import require_passed

    settings = params.encode
    datasets = {name: inputs[name] for name in MADE_BY if name in inputs}
    if "gate" in inputs:
        require_passed(inputs["gate"], datasets)
    networks = Networks(
        base=params.network("base"),
        dino=params.network("dino"),
        clip=params.network("clip"),
        device=params.networks.device,
        dtype=settings.dtype,
    )
    figures: dict[str, float] = {}
    for name, folder in datasets.items():
        counts = encode_dataset(
            folder,
            outputs[f"latents_{name}"],
            networks,
            made_by=MADE_BY[name],
            batch_size=settings.batch_size,
            shard_size=settings.shard_size,
            held_out_fraction=settings.held_out_fraction,
            max_noun_share=settings.max_noun_share,
            num_workers=settings.num_workers,
            num_stills=settings.stills if name == "synthetic" else 0,
            on_work=tracker.begin,
        )
        figures |= {f"{name}_{key}": value for key, value in counts.items()}
    for name, folder in datasets.items():
        _note_dataset(tracker, name, folder, "encoded")
    return figures
