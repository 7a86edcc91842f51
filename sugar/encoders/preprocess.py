"""Pixels as the image encoders want them. Axes: B batch, H W height and width, C channels.

Done in torch on whole batches. The image processors of transformers are not used: they work picture by
picture and change their resampling with the installed extras.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

# Mean and standard deviation by `config.model_type`, as the published checkpoints were trained.
NORMALISATION = {
    "dinov2": IMAGENET,
    "dinov2_with_registers": IMAGENET,
    "vit": IMAGENET,
    "clip": OPENAI_CLIP,
    "clip_vision_model": OPENAI_CLIP,
    "xclip": IMAGENET,
    "xclip_vision_model": IMAGENET,
}


def vision_config(model: Any) -> Any:
    """The vision part of a network's configuration (the configuration itself for a vision-only network)."""
    return getattr(model.config, "vision_config", model.config)


def image_size_px(model: Any) -> int:
    """The side of the square pictures that a network was trained on, in pixels."""
    size = vision_config(model).image_size
    return int(size if isinstance(size, int) else size[0])


def as_tensor(array: np.ndarray | torch.Tensor) -> torch.Tensor:
    """An array as a tensor; read-only and mirrored arrays are copied, which torch cannot wrap."""
    if isinstance(array, np.ndarray):
        array = np.require(array, requirements=["C", "W"])
    return torch.as_tensor(array)


def as_uint8_batch(images: np.ndarray | torch.Tensor | Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 RGB pictures [B, H, W, 3] as one tensor.

    Raises:
        ValueError: for another dtype or shape.
    """
    if not isinstance(images, (np.ndarray, torch.Tensor)):
        images = np.stack(images)
    batch = as_tensor(images)
    if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[-1] != 3 or 0 in batch.shape:
        raise ValueError(f"images must be uint8 [B, H, W, 3], got {batch.dtype} {tuple(batch.shape)}")
    return batch


def resize_short_side(
    pixels_BCHW: torch.Tensor, size_px: int, *, mode: str, antialias: bool = False
) -> torch.Tensor:
    """Resize to a short side of `size_px`; the long side is cut down to whole pixels, as torchvision does."""
    height, width = pixels_BCHW.shape[-2:]
    short, long = min(height, width), max(height, width)
    if short == size_px:
        return pixels_BCHW
    scaled = int(size_px * long / short)
    size = (size_px, scaled) if height <= width else (scaled, size_px)
    resized = functional.interpolate(
        pixels_BCHW, size=size, mode=mode, align_corners=False, antialias=antialias
    )
    return resized.clamp(0.0, 255.0)


def centre_crop(pixels_BCHW: torch.Tensor, size_px: int) -> torch.Tensor:
    """The middle `size_px` x `size_px` of pictures that are at least that large."""
    height, width = pixels_BCHW.shape[-2:]
    top, left = round((height - size_px) / 2.0), round((width - size_px) / 2.0)
    return pixels_BCHW[..., top : top + size_px, left : left + size_px]


def normalise(pixels_BCHW: torch.Tensor, model: Any) -> torch.Tensor:
    """0..255 to the mean and spread that `model` was trained with, in its dtype.

    Raises:
        ValueError: for a kind of network whose normalisation is not in `NORMALISATION`.
    """
    kind = model.config.model_type
    if kind not in NORMALISATION:
        raise ValueError(f"no pixel normalisation known for a network of type {kind!r}")
    mean, std = (
        torch.tensor(value, dtype=torch.float32).view(1, 3, 1, 1).to(pixels_BCHW.device, non_blocking=True)
        for value in NORMALISATION[kind]
    )
    return ((pixels_BCHW / 255.0 - mean) / std).to(model.dtype)


def to_pixels(images_BHWC: np.ndarray | torch.Tensor | Sequence[np.ndarray], device: Any) -> torch.Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in 0..255 on `device`."""
    return as_uint8_batch(images_BHWC).to(device).permute(0, 3, 1, 2).float()
