"""Dual guidance the naive way: three forwards in turn of CogVideoX's own blocks under a dense mask.

Nothing is left out: all branches at every step, all tokens of dropped conditions, the text side of the last
block. What diffusers' pipeline computes once (rotary tables), and the mask, are computed once here too.

Legend: B clips, F latent frames, C channels, H W latent height and width, L tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0
from torch import Tensor

from sugar.diffusion.guidance import Branch, Guidance, dual_guidance
from sugar.diffusion.image_drop import Drop, active_streams
from sugar.model.attention import dense_mask
from sugar.model.denoiser import Tokens
from sugar.model.patches import embed_video, unpatchify
from sugar.model.transformer import SugarTransformer3DModel


class StockDenoiser:
    """The weights of a transformer in stock blocks, tokens in the paper's order."""

    def __init__(self, model: SugarTransformer3DModel, tokens: Tokens, latents_BFCHW: Tensor) -> None:
        self.model, self.tokens = model, tokens.to(model.device, model.dtype)
        batch, frames, _, height, width = latents_BFCHW.shape
        patch, patch_frames = model.config.patch_size, model.config.patch_size_t or 1
        first = height * width // patch**2
        lengths = {"dino": tokens.dino, "clip": tokens.clip, "text": tokens.text}
        lengths = {name: stream.shape[1] for name, stream in lengths.items() if stream is not None}
        lengths |= {"first_frame": first, "other_frames": first * (frames // patch_frames - 1)}
        mask_LL = dense_mask(model.design, lengths).to(model.device)
        bias_LL = torch.zeros(mask_LL.shape, dtype=model.dtype, device=model.device)
        # The stock processor wants the mask of every head, [B * heads, L, L], added to the scores.
        heads = batch * model.config.num_attention_heads
        self.bias = bias_LL.masked_fill_(~mask_LL, float("-inf")).expand(heads, -1, -1)
        self.rotary = model.rotary_embedding(frames, height, width, model.device)

    def __call__(self, latents_BFCHW: Tensor, timestep: Tensor, branch: Branch) -> Tensor:
        """The velocity `[B, F, C, H, W]` under one branch."""
        model, tokens = self.model, self.tokens
        latents = latents_BFCHW.to(model.dtype)
        emb = model.time_embedding(model.time_proj(timestep.expand(len(latents))).to(model.dtype))
        side = torch.cat(
            [
                model.dino_proj(tokens.dino) * branch.dino,
                model.clip_proj(tokens.clip) * branch.clip,
                model.patch_embed.text_proj(tokens.text) * (branch.text == "prompt"),
            ],
            dim=1,
        )
        video = embed_video(model.patch_embed, latents)
        blocks: Any = model.transformer_blocks
        ours = [block.attn1.processor for block in blocks]
        try:
            for block in blocks:
                block.attn1.processor = CogVideoXAttnProcessor2_0()
                video, side = block(video, side, emb, self.rotary, {"attention_mask": self.bias})
        finally:
            for block, processor in zip(blocks, ours, strict=True):
                block.attn1.processor = processor
        video = model.proj_out(model.norm_out(model.norm_final(video), temb=emb))
        return unpatchify(video, latents.shape, model.config.patch_size, model.config.patch_size_t).float()


def naive_sample(
    model: SugarTransformer3DModel,
    tokens: Tokens,
    scheduler: Any,
    noise_BFCHW: Tensor,
    num_steps: int,
    guidance: Guidance,
    drop: Drop,
    drop_until: float,
) -> Tensor:
    """Latents `[B, F, C, H, W]` by DDIM and the literal formula of dual guidance."""
    denoise = StockDenoiser(model, tokens, noise_BFCHW)
    scheduler.set_timesteps(num_steps, device=noise_BFCHW.device)
    latents = noise_BFCHW
    for step, timestep in enumerate(scheduler.timesteps):
        active = active_streams(step, num_steps, drop, drop_until)
        image = ("dino" in active, "clip" in active)
        single = Branch(*image, "null") if guidance.order == "image_first" else Branch(False, False, "prompt")
        predictions = [
            denoise(latents, timestep, branch)
            for branch in (Branch(False, False, "null"), single, Branch(*image, "prompt"))
        ]
        guided = dual_guidance(*predictions, guidance.image_scale, guidance.text_scale, guidance.order)
        latents = scheduler.step(guided, timestep, latents, return_dict=False)[0].float()
    return latents
