"""`sugar generate` on a picture: a playable mp4, the same for the same seed; errors of one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sugar import cli
from sugar.data.video_io import decode_video


@pytest.fixture
def command(tiny_model: Path, photo: Path, tmp_path: Path, project_root: Path, monkeypatch) -> dict[str, str]:
    monkeypatch.chdir(project_root)
    return {
        "--model": str(tiny_model),
        "--image": str(photo),
        "--noun": "ball",
        "--prompt": "a gold ball spinning",
        "--out": str(tmp_path / "out.mp4"),
        "--steps": "2",
        "--params": str(project_root / "params.yaml"),
    }


def run(options: dict[str, str]) -> int:
    return cli.main(["generate", *[word for pair in options.items() for word in pair]])


def test_a_picture_and_a_sentence_make_a_playable_video(command: dict[str, str], tmp_path: Path):
    assert run(command) == 0
    frames, fps = decode_video(tmp_path / "out.mp4")
    assert frames.shape == (9, 64, 64, 3) and fps == 8
    first = (tmp_path / "out.mp4").read_bytes()
    assert run(command) == 0
    assert (tmp_path / "out.mp4").read_bytes() == first
    assert run({**command, "--seed": "1"}) == 0
    assert (tmp_path / "out.mp4").read_bytes() != first


def test_a_cut_out_can_be_given_and_a_transparent_picture_is_one(command: dict[str, str], tmp_path: Path):
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:30, 10:30] = [200, 40, 40, 255]
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    assert run({**command, "--identity": str(tmp_path / "cut.png")}) == 0
    given = (tmp_path / "out.mp4").read_bytes()
    assert run({**command, "--image": str(tmp_path / "cut.png")}) == 0
    assert (tmp_path / "out.mp4").read_bytes() == given


def test_a_box_says_where_the_subject_is(command: dict[str, str], tmp_path: Path):
    assert run({**command, "--box": "20, 20, 76, 76"}) == 0
    whole = (tmp_path / "out.mp4").read_bytes()
    assert run({**command, "--box": "20 20 60 50"}) == 0
    assert (tmp_path / "out.mp4").read_bytes() != whole


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"--model": "nowhere"}, "nowhere: must be a SugarPipeline folder"),
        ({"--image": "nowhere.png"}, "--image: nowhere.png"),
        ({"--image": "params.yaml"}, "--image: params.yaml"),
        ({"--identity": "nowhere.png"}, "--identity: nowhere.png"),
        ({"--out": "video.avi"}, "--out must end in .mp4, got video.avi"),
        ({"--out": "nowhere/video.mp4"}, "nowhere does not exist"),
        ({"--prompt": " "}, "prompt must say what the video shows"),
        ({"--lora": "no/such/folder"}, "--lora no/such/folder: 'no/such/folder': no such folder"),
        ({"--noun": ""}, "--noun must name the subject"),
        ({"--box": "0 0 97 96"}, "ball.png: box must be left, top, right, bottom within 96 x 96 px"),
        ({"--box": "0 0 96 96", "--identity": "cut.png"}, "--box is for --image"),
    ],
)
def test_bad_input_is_one_line(options: dict[str, str], sentence: str, command: dict[str, str], capfd):
    assert run({**command, **options}) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("sugar generate:")]
    assert len(lines) == 1 and sentence in lines[0]


def test_a_picture_of_one_pixel_names_the_rule(command: dict[str, str], tmp_path: Path, capfd):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert run({**command, "--image": str(tmp_path / "dot.png")}) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert f"--image: {tmp_path / 'dot.png'}: sides must be >= 16 px, got 1x1" in line
