"""One rank of a torchrun group: `python -m sugar.launch.worker JOB.json EVENTS.jsonl`.

Rank 0 appends to EVENTS.jsonl what `sugar.launch.local` follows: `{"metrics", "step"}`,
`{"refused": message}` for bad input, `{"preempted": step}`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from sugar.config import InputError
from sugar.launch.local import end_with_parent, event_writer
from sugar.training.job import TrainingJob
from sugar.training.signals import Preempted
from sugar.training.trainer import Log, train

EXIT_BAD_INPUT = 2


def main(arguments: list[str], also: Log | None = None) -> int:
    """Train as one rank; the exit code. When torchrun dies, its ranks save and stop.

    Args:
        also: takes the numbers of rank 0 beside the events' file.
    """
    end_with_parent()
    job_file, events_file = (Path(argument) for argument in arguments)
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.WARNING)
    write = event_writer(events_file)

    def log(metrics: Mapping[str, float], step: int) -> None:
        write({"metrics": dict(metrics), "step": step})
        if also is not None:
            also(metrics, step)

    try:
        train(TrainingJob.from_json(job_file.read_text()), log)
    except InputError as error:
        if first:
            write({"refused": str(error)})
        return EXIT_BAD_INPUT
    except Preempted as stop:
        if first:
            write({"preempted": stop.step})
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
