"""Synthetic samples as images beside real videos: each kind as a batch of its own would be, in one step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sugar.config import InputError
from sugar.data.latents import LatentCache
from sugar.training.batches import Batch, Batches
from sugar.training.checkpoint import read_weights
from sugar.training.denoise import denoising_loss, load_noise_schedule, single_frame_loss
from sugar.training.start import load_start
from sugar.training.trainer import train


@pytest.fixture
def batch(caches) -> Batch:
    opened = {source: LatentCache.open(folder) for source, folder in caches.items()}
    half = {"real": 0.5, "synthetic": 0.5}
    drop = {"dino": 0.0, "clip": 0.0, "text": 0.0}
    made = Batches(opened, half, seed=3, global_batch=4, num_train_timesteps=1000, drop=drop, stills=True)
    return made.train_batch(0, range(4))


def test_real_samples_are_videos_and_synthetic_ones_images(base, batch) -> None:
    model, scheduler = load_start(base, dino_dim=16, clip_dim=16), load_noise_schedule(str(base))
    loss_B = single_frame_loss(model, scheduler, batch, torch.float32)
    as_videos = denoising_loss(model, scheduler, batch, torch.float32)
    images = replace(batch, latents=batch.stills, noise=batch.noise[:, :1])
    as_images = denoising_loss(model, scheduler, images, torch.float32)
    assert 0 < int(batch.synthetic.sum()) < 4
    torch.testing.assert_close(loss_B, torch.where(batch.synthetic, as_images, as_videos))
    assert not torch.allclose(as_images, as_videos)


def test_a_batch_of_one_kind_is_one_forward_pass(base, batch) -> None:
    model, scheduler, frames = load_start(base, dino_dim=16, clip_dim=16), load_noise_schedule(str(base)), []

    def denoise(latents: torch.Tensor, *arguments, **options):
        frames.append(latents.shape[1])
        return model(latents, *arguments, **options)

    for mask_B in (batch.synthetic, ~batch.synthetic):
        single_frame_loss(denoise, scheduler, batch.pick(mask_B), torch.float32)
    assert frames == [1, 3]


def test_an_image_fills_a_patch_of_several_frames(batch) -> None:
    image = batch.as_images(2)
    assert image.latents.shape[1] == image.noise.shape[1] == 2
    for frame in range(2):
        assert torch.equal(image.latents[:, frame], batch.stills[:, 0])


def test_a_sample_draws_one_of_its_stills_anew_each_time(caches) -> None:
    cache = LatentCache.open(caches["synthetic"])
    drop = {"dino": 0.0, "clip": 0.0, "text": 0.0}
    made = Batches(
        {"synthetic": cache}, {"synthetic": 1.0}, seed=3, global_batch=4, num_train_timesteps=1000, drop=drop,
        stills=True,
    )  # fmt: skip
    seen: dict[str, set[int]] = {}
    for step in range(40):
        batch = made.train_batch(step, range(4))
        assert batch.stills is not None
        assert batch.stills.shape == (4, 1, *batch.latents.shape[2:])
        for key, still in zip(batch.keys, batch.stills, strict=True):
            stored = cache.get(cache.keys.index(key))
            distance = ((still[0] / 0.7 - stored["still_mean"]) / stored["still_std"]).abs().amax((1, 2, 3))
            seen.setdefault(key, set()).add(int(distance.argmin()))
            assert float(distance.min()) < 6  # a draw of that posterior
    assert any(len(which) > 1 for which in seen.values())


def test_a_cache_without_stills_is_refused_before_work_starts(caches, make_job, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no stills.*encode\.stills"):
        train(make_job(single_frames=True, synthetic_latents=str(caches["real"])))


def test_a_run_of_images_differs_from_one_of_videos_and_not_by_accumulation(make_job) -> None:
    jobs = {
        name: make_job(name, steps=2, frozen_fraction=0.5, single_frames=name != "videos", micro_batch=micro)
        for name, micro in (("videos", 4), ("images", 4), ("accumulated", 1))
    }
    losses = {name: train(job)["loss"] for name, job in jobs.items()}
    assert losses["images"] == pytest.approx(losses["accumulated"], abs=1e-5)
    assert losses["images"] != pytest.approx(losses["videos"], abs=1e-3)
    images, videos = (
        dict(read_weights(Path(jobs[n].output) / "transformer_raw")) for n in ("images", "videos")
    )
    moved = "transformer_blocks.3.ff.net.2.weight"
    assert not torch.equal(images[moved], videos[moved])


def test_zero_3_would_wait_for_passes_that_other_ranks_do_not_make(make_job) -> None:
    with pytest.raises(InputError, match="micro_batch must be 1 with single_frames under ZeRO-3"):
        make_job(single_frames=True, zero_stage=3)
    make_job(single_frames=True, zero_stage=3, micro_batch=1)


def test_runs_from_before_there_were_single_frames_are_still_known(make_job) -> None:
    assert "single_frames" not in make_job().fingerprint()
    assert make_job(single_frames=True).fingerprint()["single_frames"] is True
