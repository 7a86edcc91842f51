"""The runner of a stage: declared names and parameters, one writer, figures kept, one line of error."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shard_stubs import tiny_triplet

from sugar.config import InputError, Params, load_params, params_from_dict
from sugar.data.atomic import StageLock
from sugar.data.shards import is_complete, write_shard
from sugar.stages import STAGES, run_stage
from sugar.stages.stage import METRICS, Stage, StageFailure, declare, metrics_file, run_on_paths


@pytest.fixture
def params(project_root: Path, tmp_path: Path) -> Params:
    return load_params(
        project_root / "params.yaml",
        ["smoke"],
        [f"paths.root={tmp_path}", "tracking.enabled=false"],
    )


def make_stage(reads: tuple[str, ...] = ("seed",), body=None) -> Stage:
    def copy(params, inputs, outputs, tracker):
        (outputs["real"] / "seed.txt").write_text(str(params.seed))
        return {"seed": params.seed}

    return declare("subjects", "real", reads)(body or copy)


def test_a_stage_gets_its_folders_and_leaves_its_figures(params: Params, tmp_path: Path):
    params.path("subjects").mkdir(parents=True)
    figures = run_on_paths(make_stage(), params)
    assert (params.path("real") / "seed.txt").read_text() == "0"
    assert figures["seed"] == 0 and figures["seconds"] >= 0
    assert json.loads(metrics_file(params, "copy").read_text()) == figures


def test_undeclared_parameters_cannot_be_read(params: Params, tmp_path: Path):
    def greedy(params, inputs, outputs, tracker):
        return {"steps": params.pretrain.steps}

    params.path("subjects").mkdir(parents=True)
    with pytest.raises(AttributeError, match="pretrain"):
        run_on_paths(make_stage(body=greedy), params)
    assert run_on_paths(make_stage(("pretrain",), greedy), params)["steps"] == 4


def test_damaged_outputs_are_made_anew_only_when_asked(params: Params, caplog):
    shard = params.path("real") / "shard-000000.tar"

    def body(params, inputs, outputs, tracker):
        if not is_complete(shard, "in"):
            write_shard(shard, [tiny_triplet("a")], inputs_digest="in")
            return {"made": 1}
        return {"made": 0}

    params.path("subjects").mkdir(parents=True)
    stage = make_stage(body=body)
    assert run_on_paths(stage, params)["made"] == 1
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000] + b"!" + whole[3001:])
    assert run_on_paths(stage, params)["made"] == 0
    assert run_on_paths(stage, params, check=True)["made"] == 1
    assert f"{shard}: damaged; is made anew" in caplog.text
    assert shard.read_bytes() == whole
    assert run_on_paths(stage, params, check=True)["made"] == 0


def test_a_missing_input_is_named(params: Params):
    with pytest.raises(InputError, match=r"copy needs .*data/subjects \(subjects\), which does not exist"):
        run_on_paths(make_stage(), params)


def test_names_that_a_stage_does_not_have_are_refused(params: Params, tmp_path: Path):
    with pytest.raises(ValueError, match="copy takes"):
        make_stage()(params, {}, {"gate": tmp_path / "gate"})
    with pytest.raises(ValueError, match="copy takes"):
        make_stage()(params, {}, {})


def test_a_second_run_is_told_who_is_running(params: Params):
    params.path("subjects").mkdir(parents=True)
    with (
        StageLock(params.path("real"), "ingest"),
        pytest.raises(InputError, match=r"stage ingest is running \(process \d+"),
    ):
        run_on_paths(make_stage(), params)
    run_on_paths(make_stage(), params)


def test_no_figures_are_left_by_a_stage_that_failed(params: Params):
    def fail(params, inputs, outputs, tracker):
        raise StageFailure("the gate says no")

    params.path("subjects").mkdir(parents=True)
    with pytest.raises(StageFailure):
        run_on_paths(make_stage(body=fail), params)
    assert not metrics_file(params, "fail").exists()
    with StageLock(params.path("real")):
        pass


def test_metrics_is_optional(params: Params, tmp_path: Path):
    (tmp_path / "in").mkdir()
    make_stage()(params, {"subjects": tmp_path / "in"}, {"real": tmp_path / "out"})
    assert METRICS not in make_stage().outputs


def test_inputs_are_outputs_of_earlier_stages():
    made: set[str] = set()
    for stage in STAGES.values():
        assert set(stage.inputs) <= made, stage.name
        assert not made & set(stage.outputs), stage.name
        made |= set(stage.outputs)


def test_what_a_stage_declares_exists(params: Params):
    for stage in STAGES.values():
        params.only(stage.reads).as_dict()
        for name in (*stage.inputs, *stage.outputs):
            params.path(name)


def add_photo(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def of_photos(params: Params, folder: Path, **source: object) -> Params:
    values = params.as_dict()
    values["source"] |= {"kind": "folder", "folder": str(folder), **source}
    return params_from_dict(values, params.folder)


def test_source_draws_or_reads_a_folder(params: Params, tmp_path: Path):
    assert run_stage("source", params)["subjects"] == 12
    for i in range(3):
        add_photo(tmp_path / "photos" / f"dog{i}.png", i)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG no")
    photos = of_photos(params, tmp_path / "photos")
    figures = run_stage("source", photos)
    assert (figures["subjects"], figures["skipped"]) == (3, 1)
    assert run_stage("source", of_photos(params, tmp_path / "photos", num_subjects=2))["left_out"] == 1


def test_source_takes_photos_anew_only_where_some_have_changed(
    params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    for i in range(3):
        add_photo(tmp_path / "photos" / f"dog{i}.png", i)
    photos = of_photos(params, tmp_path / "photos", num_subjects=3)
    first = run_stage("source", photos)
    add_photo(tmp_path / "photos" / "fox.png", 9)
    assert run_stage("source", photos)["left_out"] == 1
    caplog.clear()
    again = run_stage("source", photos)
    assert "source: nothing to do" in caplog.text
    assert {**first, "left_out": 1.0, "seconds": 0} == {**again, "seconds": 0}
    (tmp_path / "photos" / "fox.png").unlink()
    add_photo(tmp_path / "photos" / "dog0.png", 10)
    caplog.clear()
    assert "left_out" not in run_stage("source", photos)
    assert "nothing to do" not in caplog.text
    run_stage("source", of_photos(params, tmp_path / "photos", min_side_px=16))
    assert "nothing to do" not in caplog.text
