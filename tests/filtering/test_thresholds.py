import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.config import InputError
from sugar.filtering.thresholds import SCORES, Thresholds, decide, decide_table

ROWS = Thresholds.from_filters(
    {"min_identity": 0.6, "min_flow_px": 0.5, "max_flow_px": 9, "min_image_text": None}
)


def test_reasons_read_as_comparisons():
    assert decide({"identity": 0.7, "flow_px": 2.0}, ROWS) == (True, ())
    assert decide({"identity": 0.6, "flow_px": 9.0}, ROWS) == (True, ())
    accepted, reasons = decide({"identity": 0.41, "flow_px": 12.25}, ROWS)
    assert not accepted
    assert reasons == ("identity 0.41 < 0.60", "flow_px 12.25 > 9.00")


def test_a_close_miss_shows_the_difference():
    assert decide({"identity": 0.59996, "flow_px": 1}, ROWS)[1] == ("identity 0.59996 < 0.60000",)
    tiny = decide({"identity": np.nextafter(0.6, 0), "flow_px": 1}, ROWS)[1][0]
    assert tiny.split()[1] != tiny.split()[3]


def test_no_score_is_a_reason():
    _, reasons = decide({"identity": float("nan")}, ROWS)
    assert reasons == ("identity is nan", "flow_px is missing", "flow_px is missing")
    assert decide({}, Thresholds(())) == (True, ())


@pytest.mark.parametrize("key", ["identity", "min_beauty", "least_identity", "min"])
def test_unknown_keys_are_refused(key):
    with pytest.raises(InputError, match=f"filters.{key}"):
        Thresholds.from_filters({key: 0.5})


def test_a_threshold_is_a_number():
    with pytest.raises(InputError, match="finite"):
        Thresholds.from_filters({"min_identity": float("nan")})


values = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=False, width=32))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=1, max_size=6))
def test_a_table_is_decided_row_by_row(rows):
    identity, flow = zip(*rows, strict=True)
    table = pa.table(
        {
            "key": [f"k{i}" for i in range(len(rows))],
            "score_identity": pa.array(identity, pa.float64()),
            "score_flow_px": pa.chunked_array([pa.array(flow, pa.float64())]),
            "accepted": [True] * len(rows),
            "reasons": pa.array([["old"]] * len(rows), pa.list_(pa.string())),
        }
    )
    decided = decide_table(table, ROWS)
    assert decided.column_names == table.column_names
    for i, row in enumerate(decided.to_pylist()):
        expected = decide({"identity": identity[i], "flow_px": flow[i]}, ROWS)
        assert (row["accepted"], tuple(row["reasons"])) == expected


def test_a_table_without_the_score_is_refused():
    table = pa.table({"score_identity": [0.5]})
    with pytest.raises(InputError, match="score_flow_px"):
        decide_table(table, ROWS)
    decided = decide_table(table, Thresholds.from_filters({"min_identity": 0.6}))
    assert decided["reasons"].to_pylist() == [["identity 0.50 < 0.60"]]


def test_every_score_can_be_a_threshold():
    filters = {f"{direction}_{score}": 0.5 for score in SCORES for direction in ("min", "max")}
    assert len(Thresholds.from_filters(filters).bounds) == 2 * len(SCORES)
