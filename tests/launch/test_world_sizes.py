"""One, two and four ranks train alike, also over a step that one of them cannot use. The ranks are forked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from module_files import load_module

from sugar.data.latents import LatentCache
from sugar.data.sampling import batch_indices
from sugar.launch import worker
from sugar.launch.local import _Group
from sugar.launch.train_job import Cluster, train_job
from sugar.training.checkpoint import CheckpointStore, check_files, read_weights
from sugar.training.engine import _import_deepspeed
from sugar.training.job import TrainingJob
from sugar.training.trainer import TrainingDiverged

_FIXTURES = load_module(Path(__file__).parents[1] / "training" / "conftest.py")
_FORKED = load_module(Path(__file__).with_name("forked_ranks.py"))
_GROUPS = load_module(Path(__file__).with_name("rank_groups.py"))
base, caches, make_job = _FIXTURES.base, _FIXTURES.caches, _FIXTURES.make_job

Told = dict[int, dict[str, float]]
Run = Callable[[TrainingJob], tuple[dict[str, float], Told]]


def _main(arguments: list[str]) -> int:
    """A rank that also samples: a forward pass, its sum in a file of its own beside the events."""

    def sample(model: Any, step: int) -> None:
        inputs = [
            torch.ones(1, *shape, dtype=model.dtype) for shape in ((3, 4, 4, 4), (6, 16), (3, 16), (3, 16))
        ]
        latents, text, dino, clip = inputs
        out = model(latents, text, torch.zeros(1, dtype=torch.long), dino, clip, return_dict=False)[0]
        file = Path(arguments[1]).with_name(f"sample-{step}-{os.environ['RANK']}")
        file.write_text(repr(float(out.float().sum())))

    return worker.main(arguments, None, sample)


@pytest.fixture
def run(monkeypatch) -> Run:
    """job -> the figures and the numbers that a forked group of its size tells."""
    start = partial(_FORKED.ForkedRanks, mains={"sugar.launch.worker": _main})
    _GROUPS.Ranks(monkeypatch, start, script="")
    _import_deepspeed(torch.device("cpu"))

    def run(job: TrainingJob) -> tuple[dict[str, float], Told]:
        told = Told()
        figures = _Group(job, lambda m, step: told.setdefault(step, {}).update(m), None).run()
        return figures, told

    return run


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_four_ranks_and_two_equal_one(make_job, run, zero_stage) -> None:
    """Each accumulates what the others share out: 4 x 1, 2 x 2 and 1 x 4 samples a step."""
    changes = {"micro_batch": 1, "log_every": 1, "zero_stage": zero_stage}
    alone = make_job("1", **changes)
    _, expected = run(alone)
    weights = dict(read_weights(Path(alone.output) / "transformer"))
    for ranks in (2, 4):
        job = make_job(str(ranks), **changes, num_processes=ranks)
        _, told = run(job)
        assert sorted(told) == sorted(expected) == [1, 2, 3, 4, 5, 6]
        for step, metrics in expected.items():
            losses = {name: value for name, value in metrics.items() if "loss" in name}
            assert {name: told[step][name] for name in losses} == pytest.approx(losses, abs=1e-5)
        for name, tensor in read_weights(Path(job.output) / "transformer"):
            if not name.endswith(
                "norm_k.bias"
            ):  # whose gradient is rounding noise (tests/launch/test_local.py)
                torch.testing.assert_close(tensor, weights[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage, sampled_by", [(1, ["0"]), (3, ["0", "1"])])
def test_ranks_sample_while_they_train_and_do_not_hang(make_job, run, zero_stage, sampled_by) -> None:
    """As on a cluster: rank 0 alone, and all ranks where a forward pass needs them all."""
    job = make_job(num_processes=2, micro_batch=1, zero_stage=zero_stage, sample_every=3)
    run(job)
    for step in (3, 6):
        files = sorted(Path(job.checkpoints).glob(f"sample-{step}-*"))
        assert [file.name.split("-")[-1] for file in files] == sampled_by
        assert len({file.read_text() for file in files}) == 1


@pytest.mark.slow
def test_two_nodes_equal_one(make_job, run, tmp_path) -> None:
    """The command of a TrainJob, twice, in the variables that the runtime `torch-distributed` sets."""
    changes = {"num_processes": 2, "micro_batch": 1, "zero_stage": 2, "log_every": 1}
    whole, job = make_job("whole", **changes), make_job("nodes", **changes)
    run(whole)
    files = [tmp_path / "job.json", tmp_path / "events.jsonl"]
    files[0].write_text(job.to_json())
    files[1].touch()
    cluster = Cluster(image="i", volume_claim="v", mount_path=str(tmp_path), num_nodes=2)
    on_volume = replace(job, real_latents=str(tmp_path / "r"), synthetic_latents=str(tmp_path / "s"))
    body = train_job(on_volume, cluster, ("-m", "sugar.launch.worker", *map(str, files)), {})
    trainer = body["spec"]["trainer"]
    program, *arguments = trainer["command"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    pet = {"NNODES": str(trainer["numNodes"]), "NPROC_PER_NODE": str(trainer["numProcPerNode"])}
    pet |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    assert program == "torchrun"
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *arguments],
            env={**os.environ, **{f"PET_{k}": v for k, v in pet.items()}, "PET_NODE_RANK": str(node)}
            | {"OMP_NUM_THREADS": "1"},
        )
        for node in range(2)
    ]
    assert [node.wait() for node in nodes] == [0, 0]
    events = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert sorted({event["step"] for event in events}) == [1, 2, 3, 4, 5, 6]
    for name in ("transformer", "transformer_raw"):
        left, right = (dict(read_weights(Path(j.output) / name)) for j in (whole, job))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


def _broken(folder: Path, bad: tuple[int, ...]) -> str:
    return str(_FIXTURES.make_cache(folder / "broken", 24, seed=1, bad=bad))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_a_step_that_one_rank_cannot_use_is_skipped_by_all(
    make_job, run, tmp_path, zero_stage, precision
) -> None:
    real = _broken(tmp_path, bad=(3,))
    cache = LatentCache.open(real)
    (bad,) = (i for i, number in enumerate(cache.train_indices) if cache.keys[number] == "1-3")
    drawn = [
        batch_indices(0, step, 4, {"real": len(cache.train_indices)}, {"real": 1.0}) for step in range(6)
    ]
    skipped = sum(("real", bad) in batch for batch in drawn)
    changes = {"zero_stage": zero_stage, "precision": precision, "num_processes": 2, "micro_batch": 1}
    job = make_job(real_latents=real, synthetic_latents=None, synthetic_probability=0.0, **changes)
    figures, _ = run(job)
    assert figures["skipped_steps"] == skipped > 0
    for name in ("transformer", "transformer_raw"):
        assert all(tensor.isfinite().all() for _, tensor in read_weights(Path(job.output) / name))


@pytest.mark.slow
def test_a_group_that_diverges_says_why_and_keeps_its_last_good_checkpoint(make_job, run, tmp_path) -> None:
    job = make_job(num_processes=2, micro_batch=1, max_bad_steps=3, checkpoint_every=1, steps=12)
    job = replace(job, real_latents=_broken(tmp_path, bad=tuple(range(24))))
    with pytest.raises(TrainingDiverged, match=r"3 steps in a row up to step 3 .*: .*step-00000002\."):
        run(job)
    store = CheckpointStore(Path(job.checkpoints) / job.phase)
    assert store.steps() == [1, 2]
    for step in store.steps():
        check_files(store.path(step))
        weights = read_weights(store.path(step) / "transformer_raw")
        assert all(tensor.isfinite().all() for _, tensor in weights)
