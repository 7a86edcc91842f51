"""`sugar submit` and `bin/kfp`: arguments, dry run, errors of one line, the command line for kfp."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("kfp")

from pipelines import kfp_front, submit
from sugar.config import InputError

FILE = "pipelines/sugar_tsf.py"


@pytest.fixture(autouse=True)
def in_project(monkeypatch: pytest.MonkeyPatch, project_root: Path) -> None:
    monkeypatch.chdir(project_root)


@pytest.fixture(scope="module")
def pipeline():
    from pipelines.sugar_tsf import sugar_tsf

    return sugar_tsf


def resolve(pipeline, arguments: list[str], profiles: tuple[str, ...] = ()) -> dict:
    return submit.resolve(
        pipeline, arguments, params_file=Path("params.yaml"), profiles=profiles, overrides=[]
    )[0]


def test_arguments_get_their_types_and_dotted_keys_go_into_the_parameters(pipeline):
    arguments = resolve(pipeline, ["training_gpus=4", "code_version=12", "pretrain.steps=3"], ("smoke",))
    assert (arguments["training_gpus"], arguments["code_version"]) == (4, "12")
    config = json.loads(arguments["config"])
    assert (config["pretrain"]["steps"], config["paths"]["root"]) == (3, ".smoke")


def test_the_code_version_is_the_git_revision(pipeline, project_root: Path):
    import subprocess

    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=project_root)
    if head.returncode:
        pytest.skip("not a git checkout")
    assert resolve(pipeline, [])["code_version"].startswith(head.stdout[:12])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["training_gpus=many"], "argument training_gpus must be a NUMBER_INTEGER, got 'many'"),
        (["training_gpus=1.5"], "argument training_gpus must be a NUMBER_INTEGER, got '1.5'"),
        (["training_gpus=true"], "argument training_gpus must be a NUMBER_INTEGER, got 'true'"),
        (["gpus=1"], "unknown argument gpus; sugar-tsf has code_version, config, encoding_gpus"),
        (["pretrain.step=1"], "unknown key pretrain.step, did you mean steps?"),
        (["lonely"], "arguments must look like key=value, got 'lonely'"),
        (["profile=smoke", "pretrain.steps=1"], "give the parameters by profile=... or by --profile"),
        (["profile=nope"], "--profile must be one of"),
        (["config={}"], "seed is missing"),
        (["profile=shards-job"], "shards.driver must be pool in a pipeline"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments: list[str], sentence: str, capsys):
    assert submit.main([FILE, "--dry-run", *arguments]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


@pytest.mark.parametrize("content", [None, "x = 1\n", "def broken(:\n", "import nowhere_to_be_found\n"])
def test_a_file_without_a_pipeline_is_an_input_error(tmp_path: Path, content: str | None, capsys):
    file = tmp_path / f"some_{abs(hash(content))}.py"
    if content is not None:
        file.write_text(content)
    assert submit.main([str(file), "--dry-run"]) == 2
    assert str(file) in capsys.readouterr().err


def test_dry_run_compiles_and_shows_the_arguments(capsys):
    assert submit.main([FILE, "--dry-run", "training_gpus=2"]) == 0
    out = capsys.readouterr().out
    assert "sugar-tsf: compiles; not submitted" in out and "training_gpus=2" in out


def test_a_server_that_is_not_there_is_exit_code_1(capsys, monkeypatch):
    class Refused:
        def __init__(self, host: str | None) -> None:
            raise ConnectionError("connection refused")

    monkeypatch.setattr("kfp.Client", Refused)
    assert submit.main([FILE, "--host", "http://localhost:1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_front_compiles_the_file_and_adds_experiment_package_and_arguments(tmp_path: Path):
    words = kfp_front.translate(
        ["--endpoint", "http://x", "run", "submit", FILE, "training_gpus=2", "-w"], tmp_path
    )
    package = tmp_path / "sugar_tsf.yaml"
    assert words[:9] == [
        "--endpoint", "http://x", "run", "submit", "-e", "sugar", "-w", "-f", str(package),
    ]  # fmt: skip
    assert package.is_file() and "training_gpus=2" in words
    assert any(word.startswith("config={") for word in words)


def test_the_front_keeps_the_users_experiment_and_leaves_other_commands_alone(tmp_path: Path):
    words = kfp_front.translate(["run", "create", "-e", "mine", FILE], tmp_path)
    assert words.count("-e") == 1 and words[words.index("-e") + 1] == "mine"
    for other in (["pipeline", "list"], ["run", "submit", "-f", "a.yaml"], []):
        assert kfp_front.translate(other, tmp_path) == other


def test_the_front_names_a_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"nope\.py: must be an existing Python file"):
        kfp_front.translate(["run", "submit", "nope.py"], tmp_path)
