"""Thresholds from samples that somebody judged; nothing is scored again."""

import json

import numpy as np
import pytest

from sugar.cli import main
from sugar.config import InputError
from sugar.data.manifest import manifest_row, write_manifest
from sugar.filtering.recalibration import choices_from_labels, overlay_yaml
from sugar.triplet import Triplet


@pytest.fixture
def dataset(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    identity = np.zeros((8, 8, 4), np.uint8)
    rows = []
    for i in range(20):
        scores = {"identity": i / 20, "flow_px": float((7 * i) % 20)}
        triplet = Triplet(
            f"t{i}",
            picture,
            identity,
            picture[None],
            8.0,
            "a dog",
            "dog",
            "animal",
            "synthetic",
            scores=scores,
        )
        rows.append(manifest_row(triplet, "shard-000000.tar", "0" * 64))
    write_manifest(tmp_path / "data" / "synthetic", rows)
    labels = tmp_path / "judged.csv"
    labels.write_text("key,good\n" + "\n".join(f"t{i},{'yes' if i >= 12 else 'no'}" for i in range(20)))
    return tmp_path / "data" / "synthetic", labels


def test_each_score_gets_the_threshold_that_reaches_the_precision(dataset):
    folder, labels = dataset
    chosen, refused = choices_from_labels(folder, labels, 1.0)
    assert 11 / 20 < chosen["identity"].threshold <= 12 / 20
    assert (chosen["identity"].precision, chosen["identity"].recall) == (1.0, 1.0)
    assert set(chosen) | set(refused) == {"identity", "flow_px"}
    assert "min_identity: 0.575" in overlay_yaml("synthesize", chosen)


@pytest.mark.parametrize(
    "text, message",
    [
        ("key,good\nt1,perhaps", "line 2: good must be one of"),
        ("key,good\nt1,1\nt1,0", "line 3: key 't1' appears twice"),
        ("key,good\nnobody,1", "got 'nobody'"),
        ("key,good\nt1,1\nt2,1", "must have good and bad samples, got 2 of 2 good"),
        ("key,good\n", "at least one row"),
    ],
)
def test_wrong_labels_are_named(dataset, text, message):
    folder, labels = dataset
    labels.write_text(text)
    with pytest.raises(InputError, match=message):
        choices_from_labels(folder, labels, 0.9)


def test_the_command_prints_and_keeps_the_thresholds(dataset, tmp_path, project_root, capsys):
    folder, labels = dataset
    out = tmp_path / "strict.yaml"
    before = (folder / "manifest.parquet").read_bytes()
    arguments = ["--params", str(project_root / "params.yaml"), "--set", f"paths.root={tmp_path}"]
    command = ["synthesize", "--recalibrate", "--precision", "0.95", "--labels", str(labels)]
    assert main([*command, "--write", str(out), *arguments]) == 0
    assert "| identity | 0.575 |" in capsys.readouterr().out
    assert "min_identity: 0.575" in out.read_text()
    kept = json.loads((folder / "report" / "calibration.json").read_text())
    assert kept["identity"]["recall"] == 1.0
    assert (folder / "manifest.parquet").read_bytes() == before
