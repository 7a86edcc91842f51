"""Runs that are interrupted, refused or broken, against the run that was not."""

from __future__ import annotations

import csv
import errno
import json
import logging
import math
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from module_files import load_module
from safetensors.torch import load_file, save_file

from sugar.config import InputError
from sugar.data.atomic import StageLock
from sugar.model.transformer import SugarTransformer3DModel
from sugar.training import checkpoint
from sugar.training.checkpoint import WEIGHTS_FILE, CheckpointStore, read_weights
from sugar.training.frozen import digests, verify_frozen
from sugar.training.history import NAMES
from sugar.training.job import TrainingJob
from sugar.training.signals import EXIT_START_AGAIN, Preempted
from sugar.training.trainer import TrainingDiverged, learning_rate_at, train

_FIXTURES = load_module(Path(__file__).with_name("conftest.py"))


SLOW = [(0, "bf16"), (1, "fp32"), (2, "fp32"), (2, "bf16"), (3, "fp32"), (3, "bf16")]
ENGINES = [(0, "fp32"), (1, "bf16"), *(pytest.param(*engine, marks=pytest.mark.slow) for engine in SLOW)]


class Killed(Exception):
    """Stands for a process that ends in the middle."""


def _killed_at(step: int) -> Callable[..., None]:
    def log(metrics, at: int) -> None:
        if at >= step:
            raise Killed

    return log


def _left(job: TrainingJob) -> dict[str, bytes]:
    """All that a finished run leaves and that time does not enter: state, weights, tables."""
    last = Path(job.checkpoints) / job.phase / f"step-{job.steps:08d}"
    files = [*last.glob("state-*"), *Path(job.output).glob("*.csv"), Path(job.output) / "frozen.json"]
    files += [*Path(job.output).glob(f"*/{WEIGHTS_FILE}"), *last.glob(f"*/{WEIGHTS_FILE}")]
    assert len(files) >= 8
    return {
        file.relative_to(file.parents[1]).as_posix() + str(file.parent.name): file.read_bytes()
        for file in files
    }


@pytest.mark.parametrize("zero_stage, precision", ENGINES)
def test_a_continued_run_equals_the_run_that_never_stopped(make_job, zero_stage, precision) -> None:
    changes = {"zero_stage": zero_stage, "precision": precision, "frozen_fraction": 0.5}
    whole, parts = make_job("whole", **changes), make_job("parts", **changes)
    figures = train(whole)
    for step in (3, 4):
        with pytest.raises(Killed):
            train(parts, _killed_at(step))
    continued = train(parts)
    assert _left(parts) == _left(whole)
    timed = ("seconds_per_step", "samples_per_second", "data_wait_share", "checkpoint_wait_share")
    assert {k: v for k, v in figures.items() if k not in timed} == {
        k: v for k, v in continued.items() if k not in timed
    }


@pytest.mark.slow
def test_a_run_continues_under_another_zero_stage_and_accumulation(make_job) -> None:
    whole, parts = make_job("whole"), make_job("parts", zero_stage=3)
    train(whole)
    with pytest.raises(Killed):
        train(parts, _killed_at(4))
    train(replace(parts, zero_stage=2, micro_batch=4))
    expected = dict(read_weights(Path(whole.output) / "transformer_raw"))
    for name, tensor in read_weights(Path(parts.output) / "transformer_raw"):
        if not name.endswith("norm_k.bias"):  # its gradient is rounding noise, see launch/test_local.py
            torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_stage_2_starts_from_stage_1_and_keeps_the_frozen_half(make_job, base) -> None:
    first = make_job("first", synthetic_probability=0.0, synthetic_latents=None, attention_design="d")
    train(first)
    second = make_job("second", init_from=first.output, frozen_fraction=0.5, zero_stage=1, precision="bf16")
    figures = train(second)
    before = digests(read_weights(Path(first.output) / "transformer"))
    after = digests(read_weights(Path(second.output) / "transformer"))
    frozen = json.loads((Path(second.output) / "frozen.json").read_text())
    model = SugarTransformer3DModel.from_pretrained(Path(second.output) / "transformer")
    assert model.config["attention_design"] == "d"
    assert set(frozen) == set(model.freeze_first(0.5))
    assert figures["frozen_parameters"] == sum(model.get_parameter(name).numel() for name in frozen)
    assert {name: after[name] for name in frozen} == frozen == {name: before[name] for name in frozen}
    moved = [name for name in after if after[name] != before[name]]
    assert {name for name in moved if name not in frozen} == set(moved)
    assert {"dino_proj.linear_2.weight", "transformer_blocks.3.ff.net.2.weight"} <= set(moved)
    assert verify_frozen(second.output) == len(frozen)


def test_a_frozen_tensor_that_was_altered_is_found(make_job) -> None:
    job = make_job(frozen_fraction=0.5, steps=0)
    train(job)
    file = Path(job.output) / "transformer" / WEIGHTS_FILE
    weights = load_file(file)
    weights["patch_embed.proj.weight"] += 1e-6
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"1 of \d+ frozen tensors differ .* patch_embed.proj.weight"):
        verify_frozen(job.output)
    with pytest.raises(InputError, match="frozen tensors differ"):
        train(job)


def test_no_steps_export_the_start(make_job, base) -> None:
    job = make_job(steps=0)
    assert train(job)["steps"] == 0
    weights = dict(read_weights(Path(job.output) / "transformer"))
    start = load_file(base / "transformer" / WEIGHTS_FILE)
    assert all(torch.equal(weights[name], tensor) for name, tensor in start.items())
    assert {name.split(".")[0] for name in set(weights) - set(start)} == {"dino_proj", "clip_proj"}


def test_a_finished_run_is_not_run_again(make_job) -> None:
    job = make_job(steps=2)
    figures = train(job)

    def log(metrics, step: int) -> None:
        raise AssertionError

    assert train(job, log) == figures


def test_a_finished_run_of_other_values_gives_way(make_job) -> None:
    job = make_job(steps=2)
    train(job)
    other = train(replace(job, learning_rate=5e-3))
    assert other["steps"] == 2


def test_an_unfinished_run_of_other_values_is_never_overwritten(make_job, caches, tmp_path) -> None:
    job = make_job()
    with pytest.raises(Killed):
        train(job, _killed_at(4))
    for changes, says in (
        ({"learning_rate": 5e-3}, "learning_rate was 0.001 and is 0.005"),
        ({"frozen_fraction": 0.5}, "frozen_fraction was 0.0 and is 0.5"),
        ({"synthetic_latents": str(_other_cache(tmp_path))}, "data_synthetic was"),
    ):
        with pytest.raises(InputError, match=says):
            train(replace(job, **changes))
    train(job)


def _other_cache(folder: Path) -> Path:
    return _FIXTURES.make_cache(folder / "other", 20, seed=9)


def test_a_damaged_newest_checkpoint_costs_its_steps_and_nothing_else(make_job) -> None:
    whole, job = make_job("whole"), make_job("damaged")
    train(whole)
    with pytest.raises(Killed):
        train(job, _killed_at(6))
    newest = Path(job.checkpoints) / job.phase / "step-00000004" / "state-00000-of-00001.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    train(job)
    assert _left(job) == _left(whole)


def test_a_full_disk_ends_the_run_and_what_was_saved_continues_it(make_job, monkeypatch) -> None:
    whole, job = make_job("whole"), make_job("full")
    train(whole)
    save_file = checkpoint.save_file

    def full(tensors, path: Path, *rest) -> None:
        if "step-00000004" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_file(tensors, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(OSError, match=r"No space left on device.*: '.*step-00000004"):
            train(job)
    assert CheckpointStore(Path(job.checkpoints) / job.phase).steps() == [2]
    train(job)
    assert _left(job) == _left(whole)


def test_no_damage_begins_anew_in_silence(make_job) -> None:
    job = make_job()
    with pytest.raises(Killed):
        train(job, _killed_at(6))
    folder = Path(job.checkpoints) / job.phase
    for step in folder.iterdir():
        (step / "record.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"no checkpoint is intact .*remove the folder to train from the start"
    ):
        train(job)
    assert len(list(folder.iterdir())) == 2


def test_the_checkpoints_of_another_stage_are_refused(make_job) -> None:
    job = make_job()
    with pytest.raises(Killed):
        train(job, _killed_at(4))
    other = replace(job, phase="stage2")
    shutil.copytree(Path(job.checkpoints) / job.phase, Path(job.checkpoints) / other.phase)
    with pytest.raises(InputError, match="unfinished run: phase was 'stage' and is 'stage2'"):
        train(other)


def test_a_start_of_other_weights_is_refused(make_job, base, tmp_path) -> None:
    job = make_job()
    with pytest.raises(Killed):
        train(job, _killed_at(4))
    shutil.copytree(base, tmp_path / "other")
    file = tmp_path / "other" / "transformer" / WEIGHTS_FILE
    weights = load_file(file)
    weights["patch_embed.proj.weight"] += 1e-6
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match="start_model was"):
        train(replace(job, init_from=str(tmp_path / "other")))


def test_sigterm_finishes_the_step_saves_and_asks_to_be_started_again(make_job) -> None:
    whole, job = make_job("whole"), make_job("stopped")
    train(whole)

    def log(metrics, step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted) as stopped:
        train(job, log)
    assert stopped.value.code == EXIT_START_AGAIN == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert (Path(job.checkpoints) / job.phase / "step-00000003").is_dir()
    train(job)
    assert _left(job) == _left(whole)


@pytest.fixture
def broken_cache(tmp_path, caches) -> Callable[[tuple[int, ...]], str]:
    def make(bad: tuple[int, ...]) -> str:
        return str(_FIXTURES.make_cache(tmp_path / "broken", 24, seed=1, bad=bad))

    return make


@pytest.mark.parametrize("zero_stage", [0, 1])
def test_steps_that_are_not_finite_are_skipped_and_counted(make_job, broken_cache, zero_stage) -> None:
    job = make_job(
        real_latents=broken_cache((0, 1)), steps=8, log_every=1, zero_stage=zero_stage, ema_decay=0.5
    )
    figures = train(job)
    assert 1 <= figures["skipped_steps"] < 8
    assert math.isfinite(figures["loss"])
    assert all(t.isfinite().all() for _, t in read_weights(Path(job.output) / "transformer"))


def test_too_many_in_a_row_end_the_run_with_a_diagnosis(make_job, broken_cache) -> None:
    job = make_job(real_latents=broken_cache(tuple(range(24))), steps=12, max_bad_steps=3, checkpoint_every=1)
    with pytest.raises(
        TrainingDiverged, match=r"3 steps in a row up to step 3 .*learning rate .* last checkpoint: .*step-"
    ):
        train(job)


def test_history_and_held_out_tables(make_job) -> None:
    job = make_job(log_every=2)
    lines: dict[int, dict[str, float]] = {}
    train(job, lambda metrics, step: lines.setdefault(step, {}).update(metrics))
    rows = list(csv.DictReader((Path(job.output) / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert {"loss", "loss_real", "loss_synthetic", "grad_norm", "learning_rate", "skipped_steps"} <= set(
        rows[0]
    )
    both = [float(rows[0][name]) for name in ("loss_real", "loss_synthetic")]
    assert float(rows[0]["loss"]) == pytest.approx(sum(both) / 2)
    held_out = list(csv.DictReader((Path(job.output) / "held_out.csv").open()))
    assert [int(row["step"]) for row in held_out] == [3, 6]
    timed = {"seconds_per_step", "data_wait_share", "checkpoint_wait_share", "gigaflops", "peak_memory_gib"}
    assert timed <= set(lines[2])
    assert lines[2]["checkpoint_wait_share"] == 0.0
    assert 0 < lines[4]["checkpoint_wait_share"] < 1
    told = {name.removeprefix("held_out_") for name in lines[3]}
    assert told == set(NAMES) - {"grad_norm"}
    assert lines[3]["held_out_loss_all_conditions"] == lines[3]["held_out_loss"]
    assert {"loss_image_dropped", "loss_text_dropped"} <= set(held_out[0])


@pytest.mark.parametrize("checkpointing", [True, "selective"])
def test_activation_checkpointing_computes_the_same(make_job, checkpointing) -> None:
    jobs = make_job("plain"), make_job("checkpointing", gradient_checkpointing=checkpointing)
    for job in jobs:
        train(job)
    expected = dict(read_weights(Path(jobs[0].output) / "transformer_raw"))
    for name, tensor in read_weights(Path(jobs[1].output) / "transformer_raw"):
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("design, image_counts", [("a", False), ("e", True)])
def test_a_held_out_loss_is_told_with_and_without_each_condition(make_job, design, image_counts) -> None:
    """The same samples and noise: only what the video can read makes a difference."""
    told: dict[str, float] = {}
    train(make_job(steps=1, attention_design=design), lambda metrics, step: told.update(metrics))
    whole, no_image = told["held_out_loss"], told["held_out_loss_image_dropped"]
    assert (abs(no_image - whole) > 1e-5) == image_counts
    assert abs(told["held_out_loss_text_dropped"] - whole) > 1e-5


def test_without_a_terminal_lines_say_how_far_it_is(make_job, caplog) -> None:
    with caplog.at_level(logging.INFO, "sugar.training.reporting"):
        train(make_job(log_every=3))
    lines = [record.getMessage() for record in caplog.records if "samples/s" in record.getMessage()]
    assert len(lines) == 2
    assert re.fullmatch(
        r"stage: step 3 of 6, loss \d\.\d{4}, samples/s [\d.]+, waiting [\d.]+%, \d\d:\d\d left", lines[0]
    )


def test_samples_see_the_ema_weights_in_eval_mode(make_job) -> None:
    seen = []

    def sample(model, step: int) -> None:
        weights = {name: t.detach().clone() for name, t in model.state_dict().items()}
        seen.append((step, model.training, torch.is_grad_enabled(), weights))

    job = make_job(sample_every=3)
    train(job, sample=sample)
    assert [row[:3] for row in seen] == [(3, False, False), (6, False, False)]
    exported = dict(read_weights(Path(job.output) / "transformer"))
    assert all(torch.equal(exported[name], tensor) for name, tensor in seen[-1][3].items())


def test_two_runs_on_one_folder_do_not_meet(make_job) -> None:
    job = make_job()
    with StageLock(Path(job.checkpoints) / job.phase, "stage"), pytest.raises(InputError, match="is running"):
        train(job)


def test_bad_places(make_job, tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        train(make_job(real_latents=str(tmp_path / "nowhere")))
    shutil.copytree(make_job().init_from, tmp_path / "empty", ignore=lambda *_: ["transformer"])
    with pytest.raises(InputError, match="no transformer to start from"):
        train(make_job(init_from=str(tmp_path / "empty")))


def test_only_the_named_parameters_train(make_job, base) -> None:
    job = make_job(trainable=("dino_proj.", "clip_proj."), steps=2)
    train(job)
    start = load_file(base / "transformer" / WEIGHTS_FILE)
    weights = dict(read_weights(Path(job.output) / "transformer_raw"))
    assert all(torch.equal(weights[name], tensor) for name, tensor in start.items())
    with pytest.raises(InputError, match="no parameter's name begins with 'dyno_proj'"):
        train(make_job("typo", trainable=("dyno_proj",)))


def test_learning_rate_schedules() -> None:
    def rates(schedule: str) -> list[float]:
        return [learning_rate_at(k, peak=2.0, schedule=schedule, warmup_steps=2, steps=6) for k in range(6)]

    assert rates("constant") == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert rates("linear") == pytest.approx([1.0, 2.0, 2.0, 1.5, 1.0, 0.5])
    assert rates("cosine") == pytest.approx([1.0, 2.0, 2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)])
