import gc

import pyarrow as pa
import pytest

from sugar.data.gate import GateBounds, run_gate
from sugar.data.manifest import manifest_row, write_manifest


@pytest.fixture
def rows(make_triplet):
    return [manifest_row(make_triplet(i), "shard-000000.tar", f"{i:064x}") for i in range(12)]


def test_the_gate_passes_a_good_dataset_and_says_what_is_wrong_with_a_bad_one(tmp_path, rows):
    rows[0] |= {"accepted": False, "reasons": ["low_identity"]}
    write_manifest(tmp_path, rows)
    bounds = GateBounds("synthetic", min_rows=11, min_acceptance=0.9, max_noun_share=0.4, max_style_share=0.6)
    good = run_gate(tmp_path, bounds, tmp_path / "html")
    assert good.failures == ()
    assert good.success
    assert good.statistics["rows"] == 12
    assert good.statistics["accepted"] == 11
    assert good.statistics["acceptance"] == pytest.approx(11 / 12)
    assert good.statistics["num_nouns"] == 3
    assert good.statistics["max_style_share"] == pytest.approx(6 / 11)
    assert "<html" in (tmp_path / "html" / "index.html").read_text().lower()
    assert list((tmp_path / "html" / "validations").rglob("*.html"))

    for row in rows[1:8]:
        row |= {"noun": "ox", "style": "gold"}
    rows[2] |= {"accepted": False, "reasons": []}
    rows[3] |= {"score_identity": 1.5, "num_frames": 9}
    rows[4] |= {"score_flow_px": None, "source": "real"}
    rows[5] |= {"digest": rows[6]["digest"], "prompt": ""}
    write_manifest(tmp_path, rows)
    bad = run_gate(tmp_path, bounds, tmp_path / "html")
    assert not bad.success
    failures = "\n".join(bad.failures)
    for expected in (
        "rows: expect_column_values_to_be_in_set(verdict_explained",
        "key sample-0002",
        "rows: expect_column_values_to_be_between(score_identity, min_value=-1.0, max_value=1.0): 1 of 12",
        "key sample-0003, score_identity 1.5",
        "rows: expect_column_values_to_be_in_set(source",
        "rows: expect_column_value_lengths_to_be_between(prompt",
        "rows: expect_column_mean_to_be_between(accepted, min_value=0.9) by validate.min_acceptance.synthetic: got 0.83",
        "accepted rows: expect_table_row_count_to_be_between(min_value=11) by validate.min_rows.synthetic: got 10",
        "accepted rows: expect_column_values_to_be_unique(digest): 2 of 10",
        "accepted rows: expect_column_values_to_not_be_null(score_flow_px)",
        "accepted rows: expect_column_unique_value_count_to_be_between(num_frames, max_value=1",
        "nouns: expect_column_values_to_be_between(share, max_value=0.4) by validate.max_noun_share: 1 of 4",
        "noun ox, share 0.6",
        "styles: expect_column_values_to_be_between(share, max_value=0.6)",
    ):
        assert expected in failures, failures
    assert len(bad.failures) == 11, failures


def test_textures_and_colours_are_balanced_where_there_are_any(tmp_path, rows):
    bounds = GateBounds("synthetic", max_texture_share=0.5)
    write_manifest(tmp_path, rows)
    assert "max_texture_share" not in run_gate(tmp_path, bounds, tmp_path / "html").statistics
    for number, row in enumerate(rows):
        row |= {"texture": "wool"} if number < 9 else {"texture": "ice", "colour": "red"}
    write_manifest(tmp_path, rows)
    result = run_gate(tmp_path, bounds, tmp_path / "html")
    assert result.statistics["max_texture_share"] == pytest.approx(0.75)
    assert result.statistics["num_colours"] == 2
    assert len(result.failures) == 1
    assert "textures: expect_column_values_to_be_between(share, max_value=0.5)" in result.failures[0]


def test_examples_name_the_row_and_do_not_print_a_whole_caption(tmp_path, rows):
    rows[3] |= {"prompt": "word " * 5000}
    write_manifest(tmp_path, rows)
    (failure,) = run_gate(tmp_path, GateBounds("synthetic"), tmp_path / "html").failures
    assert "max_value=10000): 1 of 12 break it, e.g. key sample-0003, prompt word word" in failure
    assert len(failure) < 300


def test_nothing_of_a_dataset_stays_in_memory(tmp_path, rows):
    write_manifest(tmp_path, rows)
    run_gate(tmp_path, GateBounds("synthetic"), tmp_path / "html")
    gc.collect()
    before = pa.total_allocated_bytes()
    many = [{**row, "key": f"{row['key']}-{number}"} for number in range(100) for row in rows]
    write_manifest(tmp_path, many)
    run_gate(tmp_path, GateBounds("synthetic"), tmp_path / "html")
    gc.collect()
    assert pa.total_allocated_bytes() <= before
