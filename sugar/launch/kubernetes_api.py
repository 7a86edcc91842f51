"""The few calls to a Kubernetes API server that jobs need, patient with a server that is not.

The only module that imports kubernetes.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sugar.config import InputError
from sugar.launch.train_job import GROUP, NODE, PLURAL, VERSION

logger = logging.getLogger(__name__)

RETRIED = (429, 500, 502, 503, 504)
WATCH_SECONDS = 10
CONNECT_SECONDS = 10
ATTEMPTS = 8


class Gone(Exception):
    """The object does not exist (any more)."""


class ClusterFailure(RuntimeError):
    """The cluster refused, did not answer, or did not do its work: the message says all."""

    expected = True


def load_client() -> Any:
    """A `kubernetes.client.ApiClient` with the pod's service account, or the user's kubeconfig.

    Raises:
        InputError: there is neither.
    """
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except (config.ConfigException, OSError) as error:
            raise InputError(
                f"no Kubernetes cluster to work on: this is no pod with a service account, and there is no "
                f"kubeconfig that can be read ({error}); set KUBECONFIG, or run it in a pod of the cluster"
            ) from error
    return client.ApiClient()


def call_patiently(
    call: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """A call's answer, None for 409; repeated while the server is busy or out of reach.

    Raises:
        Gone: the object does not exist.
        ClusterFailure: the server refused, or did not answer in that many attempts.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    reason = ""
    for attempt in range(attempts):
        delay = min(30.0, 0.5 * 2**attempt)
        try:
            return call(**arguments, _request_timeout=60)
        except ApiException as error:
            if error.status == 409:
                return None
            if error.status in (404, 410):
                raise Gone(arguments.get("name", "")) from error
            if error.status not in RETRIED:
                raise ClusterFailure(f"the cluster refused: {_reason(error)}") from error
            reason = _reason(error)
            delay = float((error.headers or {}).get("Retry-After") or delay)
        except HTTPError as error:
            reason = str(error)
        logger.warning("the API server is busy, again in %.1f s: %s", delay, reason)
        sleep(delay)
    raise ClusterFailure(
        f"the API server did not answer in {attempts} attempts: {reason}; is the kubeconfig the right one?"
    )


class TrainJobs:
    """TrainJobs of a namespace, and the logs of their first node.

    Args:
        client: a `kubernetes.client.ApiClient`; None: that of `load_client`.
        attempts: of a call that the server answers with 429 or 5xx, or not at all.
        sleep: between them.
    """

    def __init__(
        self,
        namespace: str,
        client: Any = None,
        *,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from kubernetes import client as api

        client = client or load_client()
        self._jobs, self._core = api.CustomObjectsApi(client), api.CoreV1Api(client)
        self._where: dict[str, Any] = {
            "group": GROUP,
            "version": VERSION,
            "namespace": namespace,
            "plural": PLURAL,
        }
        self._namespace, self._attempts, self._sleep = namespace, attempts, sleep

    def create(self, body: dict[str, Any]) -> bool:
        """Create an object; False where one of its name exists.

        Raises:
            RuntimeError: the server refused it, or did not answer in time.
        """
        return self._call(self._jobs.create_namespaced_custom_object, body=body, **self._where) is not None

    def get(self, name: str) -> dict[str, Any]:
        """An object.

        Raises:
            Gone: there is none.
        """
        return self._call(self._jobs.get_namespaced_custom_object, name=name, **self._where)

    def delete(self, name: str) -> None:
        """Delete an object and all that it owns, and wait until it is gone; none is no error."""
        try:
            self._call(
                self._jobs.delete_namespaced_custom_object,
                name=name,
                propagation_policy="Foreground",
                **self._where,
            )
            while True:
                self.get(name)
                self._sleep(1.0)
        except Gone:
            return

    def changes(self, name: str, resource_version: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(event, object) after a version, for at most some seconds; ends early when the watch breaks.

        An expired version (410) or a dropped connection ends it too: `get`, and watch from there.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            response = self._jobs.list_namespaced_custom_object(
                **self._where,
                watch=True,
                field_selector=f"metadata.name={name}",
                resource_version=resource_version,
                timeout_seconds=WATCH_SECONDS,
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, 2 * WATCH_SECONDS),
            )
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    logger.info("%s: the watch ended: %s", name, event["object"].get("message", ""))
                    return
                yield event["type"], event["object"]
        except (HTTPError, json.JSONDecodeError) as error:
            logger.info("%s: the watch broke: %s", name, error)
        except ApiException as error:
            if error.status != 410 and error.status not in RETRIED:
                raise RuntimeError(f"{name}: cannot be watched: {_reason(error)}") from error
            logger.info("%s: the watch was refused: %s", name, _reason(error))
            self._sleep(1.0)

    def pods(self, name: str) -> list[Any]:
        """The pods of a TrainJob, the oldest first."""
        selector = f"jobset.sigs.k8s.io/jobset-name={name}"
        found = self._call(self._core.list_namespaced_pod, namespace=self._namespace, label_selector=selector)
        return sorted(found.items, key=lambda pod: str(pod.metadata.creation_timestamp))

    def log_lines(self, pod: str) -> Iterator[str]:
        """The log of a pod from its beginning, as it is written; ends with the pod or the connection."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            response = self._core.read_namespaced_pod_log(
                pod, self._namespace, container=NODE, follow=True, _preload_content=False
            )
            yield from _lines(response)
        except (ApiException, HTTPError) as error:
            logger.debug("log of %s: %s", pod, error)

    def _call(self, call: Callable[..., Any], **arguments: Any) -> Any:
        return call_patiently(call, arguments, attempts=self._attempts, sleep=self._sleep)


def _lines(response: Any) -> Iterator[str]:
    rest = b""
    for chunk in response.stream(amt=None, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines if line)
    if rest:
        yield rest.decode("utf-8", "replace")


def _reason(error: Any) -> str:
    try:
        return f"{error.status} {json.loads(error.body)['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
