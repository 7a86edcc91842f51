"""Dual-guidance sampling: three forwards of the stock blocks under a dense mask against ours, same seed.

    python -m benchmarks.sampling [--device cuda --shape cogvideox-5b --model ""] [--steps 20]

Two tables. The first is of a transformer of some shape with random weights: time, forwards (of a whole clip
through all blocks; a block that a cache skips does not count), differences from the naive result under the
same scales. The second is of a trained model on held-out subjects of Sprite World: the same, and what the
options that are not exact cost in the metrics.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import CogVideoXDDIMScheduler
from diffusers.hooks import FirstBlockCacheConfig
from torch import Tensor

from benchmarks.measure import CLOCKS, RESULTS, Clock, median_seconds, print_table, synchronise, write_results
from benchmarks.networks import SHAPES, make_transformer, random_inputs
from benchmarks.stock import naive_sample
from sugar.diffusion.guidance import Branch, Guidance
from sugar.diffusion.image_drop import Drop
from sugar.diffusion.sampler import sample
from sugar.model.denoiser import BranchDenoiser, Tokens
from sugar.model.transformer import SugarTransformer3DModel


@dataclass(frozen=True)
class Variant:
    """One way to sample; its reference is the naive way with the same scales and drop."""

    scales: tuple[float, float]
    drop: Drop = "dino"
    drop_until: float = 0.2
    interval: tuple[float, float] = (0.0, 1.0)
    cache: float | None = None

    def guidance(self, exact: bool = False) -> Guidance:
        return Guidance(*self.scales, interval=(0.0, 1.0) if exact else self.interval)


def variants_of(args: argparse.Namespace, scales: tuple[float, float]) -> dict[str, Variant]:
    interval, cache = (0.0, args.interval_end), args.cache_threshold
    return {
        "exact": Variant(scales),
        "equal scales": Variant((scales[0], scales[0])),
        "image scale 1": Variant((1.0, scales[1])),
        "scales 1": Variant((1.0, 1.0)),
        "image dropped": Variant(scales, drop="both", drop_until=1.0),
        "interval": Variant(scales, interval=interval),
        "cache": Variant(scales, cache=cache),
        "cache and interval": Variant(scales, interval=interval, cache=cache),
    }


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


@dataclass
class Sampler:
    """A transformer, what it is conditioned on, and the noise that all variants start from."""

    model: SugarTransformer3DModel
    tokens: Tokens
    scheduler: Any
    noise_BFCHW: Tensor
    num_steps: int

    def naive(self, variant: Variant) -> Tensor:
        guidance, how = variant.guidance(exact=True), (variant.drop, variant.drop_until)
        start = (self.model, self.tokens, self.scheduler, self.noise_BFCHW, self.num_steps)
        return naive_sample(*start, guidance, *how)

    def ours(self, variant: Variant) -> tuple[Tensor, float]:
        """Latents, and the share of the time that is spent outside of the transformer."""
        if variant.cache is not None:
            self.model.enable_cache(FirstBlockCacheConfig(threshold=variant.cache))
        denoise = Timed(BranchDenoiser(self.model, self.tokens))
        start = time.perf_counter()
        latents = sample(
            denoise,
            self.scheduler,
            self.noise_BFCHW,
            self.num_steps,
            variant.guidance(),
            drop=variant.drop,
            drop_until=variant.drop_until,
            reads_image=self.model.reads_image,
        )
        outside = 1.0 - denoise.seconds / (time.perf_counter() - start)
        if variant.cache is not None:
            self.model.disable_cache()
        return latents, outside

    def forwards(self, run: Callable[[], Any]) -> tuple[Any, float]:
        """What `run` returns, and the forwards of one clip that it took, by calls of the attention layers."""
        blocks: Any = self.model.transformer_blocks
        rows: list[int] = []
        hooks = [
            block.attn1.register_forward_hook(lambda module, inputs, output: rows.append(len(output[0])))
            for block in blocks
        ]
        try:
            result = run()
        finally:
            for hook in hooks:
                hook.remove()
        return result, sum(rows) / len(blocks) / len(self.noise_BFCHW)


@torch.no_grad()
def compare(
    sampler: Sampler,
    variants: dict[str, Variant],
    repeats: int,
    clock: Clock,
    judge: Callable[[Tensor], dict[str, float]] = lambda latents: {},
) -> list[dict[str, Any]]:
    """A row for each variant, the naive way first; `judge` gives the metrics of latents."""
    main, device = variants["exact"], sampler.noise_BFCHW.device
    references: dict[Any, Tensor] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, variant in variants.items():
        key = (variant.scales, variant.drop, variant.drop_until)
        if key not in references:
            references[key], forwards = sampler.forwards(lambda v=variant: sampler.naive(v))
            if name == "exact":
                rows["naive"] = {"forwards": forwards, "max_difference": 0.0, "relative_difference": 0.0}
                rows["naive"] |= {"outside_transformer": None, **judge(references[key])}
        (latents, outside), forwards = sampler.forwards(lambda v=variant: sampler.ours(v))
        difference = latents - references[key]
        rows[name] = {
            "forwards": forwards,
            "max_difference": difference.abs().max().item(),
            "relative_difference": (difference.norm() / references[key].norm()).item(),
            "outside_transformer": outside,
            **judge(latents),
        }
    runs: dict[str, Callable[[], Any]] = {"naive": lambda: sampler.naive(main)}
    runs |= {name: lambda v=variant: sampler.ours(v) for name, variant in variants.items()}
    seconds = median_seconds(runs, repeats, device, clock, warm=True)
    return [
        {
            "variant": name,
            "seconds": seconds[name],
            "speed_vs_naive": seconds["naive"] / seconds[name],
            **row,
        }
        for name, row in rows.items()
    ]


def random_sampler(args: argparse.Namespace, device: torch.device) -> Sampler:
    """A transformer of `--shape` with random weights."""
    shape = SHAPES[args.shape]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    streams = random_inputs(shape, args.batch, device, dtype)
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    return Sampler(
        make_transformer(shape, args.design, device, dtype).eval(),
        Tokens(streams["text"], streams["dino"], streams["clip"]),
        scheduler,
        streams["latents"].float(),
        args.steps,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--design", default="b")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--model", default="models/stage2", help='a SugarPipeline folder; "": no second table'
    )
    parser.add_argument("--trained-steps", type=int, default=20)
    parser.add_argument("--videos", type=int, default=30, help="held-out subjects, one video each")
    parser.add_argument("--cache-threshold", type=float, default=0.15)
    parser.add_argument("--interval-end", type=float, default=0.6, help="share of the steps that are guided")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="of the first table; default: all")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    device = torch.device(args.device)
    sampler = random_sampler(args, device)
    variants = variants_of(args, (4.0, 7.5))
    chosen = {name: variants[name] for name in ["exact", *(args.variants or variants)]}
    rows = compare(sampler, chosen, args.repeats, args.clock)
    print_table(rows)
    facts: dict[str, Any] = {"shape": args.shape, "design": args.design, "steps": args.steps}
    facts |= {"cache_threshold": args.cache_threshold, "interval_end": args.interval_end}
    if args.model:
        from benchmarks.sprite_videos import sprite_videos

        videos = sprite_videos(Path(args.model), args.videos, device)
        variants = variants_of(args, videos.scales)
        variants = {name: variants[name] for name in ("exact", "interval", "cache", "cache and interval")}
        steps = args.trained_steps
        trained = Sampler(videos.model, videos.tokens, videos.scheduler, videos.noise_BFCHW, steps)
        facts |= {
            "trained_model": videos.name,
            "trained_scales": videos.scales,
            "trained_steps": steps,
            "videos": args.videos,
            "trained_rows": compare(trained, variants, 1, args.clock, videos.judge),
        }
        print(f"\n{videos.name}, {args.videos} held-out subjects, scales {videos.scales}")
        print_table(facts["trained_rows"])
    print(write_results("sampling", rows, device, args.out, facts))


if __name__ == "__main__":
    main()
