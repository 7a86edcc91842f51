"""Damaged files by the thousand: `python -m benchmarks.bad_input [--inputs 5000]`.

What became of each kind of file, the slowest read and the growth of memory; any crash, hang or silent loss
ends it with an error. Writes benchmarks/results/bad-input-cpu.json.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch

from benchmarks.measure import RESULTS, print_table, write_results

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    """Damage, read, print, write."""
    from damaged_files import fuzz, good_files

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = good_files(Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes = fuzz(good, given.inputs, given.seed, Path(folder))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows = []
    for kind in sorted({outcome.name.split(".")[1] for outcome in outcomes}):
        of_kind = [outcome for outcome in outcomes if outcome.name.endswith(kind)]
        reasons = Counter(outcome.reason for outcome in of_kind)
        rows.append(
            {
                "kind": kind,
                "inputs": len(of_kind),
                "read": reasons.pop("read", 0),
                "slowest_s": round(max(outcome.seconds for outcome in of_kind), 3),
                "refused": ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())),
            }
        )
    rows.append(
        {"kind": "all", "inputs": len(outcomes), "read": sum(row["read"] for row in rows),
         "slowest_s": max(row["slowest_s"] for row in rows), "refused": f"memory grew by {grown:.0f} MiB"}
    )  # fmt: skip
    print_table(rows)
    print(write_results("bad-input", rows, torch.device("cpu"), RESULTS))


if __name__ == "__main__":
    main()
