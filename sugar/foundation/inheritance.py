"""Small networks that start from others' weights: CLIP's image side from DINO's, X-CLIP from CLIP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from sugar.config import InputError
from sugar.encoders.preprocess import IMAGENET, OPENAI_CLIP

_BLOCK = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")
_RENAMED = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attention.q_proj": "self_attn.q_proj",
    "attention.k_proj": "self_attn.k_proj",
    "attention.v_proj": "self_attn.v_proj",
    "attention.o_proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_OLDER_NAMES = {  # of older transformers (5.17) in memory, and of all in files
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
_SCALED_BY = {"attention.o_proj": "layer_scale1", "mlp.fc2": "layer_scale2"}


def clip_vision_weights(dino: Any) -> dict[str, torch.Tensor]:
    """Weights of a `CLIPVisionModel` that computes what a `Dinov2Model` of the same sizes does.

    CLIP normalises pixels otherwise, has no bias in its patch embedding and no layer scale: all three are
    folded into neighbouring weights. Only `pre_layrnorm`, which DINOv2 lacks, cannot be made an identity: its
    gain is set to the spread of DINO's position embeddings, which keeps the tokens' size.
    """
    given = {name: value.detach().float() for name, value in dino.state_dict().items()}
    mean, std = torch.tensor(IMAGENET)[:, :, None, None]
    clip_mean, clip_std = torch.tensor(OPENAI_CLIP)[:, :, None, None]
    patch = given["embeddings.patch_embeddings.projection.weight"]
    bias = given["embeddings.patch_embeddings.projection.bias"]
    shift = (patch * ((clip_mean - mean) / std)).sum((1, 2, 3)) + bias
    positions = given["embeddings.position_embeddings"][0].clone()
    positions[1:] += shift
    found = {
        "embeddings.class_embedding": given["embeddings.cls_token"][0, 0],
        "embeddings.position_embedding.weight": positions,
        "embeddings.patch_embedding.weight": patch * (clip_std / std),
        "pre_layrnorm.weight": positions.std().expand(len(bias)).clone(),
        "pre_layrnorm.bias": torch.zeros_like(bias),
        "post_layernorm.weight": given["layernorm.weight"],
        "post_layernorm.bias": given["layernorm.bias"],
    }
    for name, value in given.items():
        if not (block := _BLOCK.match(name)):
            continue
        layer, part, kind = block.groups()
        part = _OLDER_NAMES.get(part, part)
        if part in _SCALED_BY:
            scale = given[f"encoder.layer.{layer}.{_SCALED_BY[part]}.lambda1"]
            value = value * (scale[:, None] if kind == "weight" else scale)
        found[f"encoder.layers.{layer}.{_RENAMED[part]}.{kind}"] = value
    return found


def start_from_dino(model: Any, name: str, folder: Path) -> None:
    """Give the image side of a `CLIPModel` the weights of the DINO in `folder`; name: of the new network.

    Raises:
        ValueError: the folder is missing, or a size differs.
    """
    from transformers import Dinov2Model

    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: must exist before {name} is trained; add --only {folder.name}")
    _load(model.vision_model, clip_vision_weights(Dinov2Model.from_pretrained(folder)), name, folder)


def start_from_clip(model: Any, name: str, folder: Path) -> None:
    """Give an `XCLIPModel` the weights of a `CLIPModel` of the same sizes, as X-CLIP itself was started.

    What only the video network has (messages between frames, temporal transformer, prompts) stays as drawn.

    Raises:
        ValueError: the folder is missing, or a size differs.
    """
    from transformers import CLIPModel

    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: must exist before {name} is trained; add --only {folder.name}")
    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32).state_dict()
    weights = {name.replace("pre_layrnorm", "pre_layernorm"): value for name, value in clip.items()}
    _load(model, weights, name, folder)


def _load(model: Any, weights: dict[str, torch.Tensor], name: str, folder: Path) -> None:
    try:
        left = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InputError(f"foundation.{name} must have the sizes of {folder}: {error}") from error
    assert not left.unexpected_keys, left.unexpected_keys
