"""The two identity encoders: the subject's cut-out to DINOv2 and CLIP tokens (SUGAR section 3, Figure 2).

Axes: B batch, S side of a square picture in pixels, P patches, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from sugar.config import InputError
from sugar.encoders.hub import cached_commit
from sugar.encoders.loading import load_network
from sugar.encoders.preprocess import as_uint8_batch, image_size_px, normalise, to_pixels

CANVAS_GREY = 128
CANVAS_MARGIN = 0.06
_VISIBLE_ALPHA = 25


def load_dino(
    source: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    subfolder: str = "",
) -> Any:
    """A DINO network: `Dinov2Model`, its variant with registers, or a `ViTModel` (DINO v1, VBench's judge).

    Raises:
        InputError: when the folder holds another kind of network.
    """
    from transformers import AutoConfig, Dinov2Model, Dinov2WithRegistersModel, ViTModel

    from sugar.encoders.loading import check_source

    classes = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel, "vit": ViTModel}
    name = check_source(source)
    try:
        kind = AutoConfig.from_pretrained(
            name, subfolder=subfolder, revision=cached_commit(name) or "main"
        ).model_type
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot read config.json: {str(error).splitlines()[0]}") from error
    if kind not in classes:
        raise InputError(f"{name}: a DINO network must be one of {sorted(classes)}, got {kind!r}")
    options: dict[str, Any] = {"subfolder": subfolder, "device": device, "dtype": dtype}
    if kind == "vit":
        options["add_pooling_layer"] = False
    return load_network(classes[kind], name, **options)


def load_clip(
    source: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    subfolder: str = "",
) -> Any:
    """A `CLIPModel`: its vision tower gives tokens for conditioning, both towers the image-text score."""
    from transformers import CLIPModel

    return load_network(CLIPModel, source, subfolder=subfolder, device=device, dtype=dtype)


def identity_canvas(identity_rgba: np.ndarray, size_px: int) -> np.ndarray:
    """The identity image as the encoders see it: the subject large, centred, on plain grey.

    Cropped to the box of the visible alpha with a margin of 6 % of its longer side, padded to a square,
    resized with premultiplied alpha (so that hidden colours do not bleed over the edge) and laid on mid-grey,
    which is near zero after either encoder's normalisation.

    Args:
        identity_rgba: uint8 [h, w, 4], the cut-out subject.
        size_px: side of the result.

    Returns:
        uint8 [size_px, size_px, 3].

    Raises:
        InputError: when the alpha channel shows nothing.
    """
    if identity_rgba.dtype != np.uint8 or identity_rgba.ndim != 3 or identity_rgba.shape[2] != 4:
        raise ValueError(f"identity must be uint8 [h, w, 4], got {identity_rgba.dtype} {identity_rgba.shape}")
    visible = identity_rgba[..., 3] > _VISIBLE_ALPHA
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if rows.size == 0:
        raise InputError("identity image: the alpha channel shows no subject")
    box = identity_rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    height, width = box.shape[:2]
    side = round(max(height, width) * (1 + 2 * CANVAS_MARGIN))
    canvas = np.zeros((side, side, 4), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    alpha = box[..., 3:] / 255.0
    canvas[top : top + height, left : left + width] = np.concatenate([box[..., :3] * alpha, alpha], axis=2)
    shrink = side > size_px
    canvas = cv2.resize(
        canvas, (size_px, size_px), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    )
    composed = canvas[..., :3] + (1.0 - canvas[..., 3:]) * CANVAS_GREY
    return np.clip(np.rint(composed), 0, 255).astype(np.uint8)


def identity_canvases(identities_rgba: Sequence[np.ndarray], size_px: int) -> np.ndarray:
    """`identity_canvas` of pictures of any sizes: uint8 [B, size_px, size_px, 3]."""
    return np.stack([identity_canvas(identity, size_px) for identity in identities_rgba])


@torch.no_grad()
def dino_tokens(model: Any, images_BSSC: np.ndarray | torch.Tensor) -> torch.Tensor:
    """DINO tokens of square pictures: the last hidden state, class token first.

    Returns:
        float32 [B, 1 + P, D] (1 + registers + P where the network has registers) on the model's device.
    """
    pixels = _square_pixels(model, images_BSSC)
    return model(pixel_values=pixels).last_hidden_state.float()


@torch.no_grad()
def clip_tokens(model: Any, images_BSSC: np.ndarray | torch.Tensor) -> torch.Tensor:
    """CLIP image tokens of square pictures: the last hidden state of the vision tower, class token first.

    Args:
        model: a `CLIPModel`, or its vision tower alone.

    Returns:
        float32 [B, 1 + P, D] on the model's device.
    """
    vision = getattr(model, "vision_model", model)
    pixels = _square_pixels(vision, images_BSSC)
    return vision(pixel_values=pixels).last_hidden_state.float()


def _square_pixels(model: Any, images_BSSC: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Square uint8 pictures resized (bicubic, antialiased) to the network's own size, and normalised."""
    images = as_uint8_batch(images_BSSC)
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"identity pictures must be square, got {tuple(images.shape[1:3])}")
    size = image_size_px(model)
    pixels = to_pixels(images, model.device)
    if pixels.shape[-1] != size:
        pixels = torch.nn.functional.interpolate(
            pixels, size=(size, size), mode="bicubic", align_corners=False, antialias=True
        ).clamp(0.0, 255.0)
    return normalise(pixels, model)
