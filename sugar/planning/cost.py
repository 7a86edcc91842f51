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
CPU_SECONDS_PER_TRIPLET = 0.038
"""Core-seconds of a triplet of any size: making, scoring and writing one of 9 x 64 x 64 pixels, as measured
("synthesize: make, score, write, report" of benchmarks/results/data-cpu.json)."""
CPU_SECONDS_PER_MEGAPIXEL = 0.03
"""And of each million pixels of video: flow, sharpness, exposure and H.264, as measured ("clip 49x480x720:
flow, sharpness, exposure" and "... write" of that file)."""
EDIT_FLOPS_PER_STEP = 2 * 12e9 * (8192 + 512)
"""One step of editing a picture: 12e9 weights, 8192 image and 512 text tokens, as FLUX.1 Kontext."""
FILL_FLOPS_PER_STEP = 2 * 6e12
"""One step of filling a border of 1024 x 1024 pixels with guidance: two passes of Stable Diffusion XL's U-Net
(assumption)."""
ENCODER_BLOCKS = 24
"""Of DINO and of CLIP, as in ViT-L; a block has 12 width^2 weights that meet every token (assumption)."""
CLIP_PICTURES_PER_CLIP = 4
"""That filters show to CLIP: the first frame for the prompt, three for the aesthetic score."""
WRITER_SECONDS_PER_TOKEN = 0.02
"""Of a language model of some 7e9 weights, whose time is reading them, on any GPU (assumption)."""
WRITER_TOKENS_PER_WORD = 3
"""That may be written for each word of the longest sentence, as `PromptWriter` has it."""


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


@dataclass(frozen=True)
class Synthesis:
    """How a triplet is made, as far as it takes time on a GPU; 0: not by a network.

    Args:
        edit_steps: sampler steps of the customised picture, over all candidates; num_ranked: pictures that
            DINO and CLIP see to choose the best.
        fill_steps: of filling its border; fill_side_px: root of the area that is drawn.
        animate_steps: of the image-to-video model, each with two passes for guidance.
        written_words: of the longest sentence of the prompt writer; written_together: prompts in one call.
        filtered: DINO and CLIP of the filters run on the GPU too.
    """

    edit_steps: int = 0
    num_ranked: int = 0
    fill_steps: int = 0
    fill_side_px: int = 1024
    animate_steps: int = 0
    written_words: int = 0
    written_together: int = 1
    filtered: bool = False


def encoder_flops(tokens: int, width: int) -> float:
    """Operations of DINO or CLIP on one picture."""
    return 2.0 * 12 * width**2 * ENCODER_BLOCKS * tokens


def synthesis_cpu_hours(
    num_triplets: int, *, frames: int, height_px: int, width_px: int, acceptance: float
) -> float:
    """Core-hours to make, score and write the triplets that are made, at the rates measured here.

    Source: `benchmarks/results/data-cpu.json`; generators and encoders on a GPU are not in it.
    """
    megapixels = frames * height_px * width_px / 1e6
    seconds = CPU_SECONDS_PER_TRIPLET + CPU_SECONDS_PER_MEGAPIXEL * megapixels
    return num_triplets / acceptance * seconds / 3600


def synthesis_gpu_hours(
    num_triplets: int,
    made: Synthesis,
    *,
    frames: int,
    forward_flops: float,
    dino_flops: float,
    clip_flops: float,
    tflops: float,
    utilisation: float,
    acceptance: float,
) -> dict[str, float]:
    """GPU-hours of each part of making the triplets, for `num_triplets` that are accepted.

    Not counted: VAEs, segmentation, optical flow, loading.

    Args:
        forward_flops: of one pass of the image-to-video model, with a transformer of the base model's size.
        dino_flops, clip_flops: of one picture.
        acceptance: accepted triplets / made ones.
    """
    a_picture = dino_flops + clip_flops
    flops = {
        "edit": made.edit_steps * EDIT_FLOPS_PER_STEP,
        "rank": made.num_ranked * a_picture,
        "fill": made.fill_steps * FILL_FLOPS_PER_STEP * (made.fill_side_px / 1024) ** 2,
        "animate": 2 * made.animate_steps * forward_flops,
        "filter": made.filtered * ((frames + 1) * dino_flops + CLIP_PICTURES_PER_CLIP * clip_flops),
    }
    num_made = num_triplets / acceptance
    hours = {name: num_made * value / (tflops * 1e12 * utilisation) / 3600 for name, value in flops.items()}
    tokens = WRITER_TOKENS_PER_WORD * made.written_words / made.written_together
    return {**hours, "write": num_made * tokens * WRITER_SECONDS_PER_TOKEN / 3600}
