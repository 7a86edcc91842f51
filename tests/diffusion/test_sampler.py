"""The sampler on a distribution whose score is known, and what it asks of the denoiser."""

from __future__ import annotations

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from torch.testing import assert_close

from sugar.diffusion.guidance import Branch, Guidance
from sugar.diffusion.sampler import make_scheduler, sample

MEAN, STD = 1.5, 0.5
PLAIN = Guidance(image_scale=1.0, text_scale=1.0)


def scheduler_of(kind):
    settings = {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    return {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[kind](clip_sample=False, **settings)


class GaussianDenoiser:
    """The exact velocity for data N(MEAN, STD^2), shifted by what each branch is conditioned on."""

    def __init__(self, scheduler):
        self.alphas = scheduler.alphas_cumprod
        self.asked = []

    def __call__(self, latents, timestep, branches):
        self.asked.append(tuple(branches))
        alpha = self.alphas[timestep].item()
        signal, sigma = alpha**0.5, (1 - alpha) ** 0.5
        marginal = alpha * STD**2 + 1 - alpha

        def velocity(mean):
            clean = mean + signal * STD**2 / marginal * (latents - signal * mean)
            noise = sigma / marginal * (latents - signal * mean)
            return signal * noise - sigma * clean

        return [velocity(MEAN if branch.text == "prompt" else 0.0) for branch in branches]


@pytest.mark.parametrize("kind", ["ddim", "dpm"])
def test_the_sampler_reaches_the_mean_and_spread_of_a_gaussian(kind):
    scheduler = scheduler_of(kind)
    noise = torch.randn(1, 5, 10, 10, 10, generator=torch.Generator().manual_seed(0))
    noise = (noise - noise.mean()) / noise.std()
    generators = [torch.Generator().manual_seed(1)]
    latents = sample(GaussianDenoiser(scheduler), scheduler, noise, 500, PLAIN, generators=generators)
    assert latents.mean().item() == pytest.approx(MEAN, abs=0.015)
    assert latents.std().item() == pytest.approx(STD, abs=0.015)


def test_guidance_moves_the_mean_away_from_the_unconditional_one():
    scheduler = scheduler_of("ddim")
    noise = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    guided = sample(GaussianDenoiser(scheduler), scheduler, noise, 50, Guidance(3.0, 3.0))
    # For Gaussians of one spread the guided score is that of the mean 0 + 3 * (MEAN - 0).
    assert guided.mean().item() == pytest.approx(3 * MEAN, abs=0.05)


@pytest.mark.parametrize("kind", ["ddim", "dpm"])
def test_a_clip_does_not_depend_on_its_batch(kind):
    scheduler = scheduler_of(kind)

    def run(seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([torch.randn(3, 2, 4, 4, generator=generator) for generator in generators])
        return sample(GaussianDenoiser(scheduler), scheduler, noise, 8, Guidance(), generators=generators)

    together = run([5, 6, 7, 8])
    for index, seed in enumerate([5, 6, 7, 8]):
        assert_close(run([seed])[0], together[index], atol=1e-6, rtol=1e-6)


def test_what_is_asked_of_the_denoiser():
    scheduler = scheduler_of("ddim")
    noise = torch.randn(1, 1, 1, 2, 2)

    def asked(guidance, **options):
        denoise = GaussianDenoiser(scheduler)
        sample(denoise, scheduler, noise, 5, guidance, **options)
        return [set(branches) for branches in denoise.asked]

    uncond, both = Branch(False, False, "null"), Branch(True, True, "prompt")
    clip_only = {uncond, Branch(False, True, "null"), Branch(False, True, "prompt")}
    assert (
        asked(Guidance(), drop="dino", drop_until=0.2)
        == [clip_only] + [{uncond, Branch(True, True, "null"), both}] * 4
    )
    assert asked(PLAIN) == [{both}] * 5
    assert asked(Guidance(), reads_image=False) == [{uncond, Branch(False, False, "prompt")}] * 5
    assert (
        asked(Guidance(negative=True), drop="both", drop_until=1.0)
        == [{Branch(False, False, "negative"), Branch(False, False, "prompt")}] * 5
    )
    assert (
        asked(Guidance(interval=(0.0, 0.4)))
        == [{uncond, Branch(True, True, "null"), both}] * 2 + [{both}] * 3
    )


def test_the_callback_may_replace_the_latents():
    scheduler = scheduler_of("ddim")
    steps = []

    def on_step_end(step, timestep, latents):
        steps.append((step, int(timestep)))
        return torch.zeros_like(latents) if step == 3 else None

    latents = sample(
        GaussianDenoiser(scheduler), scheduler, torch.randn(1, 1, 1, 2, 2), 4, PLAIN, on_step_end=on_step_end
    )
    assert steps == [(0, 999), (1, 749), (2, 499), (3, 249)]
    assert not latents.any()


def test_rescaling_uses_the_conditional_prediction_even_where_its_weight_is_zero():
    scheduler = scheduler_of("ddim")
    denoise = GaussianDenoiser(scheduler)
    sample(denoise, scheduler, torch.randn(1, 1, 1, 4, 4), 2, Guidance(4.0, 0.0, rescale=0.7))
    assert all(Branch(True, True, "prompt") in branches for branches in denoise.asked)


def test_make_scheduler_keeps_the_noise_levels():
    ddim = scheduler_of("ddim")
    dpm = make_scheduler(ddim, "dpm")
    assert isinstance(dpm, CogVideoXDPMScheduler)
    assert torch.equal(dpm.alphas_cumprod, ddim.alphas_cumprod)
    with pytest.raises(ValueError, match="scheduler must be one of"):
        make_scheduler(ddim, "euler")


def test_bad_arguments_are_value_errors():
    scheduler, noise = scheduler_of("ddim"), torch.zeros(2, 1, 1, 2, 2)
    with pytest.raises(ValueError, match="num_steps"):
        sample(GaussianDenoiser(scheduler), scheduler, noise, 0, PLAIN)
    with pytest.raises(ValueError, match="2 clips"):
        sample(GaussianDenoiser(scheduler), scheduler, noise, 2, PLAIN, generators=[torch.Generator()])
