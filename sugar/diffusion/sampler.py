"""The sampling loop: diffusers' CogVideoX schedulers, dual guidance, early dropping, no wasted branch.

Legend: B clips, F latent frames, C channels, H W latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from torch import Tensor

from sugar.diffusion.guidance import Branch, Guidance, branch_weights, combine, rescale_guidance
from sugar.diffusion.image_drop import Drop, active_streams

Scheduler = CogVideoXDDIMScheduler | CogVideoXDPMScheduler
SCHEDULERS: dict[str, type[Scheduler]] = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}
StepCallback = Callable[[int, Tensor, Tensor], Tensor | None]


class Denoise(Protocol):
    """One prediction `[B, F, C, H, W]` for each branch, from the same latents and timestep."""

    def __call__(
        self, latents_BFCHW: Tensor, timestep: Tensor, branches: Sequence[Branch]
    ) -> list[Tensor]: ...


def make_scheduler(scheduler: Scheduler, kind: str) -> Scheduler:
    """The scheduler of a kind, "ddim" or "dpm", with the noise levels of another.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in SCHEDULERS:
        raise ValueError(f"sampling.scheduler must be one of {', '.join(SCHEDULERS)}, got {kind!r}")
    scheduler_class: Any = SCHEDULERS[kind]
    return scheduler_class.from_config(scheduler.config)


def sample(
    denoise: Denoise,
    scheduler: Scheduler,
    latents_BFCHW: Tensor,
    num_steps: int,
    guidance: Guidance,
    *,
    drop: Drop = "none",
    drop_until: float = 0.0,
    reads_image: bool = True,
    generators: list[torch.Generator] | None = None,
    on_step_end: StepCallback | None = None,
) -> Tensor:
    """Turn noise into latents.

    Args:
        denoise: predicts for the branches that this step needs, and no others.
        scheduler: its timesteps are set here.
        latents_BFCHW: Gaussian noise, float32.
        num_steps: denoising steps, 1 or more.
        guidance: scales, order and options.
        drop, drop_until: which image streams are left out for the first part of the steps.
        reads_image: False for a model that never sees the image (design (a)): its branches fall together.
        generators: one a clip, for a scheduler that adds noise; a clip's result then does not depend on the
            clips beside it.
        on_step_end: called with (step, timestep, latents); a tensor that it returns replaces the latents.

    Returns:
        `[B, F, C, H, W]` in model space, float32.

    Raises:
        ValueError: fewer than one step, or a number of generators other than B.

    Source: SUGAR section 3.2 "Improved Sampling"; diffusers `CogVideoXPipeline`.
    """
    if num_steps < 1:
        raise ValueError(f"sampling.num_steps must be >= 1, got {num_steps}")
    if generators is not None and len(generators) != latents_BFCHW.shape[0]:
        raise ValueError(f"{latents_BFCHW.shape[0]} clips need as many generators, got {len(generators)}")
    scheduler.set_timesteps(num_steps, device=latents_BFCHW.device)
    timesteps: Tensor = scheduler.timesteps
    latents = latents_BFCHW.float() * scheduler.init_noise_sigma
    previous_clean: Tensor | None = None
    take_step: Any = scheduler.step
    for step, timestep in enumerate(timesteps):
        active = active_streams(step, num_steps, drop, drop_until) if reads_image else frozenset()
        conditions = {"dino": "dino" in active, "clip": "clip" in active, "negative": guidance.negative}
        weights = branch_weights(*guidance.scales_at(step, num_steps), guidance.order, **conditions)
        both = Branch(conditions["dino"], conditions["clip"], "prompt")
        wanted = list(weights)
        if guidance.rescale and both not in weights:
            wanted.append(both)
        predictions = [prediction.float() for prediction in denoise(latents, timestep, wanted)]
        guided = combine(predictions[: len(weights)], weights)
        if guidance.rescale:
            guided = rescale_guidance(guided, predictions[wanted.index(both)], guidance.rescale)
        if isinstance(scheduler, CogVideoXDPMScheduler):
            back = timesteps[step - 1] if step else None
            latents, previous_clean = take_step(
                guided, previous_clean, timestep, back, latents, generator=generators, return_dict=False
            )
        else:
            latents = take_step(guided, timestep, latents, return_dict=False)[0]
        if on_step_end is not None:
            replaced = on_step_end(step, timestep, latents)
            latents = latents if replaced is None else replaced
        latents = latents.float()
    return latents
