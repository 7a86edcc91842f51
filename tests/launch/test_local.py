"""A job in a torchrun group reports, samples and stops as it does in one process."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from module_files import load_module

from sugar.config import InputError
from sugar.launch import local
from sugar.launch.local import _complete_lines, event_writer, run_training
from sugar.training.checkpoint import read_weights
from sugar.training.signals import EXIT_START_AGAIN, Preempted

_FIXTURES = load_module(Path(__file__).parents[1] / "training" / "conftest.py")
base, caches, make_job = _FIXTURES.base, _FIXTURES.caches, _FIXTURES.make_job


def test_one_process_is_this_one(make_job) -> None:
    lines = []
    figures = run_training(make_job(steps=2, log_every=1), log=lambda metrics, step: lines.append(step))
    assert figures["steps"] == 2
    assert sorted(set(lines)) == [1, 2]


def test_the_number_of_processes_is_the_job_s(make_job) -> None:
    with pytest.raises(InputError, match="num_processes must be the job's, 1, got 2"):
        run_training(make_job(), 2)


def test_lines_are_followed_while_they_are_written(tmp_path) -> None:
    file = tmp_path / "events.jsonl"
    write = event_writer(file)
    write({"step": 1})
    with open(file, encoding="utf-8") as events:
        assert list(_complete_lines(events)) == [{"step": 1}]
        with open(file, "a") as half:
            half.write('{"step"')
        assert list(_complete_lines(events)) == []
        with open(file, "a") as rest:
            rest.write(": 2}\n")
        write({"step": 3})
        assert list(_complete_lines(events)) == [{"step": 2}, {"step": 3}]


def test_sigterm_before_the_ranks_listen_asks_to_be_started_again_too(make_job, monkeypatch) -> None:
    asleep = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(60)"]
    monkeypatch.setattr(local._Group, "_command", lambda self: asleep)
    monkeypatch.setattr(local._Group, "_follow", lambda self, events: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted) as stopped:
        run_training(make_job(num_processes=2), 2)
    assert (stopped.value.code, stopped.value.step) == (EXIT_START_AGAIN, 0)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_two_processes_equal_one(make_job, zero_stage) -> None:
    """Losses of every step and held-out losses; under ZeRO-3 neither validation nor sampling hangs."""
    told: dict[str, dict[int, dict[str, float]]] = {"one": {}, "two": {}}
    sampled = []

    def into(name: str):
        return lambda metrics, step: told[name].setdefault(step, {}).update(metrics)

    changes = {"micro_batch": 1, "log_every": 1, "sample_every": 3, "zero_stage": zero_stage}
    one = run_training(make_job("one", **changes), log=into("one"))
    job = make_job("two", **changes, num_processes=2)
    two = run_training(job, 2, into("two"), lambda model, step: sampled.append((step, model.training)))
    assert sorted(told["two"]) == [1, 2, 3, 4, 5, 6]
    for step, metrics in told["one"].items():
        losses = {name: value for name, value in metrics.items() if "loss" in name}
        assert {name: told["two"][step][name] for name in losses} == pytest.approx(losses, abs=1e-5)
    assert {"held_out_loss_real", "held_out_loss_synthetic"} <= set(told["two"][3])
    assert two["held_out_loss"] == pytest.approx(one["held_out_loss"], abs=1e-5)
    assert sampled
    assert not any(training for _, training in sampled)
    expected = dict(read_weights(Path(make_job("one").output) / "transformer_raw"))
    for name, tensor in read_weights(Path(job.output) / "transformer_raw"):
        # What is added to all keys alike changes no attention: this gradient is rounding noise, which AdamW
        # makes steps of full size from.
        if not name.endswith("norm_k.bias"):
            torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.slow
def test_bad_input_in_the_group_is_one_clear_line(make_job, tmp_path) -> None:
    job = make_job(num_processes=2, init_from=str(tmp_path))
    with pytest.raises(InputError, match="no transformer to start from"):
        run_training(job, 2)


@pytest.mark.slow
def test_two_processes_continue_what_one_began(make_job) -> None:
    whole, job = make_job("whole"), make_job("job", checkpoint_every=1)
    run_training(whole)

    class Killed(Exception):
        pass

    def log(metrics, step: int) -> None:
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        run_training(job, log=log)
    run_training(replace(job, num_processes=2, zero_stage=3), 2)
    expected = dict(read_weights(Path(whole.output) / "transformer"))
    for name, tensor in read_weights(Path(job.output) / "transformer"):
        if not name.endswith("norm_k.bias"):
            torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4, msg=name)
    assert json.loads((Path(job.output) / "training.json").read_text())["metrics"]["steps"] == 6
