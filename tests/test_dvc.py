"""dvc.yaml says what the stages say: inputs, outputs, parameters; nothing runs too often or too seldom."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sugar.config import Params, load_params
from sugar.data.gate import GateBounds
from sugar.data.latent_files import is_whole
from sugar.data.latents import LatentWriter
from sugar.data.tables import label_of
from sugar.ingest import dataset as ingest
from sugar.stages import ABLATION_STAGES, STAGES, data, gating
from sugar.stages.encoding import still_frames
from sugar.synthesis import dataset as synthesis


@pytest.fixture(scope="module")
def pipeline(project_root: Path) -> dict:
    return yaml.safe_load((project_root / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def params(project_root: Path) -> Params:
    return load_params(project_root / "params.yaml")


def outputs_of(stage: dict, kind: str) -> dict[str, dict]:
    return {path: options for entry in stage[kind] for path, options in entry.items()}


def test_a_stage_a_verb(pipeline: dict):
    assert list(pipeline) == list(STAGES)
    assert all(stage["cmd"] == f"sugar {name}" for name, stage in pipeline.items())


@pytest.mark.parametrize("name", ABLATION_STAGES)
def test_an_ablation_is_as_the_default_chain_but_for_its_models(
    name: str, pipeline: dict, project_root: Path
):
    text = (project_root / "ablations" / "dvc.yaml").read_text().replace("${key}", "x")
    stage, default = yaml.safe_load(text)["stages"][name]["do"], pipeline[name]
    models = {"pretrain": set(), "finetune": {"stage1"}, "evaluate": {"stage1", "stage2"}}[name]
    own = {f"models/ablations/x/{model}" for model in models}
    assert stage["cmd"] == f"{default['cmd']} --ablation x"
    assert set(stage["deps"]) - own == set(default["deps"]) - (
        {"models/stage1"} if name == "finetune" else set()
    )
    assert own <= set(stage["deps"])
    assert stage["params"] == ["ablations.x", *default["params"]]
    assert not set(outputs_of(stage, "outs")) & set(outputs_of(default, "outs"))


@pytest.mark.parametrize("name", STAGES)
def test_parameters_are_those_that_the_stage_declares(name: str, pipeline: dict):
    assert sorted(pipeline[name]["params"]) == sorted(STAGES[name].reads)


@pytest.mark.parametrize("name", STAGES)
def test_inputs_and_outputs_are_those_that_the_stage_declares(name: str, pipeline: dict, params: Params):
    def relative(key: str) -> str:
        return str(params.path(key).relative_to(params.folder))

    stage = pipeline[name]
    folders = {relative(key) for key in params.section("paths") if key != "root"}
    assert {dep for dep in stage["deps"] if dep in folders} == {relative(key) for key in STAGES[name].inputs}
    assert set(outputs_of(stage, "outs")) == {relative(key) for key in STAGES[name].outputs}
    assert list(outputs_of(stage, "metrics")) == [f"{relative('metrics')}/{name}.json"]


@pytest.mark.parametrize("name", STAGES)
def test_outputs_persist_so_that_complete_work_is_kept(name: str, pipeline: dict):
    entries = outputs_of(pipeline[name], "outs") | outputs_of(pipeline[name], "metrics")
    assert all(options["persist"] for options in entries.values())


@pytest.mark.parametrize("name", STAGES)
def test_networks_that_a_stage_reads_are_dependencies(name: str, pipeline: dict, params: Params):
    networks = params.section("networks")
    read = [key for key in STAGES[name].reads if key.startswith("networks.") or key == "networks"]
    keys = set(networks) if "networks" in read else {key.split(".")[1] for key in read}
    folders = {networks[key] for key in keys & set(networks) if isinstance(networks[key], str)} - {"auto"}
    if name == "evaluate":
        folders -= {networks["base"], networks["dino"]}  # they lie in the model's folder
    assert folders <= set(pipeline[name]["deps"])


def test_code_dependencies_exist(pipeline: dict, project_root: Path):
    for stage in pipeline.values():
        for dep in stage.get("deps", []):
            if dep.startswith("sugar/"):
                assert (project_root / dep).exists(), dep


def in_digests(module: str, *calls: Callable[[], object]) -> set[str]:
    """Modules whose code some calls digest by the name `code_digest` of a module."""
    asked: set[str] = set()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(f"{module}.code_digest", lambda modules: asked.update(modules) or "")
        for call in calls:
            call()
    return asked


def made_by(name: str) -> set[str]:
    """Modules that the outputs of a stage are made from anew, and those of what it does by itself."""
    if name == "source":
        return {*synthesis.SUBJECTS_CODE, *synthesis.PHOTOS_CODE}
    if name == "synthesize":
        return {*synthesis.CODE}
    if name == "ingest":
        named = in_digests("sugar.data.code_digest", data._categories_digest)
        assert named
        return {*ingest.CODE, *named, label_of.__module__}
    if name == "validate":
        return in_digests("sugar.stages.gating", lambda: gating._about(GateBounds("real")))
    assert name == "encode"
    return {still_frames.__module__, LatentWriter.__module__, is_whole.__module__, "sugar.encoders"}


@pytest.mark.parametrize("name", ["source", "synthesize", "ingest", "validate", "encode"])
def test_code_that_makes_an_output_anew_runs_its_stage(name: str, pipeline: dict, project_root: Path):
    paths = {module.replace(".", "/") for module in made_by(name)}
    files = {path if (project_root / path).is_dir() else f"{path}.py" for path in paths}
    assert files and files <= set(pipeline[name]["deps"])


def test_what_stages_write_is_ignored_by_git_and_bytecode_by_dvc(pipeline: dict, project_root: Path):
    ignored = [line.strip("/") for line in (project_root / ".gitignore").read_text().splitlines()]
    for stage in pipeline.values():
        for path in outputs_of(stage, "outs"):
            assert path.split("/")[0] in ignored, path
    patterns = (project_root / ".dvcignore").read_text().split()
    assert any(fnmatch.fnmatch("__pycache__", pattern) for pattern in patterns)


@pytest.mark.parametrize(
    "override, first",
    [
        ("synthesize.filters.min_identity=0.9", "synthesize"),
        ("validate.min_rows.real=5", "validate"),
        ("encode.batch_size=3", "encode"),
        ("pretrain.steps=3", "pretrain"),
        ("finetune.steps=3", "finetune"),
        ("sampling.num_steps=3", "evaluate"),
        ("register.alias=x", "register"),
    ],
)
def test_a_changed_value_is_seen_first_by_the_right_stage(override: str, first: str, project_root: Path):
    before = load_params(project_root / "params.yaml")
    after = load_params(project_root / "params.yaml", overrides=[override])
    seen = [n for n, s in STAGES.items() if before.only(s.reads).as_dict() != after.only(s.reads).as_dict()]
    assert seen[0] == first
    downstream = {"finetune": ["pretrain"], "pretrain": ["finetune"]}
    assert set(seen) <= {first, *downstream.get(first, [])}
