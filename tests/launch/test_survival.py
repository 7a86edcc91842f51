"""Two ranks, killed, killed in the middle of a checkpoint and told to stop, against two that are left alone.

The matrix: stage 1 and stage 2 x ZeRO 0 to 3. One run goes through all three ends, one after another, and is
continued each time by the same command; what it leaves must equal the uninterrupted run's, bit for bit. To
spare a quarter of an hour of imports the ranks are forked from this process; a last case has torchrun start
them. No moment depends on how fast the machine is: a run waits where its end is to come (`interrupted_rank`,
`rank_groups`).
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from module_files import load_module

from sugar.launch import worker
from sugar.launch.local import run_training
from sugar.training.checkpoint import CheckpointStore, check_files, read_weights
from sugar.training.engine import _import_deepspeed
from sugar.training.frozen import digests, verify_frozen
from sugar.training.job import TrainingJob
from sugar.training.signals import EXIT_START_AGAIN, Preempted

_FIXTURES = load_module(Path(__file__).parents[1] / "training" / "conftest.py")
base, caches = _FIXTURES.base, _FIXTURES.caches
_INTERRUPTED = load_module(Path(__file__).with_name("interrupted_rank.py"))
_FORKED = load_module(Path(__file__).with_name("forked_ranks.py"))
_GROUPS = load_module(Path(__file__).with_name("rank_groups.py"))
PLACES, PAUSE_STEP, when = _INTERRUPTED.PLACES, _INTERRUPTED.PAUSE_STEP, _GROUPS.when
STEPS, STEP_SECONDS = 14, 0.25
TIMED = {"seconds_per_step", "samples_per_second", "video_tokens_per_second", "gigaflops", "peak_memory_gib"}

Told = dict[int, dict[str, float]]


@pytest.fixture(scope="module")
def uninterrupted(base, caches, tmp_path_factory) -> Callable[[int, int], tuple[TrainingJob, Told]]:
    """(stage, ZeRO stage) -> a job on two ranks that is done, and what it told."""
    folder, done = tmp_path_factory.mktemp("whole"), {}
    _import_deepspeed(torch.device("cpu"))

    def run(stage: int, zero_stage: int) -> tuple[TrainingJob, Told]:
        if (stage, zero_stage) not in done:
            start = base if stage == 1 else run(1, zero_stage)[0].output
            job = _job(folder / f"zero{zero_stage}", stage, zero_stage, str(start), base, caches)
            told = Told()
            with pytest.MonkeyPatch.context() as patch:
                _ranks(patch, forked=True)
                run_training(job, 2, _into(told))
            done[stage, zero_stage] = job, told
        return done[stage, zero_stage]

    return run


def _job(
    folder: Path, stage: int, zero_stage: int, start: str, base: Path, caches: Mapping[str, Path]
) -> TrainingJob:
    return TrainingJob(
        phase=f"stage{stage}",
        init_from=start,
        scheduler=str(base),
        output=str(folder / f"output{stage}"),
        checkpoints=str(folder / "checkpoints"),
        real_latents=str(caches["real"]),
        synthetic_latents=str(caches["synthetic"]) if stage == 2 else None,
        synthetic_probability=0.5 if stage == 2 else 0.0,
        frozen_fraction=0.5 if stage == 2 else 0.0,
        precision="bf16" if stage == 2 else "fp32",
        zero_stage=zero_stage,
        num_processes=2,
        steps=STEPS,
        global_batch=4,
        micro_batch=1,
        warmup_steps=2,
        checkpoint_every=2,
        log_every=1,
        held_out_every=3,
        held_out_samples=2,
        sample_every=0,
        device="cpu",
    )


def _into(told: Told) -> Callable[[Mapping[str, float], int], None]:
    def log(metrics: Mapping[str, float], step: int) -> None:
        told.setdefault(step, {}).update(
            {k: v for k, v in metrics.items() if k not in TIMED and "share" not in k}
        )

    return log


def _left(job: TrainingJob) -> dict[str, Any]:
    """Masters, moments, EMA, history, exports and tables of a finished run, and its last figures."""
    last = Path(job.checkpoints) / job.phase / f"step-{job.steps:08d}"
    output = Path(job.output)
    files = [*last.glob("state-*"), last / "record.json", *last.glob("*/*.safetensors")]
    files += [*output.glob("*.csv"), output / "frozen.json", *output.glob("*/*.safetensors")]
    assert len(files) == 4 + 1 + 2 + 2 + 1 + 2
    metrics = json.loads((output / "training.json").read_text())["metrics"]
    figures = {key: value for key, value in metrics.items() if key not in TIMED and "share" not in key}
    return {str(file.relative_to(file.parents[1])): file.read_bytes() for file in files} | figures


def _ranks(patch: pytest.MonkeyPatch, forked: bool) -> Any:
    mains = {"sugar.launch.worker": worker.main, _INTERRUPTED.__file__: _INTERRUPTED.main}
    start = partial(_FORKED.ForkedRanks, mains=mains) if forked else None
    return _GROUPS.Ranks(patch, start, _INTERRUPTED.__file__)


def _has_told(events: Path, step: int) -> bool:
    return events.is_file() and f'"step": {step}}}' in events.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage, zero_stage, forked", [*((s, z, True) for s in (1, 2) for z in (0, 1, 2, 3)), (2, 3, False)]
)
def test_no_end_changes_a_bit(
    uninterrupted, base, caches, tmp_path, monkeypatch, record_property, stage, zero_stage, forked
) -> None:
    whole, told = uninterrupted(stage, zero_stage)
    job = _job(tmp_path, stage, zero_stage, whole.init_from, base, caches)
    chance = random.Random(10 * stage + zero_stage)
    place = PLACES[(4 * (stage - 1) + zero_stage) % len(PLACES)]
    marker, again = tmp_path / "paused", Told()
    events = Path(job.checkpoints) / f"{job.phase}.events.jsonl"
    ranks = _ranks(monkeypatch, forked)
    ranks.interrupted = True
    for name, value in (("STEP_SECONDS", STEP_SECONDS), ("PAUSE_MARKER", marker)):
        monkeypatch.setenv(name, str(value))

    def meet(place: str, hold: int) -> None:
        monkeypatch.setenv("PAUSE_PLACE", place)
        monkeypatch.setenv("HOLD_STEP", str(hold))

    meet("", hold=PAUSE_STEP)
    after, moment = chance.randint(1, 5), chance.uniform(0, STEP_SECONDS)
    killed = when(lambda: _has_told(events, after), lambda: (time.sleep(moment), ranks.kill()))
    with killed, pytest.raises(RuntimeError, match="torchrun group ended with code"):
        run_training(job, 2, _into(again))
    record_property("killed_after_step", max(again))

    meet(place, hold=STEPS + 1)
    with when(marker.exists, ranks.kill), pytest.raises(RuntimeError, match="torchrun group ended with code"):
        run_training(job, 2, _into(again))
    record_property("killed_with", place)

    meet("", hold=STEPS)
    events.unlink()
    at = chance.randint(9, 11)
    asked = when(lambda: _has_told(events, at), lambda: os.kill(os.getpid(), signal.SIGTERM))
    with asked, pytest.raises(Preempted) as stopped:
        run_training(job, 2, _into(again))
    assert stopped.value.code == EXIT_START_AGAIN
    assert at <= stopped.value.step < STEPS
    store = Path(job.checkpoints) / job.phase
    check_files(store / f"step-{stopped.value.step:08d}")
    record_property("stopped_after_step", stopped.value.step)

    ranks.interrupted = False
    run_training(job, 2, _into(again))
    assert not list(store.glob(".unfinished*"))
    assert again == told
    assert _left(job) == _left(whole)
    if stage == 2:
        _check_frozen(job)


def _check_frozen(job: TrainingJob) -> None:
    """The frozen half of both exports is that of the stage before; the rest is not."""
    frozen = json.loads((Path(job.output) / "frozen.json").read_text())
    start = digests(read_weights(Path(job.init_from) / "transformer"))
    assert len(frozen) == verify_frozen(job.output) > 0
    for name in ("transformer", "transformer_raw"):
        exported = digests(read_weights(Path(job.output) / name))
        assert {n: exported[n] for n in frozen} == frozen == {n: start[n] for n in frozen}
        assert any(exported[n] != start[n] for n in set(exported) - set(frozen))


@pytest.mark.slow
def test_ranks_whose_leader_dies_save_and_leave(base, caches, tmp_path, monkeypatch) -> None:
    """Else they would train on, unseen, and hold the lock against the run that is started again."""
    job = _job(tmp_path, 1, 1, str(base), base, caches)
    ranks = _ranks(monkeypatch, forked=True)
    ranks.interrupted = True
    for name, value in (("STEP_SECONDS", STEP_SECONDS), ("HOLD_STEP", STEPS + 1), ("PAUSE_PLACE", "")):
        monkeypatch.setenv(name, str(value))
    left: list[int] = []

    def kill_leader() -> None:
        left.extend(ranks.ranks())
        os.kill(ranks.leader, signal.SIGKILL)

    events = Path(job.checkpoints) / f"{job.phase}.events.jsonl"
    with when(lambda: _has_told(events, 5), kill_leader), pytest.raises(RuntimeError, match="code -9"):
        run_training(job, 2)
    assert len(left) == 2
    while _GROUPS.alive(left):
        time.sleep(0.1)
    (newest,) = CheckpointStore(Path(job.checkpoints) / job.phase).steps()[-1:]
    assert 5 <= newest < STEPS
    assert f'{{"preempted": {newest}}}' in events.read_text()
