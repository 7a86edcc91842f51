"""The nine stages: each unpacks the parameters that it declares and calls the rooms that do the work.

`STAGES[name](params, inputs, outputs)` returns the stage's figures; see `sugar.stage.Stage`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sugar.config import InputError, Params
from sugar.stage import Body, Paths, Stage, StageFailure, run_on_paths

if TYPE_CHECKING:
    from sugar.tracking import Tracker

logger = logging.getLogger(__name__)

STAGES: dict[str, Stage] = {}

VIDEO = ("seed", "video")
FILTER_NETWORKS = (
    "networks.dino",
    "networks.clip",
    "networks.segmentation",
    "networks.flow",
    "networks.device",
)
TRAINING = ("seed", "video.fps", "conditions", "strategy", "training", "networks.device", "pretrain")


def _stage(inputs: str, outputs: str, reads: tuple[str, ...]) -> Callable[[Body], Stage]:
    def declare(body: Body) -> Stage:
        name = getattr(body, "__name__", "").rstrip("_")
        STAGES[name] = Stage(name, tuple(inputs.split()), tuple(outputs.split()), reads, body)
        return STAGES[name]

    return declare


def run_stage(name: str, params: Params) -> dict[str, float]:
    """Run a stage on the folders that params.yaml names; returns its figures."""
    return run_on_paths(STAGES[name], params)


# ---- data -------------------------------------------------------------------------------------------------


@_stage("", "subjects", ("seed", "video.height_px", "video.width_px", "source"))
def source(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Gather labelled pictures of subjects: drawn, or the photos of a folder."""
    from sugar.data.shard_pool import Skips
    from sugar.synthesis.dataset import source_dataset
    from sugar.synthesis.sourcing import folder_subjects, sprite_subjects

    settings, skips = params.source, Skips()
    if settings.kind == "sprites":
        size_px = min(params.video.height_px, params.video.width_px)
        subjects = sprite_subjects(settings.num_subjects, params.seed, size_px)
    else:
        subjects = folder_subjects(
            params.given(str(settings.folder)),
            seed=params.seed,
            max_subjects=settings.num_subjects,
            min_side_px=settings.min_side_px,
            max_pixels=settings.max_pixels,
            on_skip=skips.add,
        )
    return source_dataset(outputs["subjects"], subjects, skips)


@_stage("subjects", "synthetic", (*VIDEO, *FILTER_NETWORKS, "synthesize"))
def synthesize(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Make customised image-video-text triplets from the subjects (SUGAR section 3.1)."""
    from sugar.scoring import networks_digest, scorers
    from sugar.synthesis.dataset import synthesize_dataset
    from sugar.synthesis.shard import SynthesisRecipe

    settings, video = params.synthesize, params.video
    recipe = SynthesisRecipe(
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
    )
    make_cut, make_score, judge = scorers(params, settings.filters)
    figures = synthesize_dataset(
        inputs["subjects"],
        outputs["synthetic"],
        recipe,
        make_cut=make_cut,
        make_score=make_score,
        networks_digest=networks_digest(params),
        judge=judge,
        shard_size=settings.shard_size,
        num_workers=settings.num_workers,
    )
    tracker.log_artifacts(outputs["synthetic"] / "report")
    return figures


@_stage("", "real", (*VIDEO, *FILTER_NETWORKS, "ingest"))
def ingest(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Cut real clips into triplets; the identity image comes from a random frame (SUGAR section 3.2)."""
    from sugar.ingest.clips import FolderClips, SpriteClips
    from sugar.ingest.dataset import ingest_dataset
    from sugar.ingest.shard import IngestRecipe
    from sugar.scoring import networks_digest, scorers

    settings, video = params.ingest, params.video
    size = {"num_frames": video.num_frames, "height_px": video.height_px, "width_px": video.width_px}
    if settings.kind == "sprites":
        clips = SpriteClips(settings.num_clips, params.seed, settings.styled_share, fps=video.fps, **size)
    else:
        clips = FolderClips(params.given(str(settings.folder)), params.seed, settings.num_clips)
    recipe = IngestRecipe(
        seed=params.seed,
        fps=video.fps,
        **size,
        max_windows=1 if settings.kind == "sprites" else settings.max_windows,
        min_side_px=settings.min_side_px,
        max_seconds=settings.max_seconds,
        min_mask_area=settings.min_mask_area,
        max_mask_area=settings.max_mask_area,
        segmentation=params.networks.segmentation.kind,
    )
    make_cut, make_score, judge = scorers(params, settings.filters)
    figures = ingest_dataset(
        outputs["real"],
        clips,
        recipe,
        make_cut=make_cut,
        make_score=make_score,
        networks_digest=networks_digest(params),
        judge=judge,
        shard_size=settings.shard_size,
        num_workers=settings.num_workers,
    )
    tracker.log_artifacts(outputs["real"] / "report")
    return figures


@_stage("synthetic real gate", "latents_real latents_synthetic", ("networks.base", "networks.dino", "networks.clip", "networks.device", "encode"))
def encode(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Write the latent caches of the accepted triplets; a dataset that is not among the inputs is left out."""
    from sugar.encoding import Networks, encode_dataset

    settings = params.encode
    networks = Networks(
        base=params.network("base"),
        dino=params.network("dino"),
        clip=params.network("clip"),
        device=params.networks.device,
        dtype=settings.dtype,
    )
    figures: dict[str, float] = {}
    for dataset in ("real", "synthetic"):
        if dataset not in inputs:
            continue
        counts = encode_dataset(
            inputs[dataset],
            outputs[f"latents_{dataset}"],
            networks,
            batch_size=settings.batch_size,
            shard_size=settings.shard_size,
            held_out_fraction=settings.held_out_fraction,
        )
        figures |= {f"{dataset}_{name}": value for name, value in counts.items()}
    return figures


# ---- training ---------------------------------------------------------------------------------------------


@_stage("latents_real", "stage1", (*TRAINING, "model", "networks.base", "networks.dino", "networks.clip"))
def pretrain(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Train stage 1 on real video, from the base text-to-video model (SUGAR section 3.2)."""
    base = params.network("base")
    return _train(
        params,
        stage=1,
        steps=(params.pretrain.steps, 0),
        init_from=base,
        base=base,
        encoders=(params.network("dino"), params.network("clip")),
        design={
            "attention_design": params.model.attention_design,
            "projection_hidden": params.model.projection_hidden,
        },
        latents={"real": inputs["latents_real"]},
        output=outputs["stage1"],
        tracker=tracker,
    )


@_stage("latents_real latents_synthetic stage1", "stage2", (*TRAINING, "finetune"))
def finetune(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Train stage 2 on real and synthetic video, from stage 1, part of the layers frozen."""
    stage1 = inputs["stage1"]
    return _train(
        params,
        stage=2,
        steps=(params.pretrain.steps, params.finetune.steps),
        init_from=str(stage1),
        base=str(stage1),
        encoders=(str(stage1 / "dino"), str(stage1 / "clip")),
        design={},
        latents={"real": inputs["latents_real"], "synthetic": inputs["latents_synthetic"]},
        output=outputs["stage2"],
        tracker=tracker,
    )


def _train(
    params: Params,
    *,
    stage: int,
    steps: tuple[int, int],
    init_from: str,
    base: str,
    encoders: tuple[str, str],
    design: Mapping[str, Any],
    latents: Mapping[str, Path],
    output: Path,
    tracker: Tracker,
) -> dict[str, float]:
    """Run one phase of the strategy and leave a `SugarPipeline` folder with its histories in `output`."""
    from sugar.data.latents import LatentCache
    from sugar.export import export_pipeline
    from sugar.launch.local import run_training
    from sugar.samples import sampler
    from sugar.training.job import TrainingJob
    from sugar.training.strategies import resolve_strategy, stage_phase

    settings = params.training.model_dump(exclude={"sample_clips", "sample_steps"})
    strategy = params.section("strategy")
    phase = stage_phase(
        resolve_strategy(strategy["name"], steps, strategy["mix_probability"], strategy["custom"]), stage
    )
    for name in ("learning_rate", "lr_schedule"):
        settings[name] = getattr(phase, name) or settings[name]
    for name, folder in latents.items():
        cache = LatentCache.open(folder)
        tracker.log_dataset(f"latents_{name}", cache_digest(cache), "training", str(folder))
    uses = {name: folder for name, folder in latents.items() if _is_used(name, phase.synthetic_probability)}
    job = TrainingJob(
        phase=f"stage{stage}",
        init_from=init_from,
        scheduler=base,
        output=str(output),
        checkpoints=str(params.path("checkpoints")),
        **{f"{name}_latents": str(folder) for name, folder in uses.items()},
        synthetic_probability=phase.synthetic_probability,
        frozen_fraction=phase.frozen_fraction,
        steps=phase.steps,
        trainable=phase.trainable,
        seed=params.seed,
        drop_dino=params.conditions.drop_dino,
        drop_clip=params.conditions.drop_clip,
        drop_text=params.conditions.drop_text,
        device=params.networks.device,
        **design,
        **settings,
    )
    sample = sampler(
        next(iter(latents.values())),
        base,
        tracker,
        num_clips=params.training.sample_clips,
        num_steps=params.training.sample_steps,
        fps=params.video.fps,
    )
    figures = run_training(job, job.num_processes, tracker.log_metrics, sample)
    export_pipeline(output, base, *encoders)
    tracker.log_model_folder(output / "transformer", f"stage{stage}")
    return figures


def _is_used(source_name: str, synthetic_probability: float) -> bool:
    return synthetic_probability > 0 if source_name == "synthetic" else synthetic_probability < 1
