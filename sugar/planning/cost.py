"""Time and storage of a training from its operations and a GPU's data sheet.

Assumption: decision 0016 (utilisation, sizes of a triplet's files, operations of an image edit).
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


RESERVED_GIB = 1.5
"""Driver context, communication library, cuBLAS workspaces."""
FRAGMENTATION = 0.05
"""Share of the planned memory that the allocator cannot use."""
MP4_BYTES_PER_PIXEL = 0.25
"""H.264 at crf 12, a frame's pixel; PNG of the subject and of its cut-out below."""
PNG_BYTES_PER_PIXEL = 2.0
CPU_SECONDS_PER_TRIPLET = 0.04
"""Core-seconds of a triplet of any size: decoding, scoring and writing 9 x 64 x 64 pixels (measured)."""
CPU_SECONDS_PER_MEGAPIXEL = 0.024
"""And of each million pixels of video: decoding, resizing, flow, sharpness, exposure (measured, 480p)."""
EDIT_FLOPS_PER_STEP = 2 * 12e9 * (8192 + 512)
"""One step of editing a picture: 12e9 weights, 8192 image and 512 text tokens, as FLUX.1 Kontext."""


def needed_gib(planned_bytes: float) -> float:
    """What a GPU must have for this plan."""
    return planned_bytes / GIB * (1 + FRAGMENTATION) + RESERVED_GIB


def step_seconds(flops_per_step: float, num_gpus: int, tflops: float, utilisation: float) -> float:
    """Seconds of an optimizer step over all GPUs at a share of their peak."""
    return flops_per_step / (num_gpus * tflops * 1e12 * utilisation)


@dataclass(frozen=True)
class Storage:
    """GiB on disk."""

    latents: float
    shards: float


def storage(
    num_triplets: int,
    values_per_sample: int,
    bytes_per_value: int,
    frames: int,
    height_px: int,
    width_px: int,
) -> Storage:
    """Latent cache and triplet shards of `num_triplets`."""
    pixels = height_px * width_px
    triplet = frames * pixels * MP4_BYTES_PER_PIXEL + 2 * pixels * PNG_BYTES_PER_PIXEL
    return Storage(num_triplets * values_per_sample * bytes_per_value / GIB, num_triplets * triplet / GIB)


def synthesis_cpu_hours(
    num_triplets: int, *, frames: int, height_px: int, width_px: int, acceptance: float
) -> float:
    """Core-hours to decode, score and write the triplets that are made, at the rates measured here.

    Source: `benchmarks/results/data-cpu.json` and the default run; encoders on a GPU are not in it.
    """
    megapixels = frames * height_px * width_px / 1e6
    seconds = CPU_SECONDS_PER_TRIPLET + CPU_SECONDS_PER_MEGAPIXEL * megapixels
    return num_triplets / acceptance * seconds / 3600


def synthesis_gpu_hours(
    num_triplets: int,
    *,
    edit_steps: int,
    animate_steps: int,
    forward_flops: float,
    tflops: float,
    utilisation: float,
    acceptance: float,
) -> float:
    """GPU-hours to edit a picture and animate it for each triplet that is accepted.

    Args:
        edit_steps: sampler steps a triplet, over all candidates; 0: no network edits.
        animate_steps: sampler steps of the image-to-video model, each with two passes for guidance; 0: none.
        forward_flops: of one of those passes, with a transformer of the base model's size.
        acceptance: accepted triplets / made ones.
    """
    flops = edit_steps * EDIT_FLOPS_PER_STEP + 2 * animate_steps * forward_flops
    return num_triplets / acceptance * flops / (tflops * 1e12 * utilisation) / 3600
