"""`dvc repro` for real, on the smoke profile in a clone: twice, then with another threshold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sugar.config import load_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's files under git, with the smoke profile as its params.yaml."""
    folder = tmp_path_factory.mktemp("clone") / "sugar"
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=project_root, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (project_root / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project_root / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    write_params(project_root, folder)
    return folder


def write_params(project_root: Path, folder: Path, *overrides: str) -> None:
    params = load_params(project_root / "params.yaml", ["smoke"], ["paths.root=.", *overrides])
    (folder / "params.yaml").write_text(yaml.safe_dump(params.as_dict(), sort_keys=False))


def repro(folder: Path, *stages: str) -> dict[str, str]:
    """Stage -> "ran" or "skipped"."""
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [tools / "dvc", "repro", *stages],
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    ran = re.findall(r"Running stage '([\w/.:]+)'", done.stdout)
    skipped = re.findall(r"Stage '(\w+)' didn't change", done.stdout)
    return dict.fromkeys(ran, "ran") | dict.fromkeys(skipped, "skipped")


def test_only_what_a_change_can_reach_runs_again(clone: Path, project_root: Path):
    first = repro(clone)
    assert set(first.values()) == {"ran"} and len(first) == 9
    assert set(repro(clone).values()) == {"skipped"}
    write_params(project_root, clone, "validate.max_noun_share=0.99")
    ran = [name for name, what in repro(clone).items() if what == "ran"]
    assert ran[0] == "validate" and "pretrain" not in ran
    write_params(project_root, clone, "validate.max_noun_share=0.99", "synthesize.filters.min_image_text=0.3")
    again = repro(clone)
    assert {name for name, what in again.items() if what == "skipped"} >= {"source", "ingest", "pretrain"}
    assert again["synthesize"] == "ran"


def test_new_photos_run_source_again(clone: Path, project_root: Path):
    write_params(project_root, clone, "source.kind=folder", "source.folder=photos", "source.min_side_px=16")

    def add_photo(seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        (clone / "photos" / "dog").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(clone / "photos" / "dog" / f"{seed}.png")

    look = "inputs/dvc.yaml:look"
    add_photo(0)
    assert repro(clone, "source") == {look: "ran", "source": "ran"}
    assert repro(clone, "source") == {look: "ran", "source": "skipped"}
    add_photo(1)
    assert repro(clone, "source") == {look: "ran", "source": "ran"}
    assert '"subjects": 2' in (clone / "reports" / "metrics" / "source.json").read_text()
    write_params(project_root, clone)
    assert repro(clone, "source") == {"source": "ran"}
    assert repro(clone, "source") == {"source": "skipped"}
