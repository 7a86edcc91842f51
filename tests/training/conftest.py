"""A tiny start model, two small latent caches of random numbers, and jobs over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sugar.data.latents import LatentWriter
from sugar.training.job import TrainingJob

FRAMES, CHANNELS, SIDE, TEXT, IMAGE, WIDTH = 3, 4, 4, 6, 3, 16


def make_cache(folder: Path, count: int, seed: int, bad: tuple[int, ...] = (), stills: int = 0) -> Path:
    """Random latents; a sample in `bad` has numbers so large that the loss overflows."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator)

    tensors = {
        "mean": numbers(FRAMES, CHANNELS, SIDE, SIDE),
        "std": numbers(FRAMES, CHANNELS, SIDE, SIDE).abs() * 0.1,
        "text": numbers(TEXT, WIDTH),
        "dino": numbers(IMAGE, WIDTH),
        "clip": numbers(IMAGE, WIDTH),
    }
    if stills:
        tensors["still_mean"] = numbers(stills, CHANNELS, SIDE, SIDE)
        tensors["still_std"] = numbers(stills, CHANNELS, SIDE, SIDE).abs() * 0.1 + 0.01
    for index in bad:
        tensors["mean"][index] = 1e30
    writer = LatentWriter(folder, {"vae_scaling_factor": 0.7}, shard_size=16, held_out_fraction=0.2)
    keys = [f"{seed}-{i}" for i in range(count)]
    positions = writer.plan(keys, keys)
    writer.add(positions, {name: value[positions] for name, value in tensors.items()})
    writer.finish()
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CogVideoX folder with a transformer of 4 blocks and a noise schedule."""
    from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

    folder = tmp_path_factory.mktemp("base")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            time_embed_dim=8,
            text_embed_dim=WIDTH,
            num_layers=4,
            sample_width=SIDE,
            sample_height=SIDE,
            sample_frames=9,
            max_text_seq_length=TEXT,
        )
    model.save_pretrained(folder / "transformer")
    CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    ).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("latents")
    return {
        "real": make_cache(folder / "real", 24, seed=1),
        "synthetic": make_cache(folder / "synthetic", 20, seed=2, stills=2),
    }


@pytest.fixture
def make_job(base: Path, caches: dict[str, Path], tmp_path: Path) -> Callable[..., TrainingJob]:
    """A job of 6 steps on both caches, changed by keyword."""

    def make(name: str = "run", **changes: object) -> TrainingJob:
        values: dict[str, object] = {
            "phase": "stage",
            "init_from": str(base),
            "scheduler": str(base),
            "output": str(tmp_path / name / "output"),
            "checkpoints": str(tmp_path / name / "checkpoints"),
            "real_latents": str(caches["real"]),
            "synthetic_latents": str(caches["synthetic"]),
            "synthetic_probability": 0.5,
            "steps": 6,
            "global_batch": 4,
            "micro_batch": 2,
            "warmup_steps": 2,
            "checkpoint_every": 2,
            "log_every": 4,
            "held_out_every": 3,
            "held_out_samples": 2,
            "sample_every": 0,
        }
        return TrainingJob(**{**values, **changes})  # type: ignore[arg-type]

    return make
