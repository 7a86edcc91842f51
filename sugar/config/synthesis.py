"""The sections `source` and `synthesize` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from sugar.config.schema import Count, Filters, NonNegative, Positive, Section, Text


class Source(Section):
    kind: Literal["sprites", "folder"]
    folder: Text | None
    num_subjects: Count
    min_side_px: Count
    max_pixels: Count

    @model_validator(mode="after")
    def _folder_is_named(self) -> Source:
        if self.kind != "sprites" and self.folder is None:
            raise ValueError(f"folder must be a path when kind is {self.kind}, got null")
        return self


class Adapter(Section):
    """An IP-Adapter: folder or hub id, sub-folder, file, folder of its image encoder."""

    model: Text
    subfolder: str
    weights: Text
    image_encoder: Text | None
    scale: NonNegative


class _Pipeline(Section):
    model: Text | None
    num_steps: Count
    guidance_scale: NonNegative


class Customizer(_Pipeline):
    side_px: Count
    num_candidates: Count
    batch_size: Count
    adapter: Adapter | None


class Expander(_Pipeline):
    side_px: Count


class Animator(_Pipeline):
    native_fps: Positive
    batch_size: Count


class Generators(Section):
    dtype: Literal["float32", "bfloat16", "float16"]
    offload: Literal["none", "model", "sequential"]
    customize: Customizer
    expand: Expander
    animate: Animator


class Synthesize(Section):
    prompts_per_subject: Count
    customize: Literal["procedural", "diffusers"]
    expand: Literal["opencv", "diffusers"]
    animate: Literal["procedural", "diffusers"]
    generators: Generators
    shard_size: Count
    num_workers: Count
    filters: Filters

    @model_validator(mode="after")
    def _pipelines_are_named(self) -> Synthesize:
        for key in ("customize", "expand", "animate"):
            if getattr(self, key) == "diffusers" and getattr(self.generators, key).model is None:
                raise ValueError(f"generators.{key}.model must be a folder or hub id when {key} is diffusers")
        return self
