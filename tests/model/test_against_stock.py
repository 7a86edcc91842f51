"""Sampling as a whole against its definition: CogVideoX's own blocks, a dense mask, every branch computed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler

sys.path.insert(0, str(Path(__file__).parent))
from small_models import random_batch, sugar_transformer

from benchmarks.sampling import Sampler, Variant
from sugar.model.denoiser import Tokens

STEPS = 5
SCALES = (4.0, 7.5)


def sampler_of(design: str, variant: str = "rotary") -> Sampler:
    batch = random_batch(variant=variant)
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    tokens = Tokens(batch.text, batch.dino, batch.clip)
    return Sampler(sugar_transformer(design, variant), tokens, scheduler, batch.latents, STEPS)


@pytest.mark.parametrize(("design", "variant", "branches"), [
    ("b", Variant(SCALES), 3),
    ("b", Variant((7.5, 7.5)), 2),                            # the middle branch has weight zero
    ("b", Variant((1.0, 7.5)), 2),                            # so has the unconditional one
    ("b", Variant((1.0, 1.0)), 1),
    ("b", Variant(SCALES, drop="both", drop_until=1.0), 2),   # image-only is unconditional
    ("b", Variant(SCALES, cache=0.0), 3),                     # a cache that never holds
    ("a", Variant(SCALES), 2),                                # the image is never seen
    ("d", Variant(SCALES), 3),
])  # fmt: skip
@torch.no_grad()
def test_exact_sampling_equals_stock_blocks_under_a_dense_mask(design, variant, branches):
    sampler = sampler_of(design)
    expected, forwards = sampler.forwards(lambda: sampler.naive(variant))
    assert forwards == 3 * STEPS
    (latents, _), forwards = sampler.forwards(lambda: sampler.ours(variant))
    assert forwards == branches * STEPS
    assert (latents - expected).abs().max() < 1e-4


@torch.no_grad()
def test_a_cache_and_an_interval_save_forwards():
    sampler = sampler_of("b", "sinusoidal")
    _, forwards = sampler.forwards(lambda: sampler.ours(Variant(SCALES, interval=(0.0, 0.6))))
    assert forwards == 3 * 3 + 2
    _, forwards = sampler.forwards(lambda: sampler.ours(Variant(SCALES, cache=1e9)))
    blocks = len(sampler.model.transformer_blocks)
    # Step 0 drops DINO: two of its branches are its own. What is not new runs the first block alone.
    assert forwards == pytest.approx(5 + 3 * STEPS / blocks - 5 / blocks)
