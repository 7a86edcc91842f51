"""The answer of `sugar plan`: everything about one phase of training, as plain values and as a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sugar.model.checkpointing import Checkpointing
from sugar.model.lora import Lora
from sugar.planning.architecture import Architecture
from sugar.planning.cost import (
    GIB,
    Synthesis,
    encoder_flops,
    needed_gib,
    step_seconds,
    storage,
    synthesis_cpu_hours,
    synthesis_gpu_hours,
)
from sugar.planning.memory import KINDS, PERSISTENT_NUMEL, Setting, plan_memory
from sugar.training.engine import DTYPES
from sugar.training.gpus import Gpu


@dataclass(frozen=True)
class Run:
    """One phase of training as it is to be launched.

    Args:
        name: of the phase; steps: optimizer steps.
        frozen_fraction, trainable: as in `sugar.training.strategies.Phase`.
        lora: what trains in place of the blocks' matrices; None: these.
        zero_stage: the stage that is configured; all four are planned.
        num_gpus: processes, a GPU each.
    """

    name: str
    steps: int
    frozen_fraction: float
    trainable: Sequence[str]
    precision: str
    zero_stage: int
    num_gpus: int
    global_batch: int
    micro_batch: int
    checkpointing: Checkpointing
    offload_optimizer: bool
    lora: Lora | None = None


def plan_run(architecture: Architecture, run: Run, gpu: Gpu, utilisation: float) -> dict[str, Any]:
    """Parameters, memory by ZeRO stage and kind, operations and time of a phase.

    Raises:
        InputError: nothing is left to train, or an unknown prefix in `trainable`.
    """
    from sugar.planning.activations import measure_activations
    from sugar.training.start import choose_trainable
    from sugar.training.throughput import model_flops

    model: Any = architecture.meta_model()
    choose_trainable(model, run.frozen_fraction, run.trainable, run.lora)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trained = sum(n for n, _ in sizes), sum(n for n, trains in sizes if trains)
    num_blocks = len(model.transformer_blocks)
    setting = Setting(
        num_parameters=total,
        num_trainable=trained,
        num_small=sum(n for n, _ in sizes if n <= PERSISTENT_NUMEL),
        frozen_share=math.floor(num_blocks * run.frozen_fraction) / num_blocks,
        precision=run.precision,
        world_size=run.num_gpus,
        accumulation=run.global_batch // (run.micro_batch * run.num_gpus),
        offload_optimizer=run.offload_optimizer,
    )
    activations = measure_activations(
        architecture,
        frozen_fraction=run.frozen_fraction,
        trainable=run.trainable,
        lora=run.lora,
        checkpointing=run.checkpointing,
        micro_batch=run.micro_batch,
        dtype=DTYPES[run.precision],
    )
    flops = (
        model_flops(model, architecture.lengths, checkpointing=run.checkpointing is True).total
        * run.global_batch
    )
    seconds = step_seconds(flops, run.num_gpus, gpu.tflops(run.precision), utilisation)
    stages = []
    for stage in range(4):
        memory = plan_memory(setting, activations, stage)
        needs = needed_gib(memory.total)
        stages.append(
            {
                "zero_stage": stage,
                **{f"{kind}_gib": memory.kinds[kind] / GIB for kind in KINDS},
                "total_gib": memory.total / GIB,
                "needs_gib": needs,
                "fits": needs <= gpu.memory_gib,
                "fullest": memory.moment,
                "host_gib": memory.host / GIB,
            }
        )
    return {
        "phase": run.name,
        "steps": run.steps,
        "parameters": {"total": total, "trainable": trained, "frozen": total - trained},
        "memory": stages,
        "configured_zero_stage": run.zero_stage,
        "fits": stages[run.zero_stage]["fits"],
        "tflop_per_step": flops / 1e12,
        "step_seconds": seconds,
        "days": run.steps * seconds / 86400,
    }


def plan_data(
    architecture: Architecture,
    *,
    num_triplets: int,
    num_frames: int,
    size_px: tuple[int, int],
    latent_dtype_bytes: int,
    made: Synthesis,
    gpu: Gpu,
    utilisation: float,
    acceptance: float,
) -> dict[str, Any]:
    """Storage of N triplets and GPU-hours of making them, in all and by part; arguments as in `cost`."""
    from sugar.model.attention import DESIGNS
    from sugar.training.throughput import step_flops

    config = architecture.config
    lengths = {**architecture.lengths, "dino": 0, "clip": 0}
    forward = step_flops(
        width=config["num_attention_heads"] * config["attention_head_dim"],
        num_blocks=config["num_layers"],
        lengths=lengths,
        design=DESIGNS["e"],
    ).forward
    disk = storage(num_triplets, architecture.values_per_sample, latent_dtype_bytes, num_frames, *size_px)
    hours = synthesis_gpu_hours(
        num_triplets,
        made,
        frames=num_frames,
        forward_flops=forward,
        dino_flops=encoder_flops(*architecture.dino),
        clip_flops=encoder_flops(*architecture.clip),
        tflops=gpu.tflops("bf16"),
        utilisation=utilisation,
        acceptance=acceptance,
    )
    return {
        "triplets": num_triplets,
        "latents_gib": disk.latents,
        "shards_gib": disk.shards,
        "synthesis_gpu_hours": sum(hours.values()),
        "synthesis_gpu_hours_by_part": hours,
        "synthesis_cpu_hours": synthesis_cpu_hours(
            num_triplets, frames=num_frames, height_px=size_px[0], width_px=size_px[1], acceptance=acceptance
        ),
    }


def plan_text(plan: dict[str, Any]) -> str:
    """The plan for people."""
    video = plan["video"]
    gpu = plan["gpu"]
    lines = [
        f"{plan['base']}: {video['num_frames']} frames of {video['height_px']} x {video['width_px']}, "
        f"{sum(plan['tokens'].values())} tokens a sample "
        f"({', '.join(f'{name} {n}' for name, n in plan['tokens'].items())})",
        f"{gpu['count']} x {gpu['name']}: {gpu['memory_gib']:g} GiB, {gpu['tflops']:g} TFLOP/s in "
        f"{plan['precision']}, utilisation {plan['utilisation']:g} (stated, not measured)",
    ]
    for phase in plan["phases"]:
        lines += ["", *_phase_lines(phase, gpu["memory_gib"])]
    data = plan["data"]
    lines += [
        "",
        f"{data['triplets']} triplets: latents {data['latents_gib']:.1f} GiB, "
        f"shards {data['shards_gib']:.1f} GiB, synthesis {data['synthesis_gpu_hours']:.0f} GPU-hours "
        f"and {data['synthesis_cpu_hours']:.0f} core-hours",
    ]
    parts = [f"{name} {hours:.0f}" for name, hours in data["synthesis_gpu_hours_by_part"].items() if hours]
    if parts:
        lines.append(
            f"  GPU-hours: {', '.join(parts)} (sizes are assumed, decision 0016); "
            "not counted: VAEs, segmentation, optical flow, loading"
        )
    return "\n".join(lines)


def _phase_lines(phase: dict[str, Any], memory_gib: float) -> list[str]:
    count = phase["parameters"]
    shown = ", ".join(f"{value / 1e6:.1f} M {name}" for name, value in count.items())
    lines = [f"{phase['phase']}: {phase['steps']} steps; parameters: {shown}"]
    columns = [*KINDS, "total", "needs"]
    lines.append("  ZeRO" + "".join(f"{name:>12}" for name in columns) + "   GiB a GPU")
    for row in phase["memory"]:
        numbers = "".join(f"{row[f'{name}_gib']:12.2f}" for name in columns)
        mark = "*" if row["zero_stage"] == phase["configured_zero_stage"] else " "
        verdict = "fits" if row["fits"] else f"does not fit in {memory_gib:g}"
        lines.append(f"  {row['zero_stage']}{mark}  {numbers}   {verdict} (fullest: {row['fullest']})")
    lines.append(
        f"  {phase['tflop_per_step']:.4g} TFLOP a step, {phase['step_seconds']:.3g} s a step, "
        f"{phase['days']:.3g} days; * is configured"
    )
    return lines
