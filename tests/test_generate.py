"""`sugar generate` on a picture: a playable mp4, the same for the same seed; errors of one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sugar import cli
from sugar.data.video_io import decode_video


@pytest.fixture(scope="module")
def model(tiny_networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sugar.model.transformer import SugarTransformer3DModel
    from sugar.stages.model_folder import export_pipeline

    folder = tmp_path_factory.mktemp("model")
    transformer = SugarTransformer3DModel.from_cogvideox(tiny_networks / "base", dino_dim=16, clip_dim=16)
    transformer.save_pretrained(folder / "transformer")
    export_pipeline(
        folder, str(tiny_networks / "base"), str(tiny_networks / "dino"), str(tiny_networks / "clip")
    )
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red disc on green."""
    y, x = np.mgrid[:96, :96]
    disc = (y - 48) ** 2 + (x - 48) ** 2 < 24**2
    pixels = np.where(disc[..., None], [220, 30, 30], [30, 160, 60]).astype(np.uint8)
    file = tmp_path_factory.mktemp("photo") / "ball.png"
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def command(model: Path, photo: Path, tmp_path: Path, project_root: Path, monkeypatch) -> dict[str, str]:
    monkeypatch.chdir(project_root)
    return {
        "--model": str(model),
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
