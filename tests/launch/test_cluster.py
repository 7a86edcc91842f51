"""TrainJobs: the object against the published schema, the client against a server with bad days."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from module_files import load_module

from sugar.config import InputError
from sugar.launch import cluster as cluster_module
from sugar.launch.cluster import run_on_cluster
from sugar.launch.kubernetes_api import TrainJobs
from sugar.launch.pod import CONTAINER_SECURITY
from sugar.launch.train_job import SPEC_DIGEST, Cluster, job_name, train_job
from sugar.training.job import TrainingJob
from sugar.training.output import COMPLETION
from sugar.training.signals import Preempted
from sugar.training.trainer import TrainingDiverged

_SERVER = load_module(Path(__file__).with_name("api_server.py"))
JOBS = _SERVER.JOBS
FIGURES = {"loss": 0.25}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(cluster_module, "POLL_SECONDS", 0.02)
    with _SERVER.api_server() as state:
        yield state


@pytest.fixture
def job(tmp_path) -> TrainingJob:
    """A job whose output is there: the processes of the cluster are not part of these tests."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / COMPLETION).write_text(json.dumps({"metrics": FIGURES}))
    return TrainingJob(
        phase="stage2",
        init_from="base",
        scheduler="base",
        output=str(tmp_path / "out"),
        checkpoints=str(tmp_path / "checkpoints"),
        real_latents=str(tmp_path / "real"),
        num_processes=16,
        micro_batch=1,
    )


@pytest.fixture
def cluster(tmp_path) -> Cluster:
    return Cluster(
        image="registry/sugar:1",
        volume_claim="sugar-data",
        mount_path=str(tmp_path),
        num_nodes=2,
        resources={"nvidia.com/gpu": "8", "memory": "512Gi"},
        service_account="sugar",
        max_restarts=2,
    )


def _run(server, job, cluster, lines: list[str] | None = None, **environment: str) -> dict[str, float]:
    from kubernetes import client

    api = TrainJobs(
        "sugar", client.ApiClient(client.Configuration(host=server.url)), attempts=4, sleep=lambda _: None
    )
    take = lines.append if lines is not None else (lambda _: None)
    return run_on_cluster(
        job, cluster, module="sugar.stages.rank", environment=environment, api=api, on_line=take
    )


def test_the_object_is_one_of_the_published_schema(job, cluster) -> None:
    """The typed client drops what the schema does not know: nothing may be missing after a round trip."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    body = train_job(job, cluster, ("-m", "x"), {"MLFLOW_RUN_ID": "r1"})
    known = models.TrainerV1alpha1TrainJob.from_dict(body)
    assert json.loads(known.to_json()) == body
    trainer = body["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    given, *login = trainer["env"]
    assert given == {"name": "MLFLOW_RUN_ID", "value": "r1"}
    secrets = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in login}
    assert {name: secret["key"] for name, secret in secrets.items()} == {
        "MLFLOW_TRACKING_USERNAME": "username",
        "MLFLOW_TRACKING_PASSWORD": "password",
    }
    assert all(secret["optional"] for secret in secrets.values())  # a server without accounts has none
    assert trainer["command"][0] == "torchrun"
    (patch,) = body["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["fsGroup"] == 1000
    assert [one["securityContext"] for one in pod["containers"]] == [CONTAINER_SECURITY]


def test_the_name_is_that_of_the_training(job, cluster) -> None:
    assert job_name(job) == job_name(replace(job, log_every=3))
    assert job_name(job) != job_name(replace(job, learning_rate=1e-4))
    assert job_name(job) != job_name(replace(job, output=job.output + "2"))
    name = job_name(replace(job, phase="My Phase_2"))
    assert name.startswith("sugar-my-phase-2-")
    assert len(name) <= 63


def test_bad_set_ups(job, cluster) -> None:
    with pytest.raises(InputError, match=r"must be a multiple of training\.cluster\.num_nodes"):
        train_job(job, replace(cluster, num_nodes=3), (), {})
    with pytest.raises(InputError, match=r"checkpoints must lie below training\.cluster\.mount_path"):
        train_job(replace(job, checkpoints="/elsewhere"), cluster, (), {})


def test_a_job_is_created_followed_with_its_log_and_its_figures_returned(server, job, cluster) -> None:
    server.endings, lines = ["", "Complete"], []
    assert _run(server, job, cluster, lines, MLFLOW_RUN_ID="r1") == FIGURES
    assert lines == server.log
    (body,) = server.created
    assert body["metadata"]["name"] == job_name(job)
    assert {"name": "MLFLOW_RUN_ID", "value": "r1"} in body["spec"]["trainer"]["env"]
    stored = Path(job.checkpoints) / "stage2.job.json"
    assert TrainingJob.from_json(stored.read_text()) == job
    assert str(stored) in body["spec"]["trainer"]["command"]


@pytest.mark.parametrize("status", [429, 500])
def test_a_busy_server_is_asked_again(server, job, cluster, status) -> None:
    server.trouble = [("POST", JOBS, status), ("GET", JOBS, status), ("WATCH", JOBS, status)]
    server.endings = ["Complete"]
    assert _run(server, job, cluster) == FIGURES
    assert server.trouble == []
    assert len(server.created) == 1


def test_a_server_that_stays_busy_is_an_error(server, job, cluster) -> None:
    server.trouble = [("POST", JOBS, 500)] * 4
    with pytest.raises(RuntimeError, match="did not answer in 4 attempts: 500 trouble 500"):
        _run(server, job, cluster)


@pytest.mark.parametrize("trouble", [0, 410])
def test_a_watch_that_breaks_or_expires_is_begun_again(server, job, cluster, trouble) -> None:
    server.trouble, server.endings = [("WATCH", JOBS, trouble)], ["Complete"]
    assert _run(server, job, cluster) == FIGURES
    assert sum("watch=True" in path for _, path in server.requests) == 2


def test_what_exists_is_adopted_unless_it_is_set_up_otherwise(server, job, cluster) -> None:
    body: dict[str, Any] = train_job(
        job,
        cluster,
        (
            "-m",
            "sugar.stages.rank",
            *(str(Path(job.checkpoints) / f"stage2.{part}") for part in ("job.json", "events.jsonl")),
        ),
        {},
    )
    server.add(body)
    server.endings = ["Complete"]
    assert _run(server, job, cluster) == FIGURES
    assert len(server.created) == 1
    server.jobs[job_name(job)]["metadata"]["annotations"][SPEC_DIGEST] = "another"
    with pytest.raises(InputError, match="exists and is set up otherwise"):
        _run(server, job, cluster)


@pytest.mark.parametrize("how", ["event", "pod"])
def test_preemption_starts_it_again(server, job, cluster, how, monkeypatch) -> None:
    if how == "pod":
        server.pod_conditions = [{"type": "DisruptionTarget", "status": "True"}]
    else:
        end = server.end

        def save_and_end(name: str, ending: str) -> dict[str, Any]:
            if ending == "Failed":
                events = Path(job.checkpoints) / "stage2.events.jsonl"
                events.write_text(json.dumps({"preempted": 7}) + "\n")
            return end(name, ending)

        monkeypatch.setattr(server, "end", save_and_end)
    server.endings = ["Failed", "Complete"]
    assert _run(server, job, cluster) == FIGURES
    assert len(server.created) == 2


def test_it_does_not_start_again_for_ever(server, job, cluster) -> None:
    server.pod_conditions = [{"type": "DisruptionTarget", "status": "True"}]
    server.endings = ["Failed"] * 3
    with pytest.raises(RuntimeError, match="preempted 3 times"):
        _run(server, job, cluster)


def test_a_failure_shows_the_end_of_the_log(server, job, cluster) -> None:
    server.endings = ["Failed"]
    with pytest.raises(RuntimeError, match="failed; the end of its log:\nfirst line\nsecond line"):
        _run(server, job, cluster)


@pytest.mark.parametrize("event, kind", [("refused", InputError), ("diverged", TrainingDiverged)])
def test_what_ends_it_on_the_cluster_ends_it_here(server, job, cluster, monkeypatch, event, kind) -> None:
    end = server.end

    def tell(name: str, ending: str) -> dict[str, Any]:
        events = Path(job.checkpoints) / "stage2.events.jsonl"
        events.write_text(json.dumps({event: "this is why"}) + "\n")
        return end(name, ending)

    monkeypatch.setattr(server, "end", tell)
    server.endings = ["Failed"]
    with pytest.raises(kind, match="this is why"):
        _run(server, job, cluster)


def test_a_stop_deletes_the_job(server, job, cluster) -> None:
    with pytest.raises(Preempted):
        _run(server, job, cluster, _Stopper())
    assert server.jobs == {}
    assert ("DELETE") in {method for method, _ in server.requests}


class _Stopper(list):
    """Takes the log's lines and sends this process SIGTERM at the first."""

    def append(self, line: str) -> None:
        if not self:
            os.kill(os.getpid(), signal.SIGTERM)
        super().append(line)


def test_a_job_that_somebody_deletes_is_an_error(server, job, cluster, monkeypatch) -> None:
    def vanish(name: str, ending: str) -> dict[str, Any]:
        return server.jobs.pop(name)

    monkeypatch.setattr(server, "end", vanish)
    server.endings = ["Complete"]
    with pytest.raises(RuntimeError, match="deleted by somebody else"):
        _run(server, job, cluster)
