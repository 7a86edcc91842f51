"""A stand-in for a Kubernetes API server: TrainJobs, pods and logs over HTTP, with the server's bad days."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/sugar/trainjobs"
PODS = "/api/v1/namespaces/sugar/pods"


class ApiServer:
    """Its state. `endings`: what becomes of each created TrainJob in turn, "Complete", "Failed" or "".

    `trouble`: (method, path's beginning, status) answered once each, in order; a watch with status 0 is
    cut in the middle of a line, with 410 it gets an expired-version event.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.endings: list[str] = []
        self.trouble: list[tuple[str, str, int]] = []
        self.requests: list[tuple[str, str]] = []
        self.created: list[dict[str, Any]] = []
        self.pod_conditions: list[dict[str, str]] = []
        self.log = ["first line", "second line"]
        self.version = 0
        self.url = ""

    def add(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        body["metadata"] |= {"resourceVersion": str(self.version), "uid": str(self.version)}
        self.jobs[body["metadata"]["name"]] = body
        self.created.append(json.loads(json.dumps(body)))
        return body

    def end(self, name: str, ending: str) -> dict[str, Any]:
        self.version += 1
        job = self.jobs[name]
        job["metadata"]["resourceVersion"] = str(self.version)
        job["status"] = {"conditions": [{"type": ending, "status": "True"}]}
        return job


class _Handler(BaseHTTPRequestHandler):
    state: ApiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: Any, headers: tuple[tuple[str, str], ...] = ()) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            *headers,
        ):
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def _failure(self, status: int) -> None:
        self._answer(status, {"message": f"trouble {status}"}, (("Retry-After", "0"),))

    def _troubled(self, watch: bool) -> bool:
        state, path = self.state, urlparse(self.path).path
        state.requests.append((self.command, self.path))
        for entry in state.trouble:
            method, start, status = entry
            if (method == self.command or (method == "WATCH" and watch)) and path.startswith(start):
                if (method == "WATCH") != watch:
                    continue
                state.trouble.remove(entry)
                self._broken_watch(status) if watch else self._failure(status)
                return True
        return False

    def _broken_watch(self, status: int) -> None:
        if status in (429, 500):
            self._failure(status)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if status == 410:
            gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
            self._chunk(json.dumps(gone) + "\n")
            self._chunk("")
        else:
            self._chunk('{"type": "MODIF')
        self.close_connection = True

    def _chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._troubled(False):
            return
        if body["metadata"]["name"] in self.state.jobs:
            self._answer(409, {"message": "already exists"})
        else:
            self._answer(201, self.state.add(body))

    def do_DELETE(self) -> None:
        if self.headers["Content-Length"]:
            self.rfile.read(int(self.headers["Content-Length"]))
        if self._troubled(False):
            return
        name = urlparse(self.path).path.rsplit("/", 1)[1]
        if self.state.jobs.pop(name, None) is None:
            self._failure(404)
        else:
            self._answer(200, {"status": "Success"})

    def do_GET(self) -> None:
        url, state = urlparse(self.path), self.state
        watch = "watch" in parse_qs(url.query)
        if self._troubled(watch):
            return
        if watch:
            name = parse_qs(url.query)["fieldSelector"][0].split("=")[1]
            job = state.jobs[name]
            ending = state.endings.pop(0) if state.endings else ""
            if ending:
                job = state.end(name, ending)
            self._answer(200, json.dumps({"type": "MODIFIED", "object": job}) + "\n")
        elif url.path.startswith(f"{JOBS}/"):
            job = state.jobs.get(url.path.rsplit("/", 1)[1])
            self._answer(200, job) if job else self._failure(404)
        elif url.path.endswith("/log"):
            self._answer(200, "\n".join(state.log) + "\n")
        else:
            labels = {"batch.kubernetes.io/job-completion-index": "0"}
            pod = {
                "metadata": {"name": "node-0", "labels": labels},
                "status": {"conditions": state.pod_conditions},
            }
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": [pod]})


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """A server on a free port of this machine, for the time of a test."""
    state = ApiServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
