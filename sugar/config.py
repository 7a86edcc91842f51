"""Typed, strict, frozen mirror of params.yaml.

`load_params` reads the file, lays profiles and `--set` overrides over it, and checks everything: an unknown
key, a wrong type or a value out of range is an `InputError` of one line that names the file, the key path,
the rule and the value.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)


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
Group = Literal["dino", "clip", "text", "first_frame", "other_frames"]
Design = Literal["a", "b", "c", "d", "e"]


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
    checkpoints: Text
    evaluation: Text
    register_: Text = Field(alias="register")


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
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


class _Media(Section):
    kind: Literal["sprites", "folder"]
    folder: Text | None

    @model_validator(mode="after")
    def _folder_is_named(self) -> _Media:
        if self.kind == "folder" and self.folder is None:
            raise ValueError("folder must be a path when kind is folder, got null")
        return self


class Source(_Media):
    num_subjects: Count
    min_side_px: Count
    max_pixels: Count


class Filters(Section):
    min_image_text: Cosine | None
    min_identity: Cosine | None
    min_consecutive: Cosine | None
    min_random_pair: Cosine | None
    min_flow_px: NonNegative | None
    max_flow_px: NonNegative | None


class Synthesize(Section):
    prompts_per_subject: Count
    customize: Literal["procedural"]
    expand: Literal["opencv"]
    animate: Literal["procedural"]
    shard_size: Count
    num_workers: Count
    filters: Filters


class Ingest(_Media):
    num_clips: Count
    shard_size: Count
    num_workers: Count
    max_seconds: Positive
    min_side_px: Count
    min_mask_area: Share
    max_mask_area: Share
    styled_share: Share
    filters: Filters

    @model_validator(mode="after")
    def _mask_range_is_ordered(self) -> Ingest:
        if self.min_mask_area >= self.max_mask_area:
            raise ValueError(
                f"min_mask_area must be below max_mask_area, got {self.min_mask_area} and {self.max_mask_area}"
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


class Encode(Section):
    batch_size: Count
    held_out_fraction: Annotated[float, Field(ge=0.0, lt=1.0)]
    shard_size: Count
    dtype: Literal["float32", "bfloat16", "float16"]


class Model(Section):
    attention_design: Design | dict[Group, list[Group]]
    projection_hidden: Count | None


class Conditions(Section):
    drop_dino: Share
    drop_clip: Share
    drop_text: Share


class Phase(Section):
    synthetic_probability: Share
    frozen_fraction: Share


class Strategy(Section):
    name: Literal["mix", "ts", "tsf", "custom"]
    mix_probability: Share
    custom: Annotated[tuple[Phase, Phase], BeforeValidator(_as_tuple)] | None

    @model_validator(mode="after")
    def _custom_is_given(self) -> Strategy:
        if self.name == "custom" and self.custom is None:
            raise ValueError("custom must be a list of two phases when name is custom, got null")
        return self


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
    gradient_checkpointing: bool
    offload_optimizer: bool
    checkpoint_every: Count
    keep_checkpoints: Count
    log_every: Count
    sample_every: Natural
    held_out_every: Count
    max_bad_steps: Count

    @model_validator(mode="after")
    def _batch_divides(self) -> Training:
        step = self.micro_batch * self.num_processes
        if self.global_batch % step:
            raise ValueError(
                f"global_batch must be a multiple of micro_batch * num_processes = {step}, got {self.global_batch}"
            )
        return self


class Steps(Section):
    steps: Count


class Sampling(Section):
    scheduler: Literal["ddim", "dpm"]
    num_steps: Count
    image_scale: NonNegative
    text_scale: NonNegative
    order: Literal["image_first", "text_first"]
    drop: Literal["dino", "clip", "both", "none"]
    drop_until: Share
    negative_prompt: str
    batch_size: Count


class Evaluate(_Media):
    num_subjects: Count
    prompts_per_subject: Count
    image_scales: Annotated[tuple[NonNegative, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    retrieval_gallery: Annotated[int, Field(ge=2)]
    seed: Natural


class Register(Section):
    name: Text
    alias: Text
    min_identity: Cosine


class Foundation(Section):
    seed: Natural


class Params(Section):
    """The whole of params.yaml; `folder` is where the file lies, relative names start there."""

    seed: Natural
    paths: Paths
    tracking: Tracking
    video: Video
    networks: Networks
    source: Source
    synthesize: Synthesize
    ingest: Ingest
    validate_: Validate = Field(alias="validate")
    encode: Encode
    model: Model
    conditions: Conditions
    strategy: Strategy
    training: Training
    pretrain: Steps
    finetune: Steps
    sampling: Sampling
    evaluate: Evaluate
    register_: Register = Field(alias="register")
    foundation: Foundation

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def folder(self) -> Path:
        """Folder of params.yaml."""
        return self._folder

    @property
    def root(self) -> Path:
        """`paths.root`, absolute."""
        return (self._folder / self.paths.root).resolve()

    def path(self, name: str) -> Path:
        """Absolute path of `paths.<name>`, under `paths.root`."""
        return self.root / self.paths.model_dump(by_alias=True)[name]

    def given(self, value: str) -> Path:
        """Absolute path of a file or folder that the user named, relative to the folder of params.yaml."""
        return (self._folder / Path(value).expanduser()).resolve()

    def network(self, name: str) -> str:
        """Folder or hub id of `networks.<name>` (dotted for segmentation), ready for `from_pretrained`.

        Raises:
            InputError: it is neither a folder that exists nor of the form owner/name.
        """
        value: Any = self.section("networks")
        for part in name.split("."):
            value = value[part]
        if (folder := self.given(value)).is_dir():
            return str(folder)
        if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", value) and value.split("/")[0] != "foundation":
            return value
        raise InputError(f"networks.{name} must be an existing folder or a hub id owner/name, got {value!r}")

    @property
    def tracking_uri(self) -> str:
        """`tracking.uri` with a relative sqlite file placed under `paths.root`."""
        uri = self.tracking.uri
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", uri)
        return f"sqlite:///{self.root / match.group(1)}" if match else uri

    def section(self, name: str) -> dict[str, Any]:
        """Plain values of one top-level section, for logging."""
        return self.as_dict()[name]

    def as_dict(self) -> dict[str, Any]:
        """Plain values (as YAML would give them) of everything."""
        return self.model_dump(mode="json", by_alias=True)


class _Loader(yaml.SafeLoader):
    """Safe YAML where a key given twice is an error and 1e-5 is a number."""


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse_yaml(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{name}{where}: not valid YAML: {problem}".replace("\n", " ")) from error


def _read_layer(file: Path, name: str) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text") from error
    data = _parse_yaml(text, name)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(f"{name}: must be a table of sections, got {type(data).__name__}")
    return data


def _override_layer(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(f"--set must look like key.path=value, got {override!r}")
    layer: Any = _parse_yaml(text, f"--set {key}")
    for part in reversed(parts):
        layer = {part: layer}
    return layer


def _merge(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copy.deepcopy(above)
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _merge(below[key], value) if key in below else copy.deepcopy(value)
    return merged


def _contains(layer: Any, location: Sequence[Any]) -> bool:
    for part in location:
        if isinstance(layer, Mapping) and part in layer:
            layer = layer[part]
        elif isinstance(layer, Mapping) or not isinstance(layer, list):
            return not isinstance(layer, Mapping)
        else:
            return True
    return True


_RULES = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "finite_number": "must be a finite number",
}
_LIMITS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def _rule(kind: str, context: Mapping[str, Any], message: str) -> str:
    for key, sign in _LIMITS:
        if key in context:
            return f"must be {sign} {context[key]}"
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind == "multiple_of":
        return f"must be a multiple of {context['multiple_of']}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    if kind in ("too_short", "too_long"):
        return message[0].lower() + message[1:]
    return _RULES.get(kind, message[0].lower() + message[1:])


def _known_keys(location: Sequence[Any]) -> list[str]:
    model: Any = Params
    for part in location:
        fields = getattr(model, "model_fields", {})
        found = [f.annotation for n, f in fields.items() if (f.alias or n) == part]
        model = found[0] if found else None
    return [f.alias or n for n, f in getattr(model, "model_fields", {}).items()]


def _describe(error: Any) -> tuple[tuple[Any, ...], str]:
    """(location, sentence) of one pydantic error."""
    location = tuple(p for p in error["loc"] if not (isinstance(p, str) and re.search(r"[\[\(]", p)))
    key = ".".join(str(part) for part in location)
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), n=1)
        return location, f"unknown key {key}" + (f", did you mean {close[0]}?" if close else "")
    if error["type"] == "missing":
        return location, f"{key} is missing"
    if error["type"] == "value_error":
        return location, f"{key}.{context['error']}"
    return location, f"{key} {_rule(error['type'], context, error['msg'])}, got {error['input']!r}"


def load_params(
    file: Path | str = "params.yaml", profiles: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Params:
    """Read `file`, overlay each profile, then each `key.path=value`; later layers win.

    Args:
        profiles: names of `profiles/NAME.yaml` beside the file.
        overrides: `key.path=value`, the value written as YAML.

    Raises:
        InputError: a file that is missing or no YAML, an unknown key, a wrong type, a value out of range.
    """
    file = Path(file)
    layers = [(str(file), _read_layer(file, str(file)))]
    for name in profiles:
        folder = file.parent / "profiles"
        overlay = folder / f"{name}.yaml"
        if not re.fullmatch(r"[\w.-]+", name) or not overlay.is_file():
            known = sorted(p.stem for p in folder.glob("*.yaml"))
            raise InputError(f"--profile must be one of {', '.join(known) or '(none found)'}, got {name!r}")
        layers.append((str(overlay), _read_layer(overlay, str(overlay))))
    layers += [(f"--set {text}", _override_layer(text)) for text in overrides]
    return _validated(layers, file.resolve().parent)


def params_from_dict(values: Mapping[str, Any], folder: Path | str) -> Params:
    """Params from plain values (`Params.as_dict`), relative names starting at `folder`."""
    return _validated([("params", dict(values))], Path(folder).resolve())


def _validated(layers: Sequence[tuple[str, dict[str, Any]]], folder: Path) -> Params:
    merged: Any = {}
    for _, layer in layers:
        merged = _merge(merged, layer)
    try:
        params = Params.model_validate(merged)
    except ValidationError as failure:
        sentences = []
        for error in failure.errors():
            location, sentence = _describe(error)
            where = next(
                (name for name, layer in reversed(layers) if _contains(layer, location)), layers[0][0]
            )
            line = f"{where}: {sentence}"
            if line not in sentences:
                sentences.append(line)
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        raise InputError(sentences[0].replace("\n", " ") + more) from None
    params._folder = folder
    return params
