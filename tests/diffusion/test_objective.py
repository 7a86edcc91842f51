"""The training objective against diffusers' scheduler and by round trip."""

from __future__ import annotations

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler
from torch.testing import assert_close

from sugar.diffusion.objective import diffusion_loss, timesteps_from_uniform, training_target


def make_scheduler(prediction_type="v_prediction"):
    return CogVideoXDDIMScheduler(
        prediction_type=prediction_type, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 4, 3, 2, 2, 2, generator=generator)
    return latents, noise, torch.tensor([0, 10, 700, 999])


def test_noise_and_velocity_are_those_of_diffusers(batch):
    scheduler = make_scheduler()
    noisy, target = training_target(scheduler, *batch)
    assert_close(noisy, scheduler.add_noise(*batch))
    assert_close(target, scheduler.get_velocity(*batch))


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon", "sample"])
def test_one_step_with_the_right_answer_returns_the_clip(batch, prediction_type):
    latents, noise, timesteps = batch
    scheduler = make_scheduler(prediction_type)
    scheduler.set_timesteps(1000)
    noisy, target = training_target(scheduler, latents, noise, timesteps)
    for i in range(3):  # at the last timestep there is no signal left to find
        clean = scheduler.step(target[i], int(timesteps[i]), noisy[i]).pred_original_sample
        assert_close(clean.float(), latents[i], atol=1e-4, rtol=1e-4)


def test_the_last_timestep_is_pure_noise(batch):
    latents, noise, timesteps = batch
    noisy, target = training_target(make_scheduler(), latents, noise, timesteps)
    assert_close(noisy[3], noise[3])
    assert_close(target[3], -latents[3])


def test_an_unknown_prediction_type_is_an_error(batch):
    scheduler = make_scheduler()
    scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="prediction_type"):
        training_target(scheduler, *batch)


def test_the_loss_is_the_mean_square_of_each_sample():
    prediction, target = torch.zeros(2, 3, 4, 5, 6), torch.ones(2, 3, 4, 5, 6)
    target[1] *= 3.0
    assert diffusion_loss(prediction.bfloat16(), target).tolist() == [1.0, 9.0]


def test_timesteps_cover_the_range_evenly():
    uniform = (torch.arange(8000) + 0.5) / 8000
    assert torch.bincount(timesteps_from_uniform(uniform, 1000)).tolist() == [8] * 1000
    assert timesteps_from_uniform(torch.tensor([0.0, 0.99999999]), 1000).tolist() == [0, 999]
