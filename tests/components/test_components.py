"""Components are a few lines around a stage: run through their plain functions, without Kubeflow."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path

import pytest

pytest.importorskip("kfp")

import components
from sugar.config import load_params
from sugar.stages.component import settings_of_stages


class FakeArtifact:
    """What a component sees of an artifact."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.metadata: dict[str, float] = {}

    def log_metric(self, metric: str, value: float) -> None:
        self.metadata[metric] = value


@pytest.fixture
def settings(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("SUGAR_PARAMS", str(project_root / "params.yaml"))
    overrides = f"paths.root={tmp_path}; tracking.enabled=false; source.num_subjects=3"
    return settings_of_stages("", "smoke", overrides)


def test_a_component_runs_its_stage_on_artifacts(settings: dict[str, str], tmp_path: Path):
    subjects, figures = FakeArtifact(tmp_path / "x" / "subjects"), FakeArtifact(tmp_path / "y" / "figures")
    components.source.python_func(settings["source"], "1", subjects, figures)
    assert (tmp_path / "x" / "subjects" / "manifest.parquet").is_file()
    assert subjects.metadata["subjects"] == figures.metadata["subjects"] == 3
    assert json.loads(Path(figures.path).read_text())["subjects"] == 3  # or the cache never hits


def test_configure_gives_every_stage_its_settings(settings: dict[str, str]):
    made = components.configure.python_func("", "smoke", "source.num_subjects=3", "1")
    assert set(made._fields) == set(settings)
    assert json.loads(made.source)["source"]["num_subjects"] == 3
    assert "pretrain" not in json.loads(made.source)


def test_settings_travel_whole(settings: dict[str, str], project_root: Path):
    from sugar.stages import STAGES
    from sugar.stages.component import stage_params

    params = load_params(project_root / "params.yaml", ["smoke"], ["source.num_subjects=3"])
    for name, stage in STAGES.items():
        assert stage_params(settings[name]).only(stage.reads) == params.only(stage.reads)


@pytest.mark.parametrize("name", [name for name in components.__all__ if name != "image"])
def test_bodies_are_a_few_lines_that_import_inside(name: str):
    module = ast.parse(Path(inspect.getfile(getattr(components, name).python_func)).read_text())
    function = next(node for node in module.body if isinstance(node, ast.FunctionDef))
    statements = function.body[1:]  # after the docstring
    assert len(statements) <= 4
    outside = [node for node in module.body if isinstance(node, ast.ImportFrom | ast.Import)]
    assert {getattr(node, "module", None) for node in outside} <= {"kfp", "typing", "components.image"}
