"""Image to video with the image-to-video pipelines of diffusers (SUGAR section 3.1).

The paper animates with a pretrained image-to-video model. Pipelines differ in how many frames, which sizes
and how many pictures a call takes; `KINDS` says so. Every sample has its own source of noise, so a clip does
not depend on the batch it is made in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from sugar.synthesis.expand import expand_opencv
from sugar.synthesis.generators import Generator, as_pil, as_uint8, load_generator, noise_sources

CAMERA_WORDS: Mapping[str, str] = {
    "none": "The camera does not move.",
    "pan": "The camera pans slowly.",
    "zoom": "The camera moves in slowly.",
}
"""Said after the prompt: image-to-video models follow words. Assumption: decision 0015."""


class Kind(NamedTuple):
    """How to call a class of pipelines.

    size_step_px: sides must be multiples of it; frame_step: frames must be n * frame_step + 1; batched:
    whether a call takes several pictures; takes_rate: whether it wants to know the frame rate.
    """

    size_step_px: int
    frame_step: int
    batched: bool
    takes_rate: bool = False


def _cogvideox(pipeline: Any) -> Kind:
    patch = pipeline.transformer.config.patch_size
    return Kind(pipeline.vae_scale_factor_spatial * patch, pipeline.vae_scale_factor_temporal, True)


def _wan(pipeline: Any) -> Kind:
    # Its image latents are made for one picture a call (a list of generators repeats the first).
    transformer = pipeline.transformer if pipeline.transformer is not None else pipeline.transformer_2
    step = pipeline.vae_scale_factor_spatial * transformer.config.patch_size[1]
    return Kind(math.lcm(step, 16), pipeline.vae_scale_factor_temporal, False)


def _ltx(pipeline: Any) -> Kind:
    step = pipeline.vae_spatial_compression_ratio * pipeline.transformer_spatial_patch_size
    return Kind(math.lcm(step, 32), pipeline.vae_temporal_compression_ratio, True, takes_rate=True)


KINDS = {
    "CogVideoXImageToVideoPipeline": _cogvideox,
    "WanImageToVideoPipeline": _wan,
    "LTXImageToVideoPipeline": _ltx,
}
"""Class of pipelines to how it is called: CogVideoX-5b-I2V and 1.5, Wan 2.1 and 2.2, LTX-Video."""


class Shot(NamedTuple):
    """A clip to make: its first frame uint8 [H, W, 3], words, and the seed of its noise."""

    image: np.ndarray
    text: str
    seed: int


class DiffusersAnimator:
    """Clips from first frames.

    The generator runs at its own frame rate for as long as the wanted clip lasts; of its frames those nearest
    in time are kept. It draws at the wanted size, enlarged to the next size that it can draw, and cut down.

    Args:
        generator: the pipeline; native_fps: its frame rate (CogVideoX 8, Wan 16, LTX 25).
    """

    def __init__(self, generator: Generator, native_fps: float) -> None:
        self.pipeline = load_generator("generators.animate", generator, KINDS)
        self.kind = KINDS[type(self.pipeline).__name__](self.pipeline)
        self.generator = generator
        self.native_fps = native_fps
        self.batch_size = generator.batch_size if self.kind.batched else 1

    def __call__(self, shots: Sequence[Shot], num_frames: int, fps: float) -> list[np.ndarray]:
        """A clip uint8 [num_frames, H, W, 3] a shot, all shots of one size."""
        clips: list[np.ndarray] = []
        for start in range(0, len(shots), self.batch_size):
            clips += self._batch(shots[start : start + self.batch_size], num_frames, fps)
        return clips

    def _batch(self, shots: Sequence[Shot], num_frames: int, fps: float) -> list[np.ndarray]:
        height_px, width_px = shots[0].image.shape[:2]
        drawn = tuple(_round_up(side, self.kind.size_step_px) for side in (height_px, width_px))
        kept = frame_indices(num_frames, fps, self.native_fps)
        images = [as_pil(expand_opencv(shot.image, *drawn)) for shot in shots]
        frames = self.pipeline(
            image=images if self.kind.batched else images[0],
            prompt=[shot.text for shot in shots],
            height=drawn[0],
            width=drawn[1],
            num_frames=_round_up(int(kept[-1]), self.kind.frame_step) + 1,
            num_inference_steps=self.generator.num_steps,
            guidance_scale=self.generator.guidance_scale,
            generator=noise_sources([shot.seed for shot in shots])[: None if self.kind.batched else 1],
            output_type="np",
            **({"frame_rate": self.native_fps} if self.kind.takes_rate else {}),
        ).frames
        clips = as_uint8(np.asarray(frames)[:, kept])
        return [_cut_to(clip, height_px, width_px) for clip in clips]


def frame_indices(num_frames: int, fps: float, native_fps: float) -> np.ndarray:
    """Which frames of a clip at `native_fps` are nearest in time to `num_frames` at `fps`: int64.

    Raises:
        ValueError: a count or rate that is not positive.
    """
    if num_frames < 1 or fps <= 0 or native_fps <= 0:
        raise ValueError(f"frames and rates must be positive, got {num_frames}, {fps}, {native_fps}")
    return np.rint(np.arange(num_frames) * native_fps / fps).astype(np.int64)


def shot_text(text: str, camera: str) -> str:
    """The prompt with what the camera does."""
    return f"{text.rstrip('. ')}. {CAMERA_WORDS[camera]}"


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _cut_to(clip_THWC: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """The middle of a clip that is drawn larger; what `expand_opencv` put there as a border goes again."""
    height, width = clip_THWC.shape[1:3]
    scale = min(height / height_px, width / width_px)
    inner = (round(height_px * scale), round(width_px * scale))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    clip = clip_THWC[:, top : top + inner[0], left : left + inner[1]]
    if inner == (height_px, width_px):
        return np.ascontiguousarray(clip)
    return np.stack(
        [cv2.resize(frame, (width_px, height_px), interpolation=cv2.INTER_AREA) for frame in clip]
    )
