"""A training step, forward and backward: stock CogVideoX with as many tokens against ours.

`mfu` is the model's operations (forward and twice that for backward, recomputation not counted) a second over
the peak: a GPU's data sheet where it is known, and a large matrix product in the same precision, run beside.

python -m benchmarks.step [--device cuda] [--shape cogvideox-5b] [--batch 1] [--checkpointing]
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import (
    matmul,
    median_seconds,
    peak_mib,
    print_table,
    step_arguments,
    write_results,
)
from benchmarks.networks import SHAPES, Shape, make_transformer, random_inputs, stock_twin
from sugar.training.gpus import known_gpu


def model_flops(shape: Shape, batch: int, design: str) -> float:
    """Floating point operations of forward and backward (2x forward), counted on the meta device."""
    meta = torch.device("meta")
    model = make_transformer(shape, design, meta, torch.float32)
    streams = random_inputs(shape, batch, meta, torch.float32)
    with FlopCounterMode(display=False) as counter:
        model(streams["latents"], streams["text"], streams["timestep"], streams["dino"], streams["clip"])
    return 3.0 * counter.get_total_flops()


def measure(args: argparse.Namespace, name: str, design: str) -> dict[str, Any]:
    shape, device = SHAPES[name], torch.device(args.device)
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
    memory = {name: peak_mib(run, device) for name, run in runs.items()}
    product, product_flops = matmul(device, dtype)
    product()
    seconds = median_seconds({**runs, "matmul": product}, args.repeats, device, args.clock, warm=True)
    flops = model_flops(shape, args.batch, design)
    peak = product_flops / seconds["matmul"]
    gpu = known_gpu(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    sheet = None if gpu is None else gpu.tflops("bf16" if dtype == torch.bfloat16 else "fp32") * 1e12
    return {
        "shape": name,
        "design": design,
        "batch": args.batch,
        "dtype": str(dtype).removeprefix("torch."),
        "stock_s": seconds["stock"],
        "ours_s": seconds["ours"],
        "speed_vs_stock": seconds["stock"] / seconds["ours"],
        "tflop": flops / 1e12,
        "tflop_per_s": flops / seconds["ours"] / 1e12,
        "matmul_tflop_per_s": peak / 1e12,
        "mfu_of_matmul": flops / seconds["ours"] / peak,
        "mfu_of_data_sheet": sheet and flops / seconds["ours"] / sheet,
        "stock_mib": memory["stock"],
        "ours_mib": memory["ours"],
    }


def main() -> None:
    parser = step_arguments(__doc__.splitlines()[0], batch=4, shapes=["sprites", "small"])
    parser.add_argument("--bf16", action="store_true", help="bfloat16 on a CPU too")
    parser.add_argument("--checkpointing", action="store_true")
    args = parser.parse_args()
    rows = [measure(args, name, design) for name in args.shape for design in args.designs]
    print_table(rows)
    print(write_results("step", rows, torch.device(args.device), args.out))


if __name__ == "__main__":
    main()
