"""The small `AutoencoderKLCogVideoX`: 4x in time, as CogVideoX's own; halved in space between its levels.

Training runs on single frames first (the causal VAE takes images; a ninth of the cost), then on crops of
clips (its networks are convolutions; more steps for the same cost), at last on whole clips.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sugar.foundation.loop import LoopSettings, train_network
from sugar.foundation.pools import Pool, pick
from sugar.sprites import HELD_OUT_SEEDS, sample_clip

GROUPS = 8


def build_vae(
    block_out_channels: tuple[int, ...], latent_channels: int, height_px: int, width_px: int
) -> Any:
    """An untrained VAE of CogVideoX's class."""
    from diffusers import AutoencoderKLCogVideoX

    levels = len(block_out_channels)
    network: Any = AutoencoderKLCogVideoX  # its annotations say tuples of one element
    return network(
        down_block_types=("CogVideoXDownBlock3D",) * levels,
        up_block_types=("CogVideoXUpBlock3D",) * levels,
        block_out_channels=block_out_channels,
        latent_channels=latent_channels,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_height=height_px,
        sample_width=width_px,
        scaling_factor=1.0,
    )


def _as_input(frames_BTHWC: torch.Tensor) -> torch.Tensor:
    pixels_BCTHW = frames_BTHWC.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)
    return pixels_BCTHW.contiguous() if pixels_BCTHW.is_cuda else pixels_BCTHW


def vae_losses(vae: Any, frames_BCTHW: torch.Tensor, kl_weight: float) -> dict[str, torch.Tensor]:
    """Pixel L1 + MSE of the reconstruction from a drawn latent, plus `kl_weight` times the KL per latent."""
    posterior = vae.encode(frames_BCTHW).latent_dist
    mean, std = posterior.mean.float(), posterior.std.float()
    recon = vae.decode(mean + std * torch.randn_like(mean)).sample.float()
    error = recon - frames_BCTHW
    kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.clamp_min(1e-6).log()).mean()
    mse = error.square().mean()
    return {"loss": error.abs().mean() + 2 * mse + kl_weight * kl, "mse": mse, "kl": kl}


def train_vae(
    settings: LoopSettings,
    pool: Pool,
    *,
    block_out_channels: tuple[int, ...],
    latent_channels: int,
    image_steps: int,
    crop_steps: int,
    crop_px: int,
    image_batch: int,
    crop_batch: int,
    clip_batch: int,
    kl_weight: float,
    seed: int,
    checkpoint: Path,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[Any, dict[str, float]]:
    """Train the VAE; returns it with its scaling factor set (1 / std of the latents) and held-out figures."""
    torch.manual_seed(seed)
    num_frames, height_px, width_px = pool.frames.shape[1:4]
    vae = build_vae(block_out_channels, latent_channels, height_px, width_px)

    def draw(step: int) -> torch.Tensor:
        if step < image_steps:
            rows = pick(step, seed, len(pool.frames), image_batch)
            return torch.from_numpy(np.stack([pool.frames[row][step % num_frames] for row in rows])[:, None])
        part, count = (), clip_batch
        if step < crop_steps:
            top, left = np.random.default_rng([seed, step]).integers(
                (height_px - crop_px + 1, width_px - crop_px + 1)
            )
            part, count = (slice(None), slice(top, top + crop_px), slice(left, left + crop_px)), crop_batch
        rows = pick(step, seed, len(pool.frames), count)
        return torch.from_numpy(np.stack([pool.frames[row][part] for row in rows]))

    def loss(batch: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed * 1_000_003 + step)
        return vae_losses(vae, _as_input(batch), kl_weight)

    torch.backends.cudnn.benchmark = True  # three sizes of input
    figures = train_network(vae, draw, loss, settings, checkpoint, report)
    held_out = evaluate_vae(vae.to(settings.device), 64, num_frames, height_px, width_px)
    torch.backends.cudnn.benchmark = False
    vae.to("cpu")
    vae.register_to_config(scaling_factor=round(1.0 / held_out.pop("latent_std"), 6))
    return vae, {**figures, **held_out}


@torch.no_grad()
def evaluate_vae(
    vae: Any, num_clips: int, num_frames: int, height_px: int, width_px: int
) -> dict[str, float]:
    """PSNR in dB over held-out subjects (posterior mean, pixels in [0, 1]) and the std of the latents."""
    vae.eval()
    errors, latents = [], []
    for first in range(0, num_clips, 8):
        clips = [
            sample_clip(
                HELD_OUT_SEEDS[first + i], num_frames=num_frames, height_px=height_px, width_px=width_px
            )
            for i in range(8)
        ]
        frames = _as_input(torch.from_numpy(np.stack([c.frames_THWC for c in clips])).to(vae.device))
        mean = vae.encode(frames).latent_dist.mean
        recon = vae.decode(mean).sample.clamp(-1, 1)
        errors.append(((recon - frames) / 2).square().mean(dim=(1, 2, 3, 4)))
        latents.append(mean)
    mse = torch.cat(errors)
    return {
        "psnr_db": float((-10 * mse.log10()).mean()),
        "latent_std": float(torch.cat(latents).std()),
    }
