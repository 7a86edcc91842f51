"""The sections `source` and `synthesize` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sugar.config.schema import Cosine, Count, Filters, NonNegative, Positive, Section, Share, Text


class Source(Section):
    kind: Literal["sprites", "folder", "table", "webdataset"]
    folder: Text | None
    num_subjects: Count | None
    min_side_px: Count
    max_pixels: Count
    nouns: Literal["label", "clip"]
    vocabulary: Text | None
    min_noun_probability: Share
    max_per_noun: Count | None
    balance: bool
    max_hash_distance: Annotated[int, Field(ge=0, le=63)] | None
    max_dino_cosine: Cosine | None

    @model_validator(mode="after")
    def _folder_is_named(self) -> Source:
        if self.kind != "sprites" and self.folder is None:
            raise ValueError(f"folder must be a path or address when kind is {self.kind}, got null")
        return self

    @model_validator(mode="after")
    def _drawn_subjects_are_counted(self) -> Source:
        if self.kind == "sprites" and self.num_subjects is None:
            raise ValueError("num_subjects must be a number when kind is sprites, got null")
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


class Prompts(Section):
    grammar: Literal["sprites", "wide"]
    writer: Text | None
    max_words: Annotated[int, Field(ge=8)]


class Synthesize(Section):
    prompts_per_subject: Count
    prompts: Prompts
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
        if self.prompts.grammar == "wide" and self.customize == "procedural":
            raise ValueError("prompts.grammar must be sprites when customize is procedural, got 'wide'")
        if self.expand == "diffusers" and self.customize == "procedural":
            raise ValueError(
                "expand must be opencv when customize is procedural, got 'diffusers': "
                "what is drawn has the video's size and no border to fill"
            )
        return self
