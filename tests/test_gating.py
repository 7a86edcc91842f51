"""The verdict is kept until a dataset or what is asked of it changes."""

import json
from dataclasses import replace

import pytest
from shard_stubs import tiny_triplet

from sugar.config import InputError
from sugar.data.gate import GateBounds, GateResult
from sugar.data.manifest import write_manifest
from sugar.data.shards import write_shard
from sugar.stages import gating


def test_a_verdict_is_made_anew_only_where_something_changed(tmp_path, monkeypatch):
    folder, output, runs = tmp_path / "real", tmp_path / "gate", []

    def run_gate(manifest_folder, bounds, html_folder, previous=None):
        html_folder.mkdir(parents=True, exist_ok=True)
        (html_folder / "index.html").write_text("docs")
        runs.append(bounds)
        return GateResult(bounds.min_rows <= 2, ("too few",) * (bounds.min_rows > 2), {"rows": 2.0})

    def write(*numbers: int) -> None:
        rows = write_shard(folder / "shard-000000.tar", [tiny_triplet(f"t-{number}") for number in numbers])
        write_manifest(folder, rows)

    def check(bounds: GateBounds) -> tuple[GateResult, int]:
        before = len(runs)
        result = gating.check_datasets({"real": folder}, {"real": bounds}, output)["real"]
        return result, len(runs) - before

    monkeypatch.setattr(gating, "run_gate", run_gate)
    folder.mkdir()
    write(0, 1)
    bounds = GateBounds(source="real")
    assert check(bounds) == (GateResult(True, (), {"rows": 2.0}), 1)
    assert check(bounds) == (GateResult(True, (), {"rows": 2.0}), 0)
    strict = replace(bounds, min_rows=3)
    assert check(strict) == (GateResult(False, ("too few",), {"rows": 2.0}), 1)
    assert check(strict)[1] == 0  # a failure stays a failure
    write(0, 2)
    assert check(strict)[1] == 1
    (output / "real" / "index.html").unlink()
    assert check(strict)[1] == 1


WHOLE = {"success": True, "failures": [], "statistics": {"rows": 1.0}, "digest": ""}
WRONG = [
    {"success": False},
    {"failures": ["too few"]},
    {"success": False, "failures": [1]},
    {"statistics": {"a": None}},
]
DAMAGED = ["", "{", "{}", "[]", '{"real": 1}', '{"real": {"success": true}}', "\x80"]
DAMAGED += [json.dumps({"real": WHOLE | wrong}) for wrong in WRONG]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_verdict_is_an_error_that_says_what_to_run(tmp_path, text):
    (tmp_path / gating.VERDICT).write_bytes(text.encode("latin-1"))
    for read in (gating.read_verdict, lambda gate: gating.require_passed(gate, {"real": tmp_path})):
        with pytest.raises(InputError, match=r"verdict\.json: not a verdict.*; run validate again"):
            read(tmp_path)


def test_a_verdict_about_another_dataset_is_no_leave_to_encode(tmp_path):
    about = {"success": True, "failures": [], "statistics": {}, "digest": ""}
    (tmp_path / gating.VERDICT).write_text(json.dumps({"synthetic": about}))
    with pytest.raises(InputError, match=r"verdict\.json: is not about real"):
        gating.require_passed(tmp_path, {"real": tmp_path})


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_verdict_is_made_anew(tmp_path, monkeypatch, text):
    folder, output = tmp_path / "real", tmp_path / "gate"
    folder.mkdir()
    output.mkdir()
    write_manifest(folder, write_shard(folder / "shard-000000.tar", [tiny_triplet("t-0")]))
    (output / gating.VERDICT).write_bytes(text.encode("latin-1"))
    monkeypatch.setattr(gating, "run_gate", lambda *_: GateResult(True, (), {"rows": 1.0}))
    assert gating.check_datasets({"real": folder}, {"real": GateBounds(source="real")}, output)[
        "real"
    ].success
