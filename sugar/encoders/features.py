"""Pooled, L2-normalised features that filters and metrics compare by cosine.

Axes: B batch, T frames, H W height and width, C channels, D width. Pictures may have any aspect. DINO and
CLIP pictures are resized exactly as VBench does for its consistency scores: DINO bilinear with the short side
at the network's size and no crop, CLIP bicubic with a centre crop, both without antialiasing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from sugar.config import InputError
from sugar.encoders.loading import load_network, load_tokenizer
from sugar.encoders.preprocess import (
    as_tensor,
    as_uint8_batch,
    centre_crop,
    image_size_px,
    normalise,
    resize_short_side,
    to_pixels,
    vision_config,
)

# Pictures in one forward pass: bounds the memory at production sizes, never reached by the small networks.
MAX_PICTURES = 512


def load_clip_tokenizer(source: str | Path) -> Any:
    """The tokenizer that lies beside a CLIP or X-CLIP network."""
    return load_tokenizer(source)


def load_video_text(
    source: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """Tokenizer and `XCLIPModel` of one folder or hub id. Assumption: decision 0012."""
    from transformers import XCLIPModel

    return load_tokenizer(source), load_network(XCLIPModel, source, device=device, dtype=dtype)


@torch.no_grad()
def dino_features(model: Any, images_BHWC: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Class-token features of a DINO network, VBench's subject features.

    Args:
        images_BHWC: uint8 RGB, any size.

    Returns:
        float32 [B, D], unit length, on the model's device.
    """
    # Dinov2 resizes its position table to the picture by itself, ViTModel only when told to.
    resize_positions = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}

    def forward(images: torch.Tensor) -> torch.Tensor:
        pixels = to_pixels(images, model.device)
        pixels = normalise(resize_short_side(pixels, image_size_px(model), mode="bilinear"), model)
        return model(pixel_values=pixels, **resize_positions).last_hidden_state[:, 0]

    return _unit(_in_chunks(forward, as_uint8_batch(images_BHWC)))


@torch.no_grad()
def clip_image_features(model: Any, images_BHWC: np.ndarray | torch.Tensor) -> torch.Tensor:
    """CLIP features of pictures of any size, VBench's background features: float32 [B, D], unit length."""

    def forward(images: torch.Tensor) -> torch.Tensor:
        return model.get_image_features(pixel_values=_cropped_pixels(model, images)).pooler_output

    return _unit(_in_chunks(forward, as_uint8_batch(images_BHWC)))


@torch.no_grad()
def clip_text_features(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """CLIP features of texts: float32 [B, D], unit length."""
    tokens = _tokenize(model, tokenizer, texts)
    return _unit(model.get_text_features(**tokens).pooler_output)


def video_text_num_frames(model: Any) -> int:
    """Frames that the video-text network takes, fixed by its configuration."""
    return int(vision_config(model).num_frames)


def evenly_spaced(num_frames: int, num_wanted: int) -> np.ndarray:
    """Indices of `num_wanted` frames spread over a clip, both ends included; a short clip repeats frames."""
    if num_frames < 1 or num_wanted < 1:
        raise ValueError(f"needs at least one frame, got {num_frames} frames and {num_wanted} wanted")
    return np.rint(np.linspace(0, num_frames - 1, num_wanted)).astype(np.int64)


@torch.no_grad()
def video_text_features(
    model: Any, tokenizer: Any, videos_BTHWC: np.ndarray | torch.Tensor, texts: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Video features, and the features of each video's own text, of an X-CLIP network.

    X-CLIP's text features depend on the video they are compared with (its "video-specific prompting"), so
    text i is read beside video i. It takes a fixed number of frames: that many are picked evenly. Equal to
    the diagonal of `XCLIPModel.forward`, without computing its B x B text features. Assumption: decision
    0012.

    Args:
        videos_BTHWC: uint8 RGB.
        texts: B texts, one a video.

    Returns:
        two float32 [B, D], unit length; their row-wise dot product is the video-text score.
    """
    videos = as_tensor(videos_BTHWC)
    if videos.ndim != 5 or len(texts) != videos.shape[0]:
        raise ValueError(f"needs one text a video, got {len(texts)} texts for videos {tuple(videos.shape)}")
    num_frames = video_text_num_frames(model)
    videos = videos[:, torch.as_tensor(evenly_spaced(videos.shape[1], num_frames))]
    text = model.get_text_features(**_tokenize(model, tokenizer, texts)).pooler_output
    pairs = []
    step = max(1, MAX_PICTURES // num_frames)
    for start in range(0, videos.shape[0], step):
        chunk = videos[start : start + step]
        video, patches = _video_forward(model, chunk)
        beside = text[start : start + step, None]
        beside = (beside + model.prompts_generator(beside, patches))[:, 0]
        pairs.append((video, beside))
    return _unit(torch.cat([video for video, _ in pairs])), _unit(torch.cat([beside for _, beside in pairs]))


def _video_forward(model: Any, videos_BTHWC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled video [B, D] and time-averaged patch features [B, P, D] that condition the text."""
    batch, frames = videos_BTHWC.shape[:2]
    outputs = model.vision_model(pixel_values=_cropped_pixels(model, videos_BTHWC.flatten(0, 1)))
    video = model.mit(model.visual_projection(outputs.pooler_output).view(batch, frames, -1)).pooler_output
    patches = (
        model.prompts_visual_layernorm(outputs.last_hidden_state[:, 1:]) @ model.prompts_visual_projection
    )
    return video, patches.view(batch, frames, -1, video.shape[-1]).mean(dim=1)


def _cropped_pixels(model: Any, images_BHWC: torch.Tensor) -> torch.Tensor:
    """Short side at the network's size (bicubic), centre crop, normalised."""
    size = image_size_px(model)
    pixels = resize_short_side(to_pixels(images_BHWC, model.device), size, mode="bicubic")
    return normalise(centre_crop(pixels, size), model)


def _tokenize(model: Any, tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Tokens of CLIP-like text towers, padded to their full length so that a text's features do not depend on
    the batch it is in.

    Raises:
        InputError: when the tokenizer does not end texts with the token that the network pools at.
    """
    if not texts:
        raise ValueError("needs at least one text")
    config = model.config.text_config
    tokens = tokenizer(
        list(texts),
        padding="max_length",
        max_length=config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    )
    ids = tokens["input_ids"]
    # eos_token_id 2 is the mark of old configurations, where the network pools at the highest id instead.
    if config.eos_token_id != 2 and not bool((ids == config.eos_token_id).any(dim=1).all()):
        raise InputError(
            f"{model.config.name_or_path}: the tokenizer must end each text with token "
            f"{config.eos_token_id}, where the network pools its text features"
        )
    return {"input_ids": ids.to(model.device), "attention_mask": tokens["attention_mask"].to(model.device)}


def _in_chunks(forward: Any, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([forward(chunk) for chunk in images.split(MAX_PICTURES)])


def _unit(features: torch.Tensor) -> torch.Tensor:
    return functional.normalize(features.float(), dim=-1)
