"""The transformer shapes of the benchmarks, with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import CogVideoXTransformer3DModel
from torch import Tensor

from sugar.model.transformer import SugarTransformer3DModel


@dataclass(frozen=True)
class Shape:
    """A base configuration, the latents' size and the image tokens."""

    config: dict[str, Any]
    frames: int
    image_tokens: int
    image_dim: int


def _config(heads: int, layers: int, size: tuple[int, int], frames: int, text: tuple[int, int], **more: Any):
    return {
        "num_attention_heads": heads,
        "attention_head_dim": 64,
        "num_layers": layers,
        "sample_height": size[0],
        "sample_width": size[1],
        "sample_frames": frames,
        "max_text_seq_length": text[0],
        "text_embed_dim": text[1],
        **more,
    }


SPRITES = {"time_embed_dim": 192, "in_channels": 8, "out_channels": 8}
ROTARY = {"use_rotary_positional_embeddings": True}
SHAPES = {
    "sprites": Shape(
        _config(3, 6, (16, 16), 9, (32, 64), time_embed_dim=192, in_channels=8, out_channels=8), 3, 17, 64
    ),
    "small": Shape(_config(6, 4, (32, 32), 13, (64, 64), **ROTARY), 4, 65, 64),
    "cogvideox-2b": Shape(_config(30, 30, (60, 90), 49, (226, 4096)), 13, 257, 1024),
    "cogvideox-5b": Shape(_config(48, 42, (60, 90), 49, (226, 4096), **ROTARY), 13, 257, 1024),
}


def make_transformer(
    shape: Shape, design: str, device: torch.device, dtype: torch.dtype
) -> SugarTransformer3DModel:
    torch.manual_seed(0)
    with torch.device(device):
        model = SugarTransformer3DModel(
            **shape.config, dino_dim=shape.image_dim, clip_dim=shape.image_dim, attention_design=design
        )
    torch.nn.Module.to(model, dtype)
    return model


def stock_twin(shape: Shape, device: torch.device, dtype: torch.dtype) -> CogVideoXTransformer3DModel:
    """CogVideoX with as many tokens: the image tokens are text tokens, attention is full."""
    config = shape.config | {
        "max_text_seq_length": shape.config["max_text_seq_length"] + 2 * shape.image_tokens
    }
    torch.manual_seed(0)
    with torch.device(device):
        model = CogVideoXTransformer3DModel(**config)
    torch.nn.Module.to(model, dtype)
    return model


def random_inputs(shape: Shape, batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    config = shape.config
    generator = torch.Generator().manual_seed(1)

    def normal(*size: int) -> Tensor:
        return torch.randn(batch, *size, generator=generator).to(device, dtype)

    return {
        "latents": normal(
            shape.frames, config.get("in_channels", 16), config["sample_height"], config["sample_width"]
        ),
        "text": normal(config["max_text_seq_length"], config["text_embed_dim"]),
        "dino": normal(shape.image_tokens, shape.image_dim),
        "clip": normal(shape.image_tokens, shape.image_dim),
        "timestep": torch.randint(0, 1000, (batch,), generator=generator).to(device),
    }
