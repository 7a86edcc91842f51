"""What a training starts from: projections that are standardised, a noise schedule that it is known by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from sugar.data.latents import LatentCache
from sugar.training.checkpoint import read_weights
from sugar.training.start import standardising_samples
from sugar.training.trainer import train


def test_a_finished_run_under_another_noise_schedule_gives_way(make_job, base, tmp_path) -> None:
    other = shutil.copytree(base, tmp_path / "base")
    schedule = other / "scheduler" / "scheduler_config.json"
    job = make_job(steps=2, scheduler=str(other))
    first = train(job)
    schedule.write_text(json.dumps(json.loads(schedule.read_text()) | {"snr_shift_scale": 2.0}))
    assert train(job)["loss"] != first["loss"]


def test_new_projections_start_standardised(make_job, caches) -> None:
    """Before any step, each channel of a training sample's normed tokens has mean 0 and variance 1."""
    job = make_job(steps=0)
    train(job)
    weights = dict(read_weights(Path(job.output) / "transformer"))
    samples = standardising_samples([LatentCache.open(folder) for folder in caches.values()])
    width = samples["dino"].shape[-1]
    for name in ("dino", "clip"):
        tokens = torch.nn.functional.layer_norm(samples[name], samples[name].shape[-1:])
        scaled = tokens * weights[f"{name}_proj.norm.weight"] + weights[f"{name}_proj.norm.bias"]
        torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(width), atol=1e-4, rtol=0)
        torch.testing.assert_close(scaled.flatten(0, 1).std(0), torch.ones(width), atol=1e-3, rtol=0)
