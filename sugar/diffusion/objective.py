"""What the denoiser learns: CogVideoX's objective on the scheduler's noise levels.

Legend: B batch, F latent frames, C channels, H W latent height and width.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class NoiseLevels(Protocol):
    """The part of a diffusers scheduler that training needs."""

    config: object
    alphas_cumprod: Tensor


def _per_sample(values_B: Tensor, like: Tensor) -> Tensor:
    return values_B.to(device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def timesteps_from_uniform(uniform_B: Tensor, num_train_timesteps: int) -> Tensor:
    """Integers in [0, num_train_timesteps), each equally likely, from numbers in [0, 1)."""
    return (uniform_B * num_train_timesteps).long().clamp_(max=num_train_timesteps - 1)


def training_target(
    scheduler: NoiseLevels, latents_BFCHW: Tensor, noise_BFCHW: Tensor, timesteps_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Noisy latents and what the model has to predict from them.

    `x_t = sqrt(a) x_0 + sqrt(1 - a) noise` with `a` the scheduler's cumulative alpha at t. The target is
    `v = sqrt(a) noise - sqrt(1 - a) x_0` for v-prediction, the noise for epsilon, x_0 for sample.

    Args:
        scheduler: its `alphas_cumprod` and `config.prediction_type`.
        timesteps_B: integers within the scheduler's training range.

    Returns:
        (noisy latents, target), both `[B, F, C, H, W]`.

    Raises:
        ValueError: an unknown prediction type.

    Source: CogVideoX section 3.1; SUGAR trains from it. Assumption: decision 0010 (plain mean squared error).
    """
    alpha_B = scheduler.alphas_cumprod.to(timesteps_B.device)[timesteps_B]
    signal = _per_sample(alpha_B.sqrt(), latents_BFCHW)
    sigma = _per_sample((1.0 - alpha_B).sqrt(), latents_BFCHW)
    noisy_BFCHW = signal * latents_BFCHW + sigma * noise_BFCHW
    prediction_type = getattr(scheduler.config, "prediction_type", None)
    if prediction_type == "v_prediction":
        return noisy_BFCHW, signal * noise_BFCHW - sigma * latents_BFCHW
    if prediction_type == "epsilon":
        return noisy_BFCHW, noise_BFCHW
    if prediction_type == "sample":
        return noisy_BFCHW, latents_BFCHW
    raise ValueError(
        f"the scheduler's prediction_type must be v_prediction, epsilon or sample, got {prediction_type!r}"
    )


def diffusion_loss(prediction_BFCHW: Tensor, target_BFCHW: Tensor) -> Tensor:
    """Mean squared error of each sample, float32 `[B]`. Assumption: decision 0010.

    The mean is taken in float64: a float32 sum on the CPU depends, in its last bit, on where the tensor lies
    in memory, and a continued run has to report the same numbers.
    """
    error = prediction_BFCHW.float() - target_BFCHW.float()
    return torch.mean(error.square(), dim=tuple(range(1, error.ndim)), dtype=torch.float64).float()
