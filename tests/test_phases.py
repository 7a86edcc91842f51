"""A stage that runs several phases: each from the one before, frozen tensors compared, steps counted on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from module_files import load_module
from safetensors.torch import load_file, save_file

from sugar.config import InputError
from sugar.stages.phase import train_phases
from sugar.training.checkpoint import WEIGHTS_FILE, read_weights
from sugar.training.frozen import digests
from sugar.training.strategies import Phase

_FIXTURES = load_module(Path(__file__).with_name("training") / "conftest.py")
base, caches, make_job = _FIXTURES.base, _FIXTURES.caches, _FIXTURES.make_job

SETTINGS = {
    "global_batch": 4,
    "micro_batch": 4,
    "learning_rate": 1e-3,
    "lr_schedule": "constant",
    "log_every": 1,
    "checkpoint_every": 2,
    "sample_every": 0,
    "device": "cpu",
}
PHASES = (
    Phase("stage2", synthetic_probability=0.5, frozen_fraction=0.5, steps=2),
    Phase("stage3", synthetic_probability=1.0, frozen_fraction=0.75, steps=3, learning_rate=1e-4),
)


class _Tracker:
    def __init__(self) -> None:
        self.steps: list[int] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        if "learning_rate" in metrics:
            self.steps.append(step)

    def log_dataset(self, *about: object) -> None: ...

    def log_model_folder(self, *about: object) -> None: ...


@pytest.fixture
def run(monkeypatch, base, caches, tmp_path):
    monkeypatch.setattr("sugar.stages.model_folder.export_pipeline", lambda *_: None)
    monkeypatch.setattr("sugar.stages.samples.sampler", lambda *_, **__: lambda model, step: None)

    def train(phases=PHASES, init_from: str = str(base)) -> tuple[dict[str, float], list[int]]:
        tracker: Any = _Tracker()
        figures = train_phases(
            phases,
            name="stage2",
            init_from=init_from,
            base=str(base),
            encoders=("", ""),
            latents=caches,
            output=tmp_path / "stage2",
            checkpoints=tmp_path / "checkpoints",
            settings=SETTINGS,
            samples={},
            cluster=None,
            tracker=tracker,
        )
        return figures, tracker.steps

    return train


def test_each_phase_goes_on_from_the_one_before(run, tmp_path) -> None:
    figures, steps = run()
    assert figures["steps"] == 5  # of both
    assert figures["learning_rate"] == pytest.approx(1e-4 / 50 * 3)
    assert steps == [1, 2, 3, 4, 5]
    between, last = tmp_path / "stage2" / "phases" / "stage2", tmp_path / "stage2"
    start, end = (digests(read_weights(folder / "transformer")) for folder in (between, last))
    frozen = json.loads((last / "frozen.json").read_text())
    assert {name.split(".")[1] for name in frozen if name.startswith("transformer_blocks.")} == {
        "0",
        "1",
        "2",
    }
    assert {name: end[name] for name in frozen} == frozen == {name: start[name] for name in frozen}
    assert any(start[name] != end[name] for name in end)
    assert len(json.loads((between / "frozen.json").read_text())) < len(frozen)
    assert not list((tmp_path / "checkpoints").glob("*/step-*"))
    assert run() == (figures, [])


def test_a_frozen_tensor_that_was_altered_between_phases_is_found(run, tmp_path) -> None:
    run(PHASES[:1])
    file = tmp_path / "stage2" / "transformer" / WEIGHTS_FILE
    weights = load_file(file)
    weights["patch_embed.proj.weight"] += 1e-6
    (tmp_path / "stage2").rename(tmp_path / "before")
    save_file(weights, tmp_path / "before" / "transformer" / WEIGHTS_FILE, {"format": "pt"})
    with pytest.raises(InputError, match=r"frozen tensors differ from frozen.json.* patch_embed.proj.weight"):
        run(PHASES[1:], init_from=str(tmp_path / "before"))


def test_the_phases_of_another_strategy_are_removed(run, tmp_path) -> None:
    run()
    run(PHASES[1:])
    assert not list((tmp_path / "stage2" / "phases").iterdir())
