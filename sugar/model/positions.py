"""Rotary positions of the video tokens.

Legend: L tokens, K head size.
"""

from __future__ import annotations

import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor


def _centred_crop(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a grid (height, width), scaled to fit, sits in the grid the checkpoint was trained on."""
    height, width = grid
    base_height, base_width = base
    if height / width > base_height / base_width:
        fit_height, fit_width = base_height, round(base_height / height * width)
    else:
        fit_height, fit_width = round(base_width / width * height), base_width
    top, left = round((base_height - fit_height) / 2), round((base_width - fit_width) / 2)
    return (top, left), (top + fit_height, left + fit_width)


def rotary_tables(
    head_dim: int,
    grid: tuple[int, int, int],
    base: tuple[int, int],
    *,
    temporal_patches: bool,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """Cosine and sine tables `[L, K]` of CogVideoX's 3D rotary positions, frame by frame, row by row.

    Args:
        head_dim: K.
        grid: frames, height, width of the video in patches.
        base: height, width in patches that the checkpoint was trained on.
        temporal_patches: CogVideoX 1.5, which slices one long table; 1.0 stretches over the base grid.

    Source: diffusers `CogVideoXPipeline._prepare_rotary_positional_embeddings`.
    """
    frames, height, width = grid
    if temporal_patches:
        cos_LK, sin_LK = get_3d_rotary_pos_embed(
            head_dim, None, (height, width), frames, grid_type="slice", max_size=base, device=device
        )
    else:
        crop = _centred_crop((height, width), base)
        cos_LK, sin_LK = get_3d_rotary_pos_embed(head_dim, crop, (height, width), frames, device=device)
    return cos_LK, sin_LK


def with_text(tables: tuple[Tensor, Tensor], text_length: int) -> tuple[Tensor, Tensor]:
    """Tables over text and video: text tokens have no position, so cosine 1 and sine 0."""
    cos_LK, sin_LK = tables
    still_LK = cos_LK.new_ones(text_length, cos_LK.shape[1])
    return torch.cat([still_LK, cos_LK]), torch.cat([torch.zeros_like(still_LK), sin_LK])
