"""The Kubernetes object of a training job: a `TrainJob` of Kubeflow Trainer v2.

Every node runs torchrun over the runtime `torch-distributed`, which sets its `PET_*` variables. All folders
of the job lie on one volume, mounted at the same path in the process that launches and in every node.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sugar.config import InputError
from sugar.launch.pod import CONTAINER_SECURITY, POD_SECURITY, login_environment
from sugar.training.job import TrainingJob

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
NODE = "node"
"""Name of the replicated job and of its container in the published `torch-distributed` runtime."""
SPEC_DIGEST = "sugar.training/spec"
GRACE_SECONDS = 600


@dataclass(frozen=True)
class Cluster:
    """Where and on what a TrainJob runs.

    Args:
        image: container image with this package; namespace, runtime: of the cluster.
        volume_claim: PersistentVolumeClaim (ReadWriteMany) with all folders of the job.
        mount_path: where it is mounted, here and in the nodes.
        num_nodes: the job's processes are dealt out to them evenly.
        resources: of one node, as Kubernetes quantities (`nvidia.com/gpu: "8"`).
        service_account: of the nodes; empty: the namespace's default.
        max_restarts: after preemptions.
    """

    image: str
    volume_claim: str
    mount_path: str
    namespace: str = "sugar"
    runtime: str = "torch-distributed"
    num_nodes: int = 1
    resources: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    max_restarts: int = 20


def job_name(job: TrainingJob) -> str:
    """The same name for the same training into the same folders: `sugar-stage2-0a1b2c3d4e5f`."""
    told = [job.fingerprint(), job.output, job.checkpoints, job.init_from]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"sugar-{re.sub('[^a-z0-9]+', '-', job.phase.lower()).strip('-')[:30]}-{digest[:12]}"


def train_job(
    job: TrainingJob, cluster: Cluster, arguments: tuple[str, ...], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The TrainJob.

    Args:
        arguments: of torchrun, after its own: `-m MODULE ...`.
        environment: variables of every node: the MLflow run that rank 0 adopts.

    Raises:
        InputError: the processes do not divide by the nodes, or a folder is not on the volume.
    """
    if job.num_processes % cluster.num_nodes:
        raise InputError(
            f"training.num_processes must be a multiple of training.cluster.num_nodes "
            f"({cluster.num_nodes}), got {job.num_processes}"
        )
    mount = cluster.mount_path.rstrip("/")
    for key in ("output", "checkpoints", "real_latents", "synthetic_latents"):
        folder = getattr(job, key)
        if folder is not None and not str(folder).startswith(f"{mount}/"):
            raise InputError(f"{key} must lie below training.cluster.mount_path, {mount}, got {folder}")
    resources = dict(cluster.resources)
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": cluster.runtime},
        "trainer": {
            "image": cluster.image,
            "command": ["torchrun", "--max-restarts=0", *arguments],
            "env": [
                *({"name": key, "value": value} for key, value in sorted(environment.items())),
                *login_environment(),
            ],
            "numNodes": cluster.num_nodes,
            "numProcPerNode": job.num_processes // cluster.num_nodes,
            "resourcesPerNode": {"requests": resources, "limits": resources},
        },
        "runtimePatches": [_patch(cluster, mount)],
    }
    told = {
        **spec,
        "trainer": {**spec["trainer"], "env": None},
    }  # whoever starts again has another MLflow run
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": job_name(job),
            "namespace": cluster.namespace,
            "labels": {"app.kubernetes.io/part-of": "sugar"},
            "annotations": {SPEC_DIGEST: digest},
        },
        "spec": spec,
    }


def _patch(cluster: Cluster, mount: str) -> dict[str, Any]:
    """The volume, and time to finish a step and save when a pod is asked to go."""
    container = {
        "name": NODE,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "data", "mountPath": mount}],
    }
    pod: dict[str, Any] = {
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": cluster.volume_claim}}],
        "containers": [container],
    }
    if cluster.service_account:
        pod["serviceAccountName"] = cluster.service_account
    replicated = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    template = {"spec": {"replicatedJobs": [replicated]}}
    return {"manager": "sugar.training/launcher", "trainingRuntimeSpec": {"template": template}}
