"""`sugar studio`: the page, the video that `sugar generate` makes too, bad requests of one line."""

from __future__ import annotations

import base64
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sugar import cli
from sugar.config import load_params
from sugar.data.video_io import decode_video
from sugar.studio import open_studio


@pytest.fixture(scope="module")
def address(tiny_model: Path, project_root: Path) -> Iterator[str]:
    with open_studio(load_params(project_root / "params.yaml"), tiny_model, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def wish(photo: Path) -> dict[str, Any]:
    image = base64.b64encode(photo.read_bytes()).decode()
    return {"image": image, "noun": "ball", "prompt": "a gold ball spinning", "num_steps": 2, "seed": 3}


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """(status, answer)."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_page_asks_the_server_for_what_it_answers(address: str, tiny_model: Path):
    status, page = ask(address)
    assert status == 200
    for path in (b'fetch("/settings")', b'fetch("/progress")', b'fetch("/videos"'):
        assert path in page
    settings = json.loads(ask(f"{address}/settings")[1])
    assert settings["model"] == str(tiny_model) and settings["num_steps"] == 20
    assert json.loads(ask(f"{address}/progress")[1]) == {"step": 0, "steps": 0}


def test_the_video_is_that_of_sugar_generate(
    address: str, tiny_model: Path, photo: Path, wish: dict[str, Any], tmp_path: Path, project_root: Path
):
    status, answer = ask(f"{address}/videos", json.dumps({**wish, "image_scale": 4}).encode())
    made = json.loads(answer)
    assert status == 200, made
    words = ["generate", "--model", tiny_model, "--image", photo, "--noun", wish["noun"]]
    words += ["--prompt", wish["prompt"], "--out", tmp_path / "out.mp4", "--steps", 2, "--seed", 3]
    words += ["--image-guidance", 4, "--params", project_root / "params.yaml"]
    assert cli.main([str(word) for word in words]) == 0
    video = base64.b64decode(made["video"])
    assert video == (tmp_path / "out.mp4").read_bytes()
    assert decode_video(video)[0].shape == (9, 64, 64, 3)
    cut_out = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["cut_out"]))))
    assert cut_out.shape[2] == 4 and cut_out[..., 3].min() == 0


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"image": ""}, "image must not be empty"),
        ({"image": "***"}, "image must be base64"),
        ({"image": base64.b64encode(b"text").decode()}, "picture: not a picture of a known format"),
        ({"noun": " "}, "noun must not be empty"),
        ({"prompt": 7}, "prompt must not be empty"),
        ({"num_steps": 0}, "num_steps must be a whole number from 1 to 1000, got 0"),
        ({"num_steps": 2.5}, "num_steps must be a whole number from 1 to 1000, got 2.5"),
        ({"image_scale": float("nan")}, "image_scale must be a number from 0 to 100, got nan"),
        ({"seed": True}, "seed must be a whole number"),
        ({"speed": 1}, "unknown field speed"),
        ({"box": "1 2 3"}, "box must be four numbers, left top right bottom in pixels, got '1 2 3'"),
        ({"box": "0 0 96 200"}, "box must be left, top, right, bottom within 96 x 96 px"),
    ],
)
def test_bad_requests_are_one_line(change: dict[str, Any], sentence: str, address: str, wish: dict[str, Any]):
    status, answer = ask(f"{address}/videos", json.dumps({**wish, **change}).encode())
    error = json.loads(answer)["error"]
    assert status == 400 and sentence in error and "\n" not in error


def test_a_picture_without_a_subject_says_what_to_do(address: str, wish: dict[str, Any]):
    file = io.BytesIO()
    Image.new("RGB", (96, 96), (90, 90, 90)).save(file, "PNG")
    plain = base64.b64encode(file.getvalue()).decode()
    status, answer = ask(f"{address}/videos", json.dumps({**wish, "image": plain}).encode())
    error = json.loads(answer)["error"]
    assert status == 400 and error.startswith("no ball found") and "--" not in error


def test_a_box_says_where_the_subject_is(address: str, wish: dict[str, Any]):
    status, answer = ask(f"{address}/videos", json.dumps({**wish, "box": "20 20 60 76"}).encode())
    made = json.loads(answer)
    assert status == 200, made
    cut_out = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["cut_out"]))))
    assert cut_out[:, 60:, 3].max() == 0 and cut_out[48, 48, 3] == 255


def test_other_sites_and_other_paths_are_refused(address: str, wish: dict[str, Any]):
    body = json.dumps(wish).encode()
    assert ask(address, Host="evil.example")[0] == 403
    assert ask(f"{address}/videos", body, Host="evil.example:80")[0] == 403
    assert ask(f"{address}/videos", body, **{"Content-Type": "text/plain"})[0] == 415
    assert ask(f"{address}/../params.yaml")[0] == ask(f"{address}/else", body)[0] == 404
    assert ask(f"{address}/videos", b"{")[0] == ask(f"{address}/videos", b"[]")[0] == 400


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--model", "nowhere"], "nowhere: must be a SugarPipeline folder"),
        (["--port", "70000"], "--port: must be a whole number from 0 to 65535, got 70000"),
    ],
)
def test_bad_options_are_one_line(options: list[str], sentence: str, monkeypatch, capsys, project_root: Path):
    monkeypatch.chdir(project_root)
    try:
        code = cli.main(["studio", *options])
    except SystemExit as exit_:
        code = exit_.code
    err = capsys.readouterr().err
    assert code == 2 and sentence in err and err.count("\n") == 1


def test_a_port_that_is_taken_is_named(
    address: str, tiny_model: Path, monkeypatch, capsys, project_root: Path
):
    monkeypatch.chdir(project_root)
    port = address.rpartition(":")[2]
    assert cli.main(["studio", "--model", str(tiny_model), "--port", port]) == 2
    assert f"--port {port}: Address already in use" in capsys.readouterr().err
