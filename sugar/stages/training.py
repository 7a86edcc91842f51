"""The two training stages: pretrain and finetune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sugar.config import Params
from sugar.stages.stage import Paths, declare

if TYPE_CHECKING:
    from sugar.tracking import Tracker
    from sugar.training.strategies import Phase

TRAINING = ("seed", "video.fps", "conditions", "strategy", "training", "networks.device", "pretrain")


@declare("latents_real", "stage1", (*TRAINING, "model", "networks.base", "networks.dino", "networks.clip"))
def pretrain(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Train stage 1 on real video, from the base text-to-video model (SUGAR section 3.2)."""
    from sugar.stages.phase import train_phases

    base = params.network("base")
    return train_phases(
        _phases(params, 1, (params.pretrain.steps, 0)),
        name="stage1",
        init_from=base,
        base=base,
        encoders=(params.network("dino"), params.network("clip")),
        latents={"real": inputs["latents_real"]},
        output=outputs["stage1"],
        checkpoints=params.path("checkpoints"),
        settings={**_training_settings(params), **params.model.model_dump()},
        samples=_sample_settings(params),
        cluster=_cluster_settings(params),
        tracker=tracker,
    )


@declare("latents_real latents_synthetic stage1", "stage2", (*TRAINING, "finetune"))
def finetune(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Train stage 2 on real and synthetic video, from stage 1, part of the layers frozen.

    A strategy of more than two phases runs all of them but the first here, one after another.
    """
    from sugar.encoders.conditioner import encoder_folders
    from sugar.stages.phase import train_phases

    stage1 = inputs["stage1"]
    return train_phases(
        _phases(params, 2, (params.pretrain.steps, params.finetune.steps)),
        name="stage2",
        init_from=str(stage1),
        base=str(stage1),
        encoders=encoder_folders(stage1),
        latents={"real": inputs["latents_real"], "synthetic": inputs["latents_synthetic"]},
        output=outputs["stage2"],
        checkpoints=params.path("checkpoints"),
        settings=_training_settings(params),
        samples=_sample_settings(params),
        cluster=_cluster_settings(params),
        tracker=tracker,
    )


def configured_phases(params: Params) -> list[Phase]:
    """The phases that `pretrain` and `finetune` run, those without steps left out."""
    steps = (params.pretrain.steps, params.finetune.steps)
    phases = [*_phases(params, 1, (steps[0], 0)), *_phases(params, 2, steps)]
    return [phase for phase in phases if phase.steps]


def _phases(params: Params, stage: int, steps: tuple[int, int]) -> tuple[Phase, ...]:
    from sugar.training.strategies import resolve_strategy, stage_phases

    strategy = params.section("strategy")
    rows = strategy["custom"] and [
        {key: value for key, value in row.items() if value is not None} for row in strategy["custom"]
    ]
    return stage_phases(resolve_strategy(strategy["name"], steps, strategy["mix_probability"], rows), stage)


def _training_settings(params: Params) -> dict[str, Any]:
    return {
        **params.training.model_dump(exclude={"sample_clips", "sample_steps", "cluster"}),
        **params.conditions.model_dump(),
        "seed": params.seed,
        "device": params.networks.device,
    }


def _cluster_settings(params: Params) -> dict[str, Any] | None:
    cluster = params.training.cluster
    return None if cluster is None else cluster.model_dump()


def _sample_settings(params: Params) -> dict[str, Any]:
    training = params.training
    return {
        "num_clips": training.sample_clips,
        "num_steps": training.sample_steps,
        "fps": params.video.fps,
    }
