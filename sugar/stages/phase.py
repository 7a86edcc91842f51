"""The phases of a training stage, from latents to a `SugarPipeline` folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

RANK_SETTING = "SUGAR_RANK"
"""Variable with what `sugar.stages.rank` needs beside its job, as JSON: stage, first_step, samples."""
STAGE_OF = {"stage1": "pretrain", "stage2": "finetune"}

if TYPE_CHECKING:
    from sugar.tracking import Tracker
    from sugar.training.job import TrainingJob
    from sugar.training.strategies import Phase


PHASES = "phases"
"""Folder in a stage's output: what each phase before its last left, as `sugar.training.output` says."""


@dataclass(frozen=True)
class _Setting:
    """What all phases of a stage share; see `train_phases`."""

    base: str
    latents: Mapping[str, Path]
    checkpoints: Path
    settings: Mapping[str, Any]
    samples: Mapping[str, Any]
    cluster: Mapping[str, Any] | None
    tracker: Tracker
    stage: str


def train_phases(
    phases: Sequence[Phase],
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
    """Train, log, and leave a `SugarPipeline` with its histories in `output`; returns the last figures, and
    as `steps` those of all phases.

    Each phase starts from the EMA weights that the one before left (in `output/phases/NAME`), after their
    frozen tensors were compared with its manifest. A phase that is complete is not run again.

    Args:
        phases: of the strategy, at least one.
        name: "stage1" or "stage2": of the model and of its checkpoints.
        init_from: folder or hub id that the weights start from.
        base: CogVideoX pipeline, or the stage before: vae, text encoder, tokenizer, scheduler.
        encoders: DINO and CLIP.
        latents: "real" and "synthetic" -> cache; one that a phase does not draw from is left alone.
        checkpoints: folder of the engine states; those of a phase are removed when it is complete.
        settings: further fields of `TrainingJob`.
        samples: num_clips, num_steps, fps of the sample videos.
        cluster: fields of `Cluster` for a TrainJob on Kubernetes; None: here.

    Raises:
        InputError: a frozen tensor of `init_from` is not what its manifest says.
    """
    from sugar.stages.model_folder import export_pipeline

    setting = _Setting(base, latents, checkpoints, settings, samples, cluster, tracker, STAGE_OF[name])
    *before, last = phases
    done = 0
    for phase in before:
        folder, job_name = output / PHASES / phase.name, f"{name}-{phase.name}"
        _train_phase(phase, setting, name=job_name, init_from=init_from, output=folder, first_step=done)
        shutil.rmtree(checkpoints / job_name, ignore_errors=True)
        init_from, done = str(folder), done + phase.steps
    figures = _train_phase(last, setting, name=name, init_from=init_from, output=output, first_step=done)
    export_pipeline(output, base, *encoders)
    _remove_phases(output / PHASES, but=before)
    tracker.log_model_folder(output / "transformer", name)
    shutil.rmtree(checkpoints / name, ignore_errors=True)
    return {**figures, "steps": done + figures["steps"]}


def _remove_phases(folder: Path, but: Sequence[Phase]) -> None:
    """Remove what phases of an earlier strategy left."""
    keep = {phase.name for phase in but}
    for old in [] if not folder.is_dir() else list(folder.iterdir()):
        if old.name not in keep:
            shutil.rmtree(old)


def _train_phase(
    phase: Phase, setting: _Setting, *, name: str, init_from: str, output: Path, first_step: int
) -> dict[str, float]:
    from sugar.data.latents import LatentCache
    from sugar.launch.cluster import run_on_cluster
    from sugar.launch.local import run_training
    from sugar.launch.train_job import Cluster
    from sugar.stages.samples import sampler
    from sugar.training.batches import cache_digest
    from sugar.training.frozen import verify_frozen

    if (Path(init_from) / "frozen.json").is_file():
        verify_frozen(init_from)
    tracker, shares = setting.tracker, _shares(phase)
    for source, folder in setting.latents.items():
        cache = LatentCache.open(folder)
        profile = {"samples": len(cache), "share": shares[source]}
        tracker.log_dataset(f"latents_{source}", cache_digest(cache), "training", str(folder), profile)
    job = _job(phase, setting, name, init_from, output)
    if setting.cluster is not None:
        about = {"stage": setting.stage, "first_step": first_step, "samples": setting.samples}
        environment = {**tracker.environment(), RANK_SETTING: json.dumps(about)}
        cluster = Cluster(**setting.cluster)
        return run_on_cluster(job, cluster, module="sugar.stages.rank", environment=environment)
    sample = sampler(setting.latents["real"], setting.base, tracker, **setting.samples)
    return run_training(
        job,
        job.num_processes,
        lambda metrics, step: tracker.log_metrics(metrics, first_step + step),
        lambda model, step: sample(model, first_step + step),
    )


def _shares(phase: Phase) -> dict[str, float]:
    return {"real": 1 - phase.synthetic_probability, "synthetic": phase.synthetic_probability}


def _job(phase: Phase, setting: _Setting, name: str, init_from: str, output: Path) -> TrainingJob:
    from sugar.training.job import TrainingJob

    settings, shares = setting.settings, _shares(phase)
    used = {f"{s}_latents": str(folder) for s, folder in setting.latents.items() if shares[s] > 0}
    return TrainingJob(
        phase=name,
        init_from=init_from,
        scheduler=setting.base,
        output=str(output),
        checkpoints=str(setting.checkpoints),
        synthetic_probability=phase.synthetic_probability,
        frozen_fraction=phase.frozen_fraction,
        steps=phase.steps,
        trainable=phase.trainable,
        single_frames=phase.single_frames,
        **used,
        **{
            **settings,
            "learning_rate": phase.learning_rate or settings["learning_rate"],
            "lr_schedule": phase.lr_schedule or settings["lr_schedule"],
        },
    )
