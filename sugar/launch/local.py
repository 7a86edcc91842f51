"""A training job on this machine: in this process, or in a torchrun group that reports back to it."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sugar.config import InputError
from sugar.data.atomic import write_bytes_atomic
from sugar.training.checkpoint import CheckpointStore
from sugar.training.engine import choose_device
from sugar.training.job import TrainingJob
from sugar.training.output import COMPLETION
from sugar.training.reporting import Log
from sugar.training.signals import Preempted, StopRequest
from sugar.training.trainer import Sample, TrainingDiverged, train

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
SHUTDOWN_SECONDS = 600
_PR_SET_PDEATHSIG = 1


def run_training(
    job: TrainingJob, num_processes: int | None = None, log: Log | None = None, sample: Sample | None = None
) -> dict[str, float]:
    """Run a job to its end and return its last figures; the same for one process and for many.

    With several processes, `log` is called here with what rank 0 reports, and `sample` here as well, with the
    EMA weights of a checkpoint, whenever a checkpoint has passed another multiple of `job.sample_every`: so
    sampling never holds up, nor hangs, the group.

    Args:
        num_processes: on this machine; None or the job's own.

    Raises:
        InputError: what `train` says is bad input, or another number of processes than the job's.
        TrainingDiverged: too many steps in a row were skipped.
        Preempted: the job was asked to stop and saved.
        RuntimeError: a process failed; its traceback is on stderr.
    """
    if num_processes not in (None, job.num_processes):
        raise InputError(f"num_processes must be the job's, {job.num_processes}, got {num_processes}")
    if job.num_processes == 1:
        return train(job, log, sample)
    return _Group(job, log, sample).run()


class _Group:
    """A torchrun group of one machine, followed through the lines that rank 0 writes."""

    def __init__(self, job: TrainingJob, log: Log | None, sample: Sample | None) -> None:
        self._job, self._log, self._sample = job, log, sample
        folder = Path(job.checkpoints)
        self._store = CheckpointStore(folder / job.phase)
        self._job_file, self._events_file = (
            folder / f"{job.phase}.job.json",
            folder / f"{job.phase}.events.jsonl",
        )
        self._sampled = max([0, *self._store.steps()])
        self._refused: str | None = None
        self._diverged: str | None = None
        self._preempted: int | None = None

    def run(self) -> dict[str, float]:
        write_bytes_atomic(self._job_file, self._job.to_json().encode())
        self._events_file.write_bytes(b"")
        threads = max(1, (os.cpu_count() or 1) // self._job.num_processes)
        process = subprocess.Popen(
            self._command(),
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        with StopRequest() as stop, open(self._events_file, encoding="utf-8") as events:
            forwarded = False
            while (code := process.poll()) is None:
                if stop.asked and not forwarded:
                    os.killpg(process.pid, signal.SIGTERM)
                    forwarded = True
                self._follow(events)
                time.sleep(POLL_SECONDS)
            self._follow(events)
        if self._refused is not None:
            raise InputError(self._refused)
        if self._diverged is not None:
            raise TrainingDiverged(self._diverged)
        if self._preempted is not None:
            raise Preempted(self._preempted)
        if code != 0 and stop.asked:  # before the ranks could listen: nothing is lost
            raise Preempted(max([0, *self._store.steps()]))
        if code != 0:
            raise RuntimeError(f"{self._job.phase}: the torchrun group ended with code {code}")
        return json.loads((Path(self._job.output) / COMPLETION).read_text())["metrics"]

    def _command(self) -> list[str]:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=0"]
        torchrun += [f"--nproc-per-node={self._job.num_processes}", f"--shutdown-timeout={SHUTDOWN_SECONDS}"]
        return [*torchrun, "-m", "sugar.launch.worker", str(self._job_file), str(self._events_file)]

    def _follow(self, events: Any) -> None:
        for event in _complete_lines(events):
            if "metrics" in event and self._log is not None:
                self._log(event["metrics"], event["step"])
            self._refused = event.get("refused", self._refused)
            self._diverged = event.get("diverged", self._diverged)
            self._preempted = event.get("preempted", self._preempted)
        self._sample_checkpoint()

    def _sample_checkpoint(self) -> None:
        steps = self._store.steps()
        every = self._job.sample_every
        if self._sample is None or not every or not steps or steps[-1] // every <= self._sampled // every:
            return
        from sugar.training.start import load_export

        self._sampled = steps[-1]
        model: Any = load_export(self._store.path(steps[-1]) / "transformer")
        self._sample(model.to(choose_device(self._job.device)).eval(), steps[-1])


def _complete_lines(file: Any) -> Iterator[Mapping[str, Any]]:
    """The JSON lines written since the last call; a line that is still being written waits."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(start)
            return
        yield json.loads(line)


def end_with_parent() -> None:
    """In the child: SIGTERM (save and stop) when the parent dies, so that no process is left alone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def event_writer(file: Path) -> Callable[[Mapping[str, Any]], None]:
    """A function that appends one JSON line at once."""

    def write(event: Mapping[str, Any]) -> None:
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(event) + "\n")

    return write
