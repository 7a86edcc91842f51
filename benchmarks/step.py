"""A training step, forward and backward: stock CogVideoX with as many tokens against ours.

`mfu` is the model's operations (forward and twice that for backward, recomputation not counted) a second over
the peak: a GPU's data sheet where it is known, and a large matrix product in the same precision, run beside.
A recipe says how both models are run: "plain", or with checkpointing that is "full", "selective"
(`sugar.model.checkpointing`) or that and "compiled".

python -m benchmarks.step [--device cuda --shape cogvideox-5b --recipes full compiled --backend cudnn]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
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
from sugar.model.checkpointing import selective_checkpoint
from sugar.training.gpus import known_gpu

RECIPES = ("plain", "full", "selective", "compiled")
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def model_flops(shape: Shape, batch: int, design: str) -> float:
    """Floating point operations of forward and backward (2x forward), counted on the meta device."""
    meta = torch.device("meta")
    model = make_transformer(shape, design, meta, torch.float32)
    streams = random_inputs(shape, batch, meta, torch.float32)
    with FlopCounterMode(display=False) as counter:
        model(streams["latents"], streams["text"], streams["timestep"], streams["dino"], streams["clip"])
    return 3.0 * counter.get_total_flops()


def prepare(model: Any, recipe: str) -> Any:
    """The model, ready to train under a recipe."""
    model.train()
    if recipe == "full":
        model.enable_gradient_checkpointing()
    elif recipe != "plain":
        model.enable_gradient_checkpointing(selective_checkpoint(compiled=recipe == "compiled"))
    return model


def shares_of_kernels(run: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Of a GPU's time in one run, what matrix products, attention and all other kernels take, in seconds."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize(device)
    seconds = {"products_s": 0.0, "attention_s": 0.0, "other_kernels_s": 0.0}
    for event in profiler.key_averages():
        name = event.key.lower()
        if any(part in name for part in ("flash", "fmha", "sdpa", "attention")):
            kind = "attention_s"
        elif any(part in name for part in ("gemm", "nvjet", "cutlass", "cublas", "matmul")):
            kind = "products_s"
        else:
            kind = "other_kernels_s"
        seconds[kind] += event.self_device_time_total / 1e6
    return seconds


def measure(args: argparse.Namespace, name: str, design: str, recipe: str) -> dict[str, Any]:
    shape, device = SHAPES[name], torch.device(args.device)
    dtype = torch.bfloat16 if device.type == "cuda" or args.bf16 else torch.float32
    streams = random_inputs(shape, args.batch, device, dtype)
    images = streams["text"].new_zeros(args.batch, 2 * shape.image_tokens, streams["text"].shape[2])
    long_text = torch.cat([images, streams["text"]], dim=1)
    ours = prepare(make_transformer(shape, design, device, dtype), recipe)
    rotary = ours.rotary_embedding(shape.frames, *streams["latents"].shape[3:], device)

    def step(model: Any, *arguments: Any) -> None:
        with sdpa_kernel([BACKENDS[args.backend]]) if args.backend else nullcontext():
            out = model(*arguments, image_rotary_emb=rotary, return_dict=False)[0]
            out.float().square().mean().backward()
        model.zero_grad(set_to_none=True)

    image = (streams["dino"], streams["clip"])
    runs = {"ours": lambda: step(ours, streams["latents"], streams["text"], streams["timestep"], *image)}
    if recipe in args.stock:
        stock = prepare(stock_twin(shape, device, dtype), recipe)
        runs["stock"] = lambda: step(stock, streams["latents"], long_text, streams["timestep"])
    for run in runs.values() if recipe == "compiled" else ():
        run()
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
        "recipe": recipe,
        "backend": args.backend or "torch's choice",
        "stock_s": seconds.get("stock"),
        "ours_s": seconds["ours"],
        "speed_vs_stock": seconds["stock"] / seconds["ours"] if "stock" in seconds else None,
        "tflop": flops / 1e12,
        "tflop_per_s": flops / seconds["ours"] / 1e12,
        "matmul_tflop_per_s": peak / 1e12,
        "mfu_of_matmul": flops / seconds["ours"] / peak,
        "mfu_of_data_sheet": sheet and flops / seconds["ours"] / sheet,
        "stock_mib": memory.get("stock"),
        "ours_mib": memory["ours"],
        **(shares_of_kernels(runs["ours"], device) if device.type == "cuda" else {}),
    }


def main() -> None:
    parser = step_arguments(__doc__.splitlines()[0], batch=4, shapes=["sprites", "small"])
    parser.add_argument("--bf16", action="store_true", help="bfloat16 on a CPU too")
    parser.add_argument("--recipes", nargs="+", default=["plain"], choices=RECIPES)
    parser.add_argument(
        "--stock",
        nargs="*",
        default=list(RECIPES),
        choices=RECIPES,
        help="recipes with the stock twin beside",
    )
    parser.add_argument("--backend", choices=BACKENDS, help="attention kernel; default: torch's choice")
    args = parser.parse_args()
    rows = [
        measure(args, name, design, recipe)
        for name in args.shape
        for design in args.designs
        for recipe in args.recipes
    ]
    print_table(rows)
    print(write_results("step", rows, torch.device(args.device), args.out))


if __name__ == "__main__":
    main()
