"""The `foundation` section of params.yaml: how the small networks of Sprite World are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from sugar.config.schema import Count, Natural, NonNegative, Positive, Section, Share, Text, _as_tuple


class _Network(Section):
    steps: Count
    learning_rate: Positive


class Pools(Section):
    views: Annotated[int, Field(ge=3)]
    clips: Count
    held_out_identities: Count
    held_out_clips: Count


class FoundationVae(_Network):
    channels: Annotated[tuple[Count, ...], BeforeValidator(_as_tuple), Field(min_length=2)]
    latent_channels: Count
    image_steps: Natural
    crop_steps: Natural
    crop_px: Count
    image_batch: Count
    crop_batch: Count
    clip_batch: Count
    kl_weight: NonNegative


class FoundationDino(_Network):
    identities: Count
    jitter: bool
    seeing: NonNegative
    batch: Count
    hidden_size: Count
    num_layers: Count
    num_heads: Count
    patch_size: Count
    temperature: Positive


class FoundationMatching(_Network):
    start: Literal["dino", "metrics_dino", "clip"] | None
    identities: Count | None
    jitter: bool
    batch: Count
    hidden_size: Count
    num_layers: Count
    num_heads: Count
    patch_size: Count


class FoundationVideoText(FoundationMatching):
    num_frames: Count


class FoundationBase(_Network):
    batch: Count
    num_layers: Count
    num_heads: Count
    head_dim: Count
    patch_size: Count
    time_width: Count
    text_width: Count
    text_layers: Count
    text_heads: Count
    text_length: Count
    text_drop: Share
    snr_shift: Positive
    start: Text | None


class Foundation(Section):
    seed: Natural
    work: Text
    precision: Literal["bf16", "fp32"]
    pools: Pools
    vae: FoundationVae
    dino: FoundationDino
    metrics_dino: FoundationDino
    clip: FoundationMatching
    video_text: FoundationVideoText
    base: FoundationBase
