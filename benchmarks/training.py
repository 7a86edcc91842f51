"""A whole training step, ours and that of diffusers' CogVideoX training example, in one process.

Both: noise, v-prediction target, forward, backward, clipping, AdamW, at the same batch, precision and number
of tokens. Diffusers': the plain loop of its example on the stock transformer, image tokens as text tokens.
Ours: engine with ZeRO 0, selective attention, losses by group, EMA. All of them take turns.

python -m benchmarks.training [--device cuda] [--shape cogvideox-2b] [--batch 1] [--designs b e]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from diffusers import CogVideoXDDIMScheduler

from benchmarks.measure import median_seconds, peak_mib, print_table, step_arguments, write_results
from benchmarks.networks import SHAPES, Shape, make_transformer, random_inputs, stock_twin
from sugar.training.batches import STREAMS, Batch
from sugar.training.denoise import denoising_loss
from sugar.training.ema import Ema
from sugar.training.engine import Engine
from sugar.training.history import Window

BETAS, WEIGHT_DECAY, MAX_NORM, RATE = (0.9, 0.95), 0.01, 1.0, 1e-5


def make_scheduler() -> Any:
    return CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )


def diffusers_step(shape: Shape, batch: int, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """The step of examples/cogvideo/train_cogvideox_lora.py with every weight training."""
    model: Any = stock_twin(shape, device, dtype).train()
    scheduler = make_scheduler()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    streams = random_inputs(shape, batch, device, dtype)
    images = streams["text"].new_zeros(batch, 2 * shape.image_tokens, streams["text"].shape[2])
    text, latents = torch.cat([images, streams["text"]], dim=1), streams["latents"]
    alphas = scheduler.alphas_cumprod.to(device)
    rotary = make_rotary(shape, latents)

    def step() -> None:
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, 1000, (batch,), device=device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        out = model(noisy, text, timesteps, image_rotary_emb=rotary, return_dict=False)[0]
        prediction = scheduler.get_velocity(out, noisy, timesteps)
        weights = (1 / (1 - alphas[timesteps])).view(-1, 1, 1, 1, 1)
        error = weights * (prediction - latents) ** 2
        error.reshape(batch, -1).mean(dim=1).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_rotary(shape: Shape, latents: Any) -> Any:
    model = make_transformer(shape, "e", torch.device("meta"), torch.float32)
    return model.rotary_embedding(shape.frames, *latents.shape[3:], latents.device)


def our_step(
    shape: Shape, design: str, batch: int, device: torch.device, precision: str
) -> Callable[[], None]:
    """What `sugar.training.trainer` does in a step."""
    model = make_transformer(shape, design, device, torch.float32).train()
    scheduler = make_scheduler()
    streams = random_inputs(shape, batch, torch.device("cpu"), torch.float32)
    engine = Engine(
        model,
        zero_stage=0,
        precision=precision,
        micro_batch=batch,
        accumulation=1,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_NORM,
        device=device,
    )
    ema, window = Ema(engine.masters, 0.99), Window()

    def step() -> None:
        sample = Batch(
            latents=streams["latents"],
            noise=torch.randn_like(streams["latents"]),
            timesteps=torch.randint(0, 1000, (batch,)),
            tokens={name: streams[name] for name in STREAMS},
            keep={name: torch.rand(batch) > 0.2 for name in STREAMS},
            synthetic=torch.arange(batch) % 2 == 0,
            keys=tuple(map(str, range(batch))),
        ).to(device)
        loss_B = denoising_loss(engine, scheduler, sample, engine.dtype)
        engine.backward(loss_B.mean())
        engine.step(RATE)
        window.add_losses(loss_B, sample, 1000)
        ema.update(engine.updates)

    return step


def measure(args: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """A row a design; `ratio` above 1: ours is faster."""
    shape, device = SHAPES[name], torch.device(args.device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[args.precision]
    runs = {"diffusers": diffusers_step(shape, args.batch, device, dtype)}
    runs |= {design: our_step(shape, design, args.batch, device, args.precision) for design in args.designs}
    seconds = median_seconds(runs, args.repeats, device, args.clock)
    return [
        {
            "shape": name,
            "design": design,
            "batch": args.batch,
            "precision": args.precision,
            "clock": args.clock,
            "diffusers_s": seconds["diffusers"],
            "ours_s": seconds[design],
            "ratio": seconds["diffusers"] / seconds[design],
            "diffusers_mib": peak_mib(runs["diffusers"], device),
            "ours_mib": peak_mib(runs[design], device),
        }
        for design in args.designs
    ]


def main() -> None:
    parser = step_arguments(__doc__.splitlines()[0], batch=4)
    parser.set_defaults(repeats=21)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    args = parser.parse_args()
    rows = [row for name in args.shape for row in measure(args, name)]
    print_table(rows)
    print(write_results("training", rows, torch.device(args.device), args.out))


if __name__ == "__main__":
    main()
