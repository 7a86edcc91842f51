"""Random changes of training pictures that leave the subject who it is: a pool is seen many times over."""

from __future__ import annotations

import torch
import torch.nn.functional as F

ZOOM = 0.15
SHIFT = 0.12  # of half the picture


def jitter(pixels_BCHW: torch.Tensor, seed: int, mirrored_B: torch.Tensor | None = None) -> torch.Tensor:
    """Each picture moved, zoomed and, where `mirrored_B` says so, mirrored; edges are repeated outwards.

    A pure function of its arguments: drawn on the CPU (where `mirrored_B` lies), done where the pictures lie.
    Values and shape stay as they are: 0..255, float32 [B, C, H, W].
    """
    generator = torch.Generator().manual_seed(seed)
    random_B3 = 2 * torch.rand(len(pixels_BCHW), 3, generator=generator) - 1
    zoom_B = 1 + ZOOM * random_B3[:, 0]
    affine_B23 = torch.zeros(len(pixels_BCHW), 2, 3)
    affine_B23[:, 0, 0] = zoom_B if mirrored_B is None else torch.where(mirrored_B, -zoom_B, zoom_B)
    affine_B23[:, 1, 1] = zoom_B
    affine_B23[:, :, 2] = SHIFT * random_B3[:, 1:]
    affine_B23 = affine_B23.to(pixels_BCHW.device, non_blocking=True)
    with torch.autocast("cuda", enabled=False):  # exact positions there; in bf16 they are off by 0.1 pixels
        grid = F.affine_grid(affine_B23, list(pixels_BCHW.shape), align_corners=False)
    return F.grid_sample(pixels_BCHW, grid, padding_mode="border", align_corners=False)


def blur_some(pixels_BCHW: torch.Tensor, seed: int) -> torch.Tensor:
    """A random half of the pictures, blurred to a random degree: identity is more than sharp edges."""
    generator = torch.Generator().manual_seed(seed)
    strength_B = torch.rand(len(pixels_BCHW), generator=generator).sub_(0.5).clamp_min_(0).mul_(2)
    strength_B = strength_B.to(pixels_BCHW.device, non_blocking=True)
    blurred = F.interpolate(
        F.avg_pool2d(pixels_BCHW, 4), scale_factor=4, mode="bilinear", align_corners=False
    )
    return torch.lerp(pixels_BCHW, blurred, strength_B[:, None, None, None])
