"""What a person watches while a model trains: the same few held-out subjects, again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sugar.tracking import Tracker


def sampler(
    latents: Path, base: str, tracker: Tracker, *, num_clips: int, num_steps: int, fps: float
) -> Callable[[Any, int], None]:
    """A callback for `train`: (model, step) -> videos of held-out samples in the tracked run.

    The VAE is loaded when the first samples are made. Noise is the same every time, so that what changes from
    step to step is the model.

    Args:
        latents: cache whose held-out samples give identities and prompts (the first, if none is held out).
        base: CogVideoX pipeline: vae and scheduler.
        num_clips: videos each time; num_steps: of the sampler.
    """
    state: dict[str, Any] = {}

    def prepare(model: Any) -> None:
        import torch
        from diffusers import CogVideoXDDIMScheduler

        from sugar.data.latents import LatentCache
        from sugar.encoders.vae import load_vae
        from sugar.model.denoiser import Tokens
        from sugar.model.patches import pad_frames

        cache = LatentCache.open(latents)
        held_out = cache.held_out_indices if len(cache.held_out_indices) else cache.train_indices
        batch = cache.batch(held_out[:num_clips].tolist())
        where = next(model.parameters())
        streams = {name: batch[name].to(where.device, where.dtype) for name in ("text", "dino", "clip")}
        generator = torch.Generator().manual_seed(0)
        shape = pad_frames(batch["mean"], model.config.patch_size_t).shape
        state.update(
            tokens=Tokens(**streams),
            noise=torch.randn(shape, generator=generator).to(where.device),
            num_frames=batch["mean"].shape[1],
            vae=load_vae(base, where.device),
            scheduler=CogVideoXDDIMScheduler.from_pretrained(base, subfolder="scheduler"),
        )

    def sample(model: Any, step: int) -> None:
        from sugar.encoders.vae import decode_latents
        from sugar.pipeline import Sampling, sample_latents

        if not state:
            prepare(model)
        made = sample_latents(
            model, state["scheduler"], state["tokens"], state["noise"], Sampling(num_steps=num_steps)
        )
        videos = decode_latents(state["vae"], made[:, -state["num_frames"] :]).cpu().numpy()
        for number, frames in enumerate(videos):
            tracker.log_video(f"samples/step-{step:06d}-{number}", frames, fps)

    return sample
