"""The Indexed Job: its body, and a cluster that runs its indexes as the API would."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from kubernetes.client import ApiException

from sugar.config import load_params
from sugar.data.manifest import dataset_digest
from sugar.launch.shards import indexed_job, run_indexed_job
from sugar.launch.train_job import Cluster
from sugar.stages import STAGES, sharding

CLUSTER = Cluster("sugar:1", "claim", "/data", resources={"cpu": "4"}, service_account="runner")


class FakeBatch:
    """Runs every index of a created job at once, with some indexes failing."""

    def __init__(self, run=lambda index: None, exists=False):
        self.run, self.exists, self.bodies, self.deleted, self.polls = run, exists, [], [], 0

    def create_namespaced_job(self, namespace, body):
        if self.exists:
            raise ApiException(status=409)
        self.bodies.append(body)
        for index in range(body["spec"]["completions"]):
            self.run(index)

    def read_namespaced_job_status(self, name, namespace):
        self.polls += 1
        ended = [SimpleNamespace(type="Complete", status="True")] if self.polls > 1 else None
        return SimpleNamespace(
            status=SimpleNamespace(succeeded=self.polls, conditions=ended, failed_indexes=None)
        )

    def delete_namespaced_job(self, name, namespace, propagation_policy):
        self.deleted.append(name)


def test_the_job_has_an_index_a_group_with_retries_of_its_own():
    body = indexed_job("ingest", CLUSTER, ["python", "$(JOB_COMPLETION_INDEX)/8"], 8, 3)
    spec = body["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 3)
    assert spec["backoffLimitPerIndex"] >= 1
    (container,) = spec["template"]["spec"]["containers"]
    assert container["volumeMounts"][0]["mountPath"] == "/data"
    assert container["env"] == []
    # What a namespace that enforces the restricted standard asks of a pod.
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    context = spec["template"]["spec"]["securityContext"]
    assert context["runAsNonRoot"] is True and context["seccompProfile"] == {"type": "RuntimeDefault"}
    by_digest = indexed_job("ingest", replace(CLUSTER, image="sugar@sha256:ab"), ["x"], 8, 3)
    (told,) = by_digest["spec"]["template"]["spec"]["containers"][0]["env"]
    assert told == {"name": "SUGAR_IMAGE_DIGEST", "value": "sha256:ab"}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["template"]["spec"]["serviceAccountName"] == "runner"
    again = indexed_job("ingest", CLUSTER, ["python", "$(JOB_COMPLETION_INDEX)/8"], 8, 3)
    assert again == body
    other = indexed_job("ingest", CLUSTER, ["python", "other"], 8, 3)
    assert other["metadata"]["name"] != body["metadata"]["name"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_job_is_started_or_followed_until_it_ends(exists):
    api, slept = FakeBatch(exists=exists), []
    body = indexed_job("ingest", CLUSTER, ["x"], 2, 2)
    run_indexed_job(body, api, sleep=slept.append)
    assert len(api.bodies) == (not exists)
    assert len(slept) == 1
    assert api.deleted == [body["metadata"]["name"]]


def test_the_api_schema_knows_every_field():
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(indexed_job("ingest", CLUSTER, ["x"], 2, 2), "1.31", strict=True)


@pytest.mark.slow
def test_a_stage_on_a_cluster_gives_the_dataset_of_one_machine(tmp_path, project_root, monkeypatch):
    tiny = ["ingest.num_clips=6", "ingest.shard_size=2", "tracking.enabled=false"]
    settings = {"driver": "indexed_job", "groups": 2, "parallelism": 2}
    settings["cluster"] = {"image": "i", "volume_claim": "c", "mount_path": "/data"}
    file = project_root / "params.yaml"
    params = load_params(file, ["smoke"], [*tiny, f"shards={settings}"])
    api = FakeBatch(lambda index: sharding.run_group(tmp_path / "far" / ".real.job.json", f"{index}/2"))
    monkeypatch.setattr(
        "sugar.launch.shards.run_indexed_job", lambda body: run_indexed_job(body, api, sleep=lambda s: None)
    )
    far = STAGES["ingest"](params, {}, {"real": tmp_path / "far" / "real"})
    near = STAGES["ingest"](load_params(file, ["smoke"], tiny), {}, {"real": tmp_path / "near" / "real"})
    assert far["triplets"] == near["triplets"]
    assert far["shards_made"] == 0
    assert dataset_digest(tmp_path / "far" / "real") == dataset_digest(tmp_path / "near" / "real")
