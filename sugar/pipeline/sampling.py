"""From noise and encoded conditions to latents: the transformer, a scheduler and their knobs.

Legend: B clips, F latent frames, C channels, H W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sugar.diffusion.guidance import Guidance
from sugar.diffusion.image_drop import Drop
from sugar.diffusion.sampler import Scheduler, make_scheduler, sample
from sugar.model.denoiser import BatchBranches, BranchDenoiser, Tokens
from sugar.model.transformer import SugarTransformer3DModel


@dataclass(frozen=True)
class Sampling:
    """How to sample: the knobs of `params.yaml`'s `sampling` section.

    Args:
        num_steps: denoising steps.
        guidance: scales and their options.
        drop, drop_until: the image streams left out for the first part of the steps.
        scheduler: "ddim", "dpm", or None for the pipeline's own.
        batch_branches: "auto", "all" or "one" (`sugar.model.denoiser`).
    """

    num_steps: int = 50
    guidance: Guidance = field(default_factory=Guidance)
    drop: Drop = "dino"
    drop_until: float = 0.1
    scheduler: str | None = None
    batch_branches: BatchBranches = "auto"


def sample_latents(
    transformer: SugarTransformer3DModel,
    scheduler: Scheduler,
    tokens: Tokens,
    noise_BFCHW: Tensor,
    sampling: Sampling,
    *,
    generators: list[torch.Generator] | None = None,
    on_step_end: Callable[[int, Tensor, Tensor], Tensor | None] | None = None,
) -> Tensor:
    """Latents `[B, F, C, H, W]` in model space from noise and encoded conditions.

    Args:
        noise_BFCHW: Gaussian, on the transformer's device.
        generators: one a clip, for a scheduler that adds noise.
        on_step_end: see `sugar.diffusion.sampler.sample`.
    """
    if sampling.scheduler is not None:
        scheduler = make_scheduler(scheduler, sampling.scheduler)
    if transformer.is_cache_enabled:  # a cache of diffusers still holds the last clip
        transformer._reset_stateful_cache()
    return sample(
        BranchDenoiser(transformer, tokens, sampling.batch_branches),
        scheduler,
        noise_BFCHW,
        sampling.num_steps,
        sampling.guidance,
        drop=sampling.drop,
        drop_until=sampling.drop_until,
        reads_image=transformer.reads_image,
        generators=generators,
        on_step_end=on_step_end,
    )
