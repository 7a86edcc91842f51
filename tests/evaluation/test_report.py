"""The report is one file that needs nothing else and says what it was given."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from oracle import Model, judges

from sugar.config import InputError
from sugar.data.manifest import write_manifest
from sugar.data.shards import shard_name, write_shard
from sugar.data.video_io import decode_video
from sugar.evaluation.benchmark import sprite_benchmark
from sugar.evaluation.datasets import summarise_dataset
from sugar.evaluation.evaluate import Candidate, evaluate
from sugar.evaluation.plots import read_history, write_plots
from sugar.evaluation.report import GateSummary, write_report
from sugar.evaluation.table1 import TABLE_1
from sugar.triplet import Triplet

BENCHMARK = sprite_benchmark(3, 2, seed=7, size_px=32)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    candidates = [
        Candidate("sugar", Model, "", (4.0, 2.5)),
        Candidate("design_a", lambda: Model(deaf_to="style"), "", (4.0,)),
    ]
    return folder, evaluate(folder, BENCHMARK, judges(), candidates, fps=8, batch_size=6)


def history(folder: Path) -> Path:
    folder.mkdir()
    rows = [f"{step},{1 / (1 + step)},{'' if step % 2 else 0.5},0.001" for step in range(60)]
    (folder / "history.csv").write_text("step,loss_real,loss_synthetic,learning_rate\n" + "\n".join(rows))
    (folder / "held_out.csv").write_text("step,loss,loss_real\n0,1.0,1.0\n50,0.5,0.5\n")
    return folder


def test_report_is_self_contained_and_complete(tmp_path, evaluated):
    folder, result = evaluated
    write_report(
        folder / "report.html",
        result,
        BENCHMARK,
        revision="0123abc",
        params={"video.fps": "8", "note": "<script>alert(1)</script>"},
        gate=GateSummary(False, ("real: column noun <b>has</b> nulls",), "../gate/index.html"),
        histories={"pretrain": history(tmp_path / "stage1")},
        seconds={"pretrain": 3725.0, "evaluate": 42.4},
    )
    page = (folder / "report.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {link for link in links if not link.startswith("data:")} == {"../gate/index.html"}
    assert "<script" not in page
    assert "<b>has</b>" not in page
    assert page.count("<video") == 6 + 6 * 3
    for row in TABLE_1:
        assert f"<td>{row.method}</td><td>{row.scores[0]:.3f}</td>" in page
    for text in ("0123abc", "gate failed", "1 h 02 min", "42 s", "metrics_dino", BENCHMARK.pairs[0].text):
        assert text in page


def test_videos_in_the_report_are_the_files(evaluated):
    folder, result = evaluated
    write_report(folder / "report.html", result, BENCHMARK, max_videos=2)
    page = (folder / "report.html").read_text()
    first = re.search(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert first is not None
    data = base64.b64decode(first.group(1))
    assert data == (folder / result.videos[0]["file"]).read_bytes()
    assert decode_video(data)[0].shape == (5, 64, 64, 3)
    assert "2 of 6, evenly chosen" in page


def test_plots_are_a_table_of_all_rows(tmp_path, evaluated):
    write_plots(tmp_path, evaluated[1])
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "candidate,image_scale,metric,encoder,mean,low,high"
    assert len(lines) == 1 + 3 * 11
    assert any(line.startswith("design_a,4.0,style_accuracy,metrics_clip,0.0,") for line in lines)


def test_history_is_read_by_source(tmp_path):
    curves = read_history(history(tmp_path / "stage1"))
    assert set(curves) == {"real, training", "synthetic, training", "real, held out"}
    assert curves["synthetic, training"][0].tolist() == list(range(0, 60, 2))
    with pytest.raises(InputError, match=r"has no history\.csv"):
        read_history(tmp_path)


def test_dataset_summary_counts_and_shows(tmp_path):
    rng = np.random.default_rng(0)
    triplets = [
        Triplet(
            key=f"k{i}",
            subject=rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
            identity=rng.integers(1, 255, (32, 32, 4), dtype=np.uint8),
            video=rng.integers(0, 255, (5, 32, 32, 3), dtype=np.uint8),
            fps=8.0,
            prompt=f"a dog {i}",
            noun="dog",
            category="animal",
            source="real",
            accepted=i < 3,
            reasons=() if i < 3 else ("flow_px", "identity")[: i - 2],
        )
        for i in range(5)
    ]
    write_manifest(tmp_path, write_shard(tmp_path / shard_name(0), triplets))
    summary = summarise_dataset(tmp_path, "real", num_pictures=2)
    assert (summary.num_rows, summary.num_accepted) == (5, 3)
    assert summary.reasons == {"flow_px": 2, "identity": 1}
    assert summary.sheet is not None
    assert summary.sheet.shape[0] > 2 * 64
