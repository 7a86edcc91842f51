"""Reading precomputed latents: how fast beside a plain sequential read, and how long a step waits for them.

python -m benchmarks.loader [--shape cogvideox-2b] [--samples 96] [--micro-batch 4] [--step-seconds 0.5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import print_table, write_results
from benchmarks.networks import SHAPES
from sugar.data.latents import LatentCache, LatentWriter
from sugar.training.batches import Batches, Prefetcher

BLOCK = 2**23


def make_cache(folder: Path, shape_name: str, samples: int, shard_size: int) -> LatentCache:
    """A cache of random numbers in bfloat16, as large as real ones."""
    shape = SHAPES[shape_name]
    config, side = shape.config, (shape.config["sample_height"], shape.config["sample_width"])
    sizes = {
        "mean": (shape.frames, config.get("in_channels", 16), *side),
        "std": (shape.frames, config.get("in_channels", 16), *side),
        "text": (config["max_text_seq_length"], config["text_embed_dim"]),
        "dino": (shape.image_tokens, shape.image_dim),
        "clip": (shape.image_tokens, shape.image_dim),
    }
    writer = LatentWriter(folder, {"vae_scaling_factor": 0.7}, shard_size=shard_size, held_out_fraction=0.0)
    keys = [str(i) for i in range(samples)]
    for position in writer.plan(keys, keys):
        tensors = {name: torch.randn(1, *size).to(torch.bfloat16) for name, size in sizes.items()}
        writer.add([position], tensors)
    writer.finish()
    return LatentCache.open(folder)


def forget(folder: Path) -> None:
    """Have the next read of these files come from the disk, as far as the system allows."""
    for file in folder.glob("*.safetensors"):
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(folder: Path) -> int:
    """Every byte of the shards, one after another."""
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb", buffering=0) as handle:
            while block := handle.read(BLOCK):
                size += len(block)
    return size


def read_shards(cache: LatentCache, micro_batch: int) -> None:
    """Every sample, in micro-batches in the order of the shards."""
    for first in range(0, len(cache), micro_batch):
        cache.batch(list(range(first, min(first + micro_batch, len(cache)))))


def seconds(run: Callable[[], Any], folder: Path) -> float:
    forget(folder)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def waiting_share(cache: LatentCache, micro_batch: int, steps: int, step_seconds: float) -> float:
    """Share of the time that steps of a given length wait for their batches, made as in training."""
    batches = Batches(
        {"real": cache},
        {"real": 1.0},
        seed=0,
        global_batch=micro_batch,
        num_train_timesteps=1000,
        drop={"dino": 0.5, "clip": 0.2, "text": 0.2},
    )
    waited = 0.0
    with Prefetcher(lambda step: batches.train_batch(step, range(micro_batch)), 0, steps) as prefetcher:
        prefetcher.next()
        for _ in range(steps - 1):
            time.sleep(step_seconds)
            start = time.perf_counter()
            prefetcher.next()
            waited += time.perf_counter() - start
    return waited / (waited + (steps - 1) * step_seconds)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    cache = make_cache(folder, args.shape, args.samples, args.shard_size)
    size = read_plainly(folder)
    plain, ours = [], []
    for _ in range(args.repeats):
        plain.append(seconds(lambda: read_plainly(folder), folder))
        ours.append(seconds(lambda: read_shards(LatentCache.open(folder), args.micro_batch), folder))
    forget(folder)
    rates = [size / 2**20 / statistics.median(each) for each in (plain, ours)]
    return {
        "shape": args.shape,
        "mib": size / 2**20,
        "plain_mib_per_s": rates[0],
        "shards_mib_per_s": rates[1],
        "of_plain": rates[1] / rates[0],
        "micro_batch": args.micro_batch,
        "step_s": args.step_seconds,
        "data_wait_share": waiting_share(cache, args.micro_batch, args.steps, args.step_seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="cogvideox-2b")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--shard-size", type=int, default=32)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--step-seconds", type=float, default=2.0, help="of the simulated step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured (default: the temporary one)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = [measure(args, Path(folder))]
    print_table(rows)
    print(write_results("loader", rows, torch.device("cpu"), args.out))


if __name__ == "__main__":
    main()
