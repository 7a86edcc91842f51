"""The manifests of the cluster: whole, valid, no more rights than stages need, and one with the profiles."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from sugar import __version__
from sugar.config import load_params
from sugar.launch.pod import LOGIN, LOGIN_SECRET

OVERLAYS = ("local", "cluster")
API = "1.31"
Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def base(project_root: Path) -> dict[str, dict[str, Any]]:
    """What `kubectl apply -k manifests/base` makes: kind -> object."""
    folder = project_root / "manifests" / "base"
    index = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found = [yaml.safe_load((folder / name).read_text()) for name in index["resources"]]
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, project_root: Path) -> Objects:
    """What `kubectl apply -k manifests/overlays/NAME` makes: (kind, name) -> object."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folder = project_root / "manifests" / "overlays" / request.param
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = list(yaml.safe_load_all(done.stdout))
    assert len({(one["kind"], one["metadata"]["name"]) for one in found}) == len(found)
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def server(overlay: Objects) -> tuple[dict[str, Any], dict[str, Any]]:
    """(pod, container) of the MLflow server."""
    pod = overlay["Deployment", "mlflow"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def test_every_file_has_its_place(project_root: Path):
    folder = project_root / "manifests"
    assert {file.name for file in (folder / "overlays").iterdir()} == set(OVERLAYS)
    for index in folder.rglob("kustomization.yaml"):
        told = yaml.safe_load(index.read_text())
        named = [*told["resources"], *(patch["path"] for patch in told.get("patches", []))]
        assert all((index.parent / name).exists() for name in named), index
        here = {name for name in named if not name.startswith("..")}
        assert {file.name for file in index.parent.iterdir()} == {*here, index.name}, index


def test_the_api_schema_knows_every_field_of_the_base(base: dict[str, dict[str, Any]]):
    validate = pytest.importorskip("kubernetes_validate")
    for one in base.values():
        validate.validate(one, API, strict=True)


def test_the_api_schema_knows_every_field_of_an_overlay(overlay: Objects):
    validate = pytest.importorskip("kubernetes_validate")
    for one in overlay.values():
        validate.validate(one, API, strict=True)


def test_the_account_is_bound_to_a_role_of_its_namespace_without_secrets(base: dict[str, dict[str, Any]]):
    namespace = base["Namespace"]["metadata"]["name"]
    binding, account, role = (base[kind] for kind in ("RoleBinding", "ServiceAccount", "Role"))
    assert {one["metadata"]["namespace"] for one in (binding, account, role)} == {namespace}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [account["metadata"]["name"]]
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {"jobs", "trainjobs", "pods", "pods/log"}


def test_everything_lies_in_the_namespace_of_the_base(overlay: Objects, base: dict[str, dict[str, Any]]):
    namespace = base["Namespace"]["metadata"]["name"]
    within = [one["metadata"].get("namespace") for (kind, _), one in overlay.items() if kind != "Namespace"]
    assert set(within) == {namespace}
    assert {(one["kind"], one["metadata"]["name"]) for one in base.values()} <= set(overlay)


def test_the_server_is_one_that_a_restricted_namespace_takes(overlay: Objects):
    pod, container = server(overlay)
    context, own = pod["securityContext"], container["securityContext"]
    assert context["runAsNonRoot"] is True and context["runAsUser"] > 0 and context["fsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_volumes_are_what_is_claimed_and_mounted(overlay: Objects):
    pod, container = server(overlay)
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims and all(("PersistentVolumeClaim", name) in overlay for name in claims)
    assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def test_the_claim_and_the_account_are_those_of_the_profiles(
    overlay: Objects, project_root: Path, base: dict[str, dict[str, Any]]
):
    from pipelines import shards

    params = load_params(project_root / "params.yaml", ["cogvideox-2b", "trainjob", "shards-job"])
    cluster, of_shards = params.training.cluster, params.shards.cluster
    assert cluster is not None and of_shards is not None
    for key in ("image", "volume_claim", "mount_path", "namespace"):
        assert getattr(of_shards, key) == getattr(cluster, key)
    assert ("PersistentVolumeClaim", cluster.volume_claim) in overlay
    assert shards.EXAMPLE["volume_claim"] == cluster.volume_claim
    assert ("ServiceAccount", cluster.service_account) in overlay
    assert cluster.namespace == base["Namespace"]["metadata"]["name"]


def test_nodes_of_a_cluster_write_at_once(project_root: Path):
    folder = project_root / "manifests" / "overlays"
    claims = {name: yaml.safe_load((folder / name / "claim.yaml").read_text()) for name in OVERLAYS}
    assert claims["cluster"]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claims["local"]["spec"]["accessModes"] == ["ReadWriteOnce"]  # what kind and minikube offer


def test_no_secret_is_written_down(overlay: Objects):
    assert "Secret" not in {kind for kind, _ in overlay}
    _, container = server(overlay)
    for entry in container.get("env", []):
        if re.search("PASSWORD|SECRET|TOKEN|KEY|STORE_URI", entry["name"]):
            assert "secretKeyRef" in entry["valueFrom"], entry
    assert not re.search(r"://[^/\s\"]*:[^/\s\"]*@", json.dumps(list(overlay.values())))


def test_the_cluster_has_accounts_and_its_secret_is_named(project_root: Path):
    folder = project_root / "manifests" / "overlays" / "cluster"
    pod = yaml.safe_load((folder / "mlflow.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "--app-name=basic-auth" in container["args"]
    keys = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry]
    (volume,) = pod["volumes"]
    assert {key["name"] for key in keys} == {volume["secret"]["secretName"]} == {"mlflow"}
    told = (folder / "kustomization.yaml").read_text()  # it says how to make it
    wanted = [key["key"] for key in keys] + [item["key"] for item in volume["secret"]["items"]]
    assert all(re.search(rf"--from-(literal|file)={re.escape(key)}\b", told) for key in [*wanted, *LOGIN])
    assert f"secret generic {LOGIN_SECRET} " in told


def test_the_server_takes_each_name_of_its_service_with_and_without_the_port(overlay: Objects):
    _, container = server(overlay)
    service = overlay["Service", "mlflow"]
    (port,) = service["spec"]["ports"]
    (listening,) = container["ports"]
    assert port["targetPort"] == listening["name"]
    assert f"--port={listening['containerPort']}" in container["command"]
    labels = overlay["Deployment", "mlflow"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    hosts = [name + domain for domain in ("", f".{namespace}", f".{namespace}.svc.cluster.local")]
    assert {*hosts, *(f"{host}:{port['port']}" for host in hosts)} <= allowed(container["command"])


def allowed(command: list[str]) -> set[str]:
    (told,) = [word for word in command if word.startswith("--allowed-hosts=")]
    return set(told.partition("=")[2].split(","))


def test_the_image_is_the_one_that_make_builds(overlay: Objects, project_root: Path):
    from components.image import USER

    pod, container = server(overlay)
    assert container["image"].split("/")[-1] == f"sugar:{__version__}"
    assert pod["securityContext"]["runAsUser"] == USER
    assert re.findall(r"^USER (\d+)$", (project_root / "Dockerfile").read_text(), re.M) == [str(USER)] * 2
    line = ["make", "-s", "images", "DOCKER=echo", "REGISTRY=r.example/team", "BASE=b", "TORCH_INDEX=i"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(line, cwd=project_root, env=env, capture_output=True, text=True, check=True)
    built = re.findall(r"^build --target (\w+) --tag (\S+) (.*) \.$", done.stdout, re.M)
    assert [(target, tag) for target, tag, _ in built] == [
        ("cpu", f"r.example/team/sugar:{__version__}"),
        ("cuda", f"r.example/team/sugar:{__version__}-cuda"),
    ]
    for _, _, options in built:
        assert "--build-arg BASE=b" in options and "--build-arg TORCH_INDEX=i" in options
        assert "--build-arg GIT_REVISION=" in options
    cluster = load_params(project_root / "params.yaml", ["trainjob"]).training.cluster
    assert cluster is not None and cluster.image == f"sugar:{__version__}-cuda"


def test_a_build_that_fails_is_a_failure(project_root: Path):
    done = subprocess.run(
        ["make", "images", "DOCKER=false"], cwd=project_root, capture_output=True, text=True
    )
    assert done.returncode != 0 and "built" not in done.stdout


@pytest.mark.slow
def test_the_server_starts_and_answers_to_its_names_alone(overlay: Objects, tmp_path: Path):
    """The deployment's own command line, with another port and folder, and SQLite where Postgres would be."""
    _, container = server(overlay)
    words = [*container["command"], *container.get("args", [])]
    accounts = "--app-name=basic-auth" in words
    if accounts:
        pytest.importorskip("flask_wtf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [re.sub(r"/mlflow\b", str(tmp_path), word, count=1) for word in words[1:]]
    words = [
        re.sub(r"^--port=.*", f"--port={port}", re.sub("^--host=.*", "--host=127.0.0.1", w)) for w in words
    ]
    (tmp_path / "basic_auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path}/accounts.db\n"
        "admin_username = admin\nadmin_password = not-a-real-one\n"
    )
    secret = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/runs.db",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "basic_auth.ini"),
    }
    told = {entry["name"]: entry.get("value", secret.get(entry["name"])) for entry in container["env"]}
    env = {**os.environ, **told, **{key: secret[key] for key in secret.keys() & told.keys()}}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "mlflow", *words],
            env=env, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    user = "Basic " + b64encode(b"admin:not-a-real-one").decode() if accounts else ""

    def ask(path: str, host: str, login: str = user, body: dict[str, Any] | None = None) -> int:
        headers = {"Host": host, "Content-Type": "application/json"} | (
            {"Authorization": login} if login else {}
        )
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answers.append(json.loads(answer.read()) if "api" in path else {})
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    answers: list[dict[str, Any]] = []
    try:
        for waited in itertools.count():
            if ask("health", "10.0.0.7:5000") == 200:  # a kubelet asks by the pod's address
                break
            assert process.poll() is None and waited < 120, (tmp_path / "log").read_text()[-2000:]
            time.sleep(1)
        inside = "mlflow.sugar.svc.cluster.local:5000"
        experiment = "api/2.0/mlflow/experiments/get?experiment_id=0"
        for host in (inside, inside.removesuffix(":5000"), "mlflow", "localhost:5000"):
            assert ask(experiment, host) == 200, host
        assert ask(experiment, "elsewhere.example") == 403
        assert ask(experiment, inside, login="") == (401 if accounts else 200)
        assert ask("api/2.0/mlflow/runs/create", inside, body={"experiment_id": "0"}) == 200
        run = answers[-1]["run"]["info"]
        assert run["artifact_uri"].startswith("mlflow-artifacts:/")  # through the server
        metric = {"run_id": run["run_id"], "key": "loss", "value": 0.5, "timestamp": 1, "step": 3}
        assert ask("api/2.0/mlflow/runs/log-metric", inside, body=metric) == 200
        assert ask(f"api/2.0/mlflow/runs/get?run_id={run['run_id']}", inside) == 200
        (kept,) = answers[-1]["run"]["data"]["metrics"]
        assert (kept["key"], kept["value"], kept["step"]) == ("loss", 0.5, 3)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
