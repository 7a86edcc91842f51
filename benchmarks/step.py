"""A training step, forward and backward: stock CogVideoX with as many tokens against ours.

python -m benchmarks.step [--device cuda] [--shape cogvideox-5b] [--batch 1] [--checkpointing]
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import median_seconds, peak_mib, print_table, step_arguments, write_results
from benchmarks.networks import SHAPES, Shape, make_transformer, random_inputs, stock_twin


def model_flops(shape: Shape, batch: int, design: str) -> float:
    """Floating point operations of forward and backward (2x forward), counted on the meta device."""
    meta = torch.device("meta")
    model = make_transformer(shape, design, meta, torch.float32)
    streams = random_inputs(shape, batch, meta, torch.float32)
    with FlopCounterMode(display=False) as counter:
        model(streams["latents"], streams["text"], streams["timestep"], streams["dino"], streams["clip"])
    return 3.0 * counter.get_total_flops()


def measure(args: argparse.Namespace, design: str) -> dict[str, Any]:
    shape, device = SHAPES[args.shape], torch.device(args.device)
    dtype = torch.bfloat16 if device.type == "cuda" or args.bf16 else torch.float32
    ours, stock = make_transformer(shape, design, device, dtype), stock_twin(shape, device, dtype)
    streams = random_inputs(shape, args.batch, device, dtype)
    images = streams["text"].new_zeros(args.batch, 2 * shape.image_tokens, streams["text"].shape[2])
    long_text = torch.cat([images, streams["text"]], dim=1)
    rotary = ours.rotary_embedding(shape.frames, *streams["latents"].shape[3:], device)
    for model in (ours, stock):
        model.train()
        if args.checkpointing:
            model.enable_gradient_checkpointing()

    def step(model: Any, *arguments: Any) -> None:
        out = model(*arguments, image_rotary_emb=rotary, return_dict=False)[0]
        out.float().square().mean().backward()
        model.zero_grad(set_to_none=True)

    image = (streams["dino"], streams["clip"])
    runs = {
        "stock": lambda: step(stock, streams["latents"], long_text, streams["timestep"]),
        "ours": lambda: step(ours, streams["latents"], streams["text"], streams["timestep"], *image),
    }
    seconds = median_seconds(runs, args.repeats, device, args.clock)
    flops = model_flops(shape, args.batch, design)
    return {
        "shape": args.shape,
        "design": design,
        "batch": args.batch,
        "dtype": str(dtype).removeprefix("torch."),
        "stock_s": seconds["stock"],
        "ours_s": seconds["ours"],
        "speed_vs_stock": seconds["stock"] / seconds["ours"],
        "tflop": flops / 1e12,
        "tflop_per_s": flops / seconds["ours"] / 1e12,
        "stock_mib": peak_mib(runs["stock"], device),
        "ours_mib": peak_mib(runs["ours"], device),
    }


def main() -> None:
    parser = step_arguments(__doc__.splitlines()[0], batch=16)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 on a CPU too")
    parser.add_argument("--checkpointing", action="store_true")
    args = parser.parse_args()
    rows = [measure(args, design) for design in args.designs]
    print_table(rows)
    print(write_results("step", rows, torch.device(args.device), args.out))


if __name__ == "__main__":
    main()
