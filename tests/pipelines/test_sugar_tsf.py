"""The pipeline: its compiled file is fresh, every stage is in it, wiring and settings are as meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sugar.stages import STAGES

pytest.importorskip("kfp")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipelines import submit, sugar_tsf

    file = tmp_path_factory.mktemp("compiled") / "sugar_tsf.yaml"
    return submit.compile_pipeline(sugar_tsf.sugar_tsf, file)


@pytest.fixture(scope="module")
def spec(compiled: Path) -> dict:
    return next(iter(yaml.safe_load_all(compiled.read_text())))


def test_the_committed_file_is_what_the_code_compiles_to(compiled: Path, project_root: Path):
    committed = project_root / "pipelines" / "sugar_tsf.yaml"
    assert committed.read_text() == compiled.read_text(), "run `make pipeline` and commit the result"


def test_every_stage_is_a_task_and_only_real_and_synthetic_are_encoded_apart(spec: dict):
    assert set(spec["root"]["dag"]["tasks"]) == {*STAGES, "configure", "encode-2"}


def test_artifacts_are_what_the_stages_declare(spec: dict):
    renamed = {"record": "register"}
    for name, stage in STAGES.items():
        if name == "encode":  # one dataset at a time
            continue
        component = spec["components"][f"comp-{name}"]
        inputs = set(component["inputDefinitions"].get("artifacts", {}))
        outputs = set(component["outputDefinitions"]["artifacts"])
        assert {renamed.get(key, key) for key in inputs} == set(stage.inputs), name
        shown = {"page"} if name == "validate" else set()
        assert {renamed.get(key, key) for key in outputs} == {*stage.outputs, "figures"} | shown, name


def test_every_stage_gets_its_own_settings_and_the_code_version(spec: dict):
    for name, task in spec["root"]["dag"]["tasks"].items():
        parameters = task["inputs"]["parameters"]
        assert "code_version" in parameters, name
        if name != "configure":
            stage = name.split("-")[0]
            output = parameters["settings"]["taskOutputParameter"]
            assert (output["producerTask"], output["outputParameterKey"]) == ("configure", stage)


def test_stages_have_resources_and_retries_and_training_asks_for_gpus(spec: dict):
    executors = spec["deploymentSpec"]["executors"]
    for name, task in spec["root"]["dag"]["tasks"].items():
        if name == "configure":
            continue
        executor = executors[f"exec-{name}"]["container"]
        assert {"cpuLimit", "memoryLimit"} <= set(executor["resources"]), name
        assert task["retryPolicy"]["maxRetryCount"] == 2, name
        gpus = "accelerator" in executor["resources"]
        assert gpus == (name.split("-")[0] in ("encode", "pretrain", "finetune", "evaluate")), name


def test_no_task_runs_as_root_and_each_may_log_in(compiled: Path, spec: dict):
    _, platform = yaml.safe_load_all(compiled.read_text())
    told = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(told) == set(spec["deploymentSpec"]["executors"])
    for one in told.values():
        assert one["securityContext"]["runAsNonRoot"] is True
        (secret,) = one["secretAsEnv"]
        assert (secret["secretName"], secret["optional"]) == ("mlflow-client", True)


def test_only_the_registration_is_never_taken_from_the_cache(spec: dict):
    tasks = spec["root"]["dag"]["tasks"]
    assert [name for name, task in tasks.items() if not task["cachingOptions"]] == ["register"]


def test_encoding_waits_for_the_gate(spec: dict):
    tasks = spec["root"]["dag"]["tasks"]
    assert all("validate" in tasks[name]["dependentTasks"] for name in ("encode", "encode-2"))


def test_nothing_is_installed_when_a_task_starts(compiled: Path):
    assert "pip install" not in compiled.read_text()


def test_settings_hold_what_a_stage_declares_and_a_change_reaches_only_those_who_read_it(project_root: Path):
    from sugar.config import load_params
    from sugar.stages.component import settings_of_stages

    file = project_root / "params.yaml"
    before = settings_of_stages(json.dumps(load_params(file).as_dict()), "", "")
    changed = load_params(file, overrides=["synthesize.filters.min_identity=0.123"])
    after = settings_of_stages(json.dumps(changed.as_dict()), "", "")
    assert [name for name in STAGES if before[name] != after[name]] == ["synthesize"]
    assert set(json.loads(before["register"])) == {"paths", "tracking", "shards", "register"}


@pytest.mark.parametrize("config, profile, overrides", [("{}", "smoke", ""), ("[1]", "", ""), ("{", "", "")])
def test_contradictory_or_broken_parameters_are_input_errors(config: str, profile: str, overrides: str):
    from sugar.config import InputError
    from sugar.stages.component import settings_of_stages

    with pytest.raises(InputError):
        settings_of_stages(config, profile, overrides)
