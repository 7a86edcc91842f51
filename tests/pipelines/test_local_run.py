"""The same pipeline function in processes of this machine, from the command line to the artifacts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("kfp")

pytestmark = pytest.mark.slow


def test_the_pipeline_runs_here_on_the_smoke_profile(project_root: Path, tmp_path: Path, tiny_networks: Path):
    folders = {name: name for name in ("base", "dino", "clip", "metrics_dino", "video_text")}
    folders["metrics_clip"] = "clip"
    settings = [f"networks.{key}={tiny_networks / folder}" for key, folder in folders.items()]
    settings += [f"paths.root={tmp_path}", "sampling.num_steps=2", "evaluate.num_subjects=2"]
    script = Path(sys.executable).parent / "sugar"
    done = subprocess.run(
        [script, "submit", "pipelines/sugar_tsf.py", "--local", *settings],
        cwd=project_root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (run,) = [path for path in (tmp_path / "kfp").iterdir() if path.is_dir()]
    assert (run / "finetune" / "stage2" / "model_index.json").is_file()
    assert (run / "evaluate" / "evaluation" / "report.html").is_file()
    assert (run / "register" / "record" / "register.json").is_file()


def test_a_task_that_fails_is_exit_code_1_and_says_which(project_root: Path, tmp_path: Path):
    script = Path(sys.executable).parent / "sugar"
    done = subprocess.run(
        [script, "submit", "pipelines/sugar_tsf.py", "--local", f"paths.root={tmp_path}",
         "ingest.kind=folder", f"ingest.folder={tmp_path / 'nowhere'}", "source.num_subjects=2"],
        cwd=project_root,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nowhere" in done.stdout and done.stderr.splitlines()[-1].startswith("sugar submit: failed:")
