"""The command line: exit codes, one line of error, help without heavy imports."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from sugar import cli
from sugar.arguments import CHECKED, build_parser
from sugar.training.signals import EXIT_START_AGAIN, Preempted

VERBS = (
    "source synthesize ingest validate encode pretrain finetune evaluate register "
    "foundation generate submit results plan studio"
).split()
GENERATE = [
    "generate",
    "--model",
    "m",
    "--image",
    "i.png",
    "--noun",
    "dog",
    "--prompt",
    "p",
    "--out",
    "o.mp4",
]


def run(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of one command."""
    try:
        code = cli.main(argv)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_the_common_options_and_an_example(verb: str, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run([verb, "--help"], capsys)
    assert code == 0
    for word in ("--params", "--profile", "--set", "examples:", f"sugar {verb}"):
        assert word in out


@pytest.mark.parametrize(
    "text, number", [("2.5e6", 2_500_000), ("2_500_000", 2_500_000), ("7", 7), ("1e0", 1)]
)
def test_whole_numbers_may_be_written_with_a_power_of_ten(text: str, number: int):
    assert build_parser().parse_args(["plan", "--triplets", text]).triplets == number


@pytest.mark.parametrize(
    "argv, sentence",
    [
        ([], "the following arguments are required: VERB"),
        (["fly"], "invalid choice: 'fly'"),
        (["source", "--fast"], "unrecognized arguments: --fast"),
        (["source", "--set", "seed"], "--set must look like key.path=value"),
        (["source", "--set", "seed=x"], "seed must be a whole number, got 'x'"),
        (["encode", "--set", "encode.batch=1"], "unknown key encode.batch, did you mean batch_size?"),
        (["source", "--profile", "none"], "--profile must be one of"),
        (["source", "--params", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (["generate"], "the following arguments are required: --model"),
        ([*GENERATE, "--steps", "0"], "argument --steps: must be a whole number from 1 to 1e+15, got 0"),
        (
            [*GENERATE, "--steps", "many"],
            "argument --steps: must be a whole number from 1 to 1e+15, got many",
        ),
        ([*GENERATE, "--steps", "2.5"], "argument --steps: must be a whole number from 1 to 1e+15, got 2.5"),
        ([*GENERATE, "--seed", "x"], "argument --seed: must be a whole number from 0 to 2**63 - 1, got x"),
        ([*GENERATE, "--image-guidance", "x"], "argument --image-guidance: must be a number >= 0, got x"),
        ([*GENERATE, "--seed", "-1"], "argument --seed: must be a whole number"),
        ([*GENERATE, "--image-guidance", "nan"], "argument --image-guidance: must be a number >= 0"),
        ([*GENERATE, "--drop-dino-until", "2"], "argument --drop-dino-until: must be a number from 0 to 1"),
        (["submit", "x.py", "--local", "--dry-run"], "not allowed with argument"),
        (["foundation", "--only", "dog"], "--only must name networks of vae, dino"),
        (
            ["source", "--set", "paths.root=README.md"],
            "README.md/data/subjects: cannot be written to (Not a dir",
        ),
        (["plan", "--gpus", "0"], "argument --gpus: must be a whole number from 1 to 1e+15, got 0"),
        (
            ["plan", "--triplets", "1e400"],
            "argument --triplets: must be a whole number from 1 to 1e+15, got 1e400",
        ),
        (["plan", "--acceptance", "0"], "--acceptance: must be a number from 1e-06 to 1, got 0"),
        (["studio", "--port", "http"], "--port: must be a whole number from 0 to 65535, got http"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch, project_root: Path
):
    monkeypatch.chdir(project_root)
    code, out, err = run(argv, capsys)
    assert (code, out) == (2, "")
    assert sentence in err and err.count("\n") == 1 and err.startswith("sugar")


def test_a_picture_without_a_subject_says_what_to_do(tmp_path: Path, capsys, monkeypatch, project_root: Path):
    from PIL import Image

    monkeypatch.chdir(project_root)
    Image.new("RGB", (96, 96), (90, 90, 90)).save(tmp_path / "plain.png")
    argv = [str(tmp_path / "plain.png") if word == "i.png" else word for word in GENERATE]
    argv[-1] = str(tmp_path / "o.mp4")
    code, _, err = run(argv, capsys)
    assert code == 2 and err.count("\n") == 1
    assert err.startswith(f"sugar generate: --image {tmp_path / 'plain.png'}: no dog found: nothing in the")
    assert "say where it is (--box), or pass a cut-out (--identity)" in err


def test_a_failure_while_working_is_exit_code_1_with_a_last_line(monkeypatch, capsys, project_root: Path):
    def fail(args):
        raise RuntimeError("the disk is on fire")

    monkeypatch.chdir(project_root)
    monkeypatch.setattr(cli, "_run_stage", fail)
    code, _, err = run(["source"], capsys)
    assert code == 1
    assert err.splitlines()[-1] == "sugar source: failed: RuntimeError: the disk is on fire"
    assert "Traceback" in err


def test_a_full_disk_is_one_line_without_a_traceback(monkeypatch, capsys, project_root: Path):
    def fill(args):
        raise OSError(errno.ENOSPC, "No space left on device", "shard-000001.tar")

    monkeypatch.chdir(project_root)
    monkeypatch.setattr(cli, "_run_stage", fill)
    code, _, err = run(["source"], capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert "No space left on device: 'shard-000001.tar'" in err


@pytest.mark.parametrize("verb", CHECKED)
@pytest.mark.parametrize("flags", [[], ["--check"]])
def test_what_was_written_before_is_checked_when_asked(verb, flags, monkeypatch, capsys, project_root: Path):
    asked = []
    monkeypatch.chdir(project_root)
    monkeypatch.setattr("sugar.stages.run_stage", lambda *given: asked.append((given[0], given[2])) or {})
    assert run([verb, *flags], capsys)[0] == 0
    assert asked == [(verb, bool(flags))]


def test_an_interrupt_says_so(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run_stage", interrupt)
    code, _, err = run(["source"], capsys)
    assert code == 130 and err.count("\n") == 1


def test_a_training_that_was_asked_to_stop_says_start_again(monkeypatch, capsys):
    def stop(args):
        raise Preempted(120)

    monkeypatch.setattr(cli, "_run_stage", stop)
    code, _, err = run(["pretrain"], capsys)
    assert code == EXIT_START_AGAIN == 75
    assert err == "sugar pretrain: stopped after step 120; start the same command again to continue\n"


def test_the_console_script_is_installed():
    script = Path(sys.executable).parent / "sugar"
    result = subprocess.run([script, "--help"], capture_output=True, text=True)
    assert result.returncode == 0 and "pretrain" in result.stdout
