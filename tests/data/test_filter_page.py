import json

import numpy as np
import pyarrow as pa
import pytest

from sugar.config import InputError
from sugar.data.filter_page import filter_page, histogram, write_filter_page
from sugar.data.manifest import manifest_row, rows_table
from sugar.data.verdicts import Labelled, in_force
from sugar.filtering.thresholds import Thresholds, decide_table


def test_every_known_score_lies_in_one_bin():
    values = np.array([0.0, 0.5, 1.0, np.nan, 1.0])
    bins = histogram(values, np.array([True, True, False, True, True]), 4)
    assert bins == {"edges": [0, 0.25, 0.5, 0.75, 1.0], "kept": [1, 0, 1, 1], "rejected": [0, 0, 0, 1]}
    assert histogram(np.array([np.nan]), np.array([True]))["edges"] == []
    alike = histogram(np.array([2.0, 2.0]), np.array([True, False]))
    assert (sum(alike["kept"]), sum(alike["rejected"])) == (1, 1)


def test_the_page_shows_scores_reasons_and_sheets(tmp_path, make_triplet):
    table = rows_table([manifest_row(make_triplet(i), "shard-000000.tar", "0" * 64) for i in range(4)])
    (tmp_path / "rejected-identity_low.png").write_bytes(b"")
    reasons = {"identity_low": {"count": 1, "examples": ["<key>"]}}
    rejections = {"triplets": 4, "accepted": 3, "rejected": reasons, "skipped": {}}
    write_filter_page(tmp_path, table, rejections)
    page = (tmp_path / "filters.html").read_text()
    assert page.count("<svg") == 2
    assert "4 triplets, 3 kept" in page
    assert "&lt;key&gt;" in page
    assert "Thresholds in force" not in page
    assert "Proposal" not in page
    assert "no sheet" not in page
    assert "src='rejected-identity_low.png'" in page
    counts = json.loads((tmp_path / "histograms.json").read_text())["identity"]
    assert sum(counts["kept"]) + sum(counts["rejected"]) == 4


def test_a_threshold_is_a_line_where_it_lies(tmp_path):
    found = {"identity": histogram(np.linspace(0, 2, 50), np.ones(50, bool))}
    rejections = {"triplets": 50, "accepted": 50, "rejected": {}, "skipped": {}}
    plain = filter_page(found, rejections, tmp_path)
    page = filter_page(found, rejections, tmp_path, limits={"identity": [0.5, 7.0], "other": [1.0]})
    assert "<line" not in plain
    assert page.count("<line x1='120.0' x2='120.0'") == page.count("<line") == 1
    assert "threshold 0.5 and 7<" in page


def test_what_is_in_force_and_what_is_proposed_are_told_apart(tmp_path, make_triplet):
    rows = [manifest_row(make_triplet(i), "shard-000000.tar", str(i) * 64) for i in range(4)]
    for row, identity, flow in zip(rows, (0.9, 0.8, 0.3, 0.7), (2.0, 1.0, 5.0, 0.1), strict=True):
        row |= {"score_identity": identity, "score_flow_px": flow}
    table = rows_table(rows)
    thresholds = Thresholds.from_filters({"min_identity": 0.5, "min_flow_px": 0.5})
    good = pa.array([True, False, False, True])
    labelled = Labelled(table.append_column("good", good), "labels of judged.csv")
    judged = in_force(lambda rows: decide_table(rows, thresholds), labelled)
    assert judged["rows"] == {
        "identity_low": {"refused_good": 0, "refused_bad": 1, "precision": 2 / 3, "recall": 1.0},
        "flow_px_low": {"refused_good": 1, "refused_bad": 0, "precision": 1 / 3, "recall": 0.5},
        "together": {"refused_good": 1, "refused_bad": 1, "precision": 0.5, "recall": 0.5},
    }
    bounds = {"min_identity": {"threshold": 0.85, "refused_good": 1, "refused_bad": 2}}
    together = {"fitted": {"precision": 1.0, "recall": 0.5}, "held out": None}
    about = {"precision": 0.9, "about": "labels of judged.csv", "good": 2, "bad": 2}
    proposal = {**about, "bounds": bounds, "together": together}
    (tmp_path / "proposal.json").write_text(json.dumps(proposal))
    rejections = {"triplets": 4, "accepted": 3, "rejected": {}, "skipped": {}}
    write_filter_page(tmp_path, table, rejections, {"identity": [0.5], "flow_px": [0.5]}, [judged])
    page = (tmp_path / "filters.html").read_text()
    in_use, proposed = page.split("Proposal of --recalibrate (not in force")
    assert "labels of judged.csv: 2 good, 2 bad. In force: identity 0.5, flow_px 0.5." in in_use
    assert "<td>flow_px_low alone</td><td>1</td><td>0</td><td>0.3333</td><td>0.5</td>" in in_use
    assert "<td>together</td><td>1</td><td>1</td><td>0.5</td><td>0.5</td>" in in_use
    assert "0.85" not in in_use
    assert "<td>min_identity</td><td>0.85</td><td>1</td><td>2</td>" in proposed
    assert "<td>fitted</td><td>1</td><td>0.5</td>" in proposed
    assert "held out" not in proposed


def test_where_nothing_passes_there_is_no_precision(tmp_path, make_triplet):
    table = rows_table([manifest_row(make_triplet(0), "shard-000000.tar", "0" * 64)])
    labelled = Labelled(table.append_column("good", pa.array([True])), "x")
    thresholds = Thresholds.from_filters({"min_identity": 5.0})
    judged = in_force(lambda rows: decide_table(rows, thresholds), labelled)
    assert judged["rows"]["together"]["precision"] is None
    rejections = {"triplets": 1, "accepted": 0, "rejected": {}, "skipped": {}}
    write_filter_page(tmp_path, table, rejections, judged=[judged])
    assert "<td>together</td><td>1</td><td>0</td><td>-</td><td>0</td>" in (tmp_path / "filters.html").read_text()


def test_reasons_without_a_sheet_are_named(tmp_path):
    reasons = {f"reason_{i}": {"count": 20 - i, "examples": []} for i in range(14)}
    for i in range(12):
        (tmp_path / f"rejected-reason_{i}.png").write_bytes(b"")
    rejections = {"triplets": 500, "accepted": 0, "rejected": reasons, "skipped": {}}
    assert "2 rarer reasons have no sheet here: reason_12, reason_13." in filter_page({}, rejections, tmp_path)


@pytest.mark.parametrize("text", ["junk", "[]", '{"bounds": {}}'])
def test_a_damaged_proposal_says_what_to_do(tmp_path, make_triplet, text):
    table = rows_table([manifest_row(make_triplet(0), "shard-000000.tar", "0" * 64)])
    (tmp_path / "proposal.json").write_text(text)
    rejections = {"triplets": 1, "accepted": 0, "rejected": {}, "skipped": {}}
    with pytest.raises(InputError, match=r"proposal.json: must be as --recalibrate wrote it; run that again"):
        write_filter_page(tmp_path, table, rejections)
