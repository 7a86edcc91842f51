"""Memory of a training step by kind: every weight trains, the first half is frozen, nothing before it trains.

Frozen blocks keep no gradients, moments or averages. As long as the image projections train, gradients cross
them, and they keep activations; with the projections fixed too (`trainable`), they keep none.

python -m benchmarks.frozen [--shape sprites] [--batch 4]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import RESULTS, print_table, write_results
from benchmarks.networks import SHAPES, make_transformer, random_inputs
from sugar.training.ema import Ema
from sugar.training.engine import MOMENTS, Engine
from sugar.training.start import choose_trainable

LATER = ("transformer_blocks.", "norm_final.", "norm_out.", "proj_out.")
VARIANTS: dict[str, tuple[float, tuple[str, ...]]] = {
    "all trains": (0.0, ()),
    "first half frozen": (0.5, ()),
    "and the projections": (0.5, LATER),
}


def mib(tensors: Iterable[Tensor]) -> float:
    """Size of the distinct storages behind some tensors."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values()) / 2**20


def measure(args: argparse.Namespace, variant: str) -> dict[str, Any]:
    shape, device = SHAPES[args.shape], torch.device("cpu")
    fraction, trainable = VARIANTS[variant]
    model = make_transformer(shape, args.design, device, torch.float32).train()
    choose_trainable(model, fraction, trainable)
    inputs = random_inputs(shape, args.batch, device, torch.float32)
    engine = Engine(
        model,
        zero_stage=0,
        precision="fp32",
        micro_batch=args.batch,
        accumulation=1,
        betas=(0.9, 0.95),
        weight_decay=0.01,
        max_grad_norm=1.0,
        device=device,
    )
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        order = ("latents", "text", "timestep", "dino", "clip")
        loss = engine(*(inputs[name] for name in order), return_dict=False)[0].square().mean()
    activations = mib(t for t in kept if t.untyped_storage().data_ptr() not in weights)
    kept.clear()
    engine.backward(loss)
    gradients = mib(p.grad for p in model.parameters() if p.grad is not None)
    engine.step(1e-5)
    row = {
        "shape": args.shape,
        "design": args.design,
        "batch": args.batch,
        "trains": variant,
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "weights_mib": mib(model.parameters()),
        "activations_mib": activations,
        "gradients_mib": gradients,
        "moments_mib": mib(t for key in MOMENTS for t in engine.moments(key)),
        "ema_mib": mib(Ema(engine.masters, 0.99).flats),
    }
    engine.close()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="sprites")
    parser.add_argument("--design", default="b")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = [measure(args, variant) for variant in VARIANTS]
    print_table(rows)
    print(write_results("frozen", rows, torch.device("cpu"), args.out))


if __name__ == "__main__":
    main()
