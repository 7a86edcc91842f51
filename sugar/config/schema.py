"""The typed mirror of params.yaml: one frozen class a section."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from sugar.config.task_resources import check_task_resources


class InputError(ValueError):
    """What the user gave is wrong: the message names the file or key, the rule and the value."""


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Text = Annotated[str, Field(min_length=1)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
DESIGNS = ("a", "b", "c", "d", "e")
COMPARED = ("stage1", "text_only")
"""What the evaluation can always compare the default model with."""
GROUPS = ("dino", "clip", "text", "first_frame", "other_frames")


def _is_design_table(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == set(GROUPS)
        and all(isinstance(row, list) and set(row) <= set(GROUPS) for row in value.values())
    )


class Section(BaseModel):
    """A table of params.yaml: frozen, strict types (an integer is accepted for a float), no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Paths(Section):
    root: Text
    subjects: Text
    synthetic: Text
    real: Text
    gate: Text
    latents_real: Text
    latents_synthetic: Text
    stage1: Text
    stage2: Text
    ablations: Text
    checkpoints: Text
    evaluation: Text
    comparisons: Text
    register_: Text = Field(alias="register")
    metrics: Text


class Tracking(Section):
    enabled: bool
    uri: Text
    artifacts: Text
    experiment: Text


class Video(Section):
    num_frames: Annotated[int, Field(ge=5)]
    height_px: Annotated[int, Field(ge=16, multiple_of=2)]
    width_px: Annotated[int, Field(ge=16, multiple_of=2)]
    fps: Positive

    @model_validator(mode="after")
    def _frames_fit_the_vae(self) -> Video:
        if self.num_frames % 4 != 1:
            raise ValueError(f"num_frames must be 4n + 1 (CogVideoX's VAE), got {self.num_frames}")
        return self


class Segmentation(Section):
    kind: Literal["grabcut", "grounded_sam"]
    detector: Text | None
    segmenter: Text | None
    box_threshold: Share
    mask_threshold: Share
    min_mask_quality: Share

    @model_validator(mode="after")
    def _networks_are_named(self) -> Segmentation:
        if self.kind == "grounded_sam":
            for key in ("detector", "segmenter"):
                if getattr(self, key) is None:
                    raise ValueError(f"{key} must be a folder or hub id when kind is grounded_sam, got null")
        return self


class Flow(Section):
    kind: Literal["dis", "raft"]


class Networks(Section):
    base: Text
    dino: Text
    clip: Text
    metrics_dino: Text
    metrics_clip: Text
    video_text: Text
    segmentation: Segmentation
    flow: Flow
    captioner: Text | None
    aesthetic: Text | None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


class _Media(Section):
    kind: Literal["sprites", "folder"]
    folder: Text | None

    @model_validator(mode="after")
    def _folder_is_named(self) -> _Media:
        if self.kind == "folder" and self.folder is None:
            raise ValueError("folder must be a path when kind is folder, got null")
        return self


class Filters(Section):
    min_image_text: Cosine | None
    min_identity: Cosine | None
    min_consecutive: Cosine | None
    min_random_pair: Cosine | None
    min_flow_px: NonNegative | None
    max_flow_px: NonNegative | None
    min_sharpness: NonNegative | None
    min_exposure: Share | None
    min_aesthetic: float | None


class Ingest(_Media):
    num_clips: Count
    shard_size: Count
    num_workers: Count
    max_windows: Count
    max_seconds: Positive
    min_side_px: Count
    scene_threshold: Positive | None
    min_change: Share | None
    max_flashes: NonNegative | None
    crop_bars: bool
    num_identities: Annotated[int, Field(ge=1, le=4)]
    min_mask_area: Share
    max_mask_area: Share
    styled_share: Share
    filters: Filters

    @model_validator(mode="after")
    def _mask_range_is_ordered(self) -> Ingest:
        if self.min_mask_area >= self.max_mask_area:
            raise ValueError(
                f"min_mask_area must be below max_mask_area ({self.max_mask_area}), got {self.min_mask_area}"
            )
        return self


class RowsBySource(Section):
    real: Natural
    synthetic: Natural


class ShareBySource(Section):
    real: Share
    synthetic: Share


class Validate(Section):
    min_rows: RowsBySource
    min_acceptance: ShareBySource
    max_noun_share: Share
    max_style_share: Share
    max_background_share: Share
    max_motion_share: Share
    max_texture_share: Share
    max_colour_share: Share
    baseline: Text | None
    max_drift: Share


class Encode(Section):
    batch_size: Count
    held_out_fraction: Annotated[float, Field(ge=0.0, lt=1.0)]
    max_noun_share: Annotated[float, Field(gt=0.0, le=1.0)] | None
    shard_size: Count
    num_workers: Natural
    stills: Natural
    dtype: Literal["float32", "bfloat16", "float16"]


class Model(Section):
    attention_design: str | dict[str, list[str]]
    projection_hidden: Count | None

    @field_validator("attention_design", mode="before")
    @classmethod
    def _design_is_known(cls, value: Any) -> Any:
        if value in DESIGNS if isinstance(value, str) else _is_design_table(value):
            return value
        raise ValueError(
            f"must be one of {', '.join(DESIGNS)}, or a table group -> [groups] over {', '.join(GROUPS)}, "
            f"got {value!r}"
        )


class Conditions(Section):
    drop_dino: Share
    drop_clip: Share
    drop_text: Share


class Phase(Section):
    synthetic_probability: Share
    frozen_fraction: Share
    steps: Count | None = None
    learning_rate: Positive | None = None
    lr_schedule: Literal["constant", "linear", "cosine"] | None = None
    trainable: Annotated[tuple[Text, ...], BeforeValidator(_as_tuple)] = ()
    single_frames: bool = False


class Strategy(Section):
    name: Literal["mix", "ts", "tsf", "tsf_image", "custom"]
    mix_probability: Share
    custom: Annotated[tuple[Phase, ...], BeforeValidator(_as_tuple), Field(min_length=1)] | None

    @model_validator(mode="after")
    def _custom_is_given(self) -> Strategy:
        if self.name == "custom" and self.custom is None:
            raise ValueError("custom must be a list of phases when name is custom, got null")
        return self


class Cluster(Section):
    image: Text
    volume_claim: Text
    mount_path: Annotated[str, Field(pattern=r"^/.+")]
    namespace: Text = "sugar"
    runtime: Text = "torch-distributed"
    num_nodes: Count = 1
    resources: dict[Text, Text] = Field(default_factory=dict)
    service_account: str = ""
    max_restarts: Natural = 20


MAX_PARALLEL_FOR = 32
INDEXED_JOB_GROUPS = 64


class Shards(Section):
    driver: Literal["pool", "parallel_for", "indexed_job"]
    groups: Count | None
    parallelism: Count
    cluster: Cluster | None

    @property
    def num_groups(self) -> int:
        """`groups`, or as many as suit the driver."""
        return self.groups or (MAX_PARALLEL_FOR if self.driver == "parallel_for" else INDEXED_JOB_GROUPS)

    @model_validator(mode="after")
    def _cluster_is_given(self) -> Shards:
        if self.driver != "pool" and self.cluster is None:
            raise ValueError(f"cluster must be given when driver is {self.driver}, got null")
        if self.driver == "parallel_for" and self.num_groups > MAX_PARALLEL_FOR:
            raise ValueError(
                f"groups must be <= {MAX_PARALLEL_FOR} when driver is parallel_for (a driver pod each), "
                f"got {self.groups}; indexed_job takes thousands"
            )
        if self.driver == "parallel_for" and self.cluster is not None:
            check_task_resources(self.cluster.resources)
        return self


class Lora(Section):
    rank: Count
    alpha: Positive
    targets: Annotated[tuple[Text, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class Training(Section):
    zero_stage: Literal[0, 1, 2, 3]
    precision: Literal["fp32", "bf16"]
    num_processes: Count
    global_batch: Count
    micro_batch: Count
    learning_rate: Positive
    lr_schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: Natural
    weight_decay: NonNegative
    betas: Annotated[tuple[Beta, Beta], BeforeValidator(_as_tuple)]
    max_grad_norm: Positive
    ema_decay: Beta
    timestep_exponent: Positive
    gradient_checkpointing: Literal[False, True, "selective"]
    compile_blocks: bool
    attention_backend: Literal["native", "flash", "cudnn", "flex"] | None
    offload_optimizer: bool
    checkpoint_every: Count
    keep_checkpoints: Count
    log_every: Count
    sample_every: Natural
    sample_clips: Count
    sample_steps: Count
    held_out_every: Count
    held_out_samples: Count
    max_bad_steps: Count
    lora: Lora | None
    cluster: Cluster | None

    @model_validator(mode="after")
    def _batch_divides(self) -> Training:
        step = self.micro_batch * self.num_processes
        if self.global_batch % step:
            raise ValueError(
                f"global_batch must be a multiple of micro_batch * num_processes ({step}), "
                f"got {self.global_batch}"
            )
        return self

    @model_validator(mode="after")
    def _compiled_blocks_need_their_weights(self) -> Training:
        if self.compile_blocks and self.zero_stage == 3:
            raise ValueError(
                "compile_blocks must be false in ZeRO stage 3, which gathers weights block by block, got true"
            )
        return self

    @model_validator(mode="after")
    def _offload_needs_zero(self) -> Training:
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer must be false in ZeRO stage 0, got true")
        return self


class Steps(Section):
    steps: Count


class GuidanceOptions(Section):
    interval: Annotated[tuple[Share, Share], BeforeValidator(_as_tuple)]
    dynamic: bool
    rescale: Share
    batch_branches: Literal["auto", "all", "one"]

    @model_validator(mode="after")
    def _interval_is_ordered(self) -> GuidanceOptions:
        if self.interval[0] > self.interval[1]:
            raise ValueError(f"interval must be [start, stop] with start <= stop, got {list(self.interval)}")
        return self


class Sampling(Section):
    scheduler: Literal["ddim", "dpm"]
    num_steps: Count
    image_scale: NonNegative
    text_scale: NonNegative
    order: Literal["image_first", "text_first"]
    drop: Literal["dino", "clip", "both", "none"]
    drop_until: Share
    negative_prompt: str
    guidance: GuidanceOptions
    batch_size: Count
    precision: Literal["fp32", "bf16"]


class Evaluate(_Media):
    num_subjects: Count
    prompts_per_subject: Count
    compare: Annotated[tuple[Text, ...], BeforeValidator(_as_tuple)]
    image_scales: Annotated[tuple[NonNegative, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    retrieval_gallery: Annotated[int, Field(ge=2)]
    seed: Natural


class Register(Section):
    name: Text
    alias: Text
    min_identity: Cosine
