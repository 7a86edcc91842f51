"""What the components of a pipeline share: parameters as JSON, artifacts as folders, figures as metrics."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sugar.config import InputError, Params, load_params, params_from_dict

ALWAYS = ("paths", "tracking", "shards")
"""What every stage's runner reads, beside what the stage declares."""


def params_file() -> Path:
    """The image's params.yaml: `SUGAR_PARAMS`, or that of the working directory."""
    return Path(os.environ.get("SUGAR_PARAMS", "params.yaml"))


def resolved_params(config: str, profile: str, overrides: str, file: Path) -> Params:
    """The parameters that the three arguments of a pipeline carry.

    Args:
        config: JSON of all parameters (`Params.as_dict`); empty: `file`.
        profile: names of profiles beside `file`, separated by commas; with an empty `config` only.
        overrides: `key.path=value` separated by semicolons; with an empty `config` only.

    Raises:
        InputError: wrong parameters.
    """
    changes = [part.strip() for part in overrides.split(";") if part.strip()]
    profiles = [part.strip() for part in profile.split(",") if part.strip()]
    if not config:
        return load_params(file, profiles, changes)
    if changes or profiles:
        raise InputError("config holds all parameters: profile and overrides must be empty beside it")
    try:
        values = json.loads(config)
    except json.JSONDecodeError as error:
        raise InputError(f"config must be JSON of all parameters: {error}") from error
    return params_from_dict(values, file.resolve().parent)


def settings_of_stages(config: str, profile: str, overrides: str) -> dict[str, str]:
    """Stage -> JSON of the parameters that it declares; arguments as for `resolved_params`."""
    from sugar.stages import STAGES

    params = resolved_params(config, profile, overrides, params_file())
    return {
        name: json.dumps(params.only([*stage.reads, *ALWAYS]).as_dict(), sort_keys=True)
        for name, stage in STAGES.items()
    }


def stage_params(settings: str) -> Params:
    """Params with the stage's settings; what it does not read stays as params.yaml has it."""
    file = params_file()
    return params_from_dict(
        _overlay(load_params(file).as_dict(), json.loads(settings)), file.resolve().parent
    )


def _overlay(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _overlay(below.get(key), value) for key, value in above.items()}}
    return above


def run_component(
    stage: str,
    settings: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    figures: Any,
    page: Any = None,
) -> None:
    """Run a stage on artifacts and put its figures into the metrics artifact.

    Args:
        stage: its name.
        settings: JSON of `settings_of_stages`.
        inputs, outputs: declared name -> artifact (`dsl.Dataset`, `dsl.Model`, ...).
        figures: a `dsl.Metrics` artifact.
        page: a `dsl.HTML` artifact that gets the gate's verdict, also where the gate fails.

    Raises:
        StageFailure, InputError: as the stage.
    """
    from sugar.stages import STAGES
    from sugar.stages.stage import METRICS, StageFailure

    params = stage_params(settings)
    folders = {name: Path(artifact.path) for name, artifact in outputs.items()}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "figures.json"
        sources = {name: Path(artifact.path) for name, artifact in inputs.items()}
        try:
            values = STAGES[stage](params, sources, {**folders, METRICS: file})
        except StageFailure:
            _write_page(folders, page)
            raise
        Path(figures.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, figures.path)  # a metrics artifact without a file is never found in the cache
    _write_page(folders, page)
    for name, value in values.items():
        figures.log_metric(name, value)
        for artifact in outputs.values():
            artifact.metadata[name] = value


def _write_page(folders: Mapping[str, Path], page: Any) -> None:
    """Kubeflow shows the file alone: links to what lies beside it would lead nowhere."""
    from sugar.stages.gating import page_alone

    if page is not None:
        Path(page.path).parent.mkdir(parents=True, exist_ok=True)
        Path(page.path).write_text(page_alone(folders["gate"]), encoding="utf-8")
