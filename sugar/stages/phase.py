"""One phase of training, from latents to a `SugarPipeline` folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

RANK_STAGE = "SUGAR_STAGE"
"""Variable that names the stage of the forwarded MLflow run, for `sugar.stages.rank`."""
STAGE_OF = {"stage1": "pretrain", "stage2": "finetune"}

if TYPE_CHECKING:
    from sugar.tracking import Tracker
    from sugar.training.strategies import Phase


def train_phase(
    phase: Phase,
    *,
    name: str,
    init_from: str,
    base: str,
    encoders: tuple[str, str],
    latents: Mapping[str, Path],
    output: Path,
    checkpoints: Path,
    settings: Mapping[str, Any],
    samples: Mapping[str, Any],
    cluster: Mapping[str, Any] | None,
    tracker: Tracker,
) -> dict[str, float]:
    """Train, log, and leave a `SugarPipeline` with its histories in `output`; returns the last figures.

    Args:
        phase: of the strategy.
        name: "stage1" or "stage2": of the model and of its checkpoints.
        init_from: folder or hub id that the weights start from.
        base: CogVideoX pipeline, or the stage before: vae, text encoder, tokenizer, scheduler.
        encoders: DINO and CLIP.
        latents: "real" and "synthetic" -> cache; one that the phase does not draw from is left alone.
        checkpoints: folder of the engine states; removed when the phase is complete.
        settings: further fields of `TrainingJob`.
        samples: num_clips, num_steps, fps of the sample videos.
        cluster: fields of `Cluster` for a TrainJob on Kubernetes, which makes no sample videos; None: here.
    """
    from sugar.data.latents import LatentCache
    from sugar.launch.cluster import run_on_cluster
    from sugar.launch.local import run_training
    from sugar.launch.train_job import Cluster
    from sugar.stages.model_folder import export_pipeline
    from sugar.stages.samples import sampler
    from sugar.training.batches import cache_digest
    from sugar.training.job import TrainingJob

    shares = {"real": 1 - phase.synthetic_probability, "synthetic": phase.synthetic_probability}
    for source, folder in latents.items():
        cache = LatentCache.open(folder)
        profile = {"samples": len(cache), "share": shares[source]}
        tracker.log_dataset(f"latents_{source}", cache_digest(cache), "training", str(folder), profile)
    used = {f"{source}_latents": str(folder) for source, folder in latents.items() if shares[source] > 0}
    job = TrainingJob(
        phase=name,
        init_from=init_from,
        scheduler=base,
        output=str(output),
        checkpoints=str(checkpoints),
        synthetic_probability=phase.synthetic_probability,
        frozen_fraction=phase.frozen_fraction,
        steps=phase.steps,
        trainable=phase.trainable,
        **used,
        **{
            **settings,
            "learning_rate": phase.learning_rate or settings["learning_rate"],
            "lr_schedule": phase.lr_schedule or settings["lr_schedule"],
        },
    )
    if cluster is None:
        sample = sampler(latents["real"], base, tracker, **samples)
        figures = run_training(job, job.num_processes, tracker.log_metrics, sample)
    else:
        environment = {**tracker.environment(), RANK_STAGE: STAGE_OF[name]}
        figures = run_on_cluster(job, Cluster(**cluster), module="sugar.stages.rank", environment=environment)
    export_pipeline(output, base, *encoders)
    tracker.log_model_folder(output / "transformer", name)
    shutil.rmtree(checkpoints / name, ignore_errors=True)
    return figures
