"""Peak memory of `sugar synthesize` over the size of the dataset: `python -m benchmarks.memory 1000 10000`.

Every size is a run of its own in a temporary folder, with one worker, on Sprite World. Prints the largest
resident set of any of its processes and writes it, with date and hardware, to
benchmarks/results/memory-cpu.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import RESULTS, print_table, write_results

PROMPTS = 2


def sugar(verb: str, root: Path, triplets: int) -> float:
    """Run a stage; returns the peak of the resident set, in MiB.

    Raises:
        RuntimeError: it failed.
    """
    settings = [
        f"paths.root={root}",
        "tracking.enabled=false",
        f"source.num_subjects={triplets // PROMPTS}",
        f"synthesize.prompts_per_subject={PROMPTS}",
        "synthesize.num_workers=1",
    ]
    command = [sys.executable, "-m", "sugar.cli", verb, *(f"--set={setting}" for setting in settings)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"sugar {verb} ended with exit code {code}")
    return usage.ru_maxrss / 1024


def measure(triplets: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sugar("source", root, triplets)
        peak = sugar("synthesize", root, triplets)
        figures = json.loads((root / "reports" / "metrics" / "synthesize.json").read_text())
    rate = figures["triplets_per_second"]
    return {"triplets": triplets, "peak_mib": round(peak, 1), "triplets_per_second": round(rate, 2)}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("triplets", type=int, nargs="*", default=[1000, 10_000])
    rows = [measure(triplets) for triplets in parser.parse_args().triplets]
    print_table(rows)
    print(write_results("memory", rows, torch.device("cpu"), RESULTS))


if __name__ == "__main__":
    main()
