"""Attention under the designs: full, dense mask, FlexAttention (GPU) and selective, side by side.

    python -m benchmarks.attention [--device cuda --shape cogvideox-5b] [--shape 1k] [--designs b e]

Forward and backward of one attention over projected queries, keys and values, in the layout of the model.
All variants of a length, of all designs, take turns. Memory is the allocator's peak above the inputs and the
mask.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import CLOCKS, RESULTS, median_seconds, peak_mib, print_table, write_results
from sugar.model.attention import (
    DESIGNS,
    GROUPS,
    attention_plan,
    dense_mask,
    selective_attention,
    token_order,
)

# Heads, head size, tokens of the groups in the order of GROUPS, and rounds. Image and text as many as the
# published encoders give (257, 257, 226), but for "1k-small"; 13 latent frames in "1k", "2k" and "18k".
SHAPES = {
    "1k-small": (4, 64, (65, 65, 32, 192, 768), 25),
    "1k": (4, 64, (257, 257, 226, 60, 720), 25),
    "2k": (4, 64, (257, 257, 226, 120, 1440), 15),
    "4k": (4, 64, (257, 257, 226, 512, 3165), 9),
    "9k": (2, 64, (257, 257, 226, 675, 7425), 7),
    "18k": (2, 64, (257, 257, 226, 1350, 16200), 7),
    "cogvideox-2b": (30, 64, (257, 257, 226, 1350, 16200), 5),
    "cogvideox-5b": (48, 64, (257, 257, 226, 1350, 16200), 5),
}
CPU_SHAPES = ("1k-small", "1k", "2k", "4k", "9k", "18k")


def variants_of(
    design: str, qkv: Sequence[Tensor], lengths: Mapping[str, int], flex: bool
) -> dict[str, Callable]:
    """Selective attention and what it is compared with, tokens in the design's own order."""
    order = token_order(DESIGNS[design])
    starts = dict(zip(GROUPS, torch.tensor([0, *lengths.values()]).cumsum(0).tolist(), strict=False))
    index = torch.cat([torch.arange(starts[group], starts[group] + lengths[group]) for group in order])
    mask = dense_mask(DESIGNS[design], lengths)[index][:, index].to(qkv[0].device)
    variants = {
        "dense": lambda: F.scaled_dot_product_attention(*qkv, attn_mask=mask),
        "selective": lambda: selective_attention(*qkv, DESIGNS[design], lengths, order=order),
    }
    if flex:
        from sugar.model.flex import flex_selective_attention

        plan = attention_plan(DESIGNS[design], lengths, order)
        variants["flex"] = lambda: flex_selective_attention(*qkv, plan)
    return variants


def measure(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each design at one length."""
    heads, head_dim, counts, rounds = SHAPES[name]
    lengths, device = dict(zip(GROUPS, counts, strict=True)), torch.device(args.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    shape = (1, sum(counts), heads, head_dim)
    qkv = [torch.randn(shape, device=device, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
    cotangent = torch.randn_like(qkv[0])
    attends = {("full", ""): lambda: F.scaled_dot_product_attention(*qkv)}
    for design in args.designs:
        flex = device.type == "cuda" and design in args.flex
        attends |= {(key, design): run for key, run in variants_of(design, qkv, lengths, flex).items()}
    runs = {
        key: lambda attend=attend: torch.autograd.grad(attend(), qkv, cotangent)
        for key, attend in attends.items()
    }
    memory = {key: peak_mib(run, device) for key, run in runs.items()}
    seconds = median_seconds(runs, args.repeats or rounds, device, args.clock, warm=True)
    rows = []
    for design in args.designs:
        with torch.no_grad():
            outputs = [attends[key, design]() for key in ("selective", "dense")]
        row: dict[str, Any] = {"shape": name, "tokens": sum(counts), "heads": heads, "design": design}
        row["difference"] = (outputs[0] - outputs[1]).abs().max().item()
        for key in ("full", "dense", "flex", "selective"):
            of = (key, "" if key == "full" else design)
            row[f"{key}_ms"] = seconds[of] * 1e3 if of in seconds else None
            row[f"{key}_mib"] = memory.get(of)
        ours = seconds["selective", design]
        row["speed_vs_full"] = seconds["full", ""] / ours
        row["speed_vs_dense"] = seconds["dense", design] / ours
        rows.append(row)
    return rows


def memory_exponents(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each design the x of memory a head ~ tokens^x, a straight line through the logarithms."""
    exponents: dict[str, dict[str, float]] = {}
    for design in dict.fromkeys(row["design"] for row in rows):
        own = [row for row in rows if row["design"] == design]
        logs = [math.log(row["tokens"]) for row in own]
        centred = [value - sum(logs) / len(logs) for value in logs]
        exponents[design] = {
            key: sum(
                c * math.log(row[f"{key}_mib"] / row["heads"]) for c, row in zip(centred, own, strict=True)
            )
            / sum(c * c for c in centred)
            for key in ("full", "dense", "selective")
        }
    return exponents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", action="append", choices=SHAPES, help=f"default: {', '.join(CPU_SHAPES)}")
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=DESIGNS)
    parser.add_argument(
        "--flex",
        nargs="*",
        default=list(DESIGNS),
        choices=DESIGNS,
        help="designs with FlexAttention too (GPU)",
    )
    parser.add_argument("--repeats", type=int, help="rounds; default: fewer at greater lengths")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = [row for name in args.shape or CPU_SHAPES for row in measure(name, args)]
    print_table(rows)
    facts = {}
    if len({row["tokens"] for row in rows}) > 1:
        facts = {"memory_exponents": memory_exponents(rows)}
        print_table([{"memory ~ tokens^x": d} | x for d, x in facts["memory_exponents"].items()])
    print(write_results("attention", rows, torch.device(args.device), args.out, facts))


if __name__ == "__main__":
    main()
