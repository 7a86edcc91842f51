"""Components are a few lines around a stage: run through their plain functions, without Kubeflow."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import replace
from pathlib import Path

import pytest
from shard_stubs import tiny_triplet

pytest.importorskip("kfp")

import components
from sugar.config import load_params
from sugar.data.manifest import write_manifest
from sugar.data.shards import write_shard
from sugar.stages import StageFailure
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


@pytest.fixture
def datasets(tmp_path: Path) -> list[FakeArtifact]:
    """Synthetic and real triplets, two of each."""
    for source in ("synthetic", "real"):
        triplets = [replace(tiny_triplet(f"{source}-{i}"), source=source, noun=f"n{i}") for i in range(2)]
        write_manifest(tmp_path / source, write_shard(tmp_path / source / "shard-000000.tar", triplets))
    return [FakeArtifact(tmp_path / source) for source in ("synthetic", "real")]


@pytest.mark.parametrize("min_rows", [1, 3])
def test_the_page_of_the_gate_is_there_whatever_the_verdict_and_stands_alone(
    settings: dict[str, str], datasets: list[FakeArtifact], tmp_path: Path, min_rows: int
):
    values = json.loads(settings["validate"])
    shares = {f"max_{tag}_share": 1.0 for tag in ("noun", "style", "background", "motion")}
    values["validate"] |= {"min_rows": {"real": min_rows, "synthetic": 1}, **shares}
    gate, page, figures = (FakeArtifact(tmp_path / "out" / name) for name in ("gate", "page", "figures"))
    arguments = [json.dumps(values), "1", *datasets, gate, page, figures]
    if min_rows > 2:
        with pytest.raises(StageFailure, match="real: accepted rows: expect_table_row_count_to_be"):
            components.validate.python_func(*arguments)
    else:
        components.validate.python_func(*arguments)
    shown = Path(page.path).read_text()
    assert ("1 failures" in shown) == (min_rows > 2)
    assert "acceptance" in shown and "href" not in shown and "src=" not in shown
    assert "href='real/index.html'" in (Path(gate.path) / "index.html").read_text()


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
