"""One rank of a training on a cluster: `python -m sugar.stages.rank JOB.json EVENTS.jsonl`.

Rank 0 adopts the MLflow run that the launching stage forwards in `MLFLOW_RUN_ID`, `MLFLOW_TRACKING_URI` and
`SUGAR_STAGE`, and writes its numbers there; without them it writes the events' file alone.
"""

from __future__ import annotations

import os
import sys

from sugar.launch import worker
from sugar.stages.phase import RANK_STAGE
from sugar.tracking import start_run


def main(arguments: list[str]) -> int:
    """Train as one rank; the exit code."""
    forwarded = os.environ.get("RANK", "0") == "0" and "MLFLOW_RUN_ID" in os.environ
    with start_run(os.environ.get(RANK_STAGE, "training"), {}, enabled=forwarded) as tracker:
        return worker.main(arguments, tracker.log_metrics)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
