"""`sugar plan`: what the configured training needs, before it is launched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sugar.config import InputError, Params

if TYPE_CHECKING:
    from sugar.planning.cost import Synthesis

LATENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def plan(
    params: Params,
    *,
    gpu: str,
    num_gpus: int | None = None,
    gpu_memory_gib: float | None = None,
    utilisation: float = 0.35,
    num_triplets: int = 100_000,
    acceptance: float = 0.5,
) -> dict[str, Any]:
    """The plan of every phase of the configured strategy that has steps.

    Args:
        gpu: a name of `sugar.training.gpus.GPUS`; gpu_memory_gib: in place of its own.
        num_gpus: processes, a GPU each; None: `training.num_processes`.
        utilisation: share of the GPU's peak that the step reaches.
        num_triplets: accepted synthetic triplets; acceptance: their share of those made.

    Raises:
        InputError: an unknown GPU, a batch that does not divide, configurations that cannot be read.
    """
    from sugar.model.lora import Lora
    from sugar.planning.architecture import read_architecture
    from sugar.planning.plan import Run, plan_data, plan_run
    from sugar.stages.training import configured_phases
    from sugar.training.gpus import GPUS

    if gpu not in GPUS:
        raise InputError(f"--gpu must be one of {', '.join(GPUS)}, got {gpu!r}")
    card = GPUS[gpu] if gpu_memory_gib is None else replace(GPUS[gpu], memory_gib=gpu_memory_gib)
    training, video = params.training, params.video
    count = num_gpus or training.num_processes
    if training.global_batch % (training.micro_batch * count):
        raise InputError(
            f"training.global_batch must be a multiple of micro_batch * GPUs "
            f"({training.micro_batch} * {count}), got {training.global_batch}"
        )
    base = params.network("base")
    architecture = read_architecture(
        base,
        params.network("dino"),
        params.network("clip"),
        num_frames=video.num_frames,
        height_px=video.height_px,
        width_px=video.width_px,
        **params.section("model"),
    )
    shared = {
        "precision": training.precision,
        "zero_stage": training.zero_stage,
        "num_gpus": count,
        "global_batch": training.global_batch,
        "micro_batch": training.micro_batch,
        "checkpointing": training.gradient_checkpointing,
        "offload_optimizer": training.offload_optimizer,
        "lora": None if training.lora is None else Lora(**training.lora.model_dump()),
    }
    phases = []
    for phase in configured_phases(params):
        run = Run(phase.name, phase.steps, phase.frozen_fraction, phase.trainable, **shared)
        phases.append(plan_run(architecture, run, card, utilisation))
    return {
        "base": params.networks.base,
        "configurations": list(architecture.sources),
        "video": params.section("video"),
        "tokens": architecture.lengths,
        "precision": training.precision,
        "gpu": {
            "name": gpu,
            "count": count,
            "memory_gib": card.memory_gib,
            "tflops": card.tflops(training.precision),
        },
        "utilisation": utilisation,
        "phases": phases,
        "fits": all(phase["fits"] for phase in phases),
        "data": plan_data(
            architecture,
            num_triplets=num_triplets,
            num_frames=video.num_frames,
            size_px=(video.height_px, video.width_px),
            latent_dtype_bytes=LATENT_BYTES[params.encode.dtype],
            made=_synthesis(params),
            gpu=card,
            utilisation=utilisation,
            acceptance=acceptance,
        ),
    }


def _synthesis(params: Params) -> Synthesis:
    """What of `synthesize` runs on a GPU."""
    from sugar.planning.cost import Synthesis

    settings, video = params.synthesize, params.video
    customize, expand, animate = (
        getattr(settings, key) == "diffusers" for key in ("customize", "expand", "animate")
    )
    about = settings.generators
    candidates = about.customize.num_candidates
    # Edited pictures are square, what procedures draw is of the video's shape: no border is missing.
    fills = customize and expand and video.height_px != video.width_px
    writes = settings.prompts.writer is not None
    return Synthesis(
        edit_steps=candidates * about.customize.num_steps * customize,
        num_ranked=(candidates + 1) * (customize and candidates > 1),
        fill_steps=about.expand.num_steps * fills,
        fill_side_px=about.expand.side_px,
        animate_steps=about.animate.num_steps * animate,
        written_words=settings.prompts.max_words * writes,
        written_together=settings.prompts_per_subject,
        filtered=customize or animate,
    )
