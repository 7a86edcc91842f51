"""The nine stages: each unpacks the parameters that it declares and calls the rooms that do the work.

`STAGES[name](params, inputs, outputs)` returns the stage's figures; see `sugar.stages.stage.Stage`.
"""

from collections.abc import Mapping

from sugar.config import Params
from sugar.stages.ablation import ABLATION_STAGES, run_ablation_stage
from sugar.stages.data import encode, ingest, source, synthesize, validate
from sugar.stages.results import evaluate, register
from sugar.stages.stage import Stage, StageFailure, run_on_paths
from sugar.stages.training import finetune, pretrain

__all__ = [
    "ABLATION_STAGES",
    "STAGES",
    "Stage",
    "StageFailure",
    "encode",
    "evaluate",
    "finetune",
    "ingest",
    "pretrain",
    "register",
    "run_ablation_stage",
    "run_stage",
    "source",
    "synthesize",
    "validate",
]

STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (source, synthesize, ingest, validate, encode, pretrain, finetune, evaluate, register)
}
"""In an order in which they can run."""


def run_stage(name: str, params: Params, check: bool = False) -> dict[str, float]:
    """Run a stage on the folders that params.yaml names; returns its figures. check: as for `Stage`."""
    return run_on_paths(STAGES[name], params, check)
