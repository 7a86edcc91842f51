"""A rank with slower steps, which can stand still before a step or in the middle of writing a checkpoint.

python interrupted_rank.py JOB.json EVENTS.jsonl. Variables: STEP_SECONDS, added to every step; HOLD_STEP, the
step that does not begin before the rank is told to stop; PAUSE_PLACE, one of PLACES or empty; PAUSE_MARKER,
the file that says that the writer stands still there.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from sugar.launch import worker
from sugar.training import checkpoint
from sugar.training.signals import StopRequest
from sugar.training.trainer import Trainer

PLACES = ("half a state file", "half an export", "no manifest yet", "not renamed yet", "half pruned")
PAUSE_STEP = 8


def pause() -> NoReturn:
    """Stand still until somebody kills this process."""
    Path(os.environ["PAUSE_MARKER"]).touch()
    while True:
        time.sleep(60)


def pause_at(place: str) -> None:
    """Have the writer of checkpoint `PAUSE_STEP` (or of the first removal) stand still at a place."""
    step = f"step-{PAUSE_STEP:08d}"
    save_file, write_json = checkpoint.save_file, checkpoint.write_json_atomic

    def save(tensors: Any, path: Path, *rest: Any) -> None:
        save_file(tensors, path, *rest)
        part = {"half a state file": "state-", "half an export": "transformer_raw"}.get(place)
        if part is not None and step in str(path) and part in f"{path.parent.name}/{path.name}":
            os.truncate(path, path.stat().st_size // 2)
            pause()

    def write(path: Path, content: Any) -> None:
        ours = path.name == "manifest.json" and step in str(path)
        if ours and place == "no manifest yet":
            pause()
        write_json(path, content)
        if ours and place == "not renamed yet":
            pause()

    def rmtree(path: Path, *rest: Any, **options: Any) -> None:
        if place == "half pruned" and "removal" in path.name:
            (path / "manifest.json").unlink()
            pause()
        shutil.rmtree(path, *rest, **options)

    vars(checkpoint).update(save_file=save, write_json_atomic=write, shutil=SimpleNamespace(rmtree=rmtree))


def slow_down(seconds: float, hold: int) -> None:
    """Add a pause to every step, and wait for SIGTERM before step `hold`, counted from 1.

    So that a moment in the middle of the run can be met, by whoever is slow to notice it too.
    """
    step, note, told = Trainer._train_step, StopRequest._note, threading.Event()

    def slower(self: Trainer, micro_batches: Any) -> Any:
        time.sleep(seconds)
        while self.step + 1 >= hold and not told.is_set():
            time.sleep(0.02)
        return step(self, micro_batches)

    def noted(self: StopRequest, *signal: Any) -> None:
        told.set()
        note(self, *signal)

    Trainer._train_step, StopRequest._note = slower, noted


def main(arguments: list[str]) -> int:
    """What `sugar.launch.worker` does, interrupted as the variables say."""
    slow_down(float(os.environ["STEP_SECONDS"]), int(os.environ["HOLD_STEP"]))
    pause_at(os.environ["PAUSE_PLACE"])
    return worker.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
