"""The Indexed Job: its body, and a cluster that runs its indexes as the API would."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from kubernetes.client import ApiException
from urllib3.exceptions import NewConnectionError

from sugar.config import InputError, load_params
from sugar.data.manifest import dataset_digest
from sugar.launch.kubernetes_api import ClusterFailure
from sugar.launch.shards import indexed_job, run_indexed_job
from sugar.launch.train_job import Cluster
from sugar.stages import STAGES, sharding

CLUSTER = Cluster("sugar:1", "claim", "/data", resources={"cpu": "4"}, service_account="runner")


class FakeBatch:
    """Runs every index of a created job at once, with some indexes failing."""

    def __init__(self, run=lambda index: None, exists=False, errors=()):
        self.run, self.exists, self.errors = run, exists, list(errors)
        self.bodies, self.deleted, self.polls = [], [], 0

    def create_namespaced_job(self, namespace, body, _request_timeout):
        if self.exists:
            raise ApiException(status=409)
        if self.errors:
            raise self.errors.pop()
        self.bodies.append(body)
        for index in range(body["spec"]["completions"]):
            self.run(index)

    def read_namespaced_job(self, name, namespace, _request_timeout):
        # Of the job itself: "jobs/status" is another resource, and no right of the account.
        self.polls += 1
        ended = [SimpleNamespace(type="Complete", status="True")] if self.polls > 1 else None
        return SimpleNamespace(
            status=SimpleNamespace(succeeded=self.polls, conditions=ended, failed_indexes=None)
        )

    def delete_namespaced_job(self, name, namespace, propagation_policy, _request_timeout):
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


@pytest.mark.parametrize("statuses", [[404], [504, 404]])
def test_a_finished_job_that_is_gone_already_is_no_failure(statuses):
    class Cleaned(FakeBatch):
        def delete_namespaced_job(self, name, namespace, propagation_policy, _request_timeout):
            raise ApiException(status=statuses.pop(0))

    run_indexed_job(indexed_job("ingest", CLUSTER, ["x"], 2, 2), Cleaned(), sleep=lambda s: None)
    assert not statuses


def test_a_server_that_is_busy_is_asked_again():
    busy = [ApiException(status=503), NewConnectionError(None, "refused")]
    api, slept = FakeBatch(errors=busy), []
    run_indexed_job(indexed_job("ingest", CLUSTER, ["x"], 2, 2), api, sleep=slept.append)
    assert len(api.bodies) == 1 and len(slept) == 3


@pytest.mark.parametrize(
    "errors, sentence",
    [
        ([ApiException(status=403, reason="Forbidden")], "the cluster refused: 403 Forbidden"),
        ([ApiException(status=404)], "there is no namespace sugar"),
        (
            [NewConnectionError(None, "refused")] * 99,
            "the API server did not answer in 8 attempts: .*refused",
        ),
    ],
)
def test_a_cluster_that_does_not_do_it_is_told_in_one_line(errors, sentence):
    with pytest.raises(ClusterFailure, match=sentence) as told:
        run_indexed_job(
            indexed_job("ingest", CLUSTER, ["x"], 2, 2), FakeBatch(errors=errors), sleep=lambda s: None
        )
    assert told.value.expected and "\n" not in str(told.value)


def test_without_a_kubeconfig_the_next_step_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no"))
    with pytest.raises(
        InputError, match=r"no Kubernetes cluster to work on.* set KUBECONFIG, or run it in a pod"
    ):
        run_indexed_job(indexed_job("ingest", CLUSTER, ["x"], 2, 2))


@pytest.mark.parametrize("driver", ["indexed_job", "parallel_for"])
def test_folders_that_the_pods_do_not_have_are_refused_before_work(driver, tmp_path, project_root):
    overrides = [f"shards.driver={driver}", "tracking.enabled=false", f"paths.root={tmp_path}"]
    params = load_params(project_root / "params.yaml", ["smoke", "shards-job"], overrides)
    subjects, inside = tmp_path / "subjects", tmp_path / "volume"
    subjects.mkdir()
    with pytest.raises(
        InputError, match=rf"ingest: {tmp_path}/real must lie below shards.cluster.mount_path"
    ):
        STAGES["ingest"](params, {}, {"real": tmp_path / "real"})
    on_volume = load_params(
        project_root / "params.yaml",
        ["smoke", "shards-job"],
        [*overrides, f"shards.cluster.mount_path={inside}"],
    )
    with pytest.raises(InputError, match=rf"synthesize: {subjects} must lie below"):
        STAGES["synthesize"](on_volume, {"subjects": subjects}, {"synthetic": inside / "synthetic"})
    clips = tmp_path / "clips"
    clips.mkdir()
    (inside / "clips").mkdir(parents=True)
    for folder, rule in ((clips, "ingest.folder must lie below"), (inside / "clips", "must hold captions")):
        own = [f"shards.cluster.mount_path={inside}", "ingest.kind=folder", f"ingest.folder={folder}"]
        with_own = load_params(project_root / "params.yaml", ["smoke", "shards-job"], [*overrides, *own])
        with pytest.raises(InputError, match=rule):
            STAGES["ingest"](with_own, {}, {"real": inside / "real"})
    assert not list(tmp_path.rglob("*.job.json"))


def test_the_api_schema_knows_every_field():
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(indexed_job("ingest", CLUSTER, ["x"], 2, 2), "1.31", strict=True)


@pytest.mark.slow
def test_a_stage_on_a_cluster_gives_the_dataset_of_one_machine(tmp_path, project_root, monkeypatch):
    tiny = ["ingest.num_clips=6", "ingest.shard_size=2", "tracking.enabled=false"]
    settings = {"driver": "indexed_job", "groups": 2, "parallelism": 2}
    settings["cluster"] = {"image": "i", "volume_claim": "c", "mount_path": str(tmp_path)}
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
