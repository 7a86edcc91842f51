"""A training job on a Kubernetes cluster: created or adopted, followed, started again after preemption."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sugar.config import InputError
from sugar.data.atomic import write_bytes_atomic
from sugar.launch.kubernetes_api import Gone, TrainJobs
from sugar.launch.train_job import SPEC_DIGEST, Cluster, train_job
from sugar.training.checkpoint import CheckpointStore
from sugar.training.job import TrainingJob
from sugar.training.output import COMPLETION
from sugar.training.signals import Preempted, StopRequest
from sugar.training.trainer import TrainingDiverged

logger = logging.getLogger(__name__)

FIRST = "batch.kubernetes.io/job-completion-index"
TAIL = 20
POLL_SECONDS = 1.0


def run_on_cluster(
    job: TrainingJob,
    cluster: Cluster,
    *,
    module: str,
    environment: Mapping[str, str],
    api: TrainJobs | None = None,
    on_line: Callable[[str], None] = print,
) -> dict[str, float]:
    """Run a job to its end as a TrainJob and return its last figures.

    A TrainJob of this training that exists already is adopted. Asked to stop (SIGTERM, SIGINT), it deletes
    the TrainJob: its processes finish their step and save.

    Args:
        module: what torchrun starts on every process, with the job's and the events' file.
        environment: see `train_job`.
        on_line: takes each line of the first node's log.

    Raises:
        InputError: bad input, or a TrainJob of this name that is set up otherwise.
        TrainingDiverged: too many steps in a row were skipped.
        Preempted: asked to stop.
        RuntimeError: the job failed; the end of its log is in the message.
    """
    follower = _Follower(job, cluster, module, environment, api or TrainJobs(cluster.namespace), on_line)
    with StopRequest() as stop:
        return follower.run(stop)


class _Follower:
    def __init__(
        self,
        job: TrainingJob,
        cluster: Cluster,
        module: str,
        environment: Mapping[str, str],
        api: TrainJobs,
        on_line: Callable[[str], None],
    ) -> None:
        folder = Path(job.checkpoints)
        self._job, self._api, self._on_line = job, api, on_line
        self._max_restarts = cluster.max_restarts
        self._job_file = folder / f"{job.phase}.job.json"
        self._events_file = folder / f"{job.phase}.events.jsonl"
        arguments = ("-m", module, str(self._job_file), str(self._events_file))
        self._body = train_job(job, cluster, arguments, environment)
        self._name = self._body["metadata"]["name"]
        self._tail: list[str] = []
        self._seen: dict[str, int] = {}

    def run(self, stop: StopRequest) -> dict[str, float]:
        self._start()
        restarts = 0
        while True:
            if self._follow(stop):
                return json.loads((Path(self._job.output) / COMPLETION).read_text())["metrics"]
            self._raise_unless_preempted()
            restarts += 1
            if restarts > self._max_restarts:
                raise RuntimeError(f"TrainJob {self._name}: preempted {restarts} times, giving up")
            logger.warning("TrainJob %s was preempted: start number %d", self._name, restarts + 1)
            self._api.delete(self._name)
            self._create()

    # ---- beginning --------------------------------------------------------------------------------------

    def _start(self) -> None:
        write_bytes_atomic(self._job_file, self._job.to_json().encode())
        if self._create():
            return
        found = self._api.get(self._name)
        if found["metadata"].get("annotations", {}).get(SPEC_DIGEST) != self._digest():
            raise InputError(
                f"TrainJob {self._name} exists and is set up otherwise (image, nodes, resources, ...): "
                f"wait for its end, or `kubectl delete trainjob {self._name}`"
            )
        if _ending(found) == "Failed":
            self._api.delete(self._name)
            self._create()
        else:
            logger.info("TrainJob %s exists: following it", self._name)

    def _digest(self) -> str:
        return self._body["metadata"]["annotations"][SPEC_DIGEST]

    def _create(self) -> bool:
        created = self._api.create(self._body)
        if created:
            self._events_file.write_bytes(b"")
        return created

    # ---- following --------------------------------------------------------------------------------------

    def _follow(self, stop: StopRequest) -> bool:
        """Whether it completed."""
        done = threading.Event()
        logs = threading.Thread(target=self._follow_log, args=(done,), name="log", daemon=True)
        logs.start()
        try:
            while True:
                found = self._api.get(self._name)
                if ending := _ending(found):
                    return ending == "Complete"
                for kind, newer in self._api.changes(self._name, found["metadata"]["resourceVersion"]):
                    if kind == "DELETED":
                        raise Gone(self._name)
                    if _ending(newer) or stop.asked:
                        break
                if stop.asked:
                    self._cancel()
        except Gone as gone:
            raise RuntimeError(f"TrainJob {self._name} was deleted by somebody else") from gone
        finally:
            done.set()
            logs.join(timeout=10)

    def _cancel(self) -> None:
        logger.warning("deleting TrainJob %s; its processes save first", self._name)
        self._api.delete(self._name)
        raise Preempted(max([0, *CheckpointStore(Path(self._job.checkpoints) / self._job.phase).steps()]))

    def _follow_log(self, done: threading.Event) -> None:
        while not done.wait(POLL_SECONDS):
            self._read_logs()
        self._read_logs()

    def _read_logs(self) -> None:
        try:
            for pod in self._api.pods(self._name):
                self._read_log(pod)
        except (Gone, RuntimeError) as error:
            logger.warning("the log of %s cannot be read now: %s", self._name, error)

    def _read_log(self, pod: Any) -> None:
        if (pod.metadata.labels or {}).get(FIRST, "0") != "0":
            return
        name = pod.metadata.name
        known = self._seen.get(name, 0)
        for number, line in enumerate(self._api.log_lines(name)):
            if number < known:
                continue
            self._seen[name] = number + 1
            self._tail = [*self._tail[-TAIL + 1 :], line]
            self._on_line(line)

    # ---- ending -----------------------------------------------------------------------------------------

    def _raise_unless_preempted(self) -> None:
        events = [json.loads(line) for line in self._events_file.read_text().splitlines()]
        for event in events:
            if "refused" in event:
                raise InputError(event["refused"])
            if "diverged" in event:
                raise TrainingDiverged(event["diverged"])
        if any("preempted" in event for event in events) or any(map(_disrupted, self._api.pods(self._name))):
            return
        tail = "\n".join(self._tail)
        raise RuntimeError(f"TrainJob {self._name} failed; the end of its log:\n{tail}")


def _ending(found: Mapping[str, Any]) -> str | None:
    """ "Complete", "Failed", or None while it runs."""
    for condition in found.get("status", {}).get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return condition["type"]
    return None


def _disrupted(pod: Any) -> bool:
    """Whether the cluster took the pod away: eviction, preemption, a node that went."""
    return any(c.type == "DisruptionTarget" and c.status == "True" for c in pod.status.conditions or ())
