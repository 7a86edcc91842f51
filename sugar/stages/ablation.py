"""A model that differs from the default one in what `ablations` of params.yaml says, and nothing else.

It is trained on the same latents with the same budget: NAME/stage1 and NAME/stage2 below `paths.ablations`.
Then it is evaluated beside the default model, on the same subjects, sentences and noise, below
`paths.comparisons`.
"""

from __future__ import annotations

from pathlib import Path

from sugar.config import Params, ablated, params_from_dict
from sugar.stages.results import evaluate
from sugar.stages.stage import METRICS, metrics_file, paths_to_read
from sugar.stages.training import finetune, pretrain

ABLATION_STAGES = (pretrain.name, finetune.name, evaluate.name)
"""In the order in which they run."""


def model_folder(params: Params, ablation: str, stage: str) -> Path:
    """Where "stage1" or "stage2" of an ablation lies."""
    return params.path("ablations") / ablation / stage


def run_ablation_stage(name: str, params: Params, ablation: str) -> dict[str, float]:
    """Run one of `ABLATION_STAGES` for an ablation; returns its figures.

    Raises:
        InputError: an ablation that params.yaml does not have, or what the stage itself raises.
        KeyError: another stage.
    """
    changed = ablated(params, ablation)
    stage1, stage2 = (model_folder(params, ablation, stage) for stage in ("stage1", "stage2"))
    stage = {stage.name: stage for stage in (pretrain, finetune, evaluate)}[name]
    inputs = paths_to_read(stage, params)
    if stage is pretrain:
        outputs = {"stage1": stage1}
    elif stage is finetune:
        inputs["stage1"] = stage1
        outputs = {"stage2": stage2}
    else:
        changed = _compared(params, ablation)
        outputs = {"evaluation": params.path("comparisons") / ablation}
    figures = metrics_file(params, name, ablation)
    return stage(changed, inputs, {**outputs, METRICS: figures}, ablation)


def _compared(params: Params, ablation: str) -> Params:
    values = params.as_dict()
    values["evaluate"]["compare"] = list(dict.fromkeys([*params.evaluate.compare, ablation]))
    return params_from_dict(values, params.folder)
