"""The shards of a stage on a Kubernetes cluster: an Indexed Job, one index a group of shards.

Every index writes its own shards into the one folder, each with its completion record, so an index that is
started again, or twice, does no harm; `backoffLimitPerIndex` starts a failed one again without the others.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sugar.data.atomic import sha256_bytes
from sugar.data.origin import image_environment
from sugar.launch.kubernetes_api import ClusterFailure, Gone, call_patiently, load_client
from sugar.launch.pod import CONTAINER_SECURITY, POD_SECURITY
from sugar.launch.train_job import Cluster

logger = logging.getLogger(__name__)

BACKOFF_PER_INDEX = 3
POLL_SECONDS = 5.0
CONTAINER = "shards"


def indexed_job(
    verb: str, cluster: Cluster, command: Sequence[str], num_groups: int, parallelism: int
) -> dict[str, Any]:
    """The body of an Indexed Job (batch/v1).

    Args:
        verb: of the stage; with the command it names the job, so that the same work has the same name.
        cluster: image, volume, resources of an index; runtime, num_nodes and max_restarts are not used.
        command: of every index; "$(JOB_COMPLETION_INDEX)" in it becomes the index.
        num_groups: indexes; parallelism: pods at a time.
    """
    digest = sha256_bytes("\n".join([cluster.image, *command]).encode())[:12]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": cluster.image,
        "command": list(command),
        "env": [{"name": name, "value": value} for name, value in image_environment(cluster.image).items()],
        "volumeMounts": [{"name": "data", "mountPath": cluster.mount_path}],
        "resources": {"requests": dict(cluster.resources), "limits": dict(cluster.resources)},
        "securityContext": CONTAINER_SECURITY,
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": cluster.volume_claim}}],
    }
    if cluster.service_account:
        pod["serviceAccountName"] = cluster.service_account
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"sugar-{verb}-{digest}", "namespace": cluster.namespace},
        "spec": {
            "completionMode": "Indexed",
            "completions": num_groups,
            "parallelism": min(parallelism, num_groups),
            "backoffLimitPerIndex": BACKOFF_PER_INDEX,
            "maxFailedIndexes": num_groups,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
                ]
            },
            "template": {"metadata": {"labels": {"sugar/verb": verb}}, "spec": pod},
        },
    }


def run_indexed_job(
    body: Mapping[str, Any], api: Any = None, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Start the job, or follow the one of that name, until it ends.

    Indexes that failed for good are told in the log: which shards are missing, the records say.

    Args:
        api: a `kubernetes.client.BatchV1Api`; None: that of `load_client`.

    Raises:
        InputError: no cluster to work on.
        ClusterFailure: the cluster refused the job, does not answer, or somebody deleted the job.
    """
    if api is None:
        from kubernetes import client

        api = client.BatchV1Api(load_client())
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    where = {"name": name, "namespace": namespace}

    def call(what: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        return call_patiently(what, arguments, sleep=sleep)

    try:
        if call(api.create_namespaced_job, {"namespace": namespace, "body": dict(body)}) is None:
            logger.info("%s exists already: following it", name)
        status = _follow(lambda: call(api.read_namespaced_job, where).status, body, sleep)
        if status.failed_indexes:
            logger.warning("%s: groups %s failed", name, status.failed_indexes)
    except Gone as gone:
        raise ClusterFailure(
            f"job {name}: there is no namespace {namespace}, or the job was deleted"
        ) from gone
    # A finished job would be followed, not started, when shards are to be made anew; it may be gone already.
    with contextlib.suppress(Gone):
        call(api.delete_namespaced_job, {**where, "propagation_policy": "Background"})


def _follow(read: Callable[[], Any], body: Mapping[str, Any], sleep: Callable[[float], None]) -> Any:
    """The status of a job at its end."""
    done = -1
    while True:
        status = read()
        if (succeeded := status.succeeded or 0) != done:
            done = succeeded
            logger.info(
                "%s: %d of %d groups made", body["metadata"]["name"], done, body["spec"]["completions"]
            )
        ends = [one.type for one in status.conditions or [] if one.status == "True"]
        if "Complete" in ends or "Failed" in ends:
            return status
        sleep(POLL_SECONDS)
