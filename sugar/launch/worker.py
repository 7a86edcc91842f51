"""One rank of a torchrun group: `python -m sugar.launch.worker JOB.json EVENTS.jsonl`.

Rank 0 appends to EVENTS.jsonl what `sugar.launch.local` follows: `{"metrics", "step"}`, and its end:
`{"refused": message}` for bad input, `{"diverged": message}`, `{"preempted": step}`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from sugar.config import InputError
from sugar.launch.local import end_with_parent, event_writer
from sugar.training.job import TrainingJob
from sugar.training.reporting import Log
from sugar.training.signals import Preempted
from sugar.training.trainer import Sample, TrainingDiverged, train

EXIT_BAD_INPUT, EXIT_DIVERGED = 2, 1
TURN_SECONDS = 20.0
"""How long a rank waits for rank 0 to say why they end."""


def main(arguments: list[str], also: Log | None = None, sample: Sample | None = None) -> int:
    """Train as one rank; the exit code. When torchrun dies, its ranks save and stop.

    Args:
        also: takes the numbers of rank 0 beside the events' file.
        sample: as `train` takes it; None: no sample videos, or the launching process makes them.
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

    def end(kind: str, why: str | int) -> None:
        """Torchrun ends all ranks when one is gone: rank 0 speaks first, another only in its place."""
        until = time.monotonic() + TURN_SECONDS
        while not first and time.monotonic() < until:
            if f'{{"{kind}":' in events_file.read_text():
                return
            time.sleep(0.1)
        write({kind: why})

    try:
        train(TrainingJob.from_json(job_file.read_text()), log, sample)
    except InputError as error:
        end("refused", str(error))
        return EXIT_BAD_INPUT
    except TrainingDiverged as error:
        end("diverged", str(error))
        return EXIT_DIVERGED
    except Preempted as stop:
        end("preempted", stop.step)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
