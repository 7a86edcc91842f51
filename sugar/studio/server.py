"""The server behind the page: one model, one video at a time, nothing but the standard library.

`GET /` is the page, `GET /settings` what it starts with, `GET /progress` the sampling steps that are done,
`POST /videos` (JSON: image as base64, noun, prompt, the numbers of `NUMBERS` and, if wanted, box, "left top
right bottom" in pixels) makes a video and answers with it and the cut-out that the model saw, both as base64.
Bad input is status 400 with one line in `error`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import threading
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sugar.box import Corners, read_box
from sugar.config import InputError, Params

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 << 20
LOOPBACK = ("127.0.0.1", "localhost")
NUMBERS: dict[str, tuple[type, float, float]] = {
    "image_scale": (float, 0, 100),
    "text_scale": (float, 0, 100),
    "num_steps": (int, 1, 1000),
    "seed": (int, 0, 2**53 - 1),
}
"""What a request may say beside picture and texts: type, least and largest value."""


class Studio:
    """A loaded model and the pictures that were sent to it."""

    def __init__(self, params: Params, model: Path) -> None:
        from sugar.generation import open_model

        self.params, self.model = params, model
        self.pipeline = open_model(params, model)
        self.progress = {"step": 0, "steps": 0}
        self._one_at_a_time = threading.Lock()

    def settings(self) -> dict[str, Any]:
        """What the page starts with."""
        sampling = self.params.sampling
        return {
            "model": str(self.model),
            "image_scale": sampling.image_scale,
            "text_scale": sampling.text_scale,
            "num_steps": sampling.num_steps,
            "seed": 0,
        }

    def make(self, request: Any) -> dict[str, Any]:
        """The video that a request asks for.

        Raises:
            InputError: a field is missing, of the wrong type or out of range; as `sugar.generation` says.
        """
        from sugar.data.image_io import encode_png
        from sugar.generation import make_video, read_subject

        image, noun, prompt, box, numbers = _checked(request)
        start = time.monotonic()
        with self._one_at_a_time:
            steps = numbers.get("num_steps", self.params.sampling.num_steps)
            self.progress = {"step": 0, "steps": steps}
            try:
                cut_out = read_subject(self.params, image, noun, box=box)
                video = make_video(
                    self.params,
                    self.pipeline,
                    cut_out,
                    noun=noun,
                    prompt=prompt,
                    on_step=lambda step: self.progress.update(step=step),
                    **numbers,
                )
            finally:
                self.progress = {"step": 0, "steps": 0}
        return {
            "video": base64.b64encode(video).decode(),
            "cut_out": base64.b64encode(encode_png(cut_out)).decode(),
            "seconds": round(time.monotonic() - start, 1),
        }


def _checked(request: Any) -> tuple[bytes, str, str, Corners | None, dict[str, Any]]:
    """(picture, noun, prompt, box, numbers) of a request."""
    if not isinstance(request, dict):
        raise InputError("the request must be a JSON object")
    if unknown := sorted(request.keys() - {"image", "noun", "prompt", "box", *NUMBERS}):
        raise InputError(f"unknown field {unknown[0]}")
    texts: dict[str, str] = {}
    for name in ("image", "noun", "prompt"):
        value = request.get(name)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name} must not be empty")
        texts[name] = value
    numbers = {}
    for name, (kind, low, high) in NUMBERS.items():
        if (value := request.get(name)) is None:
            continue
        fits = isinstance(value, (int, kind)) and not isinstance(value, bool) and low <= value <= high
        if not fits:
            what = "a whole number" if kind is int else "a number"
            raise InputError(f"{name} must be {what} from {low} to {high}, got {value!r}")
        numbers[name] = kind(value)
    try:
        image = base64.b64decode(texts["image"], validate=True)
    except binascii.Error as error:
        raise InputError("image must be base64") from error
    return image, texts["noun"], texts["prompt"], _box(request.get("box")), numbers


def _box(text: Any) -> Corners | None:
    try:
        return read_box("" if text is None else str(text))
    except ValueError as error:
        raise InputError(str(error)) from error


class _Handler(BaseHTTPRequestHandler):
    """Answers the page; hosts and content types are checked, so that a page of another site cannot ask."""

    protocol_version = "HTTP/1.1"

    def __init__(self, studio: Studio, hosts: tuple[str, ...] | None, *args: Any) -> None:
        self.studio, self.hosts = studio, hosts
        super().__init__(*args)

    def do_GET(self) -> None:
        if not self._from_here():
            return
        path = urlsplit(self.path).path
        if path == "/":
            page = files("sugar.studio").joinpath("page.html").read_bytes()
            self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif path == "/settings":
            self._json(HTTPStatus.OK, self.studio.settings())
        elif path == "/progress":
            self._json(HTTPStatus.OK, self.studio.progress)
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": f"{path}: no such page"})

    def do_POST(self) -> None:
        if not self._from_here():
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            error = {"error": f"a request must have at most {MAX_BODY_BYTES >> 20} MiB"}
            return self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error)
        body = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/json":
            return self._json(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "must be application/json"})
        if urlsplit(self.path).path != "/videos":
            return self._json(HTTPStatus.NOT_FOUND, {"error": f"{self.path}: no such page"})
        self._json(*self._made(body))

    def _made(self, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
        """Status and answer of a request for a video."""
        try:
            request = json.loads(body)
        except ValueError:
            return HTTPStatus.BAD_REQUEST, {"error": "the request must be JSON"}
        try:
            return HTTPStatus.OK, self.studio.make(request)
        except InputError as error:
            return HTTPStatus.BAD_REQUEST, {"error": " ".join(str(error).split())}
        except Exception as error:
            logger.exception("studio: a video could not be made")
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"}

    def _from_here(self) -> bool:
        """On the loopback, refuse names that a foreign page could have pointed at this machine."""
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if self.hosts is None or name in self.hosts:
            return True
        self.close_connection = True
        self._json(HTTPStatus.FORBIDDEN, {"error": f"host {name!r} is not served"})
        return False

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        with suppress(ConnectionError):  # the page may be gone
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def open_studio(params: Params, model: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens, with the model loaded; `serve_forever` answers.

    Args:
        params: `sampling` gives what the page starts with; `networks` the segmenter and the device.
        model: a `SugarPipeline` folder.
        host: address or name of this machine; one that is not of the loopback is open to the network.
        port: 0 takes any that is free.

    Raises:
        InputError: no such model; a host or port that cannot be listened at.
    """
    studio = Studio(params, model)
    hosts = LOOPBACK if host in LOOPBACK else None
    try:
        server = ThreadingHTTPServer((host, port), partial(_Handler, studio, hosts))
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: {error.strerror}") from error
    server.daemon_threads = True
    return server
