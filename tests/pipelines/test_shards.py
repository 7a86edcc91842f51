"""The pipeline of a stage's shards: its compiled file, its start, and its tasks run on this machine."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("kfp")

from pipelines import shards
from sugar.config import InputError, load_params
from sugar.data.manifest import dataset_digest
from sugar.launch.kubernetes_api import ClusterFailure
from sugar.stages import STAGES, sharding

CLUSTER = {"image": "sugar@sha256:ab", "volume_claim": "claim", "mount_path": "/volume"}
TINY = ["ingest.num_clips=4", "ingest.shard_size=2", "tracking.enabled=false"]


def settings(groups: int = 2) -> str:
    about = {"driver": "parallel_for", "groups": groups, "parallelism": 2, "cluster": CLUSTER}
    return f"shards={json.dumps(about)}"


def test_the_committed_file_is_what_the_code_compiles_to(tmp_path, monkeypatch):
    committed = shards.PACKAGE.read_text()
    monkeypatch.setattr(shards, "PACKAGE", tmp_path / "shards.yaml")
    shards.main([])
    assert (tmp_path / "shards.yaml").read_text() == committed, "run `make pipeline` and commit the result"


def test_a_run_is_started_with_every_group_and_followed(tmp_path, project_root, caplog):
    params = load_params(project_root / "params.yaml", ["smoke"], [settings(3)])
    description = tmp_path / "job.json"
    description.write_text(json.dumps({"stage": "ingest", "params": params.as_dict()}))
    asked: dict = {}

    def create(package, **options):
        asked.update(options, spec=list(yaml.safe_load_all(Path(package).read_text())))
        return SimpleNamespace(run_id="r1")

    client = SimpleNamespace(
        create_run_from_pipeline_package=create,
        wait_for_run_completion=lambda run_id, *rest: SimpleNamespace(state="FAILED"),
    )
    shards.run(description, 3, client)
    assert asked["arguments"] == {"description": str(description), "groups": ["0/3", "1/3", "2/3"]}
    assert "run r1 of the shards of ingest: FAILED" in caplog.text
    pipeline, platform = asked["spec"]
    (container,) = [e["container"] for e in pipeline["deploymentSpec"]["executors"].values()]
    assert container["image"] == CLUSTER["image"]
    assert container["env"] == [{"name": "SUGAR_IMAGE_DIGEST", "value": "sha256:ab"}]
    (loop,) = pipeline["root"]["dag"]["tasks"].values()
    assert loop["iteratorPolicy"] == {"parallelismLimit": 2}
    assert "/volume" in json.dumps(platform) and "claim" in json.dumps(platform)


def test_the_driver_is_one_key(project_root):
    for driver, groups in (("parallel_for", 32), ("indexed_job", 64)):
        overrides = [f"shards.driver={driver}"]
        params = load_params(project_root / "params.yaml", ["cogvideox-5b", "shards-job"], overrides)
        assert params.shards.num_groups == groups
    assert load_params(project_root / "params.yaml", overrides=[settings(3)]).shards.num_groups == 3


def test_a_task_gets_the_accelerators_that_are_asked_for(tmp_path):
    resources = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}
    package = tmp_path / "shards.yaml"
    shards.compiler.Compiler().compile(
        shards.shards_pipeline(CLUSTER | {"resources": resources}, 2), str(package)
    )
    spec = next(yaml.safe_load_all(package.read_text()))
    (container,) = [e["container"] for e in spec["deploymentSpec"]["executors"].values()]
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"


@pytest.mark.parametrize(
    "resources, sentence",
    [
        ({"cpu": "8", "ephemeral-storage": "10Gi"}, r"an accelerator, .*, got ephemeral-storage: 10Gi"),
        ({"nvidia.com/gpu": "1", "rdma/ib": "2"}, r"one accelerator at most .*nvidia.com/gpu: 1, rdma/ib: 2"),
        ({"nvidia.com/gpu": "500m"}, r"resources\.nvidia\.com/gpu must be a whole number .*got '500m'"),
        ({"memory": "1.5Gi"}, r"resources\.memory must be a whole number of bytes.* got '1\.5Gi'"),
        ({"cpu": "8 cores"}, r"resources\.cpu must be a number of processors.* got '8 cores'"),
    ],
)
def test_resources_that_a_task_cannot_ask_for_are_refused(project_root, resources, sentence):
    def load(driver):
        about = {
            "driver": driver,
            "groups": 2,
            "parallelism": 2,
            "cluster": CLUSTER | {"resources": resources},
        }
        return load_params(project_root / "params.yaml", overrides=[f"shards={json.dumps(about)}"])

    with pytest.raises(InputError, match=rf"shards.*{sentence}"):
        load("parallel_for")
    assert load("indexed_job").shards.cluster.resources == resources  # Kubernetes says what it takes


@pytest.mark.parametrize(
    "resources",
    [{"cpu": "500m", "memory": "64Gi", "nvidia.com/gpu": "2"}, {"cpu": ".5", "memory": "1000"}, {}],
)
def test_resources_that_are_allowed_compile(project_root, resources, tmp_path):
    about = {"driver": "parallel_for", "groups": 2, "parallelism": 2}
    about["cluster"] = CLUSTER | {"resources": resources}
    params = load_params(project_root / "params.yaml", overrides=[f"shards={json.dumps(about)}"])
    pipeline = shards.shards_pipeline(params.section("shards")["cluster"], 2)
    shards.compiler.Compiler().compile(pipeline, str(tmp_path / "shards.yaml"))


def test_groups_beyond_32_are_refused(project_root):
    with pytest.raises(InputError, match=r"shards.*groups must be <= 32 when driver is parallel_for"):
        load_params(project_root / "params.yaml", overrides=[settings(33)])


@pytest.mark.slow
def test_a_stage_by_parallel_for_gives_the_dataset_of_one_machine(tmp_path, project_root, monkeypatch):
    from kfp import local

    file = project_root / "params.yaml"
    monkeypatch.setenv("PYTHONPATH", str(project_root))

    def here(command, **options):
        """`pipelines.shards` with its tasks in processes of this machine."""
        description, groups = Path(command[3]), int(command[4])
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
        shards.shards_pipeline(CLUSTER | {"resources": {}}, 2)(
            description=str(description), groups=[f"{i}/{groups}" for i in range(groups)]
        )
        return subprocess.CompletedProcess(command, 0)

    with monkeypatch.context() as patched:
        patched.setattr(sharding, "subprocess", SimpleNamespace(run=here))
        far = STAGES["ingest"](
            load_params(file, ["smoke"], [*TINY, settings(), f"shards.cluster.mount_path={tmp_path}"]),
            {},
            {"real": tmp_path / "far" / "real"},
        )
    near = STAGES["ingest"](load_params(file, ["smoke"], TINY), {}, {"real": tmp_path / "near" / "real"})
    assert (far["triplets"], far["shards_made"]) == (near["triplets"], 0)
    assert dataset_digest(tmp_path / "far" / "real") == dataset_digest(tmp_path / "near" / "real")


def test_a_run_that_cannot_start_is_an_error_of_one_line(tmp_path, project_root, monkeypatch, capfd):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    params = load_params(project_root / "params.yaml", ["smoke"], [settings(2)])
    description = tmp_path / "job.json"
    description.write_text(json.dumps({"stage": "ingest", "params": params.as_dict()}))
    with pytest.raises(ClusterFailure, match=r"pipelines\.shards ended with exit code 1") as told:
        sharding._run_parallel_for(description, 2)
    assert told.value.expected
    err = capfd.readouterr().err
    assert err.startswith("pipelines.shards: failed: ") and err.count("\n") == 1
    assert "127.0.0.1" in err and "KF_PIPELINES_ENDPOINT=URL says where" in err
