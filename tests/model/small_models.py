"""A tiny base transformer and its tokens, for the tests of the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import CogVideoXTransformer3DModel
from torch import Tensor

from sugar.model.transformer import SugarTransformer3DModel

DINO_DIM, CLIP_DIM, TEXT_DIM = 12, 14, 24
VARIANTS = {
    "sinusoidal": {},
    "rotary": {"use_rotary_positional_embeddings": True},
    "rotary_1_5": {"use_rotary_positional_embeddings": True, "patch_size_t": 2, "sample_frames": 13},
}


def base_transformer(variant: str = "sinusoidal", **changes) -> CogVideoXTransformer3DModel:
    torch.manual_seed(0)
    settings = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 16,
        "text_embed_dim": TEXT_DIM,
        "num_layers": 4,
        "sample_width": 8,
        "sample_height": 8,
        "sample_frames": 9,
        "max_text_seq_length": 6,
        "spatial_interpolation_scale": 1.0,
    }
    return CogVideoXTransformer3DModel(**{**settings, **VARIANTS[variant], **changes}).eval()


def sugar_transformer(design="b", variant: str = "sinusoidal", **changes) -> SugarTransformer3DModel:
    base = base_transformer(variant, **changes)
    torch.manual_seed(1)
    return SugarTransformer3DModel.from_cogvideox(
        base, dino_dim=DINO_DIM, clip_dim=CLIP_DIM, attention_design=design
    ).eval()


@dataclass
class Batch:
    latents: Tensor
    text: Tensor
    timestep: Tensor
    dino: Tensor
    clip: Tensor

    def of(self, index: int) -> Batch:
        return Batch(*(tensor[index : index + 1] for tensor in vars(self).values()))

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        return self.latents, self.text, self.timestep, self.dino, self.clip


def random_batch(size: int = 2, variant: str = "sinusoidal") -> Batch:
    generator = torch.Generator().manual_seed(2)

    def normal(*shape):
        return torch.randn(size, *shape, generator=generator)

    frames = 4 if variant == "rotary_1_5" else 3
    timestep = torch.randint(0, 1000, (size,), generator=generator)
    return Batch(
        normal(frames, 4, 8, 8), normal(6, TEXT_DIM), timestep, normal(5, DINO_DIM), normal(3, CLIP_DIM)
    )
