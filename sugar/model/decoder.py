"""CogVideoX's VAE decoder with less work and the same result.

Each of its norms scales and shifts by two 1x1x1 convolutions of the latent, which diffusers first enlarges
to the size of the features. Nearest-neighbour enlarging and a 1x1x1 convolution commute, so here the
convolutions see the latent as it is and their results are enlarged.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXSpatialNorm3D

Module = TypeVar("Module", bound=torch.nn.Module)


class LatentSizeSpatialNorm(CogVideoXSpatialNorm3D):
    """`CogVideoXSpatialNorm3D`, its convolutions at the size of the latent."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, f: torch.Tensor, zq: torch.Tensor, conv_cache: dict[str, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Features f [B, C, T, H, W] and latent zq [B, Z, t, h, w] -> the modulated norm of f, and an empty
        cache (a 1x1x1 convolution needs no earlier frames)."""
        scale = enlarge(self.conv_y.conv(zq), f.shape[-3:])
        shift = enlarge(self.conv_b.conv(zq), f.shape[-3:])
        return torch.addcmul(shift, self.norm_layer(f), scale), {}


def enlarge(latent_BCthw: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Nearest-neighbour to (T, H, W) as `CogVideoXSpatialNorm3D` does it: of an odd number of frames above
    one, the first stands alone."""
    if size[0] > 1 and size[0] % 2 == 1:
        first = F.interpolate(latent_BCthw[:, :, :1], size=(1, *size[1:]))
        rest = F.interpolate(latent_BCthw[:, :, 1:], size=(size[0] - 1, *size[1:]))
        return torch.cat([first, rest], dim=2)
    return F.interpolate(latent_BCthw, size=tuple(size))


def modulate_at_latent_size(vae: Module) -> Module:
    """Let all norms of the decoder work at the latent's size; weights and names stay. Returns `vae`."""
    for module in vae.modules():
        if type(module) is CogVideoXSpatialNorm3D:
            module.__class__ = LatentSizeSpatialNorm
    return vae
