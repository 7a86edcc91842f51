"""Dual-guidance sampling: three forwards of the stock blocks under a dense mask against ours, same seed.

    python -m benchmarks.sampling [--device cuda] [--shape cogvideox-5b] [--steps 20]

The naive variant computes all three branches at every step, one after another, projects the conditions anew
each time and masks densely; the result must agree with ours.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import CogVideoXDDIMScheduler
from diffusers.hooks import FirstBlockCacheConfig
from torch import Tensor

from benchmarks.measure import CLOCKS, median_seconds, print_table, synchronise, write_results
from benchmarks.networks import SHAPES, make_transformer, random_inputs
from sugar.diffusion.guidance import Branch, Guidance, dual_guidance
from sugar.diffusion.image_drop import active_streams
from sugar.diffusion.sampler import sample
from sugar.model.attention import dense_mask
from sugar.model.denoiser import BranchDenoiser, Tokens
from sugar.model.patches import embed_video, unpatchify
from sugar.model.transformer import SugarTransformer3DModel

GUIDANCE = Guidance(4.0, 7.5)
DROP_UNTIL = 0.2


def stock_forward(
    model: SugarTransformer3DModel, tokens: Tokens, latents: Tensor, timestep: Tensor, branch: Branch
):
    """One branch through CogVideoX's own attention with a dense mask, tokens in the paper's order."""
    emb = model.time_embedding(model.time_proj(timestep.expand(len(latents))).to(latents.dtype))
    dino, clip = model.dino_proj(tokens.dino) * branch.dino, model.clip_proj(tokens.clip) * branch.clip
    text = model.patch_embed.text_proj(tokens.text) * (branch.text == "prompt")
    side, video = torch.cat([dino, clip, text], dim=1), embed_video(model.patch_embed, latents)
    first = latents.shape[3] * latents.shape[4] // model.config.patch_size**2
    lengths = {"dino": dino.shape[1], "clip": clip.shape[1], "text": text.shape[1], "first_frame": first}
    lengths["other_frames"] = video.shape[1] - first
    mask = dense_mask(model.design, lengths).to(latents.device)
    rotary = model.rotary_embedding(latents.shape[1], *latents.shape[3:], latents.device)
    for block in model.transformer_blocks:
        video, side = stock_block(block, video, side, emb, rotary, mask)
    out = model.proj_out(model.norm_out(model.norm_final(video), temb=emb))
    return unpatchify(out, latents.shape, model.config.patch_size, model.config.patch_size_t)


def stock_block(block: Any, video: Tensor, side: Tensor, emb: Tensor, rotary: Any, mask: Tensor):
    from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0

    ours = block.attn1.processor
    block.attn1.processor = CogVideoXAttnProcessor2_0()
    heads = video.shape[0] * block.attn1.heads
    bias = torch.zeros(mask.shape, dtype=video.dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
    try:
        return block(video, side, emb, rotary, {"attention_mask": bias.expand(heads, -1, -1)})
    finally:
        block.attn1.processor = ours


def naive(
    model: SugarTransformer3DModel, tokens: Tokens, noise: Tensor, scheduler: Any, steps: int
) -> Tensor:
    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise
    for step, timestep in enumerate(scheduler.timesteps):
        active = active_streams(step, steps, "dino", DROP_UNTIL)
        image = ("dino" in active, "clip" in active)
        branches = (Branch(False, False, "null"), Branch(*image, "null"), Branch(*image, "prompt"))
        predictions = [
            stock_forward(model, tokens, latents.to(model.dtype), timestep, branch).float()
            for branch in branches
        ]
        guided = dual_guidance(*predictions, GUIDANCE.image_scale, GUIDANCE.text_scale, GUIDANCE.order)
        latents = scheduler.step(guided, timestep, latents, return_dict=False)[0].float()
    return latents


class Timed:
    """A denoiser that keeps the time spent in it."""

    def __init__(self, denoise: BranchDenoiser) -> None:
        self.denoise, self.seconds = denoise, 0.0

    def __call__(self, latents: Tensor, timestep: Tensor, branches: Sequence[Branch]) -> list[Tensor]:
        synchronise(latents.device)
        start = time.perf_counter()
        predictions = self.denoise(latents, timestep, branches)
        synchronise(latents.device)
        self.seconds += time.perf_counter() - start
        return predictions


@torch.no_grad()
def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    shape, device = SHAPES[args.shape], torch.device(args.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = make_transformer(shape, args.design, device, dtype).eval()
    streams = random_inputs(shape, args.batch, device, dtype)
    tokens = Tokens(streams["text"], streams["dino"], streams["clip"])
    noise = streams["latents"].float()
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )

    def ours(guidance: Guidance = GUIDANCE, timed: list[float] | None = None) -> Tensor:
        denoise = Timed(BranchDenoiser(model, tokens))
        start = time.perf_counter()
        latents = sample(denoise, scheduler, noise, args.steps, guidance, drop="dino", drop_until=DROP_UNTIL)
        if timed is not None:
            timed.append(1.0 - denoise.seconds / (time.perf_counter() - start))
        return latents

    def cached() -> Tensor:
        model.enable_cache(FirstBlockCacheConfig(threshold=args.cache_threshold))
        try:
            return ours(Guidance(4.0, 7.5, interval=(0.0, 0.6)))
        finally:
            model.disable_cache()

    runs = {
        "naive": lambda: naive(model, tokens, noise, scheduler, args.steps),
        "exact": ours,
        "equal scales": lambda: ours(Guidance(7.5, 7.5)),
        "conditional only": lambda: ours(Guidance(1.0, 1.0)),
        "cache and interval": cached,
    }
    outside: list[float] = []
    ours(timed=outside)
    reference = runs["naive"]()
    seconds = median_seconds(runs, args.repeats, device, args.clock)
    return [
        {
            "variant": name,
            "seconds": seconds[name],
            "speed_vs_naive": seconds["naive"] / seconds[name],
            "relative_difference": ((run() - reference).norm() / reference.norm()).item(),
            "outside_transformer": outside[0] if name == "exact" else None,
        }
        for name, run in runs.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--design", default="b")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--cache-threshold", type=float, default=0.1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    rows = measure(args)
    print_table(rows)
    print(write_results("sampling", rows, torch.device(args.device), args.out))


if __name__ == "__main__":
    main()
