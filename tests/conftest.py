"""Shared by all tests: tiny networks, once a session."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("SUGAR_GIT_REVISION", "tests")  # a commit while tests run must not change their files
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Folder of pyproject.toml."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def tiny_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with base, dino, metrics_dino, clip and video_text: real classes, random weights."""
    from tiny_networks import make_tiny_networks

    return make_tiny_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="session")
def tiny_model(tiny_networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `SugarPipeline` folder of tiny networks."""
    from sugar.model.transformer import SugarTransformer3DModel
    from sugar.stages.model_folder import export_pipeline

    folder = tmp_path_factory.mktemp("model")
    transformer = SugarTransformer3DModel.from_cogvideox(tiny_networks / "base", dino_dim=16, clip_dim=16)
    transformer.save_pretrained(folder / "transformer")
    base, dino, clip = (str(tiny_networks / name) for name in ("base", "dino", "clip"))
    export_pipeline(folder, base, dino, clip)
    return folder


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red disc on green."""
    y, x = np.mgrid[:96, :96]
    disc = (y - 48) ** 2 + (x - 48) ** 2 < 24**2
    pixels = np.where(disc[..., None], [220, 30, 30], [30, 160, 60]).astype(np.uint8)
    file = tmp_path_factory.mktemp("photo") / "ball.png"
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture(scope="session")
def real_data(project_root: Path) -> Path:
    """Folder with real photos and clips, or the test is skipped."""
    folder = Path(os.environ.get("SUGAR_REAL_DATA", project_root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real photos and clips at {folder} (SUGAR_REAL_DATA)")
    return folder
