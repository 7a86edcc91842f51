"""What the pipeline returns, in the forms a person asks for.

Legend: B clips, T frames, C channels, H W height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

OutputType = Literal["np", "uint8", "pil", "pt", "latent"]
OUTPUT_TYPES: tuple[OutputType, ...] = ("np", "uint8", "pil", "pt", "latent")


@dataclass
class SugarPipelineOutput(BaseOutput):
    """`frames` of B clips: what `output_type` says, see `SugarPipeline.__call__`."""

    frames: Any


def as_output(frames_BTHWC: Tensor, output_type: OutputType) -> Any:
    """uint8 frames in the form of `output_type` (see `SugarPipeline.__call__`)."""
    if output_type == "pt":
        return frames_BTHWC.permute(0, 1, 4, 2, 3).float() / 255.0
    frames = frames_BTHWC.cpu().numpy()
    if output_type == "uint8":
        return frames
    if output_type == "np":
        return frames.astype(np.float32) / 255.0
    return [[Image.fromarray(frame) for frame in clip] for clip in frames]
