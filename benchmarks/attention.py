"""Attention under the designs: full, dense mask, FlexAttention (GPU) and selective, side by side.

    python -m benchmarks.attention [--device cuda] [--shape cogvideox-5b] [--designs b e]

Forward and backward of one attention over projected queries, keys and values, in the layout of the model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.measure import CLOCKS, Clock, median_seconds, peak_mib, print_table, write_results
from sugar.model.attention import DESIGNS, GROUPS, dense_mask, selective_attention, token_order

# heads, head size, and tokens of the groups in the order of GROUPS
SHAPES = {
    "1k": (6, 64, (65, 65, 32, 192, 768)),
    "4k": (6, 64, (257, 257, 226, 512, 3165)),
    "cogvideox-2b": (30, 64, (257, 257, 226, 1350, 16200)),
    "cogvideox-5b": (48, 64, (257, 257, 226, 1350, 16200)),
}


def backward(out: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    torch.autograd.grad(out.sum(), inputs)


def measure(name: str, design: str, device: torch.device, repeats: int, clock: Clock) -> dict[str, Any]:
    heads, head_dim, counts = SHAPES[name]
    order = token_order(DESIGNS[design])
    lengths = dict(zip(GROUPS, counts, strict=True))
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    qkv = [
        torch.randn(1, sum(counts), heads, head_dim, device=device, dtype=dtype)
        .transpose(1, 2)
        .requires_grad_()
        for _ in range(3)
    ]
    mask = dense_mask(DESIGNS[design], lengths)
    index = torch.cat(
        [torch.arange(n) + sum(counts[: GROUPS.index(g)]) for g, n in ((g, lengths[g]) for g in order)]
    )
    mask = mask[index][:, index].to(device)
    variants = {
        "full": lambda: F.scaled_dot_product_attention(*qkv),
        "dense": lambda: F.scaled_dot_product_attention(*qkv, attn_mask=mask),
        "selective": lambda: selective_attention(*qkv, DESIGNS[design], lengths, order=order),
    }
    if device.type == "cuda":
        variants["flex"] = flex(qkv, mask)
    difference = (variants["selective"]() - variants["dense"]()).abs().max().item()
    runs = {key: lambda run=run: backward(run(), qkv) for key, run in variants.items()}
    seconds = median_seconds(runs, repeats, device, clock)
    row = {"shape": name, "tokens": sum(counts), "design": design, "difference": difference}
    for key in variants:
        row[f"{key}_ms"] = seconds[key] * 1e3
        row[f"{key}_mib"] = peak_mib(runs[key], device)
    return row | {
        "speed_vs_full": seconds["full"] / seconds["selective"],
        "speed_vs_dense": seconds["dense"] / seconds["selective"],
    }


def flex(qkv: list[torch.Tensor], mask: torch.Tensor):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    length = mask.shape[0]
    blocks = create_block_mask(lambda b, h, q, k: mask[q, k], None, None, length, length, device=mask.device)
    compiled = torch.compile(flex_attention)
    return lambda: compiled(*qkv, block_mask=blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="default: 1k and 4k")
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=DESIGNS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    device = torch.device(args.device)
    rows = [
        measure(s, d, device, args.repeats, args.clock)
        for s in args.shape or ("1k", "4k")
        for d in args.designs
    ]
    print_table(rows)
    print(write_results("attention", rows, device, args.out))


if __name__ == "__main__":
    main()
