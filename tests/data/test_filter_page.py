import json

import numpy as np

from sugar.data.filter_page import filter_page, histogram, write_filter_page
from sugar.data.manifest import manifest_row, rows_table


def test_every_known_score_lies_in_one_bin():
    values = np.array([0.0, 0.5, 1.0, np.nan, 1.0])
    bins = histogram(values, np.array([True, True, False, True, True]), 4)
    assert bins == {"edges": [0, 0.25, 0.5, 0.75, 1.0], "kept": [1, 0, 1, 1], "rejected": [0, 0, 0, 1]}
    assert histogram(np.array([np.nan]), np.array([True]))["edges"] == []
    alike = histogram(np.array([2.0, 2.0]), np.array([True, False]))
    assert (sum(alike["kept"]), sum(alike["rejected"])) == (1, 1)


def test_the_page_shows_scores_reasons_truth_and_sheets(tmp_path, make_triplet):
    table = rows_table([manifest_row(make_triplet(i), "shard-000000.tar", "0" * 64) for i in range(4)])
    (tmp_path / "rejected-identity_low.png").write_bytes(b"")
    truth = {"identity": {"threshold": 0.6, "precision": 0.9, "recall": 0.8, "num_good": 5, "num_bad": 5}}
    (tmp_path / "calibration.json").write_text(json.dumps(truth))
    reasons = {"identity_low": {"count": 1, "examples": ["<key>"]}}
    rejections = {"triplets": 4, "accepted": 3, "rejected": reasons, "skipped": {}}
    write_filter_page(tmp_path, table, rejections)
    page = (tmp_path / "filters.html").read_text()
    assert page.count("<svg") == 2
    assert "4 triplets, 3 kept" in page
    assert "&lt;key&gt;" in page
    assert "<td>0.9</td><td>0.8</td>" in page
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
