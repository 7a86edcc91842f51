"""Runs on two ranks that are killed and stopped, against runs that are left alone: the slow tests' moments.

A row a case of `tests/launch/test_survival.py`: stage, ZeRO stage, where the run was killed, in the middle of
which write it was killed, after which step it was told to stop, whether all it left was equal bit for bit.

python -m benchmarks.survival [--only EXPRESSION]
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.measure import RESULTS, print_table, write_results

TESTS = Path(__file__).parents[1] / "tests" / "launch" / "test_survival.py"
MATRIX = "test_no_end_changes_a_bit"


class Recorder:
    """A pytest plugin that makes a row of every test."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        found = re.search(r"\[(\d)-(\d)-(\w+)\]", report.nodeid)
        assert found is not None
        row = {"stage": int(found[1]), "zero_stage": int(found[2])}
        row |= {"started_by": "fork" if found[3] == "True" else "torchrun", "ranks": 2}
        moments = dict.fromkeys(("killed_after_step", "killed_with", "stopped_after_step"))
        row |= moments | dict(report.user_properties)
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.rows.append(
            row | {"bit_for_bit": report.passed, "seconds": round(report.duration, 1), "date": date}
        )


def case(row: dict[str, Any]) -> tuple[int, int, str]:
    return row["stage"], row["zero_stage"], row["started_by"]


def with_earlier(rows: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """The rows, and those of an earlier result that are of other cases."""
    earlier = json.loads(file.read_text())["rows"] if file.is_file() else []
    made = {case(row) for row in rows}
    return sorted([*rows, *(row for row in earlier if case(row) not in made)], key=case)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", default="", help="of the tests, as pytest -k takes it; other cases keep their rows"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    recorder = Recorder()
    code = pytest.main(["-q", "-m", "slow", f"{TESTS}::{MATRIX}", "-k", args.only], plugins=[recorder])
    if recorder.rows:
        rows = with_earlier(recorder.rows, args.out / "survival-cpu.json")
        print_table(rows)
        print(write_results("survival", rows, torch.device("cpu"), args.out))
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
