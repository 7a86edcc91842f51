"""A rank on a cluster: rank 0 writes to the run that the launching stage forwards."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sugar.config import InputError
from sugar.launch import worker
from sugar.stages import rank
from sugar.training.job import TrainingJob


class _Tracker:
    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics, step: int = 0) -> None:
        self.seen.append((dict(metrics), step))


@pytest.fixture
def opened(monkeypatch) -> list[tuple[str, bool, _Tracker]]:
    runs: list[tuple[str, bool, _Tracker]] = []

    @contextlib.contextmanager
    def start_run(stage: str, params: Any, *, enabled: bool) -> Iterator[_Tracker]:
        runs.append((stage, enabled, _Tracker()))
        yield runs[-1][2]

    monkeypatch.setattr(rank, "start_run", start_run)
    monkeypatch.setattr(worker, "train", lambda job, log, sample: _trained(log, sample))
    monkeypatch.setattr(worker, "end_with_parent", lambda: None)
    return runs


def _trained(log: Any, sample: Any) -> None:
    log({"loss": 0.5}, 3)
    if sample is not None:
        sample("model", 4)


def _files(folder: Path) -> list[str]:
    job = TrainingJob(
        phase="stage2", init_from="a", scheduler="a", output="o", checkpoints="c", real_latents="r"
    )
    (folder / "job.json").write_text(job.to_json())
    return [str(folder / "job.json"), str(folder / "events.jsonl")]


@pytest.mark.parametrize("number, forwarded", [("0", True), ("1", False)])
def test_only_rank_0_adopts_the_run_and_every_rank_can_sample(
    tmp_path, monkeypatch, opened, number, forwarded
) -> None:
    made: list[tuple[Any, ...]] = []

    def sampler(*arguments: Any, **samples: Any) -> Any:
        return lambda model, step: made.append((*arguments, samples, model, step))

    monkeypatch.setattr(rank, "sampler", sampler)
    about = {"stage": "finetune", "first_step": 100, "samples": {"fps": 8}}
    for key, value in {"RANK": number, "MLFLOW_RUN_ID": "r1", "SUGAR_RANK": json.dumps(about)}.items():
        monkeypatch.setenv(key, value)
    assert rank.main(_files(tmp_path)) == 0
    ((stage, enabled, tracker),) = opened
    assert (stage, enabled) == ("finetune", forwarded)
    assert tracker.seen == [({"loss": 0.5}, 103)]
    assert made == [(Path("r"), "a", tracker, {"fps": 8}, "model", 104)]
    assert json.loads((tmp_path / "events.jsonl").read_text()) == {"metrics": {"loss": 0.5}, "step": 3}


def test_without_a_run_the_events_alone_are_written(tmp_path, monkeypatch, opened) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    assert rank.main(_files(tmp_path)) == 0
    assert opened[0][1] is False


@pytest.mark.parametrize("number, spoken", [("0", []), ("1", ["refused"]), ("1", [])])
def test_rank_0_says_why_they_end_or_another_in_its_place(tmp_path, monkeypatch, number, spoken) -> None:
    def refuse(job: TrainingJob, log: Any, sample: Any) -> None:
        raise InputError("latents: no such file")

    files = _files(tmp_path)
    events = Path(files[1])
    events.write_text("".join(json.dumps({kind: "by rank 0"}) + "\n" for kind in spoken))
    for name, value in (("train", refuse), ("end_with_parent", lambda: None), ("TURN_SECONDS", 0.2)):
        monkeypatch.setattr(worker, name, value)
    monkeypatch.setenv("RANK", number)
    assert worker.main(files) == worker.EXIT_BAD_INPUT
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert told == [{"refused": "by rank 0" if spoken else "latents: no such file"}]
