"""What one training step computes: the learning rate, the loss of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sugar.config import InputError
from sugar.diffusion.objective import diffusion_loss, training_target
from sugar.training.batches import Batch


def learning_rate_at(step: int, *, peak: float, schedule: str, warmup_steps: int, steps: int) -> float:
    """The learning rate of a step, counted from 0: a linear rise over `warmup_steps`, then the schedule to 0.

    "cosine": `peak * (1 + cos(pi * t)) / 2`, "linear": `peak * (1 - t)`, "constant": `peak`, with t the share
    of the steps after the warm-up.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    t = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * {"constant": 1.0, "linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2}[schedule]


def denoising_loss(denoise: Callable[..., Any], scheduler: Any, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Loss of every sample, float32 `[B]`, for a batch on the model's device."""
    noisy, target = training_target(scheduler, batch.latents, batch.noise, batch.timesteps)
    prediction = denoise(
        noisy.to(dtype),
        batch.tokens["text"].to(dtype),
        batch.timesteps,
        dino_tokens=batch.tokens["dino"].to(dtype),
        clip_tokens=batch.tokens["clip"].to(dtype),
        dino_keep=batch.keep["dino"],
        clip_keep=batch.keep["clip"],
        text_keep=batch.keep["text"],
        return_dict=False,
    )[0]
    return diffusion_loss(prediction, target)


def single_frame_loss(
    denoise: Callable[..., Any],
    scheduler: Any,
    batch: Batch,
    dtype: torch.dtype,
    patch_size_t: int | None = None,
) -> Tensor:
    """`denoising_loss` where the target of a synthetic sample is an image, of a real one a video.

    Videos and images have sequences of different lengths: a forward pass for each kind that the batch has.

    Source: SUGAR section 4.3, TSF-Image. Assumption: decision 0021 (how a batch mixes both).
    """
    kinds = [(~batch.synthetic, batch), (batch.synthetic, batch.as_images(patch_size_t))]
    there = [(mask_B, of) for mask_B, of in kinds if bool(mask_B.any())]
    losses = [denoising_loss(denoise, scheduler, of.pick(mask_B), dtype) for mask_B, of in there]
    order = torch.cat([mask_B.nonzero()[:, 0] for mask_B, _ in there]).argsort()
    return torch.cat(losses)[order]


def load_noise_schedule(base: str) -> Any:
    """The scheduler of a pipeline's folder or hub id.

    Raises:
        InputError: there is none.
    """
    from diffusers import CogVideoXDDIMScheduler

    try:
        return CogVideoXDDIMScheduler.from_pretrained(base, subfolder="scheduler")
    except (OSError, ValueError) as error:
        raise InputError(f"{base}: no noise schedule in its subfolder scheduler: {error}") from error
