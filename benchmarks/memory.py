"""Peak memory of the data stages over the size of the dataset: `python -m benchmarks.memory 1000 5000 50000`.

A size is a run of source, synthesize, ingest, validate and encode as commands of their own, in a temporary
folder, on Sprite World with small frames, as many clips as triplets and two workers. Memory is the largest
sum, over a stage's process and its workers, of the proportional set size (shared pages counted once), sampled
four times a second; beside it the largest resident set of any one process, as the kernel keeps it. Then each
stage is run again unchanged, and the seconds of the whole command are kept. Prints the figures and writes
them, with date and hardware, to benchmarks/results/memory-cpu.json, after each size.

`--clips N`: so many clips in place of as many as triplets, which are slower to make.

`--tiny`: networks of the same classes, a few kilobytes each, random weights and no filters, so that 50,000
samples take minutes: what grows with their number is not in the networks.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import RESULTS, print_table, write_results
from tests.tiny_networks import NAMES, make_tiny_networks

STAGES = ("synthesize", "ingest", "validate", "encode")
PROMPTS = 2
WORKERS = 2
INTERVAL_SECONDS = 0.25


def tiny_settings(folder: Path) -> list[str]:
    """Make tiny networks in `folder`; that these are to be used, and everything accepted."""
    make_tiny_networks(folder)
    networks = {"metrics_clip": "clip"} | {name: name for name in NAMES}
    values = {f"networks.{key}": str(folder / name) for key, name in networks.items()}
    values |= {
        f"synthesize.filters.{name}": "null" for name in ("min_image_text", "min_identity", "min_consecutive")
    }
    return [f"--set={key}={value}" for key, value in values.items()]


def settings(root: Path, samples: int, clips: int, side_px: int, frames: int) -> list[str]:
    """Of params.yaml: that many synthetic triplets and clips."""
    return [
        f"--set={setting}"
        for setting in (
            f"paths.root={root}",
            "tracking.enabled=false",
            f"video.num_frames={frames}",
            f"video.height_px={side_px}",
            f"video.width_px={side_px}",
            f"source.num_subjects={samples // PROMPTS}",
            f"synthesize.prompts_per_subject={PROMPTS}",
            f"synthesize.num_workers={WORKERS}",
            f"ingest.num_clips={clips}",
            f"ingest.num_workers={WORKERS}",
        )
    ]


def run(verb: str, arguments: list[str]) -> dict[str, float]:
    """Run a stage to its end: seconds, and its memory in MiB.

    Raises:
        RuntimeError: it failed.
    """
    start, peak = time.monotonic(), 0.0
    next_sample = start
    process = subprocess.Popen([sys.executable, "-m", "sugar.cli", verb, *arguments])
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() >= next_sample:
            peak = max(peak, sum(map(_pss_mib, _with_children(process.pid))))
            next_sample = time.monotonic() + INTERVAL_SECONDS
        time.sleep(0.02)
    if code := os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"sugar {verb} ended with exit code {code}")
    return {
        "seconds": round(time.monotonic() - start, 2),
        "all_processes_mib": round(peak, 1),
        "largest_process_mib": round(usage.ru_maxrss / 1024, 1),
    }


def _with_children(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it has ended meanwhile
    return found


def _pss_mib(pid: int) -> float:
    """Proportional set size; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def measure(
    samples: int, clips: int, side_px: int, frames: int, stages: list[str], tiny: bool
) -> list[dict[str, Any]]:
    """A row a stage."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        arguments = settings(Path(folder), samples, clips, side_px, frames)
        if tiny:
            arguments += tiny_settings(Path(folder) / "networks")
        run("source", arguments)
        for stage in STAGES[: 1 + max(map(STAGES.index, stages))]:
            figures = run(stage, arguments)
            if stage in stages:
                unchanged = run(stage, arguments)["seconds"]
                size = {"samples": samples, "clips": clips}
                rows.append({"stage": stage, **size, **figures, "unchanged_seconds": unchanged})
                print_table(rows)
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=int, nargs="*", default=[1000, 5000, 50_000])
    parser.add_argument("--side-px", type=int, default=32)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="those to measure")
    parser.add_argument("--clips", type=int, help="default: as many as triplets")
    parser.add_argument("--tiny", action="store_true", help="tiny networks with random weights, no filters")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    facts = {"side_px": given.side_px, "frames": given.frames, "tiny_networks": given.tiny}
    for samples in given.samples:
        clips = given.clips or samples
        rows += measure(samples, clips, given.side_px, given.frames, given.stages, given.tiny)
        print_table(rows)
        print(write_results("memory", rows, torch.device("cpu"), RESULTS, facts))


if __name__ == "__main__":
    main()
