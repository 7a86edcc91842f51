"""Latents to patch tokens and back, for CogVideoX 1.0 (spatial patches) and 1.5 (spatio-temporal patches).

Legend: B batch, F latent frames, C channels, H W latent height and width, L tokens, D width,
P values a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def embed_video(embed: Any, latents_BFCHW: Tensor) -> Tensor:
    """The video half of a `CogVideoXPatchEmbed`: patches with their positions, `[B, L, D]`, raster order."""
    batch, frames, _, height, width = latents_BFCHW.shape
    p, p_t = embed.patch_size, embed.patch_size_t
    if height % p or width % p or frames % (p_t or 1):
        raise ValueError(
            f"latents of {frames} x {height} x {width} (frames, height, width) do not divide into patches of "
            f"{p_t or 1} x {p} x {p}"
        )
    if p_t is None:
        patches = embed.proj(latents_BFCHW.flatten(0, 1)).unflatten(0, (batch, frames))
        video_BLD = patches.flatten(3).transpose(2, 3).flatten(1, 2)
    else:
        shape = (batch, frames // p_t, p_t, height // p, p, width // p, p, -1)
        grid = latents_BFCHW.permute(0, 1, 3, 4, 2).reshape(shape)
        video_BLD = embed.proj(grid.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(4, 7).flatten(1, 3))
    if embed.use_positional_embeddings or embed.use_learned_positional_embeddings:
        video_BLD = video_BLD + _positions(embed, frames, height, width).to(video_BLD)
    return video_BLD


def pad_frames(latents_BFCHW: Tensor, patch_size_t: int | None) -> Tensor:
    """Latents with their first frame repeated in front until whole temporal patches fill them.

    Source: CogVideoX 1.5 (its pipelines drop the frames in front again).
    """
    padding = -latents_BFCHW.shape[1] % (patch_size_t or 1)
    if not padding:
        return latents_BFCHW
    return torch.cat([latents_BFCHW[:, :1].expand(-1, padding, -1, -1, -1), latents_BFCHW], dim=1)


def _positions(embed: Any, frames: int, height: int, width: int) -> Tensor:
    """The sinusoidal or learned table `[1, L, D]` of the video tokens."""
    pixel_frames = (frames - 1) * embed.temporal_compression_ratio + 1
    trained = (embed.sample_frames, embed.sample_height, embed.sample_width)
    if (pixel_frames, height, width) == trained:
        table_1LD = embed.pos_embedding
    elif embed.use_learned_positional_embeddings:
        raise ValueError(
            f"learned positions hold for {trained} (frames, latent height, latent width) only, "
            f"got {(pixel_frames, height, width)}"
        )
    else:
        table_1LD = embed._get_positional_embeddings(height, width, pixel_frames)
    return table_1LD[:, embed.max_text_seq_length :]


def unpatchify(
    patches_BLP: Tensor, shape: Sequence[int], patch_size: int, patch_size_t: int | None
) -> Tensor:
    """`[B, L, P]` to latents `[B, F, C, H, W]`; `shape` is that of the latents (C is read from P)."""
    batch, frames, _, height, width = shape
    p, p_t = patch_size, patch_size_t
    if p_t is None:
        grid = patches_BLP.reshape(batch, frames, height // p, width // p, -1, p, p)
        return grid.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)
    grid = patches_BLP.reshape(batch, frames // p_t, height // p, width // p, -1, p_t, p, p)
    return grid.permute(0, 1, 5, 4, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(1, 2)
