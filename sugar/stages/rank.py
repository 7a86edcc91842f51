"""One rank of a training on a cluster: `python -m sugar.stages.rank JOB.json EVENTS.jsonl`.

Rank 0 adopts the MLflow run that the launching stage forwards in `MLFLOW_RUN_ID` and `MLFLOW_TRACKING_URI`,
and writes its numbers and sample videos there; without them it writes the events' file alone. `SUGAR_RANK`
holds what else the stage knows: its name, the steps of the phases before, the settings of the sample videos.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sugar.launch import worker
from sugar.stages.phase import RANK_SETTING
from sugar.stages.samples import sampler
from sugar.tracking import start_run
from sugar.training.job import TrainingJob

if TYPE_CHECKING:
    from sugar.tracking import Tracker
    from sugar.training.trainer import Sample


def main(arguments: list[str]) -> int:
    """Train as one rank; the exit code."""
    forwarded = os.environ.get("RANK", "0") == "0" and "MLFLOW_RUN_ID" in os.environ
    setting = json.loads(os.environ.get(RANK_SETTING, "{}"))
    first_step = setting.get("first_step", 0)
    with start_run(setting.get("stage", "training"), {}, enabled=forwarded) as tracker:
        sample = _sample(Path(arguments[0]), setting, tracker) if "MLFLOW_RUN_ID" in os.environ else None
        return worker.main(arguments, lambda m, step: tracker.log_metrics(m, first_step + step), sample)


def _sample(job_file: Path, setting: dict[str, Any], tracker: Tracker) -> Sample | None:
    """Sample videos, on every rank: under ZeRO-3 all of them make them, and the tracker of one keeps them."""
    if "samples" not in setting:
        return None
    job = TrainingJob.from_json(job_file.read_text())
    latents = Path(str(job.real_latents or job.synthetic_latents))
    sample = sampler(latents, job.scheduler, tracker, **setting["samples"])
    return lambda model, step: sample(model, setting["first_step"] + step)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
