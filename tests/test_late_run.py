"""A stage that finds nothing to do opens no run, and the run that made its outputs keeps their records."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sugar.tracking import LateTracker, NullTracker, Tracker, late_run

RUN = """
import sys
from sugar.cli import main
code = main(sys.argv[1:])
print("mlflow imported" if "mlflow" in sys.modules else "no mlflow", file=sys.stderr)
sys.exit(code)
"""


class Recorded(NullTracker):
    run_id = "r1"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def log_metrics(self, metrics, step=0) -> None:
        self.seen += metrics


@dataclass
class Store:
    """Opens runs, and remembers how they ended."""

    root: Path
    runs: list[Recorded] = field(default_factory=list)

    @contextlib.contextmanager
    def open_run(self, enabled: bool) -> Iterator[Tracker]:
        tracker = Recorded()
        self.runs += [tracker] * enabled
        yield tracker if enabled else NullTracker()
        tracker.seen.append("closed")

    def run(self, work: bool, *, enabled: bool = True, experiment: str = "sugar", error: str = "") -> int:
        """A stage of one output; returns how many runs it opened."""
        before = len(self.runs)
        with late_run(
            lambda: self.open_run(enabled),
            "copy",
            [self.root / "out"],
            uri="sqlite:///mlflow.db",
            experiment=experiment,
            enabled=enabled,
            root=self.root,
        ) as tracker:
            if work:
                tracker.begin()
                tracker.begin()
            tracker.log_metrics({"figure": 1.0})
            if error:
                raise RuntimeError(error)
        return len(self.runs) - before


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> Store:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    (tmp_path / "mlflow.db").touch()
    return Store(tmp_path)


def test_a_run_is_opened_where_there_is_work_and_where_none_tells_of_the_outputs(store):
    assert store.run(work=False) == 1  # made while tracking was off, say
    assert store.runs[0].seen == ["figure", "closed"]
    assert store.run(work=False) == 0
    assert store.run(work=True) == 1
    assert store.run(work=False) == 0
    note = json.loads((store.root / ".out.run.json").read_text())
    assert note == {"uri": f"sqlite:///{store.root / 'mlflow.db'}", "experiment": "sugar", "run": "r1"}


def test_another_experiment_and_a_store_that_is_gone_get_a_run(store):
    assert store.run(work=True) == 1
    assert store.run(work=False, experiment="other") == 1
    assert store.run(work=False) == 1
    (store.root / "mlflow.db").unlink()
    assert store.run(work=False) == 1


def test_outputs_that_changed_without_a_whole_run_are_told_of_by_none(store):
    store.run(work=True)
    assert store.run(work=True, enabled=False) == 0
    assert store.run(work=False) == 1
    with pytest.raises(RuntimeError, match="disk"):
        store.run(work=True, error="disk")
    assert store.run(work=False) == 1
    (store.root / ".out.run.json").write_text("[")
    assert store.run(work=False) == 1
    assert store.run(work=False, enabled=False) == 0
    assert store.run(work=False) == 0


def test_an_adopted_run_gets_its_figures_always(store, monkeypatch):
    store.run(work=True)
    monkeypatch.setenv("MLFLOW_RUN_ID", "a" * 32)
    assert store.run(work=False) == 1
    assert store.run(work=False) == 1


def test_nothing_is_kept_before_the_run_is_open_and_all_is_passed_on_after():
    recorded = Recorded()
    tracker = LateTracker(lambda: recorded)
    tracker.log_metrics({"before": 1.0})
    assert (tracker.run_id, tracker.began) == (None, False)
    tracker.begin()
    tracker.log_metrics({"after": 1.0})
    assert (tracker.run_id, tracker.began, recorded.seen) == ("r1", True, ["after"])
    assert {name for name in vars(Tracker) if not name.startswith("_")} <= vars(LateTracker).keys()


def test_a_stage_that_is_run_again_neither_imports_mlflow_nor_opens_a_run(
    project_root, tmp_path, monkeypatch
):
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)

    def source(*settings: str) -> str:
        words = ["source", "--params", str(project_root / "params.yaml"), "--profile", "smoke"]
        words += [f"--set={value}" for value in (f"paths.root={tmp_path}", *settings)]
        done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def num_runs() -> int:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("sugar")
        assert experiment is not None
        return len(client.search_runs([experiment.experiment_id]))

    def digests() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "data/subjects").iterdir()}

    assert "mlflow imported" in source()
    before = digests()
    again = source()
    assert "no mlflow" in again and "source: nothing to do" in again and "subjects 12" in again
    assert (digests(), num_runs()) == (before, 1)
    assert "mlflow imported" in source("source.num_subjects=3")
    assert num_runs() == 2
