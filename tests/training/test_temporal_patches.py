"""Training a CogVideoX 1.5, whose patches hold two latent frames, on caches of an odd number of frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sugar.data.latents import LatentCache
from sugar.training.batches import Batches
from sugar.training.frozen import verify_frozen
from sugar.training.throughput import token_lengths
from sugar.training.trainer import train


def batches(cache: LatentCache, patch_size_t: int | None) -> Batches:
    drop = {"dino": 0.5, "clip": 0.2, "text": 0.2}
    settings = {"seed": 0, "global_batch": 4, "num_train_timesteps": 1000, "drop": drop}
    return Batches({"real": cache}, {"real": 1.0}, patch_size_t=patch_size_t, **settings)


def test_the_first_clean_frame_is_repeated_in_front_and_gets_noise_of_its_own(caches):
    cache = LatentCache.open(caches["real"])
    plain, padded = (batches(cache, size).train_batch(0, range(4)) for size in (None, 2))
    assert plain.latents.shape[1] == 3
    assert padded.latents.shape == padded.noise.shape
    assert torch.equal(padded.latents[:, 1:], plain.latents)
    assert torch.equal(padded.latents[:, 0], padded.latents[:, 1])
    assert not torch.equal(padded.noise[:, 0], padded.noise[:, 1])
    assert torch.equal(padded.timesteps, plain.timesteps)
    lengths = token_lengths(cache.get(0), 2, 2)
    assert (lengths["first_frame"], lengths["other_frames"]) == (4, 4)


@pytest.fixture(scope="module")
def base_1_5(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

    folder = tmp_path_factory.mktemp("base_1_5")
    config = CogVideoXTransformer3DModel.load_config(base, subfolder="transformer")
    changes = {"patch_size_t": 2, "use_rotary_positional_embeddings": True, "attention_head_dim": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CogVideoXTransformer3DModel.from_config(config, **changes)
    model.save_pretrained(folder / "transformer")
    CogVideoXDDIMScheduler.from_pretrained(base, subfolder="scheduler").save_pretrained(folder / "scheduler")
    return folder


def test_a_run_trains_and_leaves_a_model(base_1_5, make_job):
    job = make_job(init_from=str(base_1_5), scheduler=str(base_1_5), frozen_fraction=0.5, steps=2)
    figures = train(job)
    assert 0 < figures["loss"] < 3
    assert verify_frozen(job.output) > 0
