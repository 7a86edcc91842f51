"""Params: all sections of params.yaml together, and where its relative names lead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, PrivateAttr

from sugar.config.foundation import Foundation
from sugar.config.schema import (
    Conditions,
    Encode,
    Evaluate,
    Ingest,
    InputError,
    Model,
    Natural,
    Networks,
    Paths,
    Register,
    Sampling,
    Section,
    Shards,
    Steps,
    Strategy,
    Tracking,
    Training,
    Validate,
    Video,
)
from sugar.config.synthesis import Source, Synthesize


class Params(Section):
    """The whole of params.yaml; `folder` is where the file lies, relative names start there."""

    seed: Natural
    paths: Paths
    tracking: Tracking
    video: Video
    networks: Networks
    source: Source
    shards: Shards
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
    ablations: dict[
        Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")], Annotated[dict[str, Any], Field(min_length=1)]
    ]
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
        return self.pretrained(f"networks.{name}")

    def pretrained(self, key: str) -> str:
        """Folder or hub id of any value (dotted), as `network`."""
        head, *parts = key.split(".")
        value: Any = self.section(head)
        for part in parts:
            value = value[part]
        if (folder := self.given(value)).is_dir():
            return str(folder)
        if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", value) and value.split("/")[0] != "foundation":
            return value
        raise InputError(f"{key} must be an existing folder or a hub id owner/name, got {value!r}")

    @property
    def tracking_uri(self) -> str:
        """`tracking.uri` with a relative sqlite file placed under `paths.root`."""
        uri = self.tracking.uri
        match = re.fullmatch(r"sqlite:///(?!/)(.+)", uri)
        return f"sqlite:///{self.root / match.group(1)}" if match else uri

    def only(self, keys: Sequence[str]) -> Params:
        """The same parameters with these sections (`video`) and single values (`networks.dino`) alone.

        Reading anything else raises AttributeError: what a stage does not declare, it cannot depend on.

        Raises:
            KeyError: a key that the parameters do not have.
        """
        parts = [key.split(".") for key in keys]
        params = _reduced(self, parts)
        params._folder = self._folder
        return params

    def section(self, name: str) -> dict[str, Any]:
        """Plain values of one top-level section, for logging."""
        return self.as_dict()[name]

    def as_dict(self) -> dict[str, Any]:
        """Plain values (as YAML would give them) of everything."""
        return self.model_dump(mode="json", by_alias=True)


_Table = TypeVar("_Table", bound=Section)


def _reduced(table: _Table, paths: Sequence[Sequence[str]]) -> _Table:
    """`table` with only the entries that the paths lead to."""
    names = {field.alias or name: name for name, field in type(table).model_fields.items()}
    values: dict[str, Any] = {}
    for head in dict.fromkeys(path[0] for path in paths):
        value = getattr(table, names[head])
        deeper = [path[1:] for path in paths if path[0] == head]
        values[names[head]] = value if [] in deeper or not all(deeper) else _reduced(value, deeper)
    reduced = type(table).model_construct()
    object.__setattr__(reduced, "__dict__", values)
    object.__setattr__(reduced, "__pydantic_fields_set__", set(values))
    return reduced
