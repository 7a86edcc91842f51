"""CogVideoX's video VAE: frames to the latent posterior and back.

Axes: B batch, T frames, F latent frames, C channels, H W height and width. The VAE itself is BCFHW, the
transformer and everything else here BFCHW; the permutes below are the only place where the two meet.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sugar.encoders.loading import load_network
from sugar.encoders.preprocess import as_tensor


def load_vae(base: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """The `AutoencoderKLCogVideoX` of a CogVideoX folder or hub id (subfolder "vae")."""
    from diffusers import AutoencoderKLCogVideoX

    return load_network(AutoencoderKLCogVideoX, base, subfolder="vae", device=device, dtype=dtype)


def spatial_ratio(vae: Any) -> int:
    """Pixels a latent position spans on each side (8 for CogVideoX)."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def temporal_ratio(vae: Any) -> int:
    """Frames a latent frame spans, after the first, which stands alone (4 for CogVideoX)."""
    return int(vae.config["temporal_compression_ratio"])


def num_latent_frames(vae: Any, num_frames: int) -> int:
    """Latent frames of a clip: 1 + (T - 1) / temporal ratio, which must be odd.

    The VAE works through latent frames two at a time, the first round taking the odd one; of an even number
    it decodes four frames each, so the clip would come back longer than it went in.

    Raises:
        ValueError: when T - 1 is not a multiple of twice the temporal ratio.
    """
    step = 2 * temporal_ratio(vae)
    if num_frames < 1 or (num_frames - 1) % step:
        raise ValueError(f"video.num_frames must be 1 + a multiple of {step} for this VAE, got {num_frames}")
    return 1 + (num_frames - 1) // temporal_ratio(vae)


@torch.no_grad()
def encode_posterior(vae: Any, frames_BTHWC: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latent posterior, not scaled.

    Args:
        frames_BTHWC: uint8 RGB; T as in `num_latent_frames`, H and W multiples of `spatial_ratio`.

    Returns:
        mean and std, both float32 [B, F, C, H / ratio, W / ratio] on the VAE's device.

    Raises:
        ValueError: for another dtype or size.
    """
    frames = as_tensor(frames_BTHWC)
    if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be uint8 [B, T, H, W, 3], got {frames.dtype} {tuple(frames.shape)}")
    ratio = spatial_ratio(vae)
    if frames.shape[2] % ratio or frames.shape[3] % ratio:
        raise ValueError(
            f"video height and width must be multiples of {ratio}, got {tuple(frames.shape[2:4])}"
        )
    num_latent_frames(vae, frames.shape[1])
    pixels = frames.to(vae.device).permute(0, 4, 1, 2, 3).to(vae.dtype) / 127.5 - 1.0
    posterior = vae.encode(pixels).latent_dist
    mean = posterior.mean.permute(0, 2, 1, 3, 4).contiguous()
    std = posterior.std.permute(0, 2, 1, 3, 4).contiguous()
    return mean.float(), std.float()


def to_model_space(
    mean: torch.Tensor, std: torch.Tensor, noise: torch.Tensor, scaling_factor: float
) -> torch.Tensor:
    """A posterior sample as the transformer sees it: (mean + std * noise) * scaling_factor."""
    return (mean + std * noise) * scaling_factor


@torch.no_grad()
def decode_latents(vae: Any, latents_BFCHW: torch.Tensor) -> torch.Tensor:
    """Frames of latents in the transformer's space (divided here by `vae.config.scaling_factor`).

    Returns:
        uint8 [B, T, H, W, 3] on the VAE's device, T = 1 + (F - 1) * temporal ratio.

    Raises:
        ValueError: for an even number of latent frames (see `num_latent_frames`).
    """
    if latents_BFCHW.shape[1] % 2 == 0:
        raise ValueError(f"the VAE decodes an odd number of latent frames, got {latents_BFCHW.shape[1]}")
    latents = latents_BFCHW.to(vae.device, vae.dtype) / vae.config["scaling_factor"]
    pixels = vae.decode(latents.permute(0, 2, 1, 3, 4)).sample.float()
    frames = ((pixels.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return frames.permute(0, 2, 3, 4, 1).contiguous()
