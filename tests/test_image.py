"""The container image, where a docker daemon is at hand: `make images`, then what a restricted pod would run.

BASE, TORCH_INDEX and BUILD_FLAGS in the environment reach the build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sugar import __version__

pytestmark = pytest.mark.docker

RESTRICTED = ("--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def image(project_root: Path) -> str:
    if shutil.which("docker") is None or docker("version", "--format={{.Server.Version}}").returncode:
        pytest.skip("no docker daemon")
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "REGISTRY")}
    built = subprocess.run(
        ["make", "images", "IMAGES=cpu"],
        cwd=project_root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-2000:] + built.stdout[-2000:]
    return f"sugar:{__version__}"


@pytest.fixture
def volume(image: str) -> Iterator[str]:
    name = f"sugar-test-{uuid.uuid4().hex[:8]}"
    assert docker("volume", "create", name).returncode == 0
    yield name
    docker("volume", "rm", "--force", name)


def test_without_words_it_helps(image: str):
    done = docker("run", *RESTRICTED, image)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: sugar")


def test_it_is_an_ordinary_user_with_the_packages_of_the_constraints(image: str, project_root: Path):
    code = (
        "import os, importlib.metadata as m, components, pipelines, sugar\n"
        "print(os.getuid(), *(f'{d.name}=={d.version}' for d in m.distributions()))"
    )
    # Elsewhere than in its folder: a pod of Kubeflow does not say where it starts.
    done = docker("run", *RESTRICTED, "--workdir=/tmp", "--entrypoint=python", image, "-c", code)
    assert done.returncode == 0, done.stderr
    user, *packages = done.stdout.split()
    assert user == "1000"
    pins = (project_root / "constraints.txt").read_text().lower().replace("_", "-").split()
    unpinned = {p.lower().replace("_", "-").partition("+")[0] for p in packages} - set(pins)
    assert {name.partition("==")[0] for name in unpinned} <= {"sugar"}


def test_a_stage_runs_on_a_volume_with_a_read_only_root(image: str, volume: str, project_root: Path):
    mounted = (*RESTRICTED, f"--volume={volume}:/data")
    done = docker("run", *mounted, image, "source", "--profile", "smoke", "--set", "paths.root=/data")
    assert done.returncode == 0, done.stderr
    assert "subjects 12" in done.stdout + done.stderr
    made = docker(
        "run", *mounted, "--entrypoint=find", image, "/data", "-name", "*.json", "-printf", "%u %p\n"
    )
    assert {line.split()[0] for line in made.stdout.splitlines()} == {"sugar"}, made.stderr
    revision = subprocess.check_output(
        ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"], cwd=project_root, text=True
    )
    told = docker("run", *mounted, "--entrypoint=printenv", image, "SUGAR_GIT_REVISION")
    assert told.stdout == revision
