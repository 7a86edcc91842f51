"""Thresholds from samples that somebody judged; nothing is scored again."""

import json

import numpy as np
import pyarrow as pa
import pytest
import yaml

from sugar.cli import main
from sugar.config import Filters, InputError, load_params
from sugar.data.manifest import manifest_row, read_manifest, write_manifest
from sugar.data.verdicts import keep_labels, kept_labels
from sugar.filtering.recalibration import labelled_by_hand, overlay_yaml, proposal_text, propose
from sugar.filtering.thresholds import Bound, Thresholds, decide_table
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


def proposed(dataset, labels, precision):
    return propose(labelled_by_hand(dataset, labels), precision, dict.fromkeys(Filters.model_fields))


def test_scores_are_bounded_together_and_the_profile_leaves_no_other_bound(dataset):
    proposal = proposed(*dataset, 1.0)
    assert [(b.score, b.direction, b.value) for b in proposal.bounds] == [("identity", "min", 0.575)]
    assert (proposal.fitted.precision, proposal.fitted.recall) == (1.0, 1.0)
    assert proposal.refused == ((0, 12),)
    text = proposal_text(proposal)
    assert "| min_identity | 0.575 | 0 | 12 |" in text
    assert "| fitted | 1.000 | 1.000 | 8 of 20 |" in text
    assert "| held out |" in text
    keys = list(Filters.model_fields)
    overlay = yaml.safe_load(overlay_yaml("synthesize", proposal.bounds, keys))["synthesize"]["filters"]
    assert list(overlay) == keys
    assert {key: value for key, value in overlay.items() if value is not None} == {"min_identity": 0.575}


def test_a_small_threshold_is_a_number_in_yaml():
    overlay = overlay_yaml("ingest", [Bound("flow_px", "max", 2e-07)], ["max_flow_px"])
    assert yaml.safe_load(overlay) == {"ingest": {"filters": {"max_flow_px": 2e-07}}}


def test_a_precision_out_of_reach_is_told_with_the_best_there_is(dataset, tmp_path, project_root, capsys):
    folder, labels = dataset
    labels.write_text("key,good\n" + "\n".join(f"t{i},{i % 2}" for i in range(20)))
    with pytest.raises(InputError, match=r"0.9 cannot be reached .*10 good, 10 bad\): the best is 0.500"):
        proposed(folder, labels, 0.9)
    out = tmp_path / "strict.yaml"
    arguments = ["--params", str(project_root / "params.yaml"), "--set", f"paths.root={tmp_path}"]
    command = ["synthesize", "--recalibrate", "--precision", "0.9", "--labels", str(labels)]
    assert main([*command, "--write", str(out), *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not out.exists()
    assert not (folder / "report").exists()


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
        labelled_by_hand(folder, labels)


def test_the_command_prints_and_keeps_the_thresholds(dataset, tmp_path, project_root, capsys):
    folder, labels = dataset
    out = tmp_path / "strict.yaml"
    before = (folder / "manifest.parquet").read_bytes()
    arguments = ["--params", str(project_root / "params.yaml"), "--set", f"paths.root={tmp_path}"]
    command = ["synthesize", "--recalibrate", "--precision", "0.95", "--labels", str(labels)]
    unscored = [f"--set=synthesize.filters.min_{name}=null" for name in ("image_text", "consecutive")]
    assert main([*command, "--write", str(out), *arguments, *unscored]) == 0
    printed = capsys.readouterr().out
    assert "| min_identity | 0.575 |" in printed
    assert "| now in force | 0.444 | 1.000 | 18 of 20 |" in printed
    assert "min_identity: 0.575" in out.read_text()
    kept = json.loads((folder / "report" / "proposal.json").read_text())
    assert kept["bounds"]["min_identity"] == {"threshold": 0.575, "refused_good": 0, "refused_bad": 12}
    assert kept["together"]["fitted"] == {"precision": 1.0, "recall": 1.0}
    assert (folder / "manifest.parquet").read_bytes() == before
    profiled = load_params(project_root / "params.yaml", overrides=[f"paths.root={tmp_path}"]).as_dict()
    profiled["synthesize"]["filters"] |= yaml.safe_load(out.read_text())["synthesize"]["filters"]
    thresholds = Thresholds.from_filters(profiled["synthesize"]["filters"])
    accepted = decide_table(read_manifest(folder), thresholds)["accepted"].to_pylist()
    assert accepted == [i >= 12 for i in range(20)]


def test_labels_are_kept_for_the_report_while_their_samples_are_the_same(dataset):
    folder, labels = dataset
    labelled = labelled_by_hand(folder, labels)
    keep_labels(folder / "report", labelled.about, labelled.table)
    table = read_manifest(folder)
    again = kept_labels(folder / "report", table)
    assert again.good.tolist() == [i >= 12 for i in range(20)]
    digests = ["1" * 64, *table["digest"].to_pylist()[1:]]
    made_anew = table.set_column(table.column_names.index("digest"), "digest", pa.array(digests))
    fewer = kept_labels(folder / "report", made_anew)
    assert len(fewer.good) == 19
    assert "1 more are of samples that are no longer as they were" in fewer.about
    assert kept_labels(folder, table) is None
    (folder / "report" / "labels.json").write_text("{}")
    with pytest.raises(InputError, match=r"labels.json: must be as"):
        kept_labels(folder / "report", table)


@pytest.mark.parametrize(
    "option", [["--labels", "judged.csv"], ["--precision", "0.9"], ["--write", "x.yaml"]]
)
@pytest.mark.parametrize("verb", ["synthesize", "ingest"])
def test_an_option_of_recalibration_alone_is_an_error_of_one_line(verb, option, capsys):
    assert main([verb, *option]) == 2
    error = capsys.readouterr().err
    assert f"{option[0]} must come with --recalibrate" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("precision", ["0", "1.5", "-1", "nan", "much"])
def test_the_wanted_precision_is_a_share(precision, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["synthesize", "--recalibrate", "--precision", precision])
    assert f"must be a number from 1e-06 to 1, got {precision}" in capsys.readouterr().err
