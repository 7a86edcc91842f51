"""What README.md tells people to type exists: targets, verbs, options, keys, files."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from sugar.arguments import build_parser
from sugar.config import load_params


def blocks(project_root: Path, language: str) -> list[str]:
    text = (project_root / "README.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(project_root: Path) -> list[list[str]]:
    lines = "\n".join(blocks(project_root, "bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def test_make_targets_exist(project_root: Path):
    makefile = (project_root / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    text = (project_root / "README.md").read_text()
    named = {words[1] for words in commands(project_root) if words[0] == "make"}
    named |= set(re.findall(r"`make ([a-z]+)`", text))
    assert {"run", "test", "ui", "smoke"} <= named <= targets
    result = subprocess.run(["make", "help"], cwd=project_root, capture_output=True, text=True, check=True)
    assert named - {"help"} <= set(re.findall(r"^make ([a-z-]+)", result.stdout, flags=re.MULTILINE))


def test_sugar_commands_are_understood(project_root: Path):
    parser = build_parser()
    verbs = [words[1:] for words in commands(project_root) if words[0] == "sugar"]
    assert {words[0] for words in verbs} >= {"generate", "source", "ingest", "submit"}
    for words in verbs:
        args, rest = parser.parse_known_args(words)
        assert not rest, words
        load_params(project_root / "params.yaml", args.profile, args.overrides)


def test_knobs_that_are_named_exist(project_root: Path):
    text = (project_root / "README.md").read_text()
    params = load_params(project_root / "params.yaml").as_dict()
    keys = re.findall(r"`([a-z_]+)\.([a-z_]+)`", text)
    assert keys
    for section, key in keys:
        if section in params:
            assert key in params[section], f"{section}.{key}"


@pytest.mark.parametrize(
    "pattern", [r"\]\(([^)#:]+)\)", r"`((?:docs|foundation|manifests|pipelines|bin)/[\w./-]+)`"]
)
def test_files_that_are_named_exist(project_root: Path, pattern: str):
    text = (project_root / "README.md").read_text()
    missing = [name for name in re.findall(pattern, text) if not (project_root / name).exists()]
    assert not missing


def test_python_blocks_compile(project_root: Path):
    for code in blocks(project_root, "python"):
        compile(code, "README.md", "exec")
