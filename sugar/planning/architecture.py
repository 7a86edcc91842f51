"""The shape of a model and of one training sample, read from `config.json` files alone: no weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sugar.config import InputError

if TYPE_CHECKING:
    from sugar.model.transformer import SugarTransformer3DModel

_COGVIDEOX = {
    "attention_head_dim": 64,
    "in_channels": 16,
    "out_channels": 16,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "patch_size": 2,
    "temporal_compression_ratio": 4,
    "max_text_seq_length": 226,
}

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "zai-org/CogVideoX-2b/transformer": {**_COGVIDEOX, "num_attention_heads": 30, "num_layers": 30},
    "zai-org/CogVideoX-5b/transformer": {
        **_COGVIDEOX,
        "num_attention_heads": 48,
        "num_layers": 42,
        "use_rotary_positional_embeddings": True,
    },
    "zai-org/CogVideoX-2b/vae": {"block_out_channels": [128, 256, 256, 512], "latent_channels": 16},
    "zai-org/CogVideoX-5b/vae": {"block_out_channels": [128, 256, 256, 512], "latent_channels": 16},
    "facebook/dinov2-base": {"hidden_size": 768, "image_size": 518, "patch_size": 14},
    "facebook/dinov2-large": {"hidden_size": 1024, "image_size": 518, "patch_size": 14},
    "facebook/dinov2-giant": {"hidden_size": 1536, "image_size": 518, "patch_size": 14},
    "openai/clip-vit-base-patch32": {
        "vision_config": {"hidden_size": 768, "image_size": 224, "patch_size": 32}
    },
    "openai/clip-vit-large-patch14": {
        "vision_config": {"hidden_size": 1024, "image_size": 224, "patch_size": 14}
    },
}
"""The values that matter here of configurations as published, so that a plan needs no network."""


@dataclass(frozen=True)
class Architecture:
    """A transformer and the sample that it trains on.

    Args:
        config: arguments of `SugarTransformer3DModel`.
        latents: `(F, C, h, w)` of a sample.
        dino, clip: `(tokens, width)` of the image streams.
        sources: where each configuration came from: a folder, a hub id, or "published" with the id.
    """

    config: Mapping[str, Any]
    latents: tuple[int, int, int, int]
    dino: tuple[int, int]
    clip: tuple[int, int]
    sources: tuple[str, ...]

    @property
    def lengths(self) -> dict[str, int]:
        """Token group -> tokens of a sample."""
        frames, _, height, width = self.latents
        patch, patch_t = self.config.get("patch_size", 2), self.config.get("patch_size_t") or 1
        frame = (height // patch) * (width // patch)
        return {
            "dino": self.dino[0],
            "clip": self.clip[0],
            "text": self.config["max_text_seq_length"],
            "first_frame": frame,
            "other_frames": (math.ceil(frames / patch_t) - 1) * frame,
        }

    @property
    def values_per_sample(self) -> int:
        """Numbers that the latent cache holds of a sample: mean, std and the three token streams."""
        frames, channels, height, width = self.latents
        text = self.config["max_text_seq_length"] * self.config["text_embed_dim"]
        return 2 * frames * channels * height * width + text + sum(n * e for n, e in (self.dino, self.clip))

    def meta_model(self) -> SugarTransformer3DModel:
        """The transformer on the meta device: shapes without storage."""
        import torch

        from sugar.model.transformer import SugarTransformer3DModel

        with torch.device("meta"):
            return SugarTransformer3DModel(**self.config)


def read_architecture(
    base: str,
    dino: str,
    clip: str,
    *,
    num_frames: int,
    height_px: int,
    width_px: int,
    attention_design: str | Mapping[str, Any] = "b",
    projection_hidden: int | None = None,
) -> Architecture:
    """What a training from `base` on clips of this size has to hold.

    Args:
        base: CogVideoX (or SUGAR) pipeline: folder or hub id; dino, clip: likewise.

    Raises:
        InputError: a configuration cannot be read, or the clip does not fit the networks.
    """
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

    read = [
        _read(base, "transformer", CogVideoXTransformer3DModel),
        _read(base, "vae", AutoencoderKLCogVideoX),
        _read(dino, "", None),
        _read(clip, "", None),
    ]
    transformer, vae, dino_config, clip_config = (config for config, _ in read)
    shrink = 2 ** (len(vae["block_out_channels"]) - 1)
    patch, time = transformer.get("patch_size", 2), transformer.get("temporal_compression_ratio", 4)
    if height_px % (shrink * patch) or width_px % (shrink * patch):
        raise InputError(
            f"video.height_px and width_px must be multiples of {shrink * patch} for {base}, "
            f"got {height_px} and {width_px}"
        )
    dino_tokens, clip_tokens = _image_tokens(dino_config), _image_tokens(clip_config["vision_config"])
    from sugar.model.transformer import BASE_ARGUMENTS

    config = {
        **{key: value for key, value in transformer.items() if key in BASE_ARGUMENTS},
        "dino_dim": dino_tokens[1],
        "clip_dim": clip_tokens[1],
        "attention_design": attention_design,
        "projection_hidden": projection_hidden,
    }
    frames = (num_frames - 1) // time + 1
    latents = (frames, int(vae["latent_channels"]), height_px // shrink, width_px // shrink)
    return Architecture(config, latents, dino_tokens, clip_tokens, tuple(source for _, source in read))


def _read(name: str, subfolder: str, network: Any) -> tuple[Mapping[str, Any], str]:
    """A configuration and where it came from; network: a class of diffusers, None for transformers."""
    key = f"{name}/{subfolder}".rstrip("/")
    if not Path(name).is_dir() and key in PUBLISHED:
        return PUBLISHED[key], f"published {key}"
    try:
        if network is not None:
            return network.load_config(name, subfolder=subfolder), key
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(name).to_dict(), key
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{key}: its config.json cannot be read: {reason}") from error


def _image_tokens(vision: Mapping[str, Any]) -> tuple[int, int]:
    """(tokens, width) of an image encoder: class token, registers and a token a patch."""
    side = int(vision["image_size"]) // int(vision["patch_size"])
    return 1 + int(vision.get("num_register_tokens") or 0) + side * side, int(vision["hidden_size"])
