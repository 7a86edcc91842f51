import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sugar.config import InputError
from sugar.data.manifest import (
    COLUMNS,
    MANIFEST,
    ORIGIN,
    accepted_rows,
    balanced_rows,
    dataset_digest,
    manifest_columns,
    manifest_row,
    merge_manifests,
    read_manifest,
    rows_table,
    score_names,
    write_manifest,
)


@pytest.fixture
def rows(make_triplet):
    return [manifest_row(make_triplet(i), "shard-000000.tar", f"{i:064x}") for i in range(6)]


def test_rows_come_back_and_bytes_repeat(tmp_path, rows):
    write_manifest(tmp_path / "a", rows)
    table = read_manifest(tmp_path / "a")
    assert table.to_pylist() == [{name: row.get(name) for name in table.column_names} for row in rows]
    assert table.column_names == [*COLUMNS, *ORIGIN, "score_flow_px", "score_identity"]
    assert score_names(table) == ["flow_px", "identity"]
    write_manifest(tmp_path / "b", table)
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()


def test_some_columns_are_read_alone(tmp_path, rows):
    table = write_manifest(tmp_path, rows)
    assert manifest_columns(tmp_path) == table.column_names
    some = read_manifest(tmp_path, ("digest", "reasons", "key", "no such column"))
    assert some.equals(table.select(["key", "reasons", "digest"]))
    assert some.schema.metadata == table.schema.metadata


def test_a_score_that_a_row_lacks_is_null(rows):
    del rows[2]["score_identity"]
    assert rows_table(rows)["score_identity"].is_null().to_pylist() == [i == 2 for i in range(6)]


def test_textures_and_colours_are_columns_where_a_row_has_them(rows, tmp_path):
    plain, painted = rows_table(rows[:3]), rows_table([row | {"texture": "wool"} for row in rows[3:]])
    assert "texture" not in merge_manifests([plain]).column_names
    table = write_manifest(tmp_path, merge_manifests([plain, painted]))
    assert table.column_names[len(COLUMNS)] == "texture"
    assert "colour" not in table.column_names
    assert read_manifest(tmp_path)["texture"].to_pylist() == [""] * 3 + ["wool"] * 3


def test_no_rows_make_a_manifest_too(tmp_path):
    write_manifest(tmp_path, [])
    assert read_manifest(tmp_path).num_rows == 0
    assert len(dataset_digest(tmp_path)) == 64


def test_rows_must_have_the_columns_and_keys_of_their_own(rows, tmp_path):
    with pytest.raises(ValueError, match=r"lacks columns \['noun'\]"):
        rows_table([{name: value for name, value in rows[0].items() if name != "noun"}])
    with pytest.raises(ValueError, match=r"unknown columns \['taste'\]"):
        rows_table([rows[0] | {"taste": "red"}])
    with pytest.raises(ValueError, match=r"unique, got \['sample-0003'\]"):
        write_manifest(tmp_path, [*rows, rows[3]])
    assert not (tmp_path / MANIFEST).exists()


def test_merging_is_associative(rows):
    a, b, c = rows_table(rows[:1]), rows_table(rows[1:3]), rows_table(rows[3:])
    b = b.drop_columns(["score_identity"])
    left, right = merge_manifests([merge_manifests([a, b]), c]), merge_manifests([a, merge_manifests([b, c])])
    assert left.equals(right)
    assert left["key"].to_pylist() == [row["key"] for row in rows]


@pytest.mark.parametrize(
    "change, rule",
    [
        (lambda t: t.replace_schema_metadata({"schema_version": "2"}), "schema_version must be 1, got 2"),
        (lambda t: t.replace_schema_metadata(None), "schema_version must be 1, got none"),
        (lambda t: t.drop_columns(["noun"]), "must have a column 'noun'"),
        (
            lambda t: t.set_column(t.column_names.index("fps"), "fps", pa.array(["8"] * 6)),
            "column 'fps' must be of type double, got string",
        ),
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path, rows, change, rule):
    table = write_manifest(tmp_path, rows)
    pq.write_table(change(table), tmp_path / MANIFEST)
    with pytest.raises(InputError, match=rf"manifest\.parquet: {rule}"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"no parquet",
        lambda whole: whole[:-20],
        lambda whole: whole.replace(b"prompt", b"prom\xa5t"),
    ],
)
def test_a_damaged_or_missing_manifest_is_refused(tmp_path, rows, damage):
    write_manifest(tmp_path, rows)
    (tmp_path / MANIFEST).write_bytes(damage((tmp_path / MANIFEST).read_bytes()))
    with pytest.raises(InputError, match=r"manifest\.parquet: cannot be read"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path / "nowhere")


def test_a_bit_that_has_changed_is_an_error_of_one_line_or_none(tmp_path, rows):
    write_manifest(tmp_path, rows)
    data = (tmp_path / MANIFEST).read_bytes()
    for bit in [*range(32, 96), *np.random.default_rng(0).integers(0, 8 * len(data), 300).tolist()]:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / MANIFEST).write_bytes(damaged)
        for read in (read_manifest, dataset_digest):
            try:
                read(tmp_path)
            except InputError as error:
                assert str(error).startswith(str(tmp_path / MANIFEST)) and "\n" not in str(error)


def test_text_that_is_no_utf8_is_refused(tmp_path, rows):
    table = rows_table(rows[:1])
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xa9a")]
    )
    table = table.set_column(table.column_names.index("prompt"), "prompt", text)
    pq.write_table(table.replace_schema_metadata({"schema_version": "1"}), tmp_path / MANIFEST)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_manifest(tmp_path)


def test_the_digest_follows_content_and_not_chunks(tmp_path, rows):
    write_manifest(tmp_path / "a", rows)
    write_manifest(tmp_path / "b", merge_manifests([rows_table(rows[:2]), rows_table(rows[2:])]).slice(0, 6))
    digest = dataset_digest(tmp_path / "a")
    assert dataset_digest(tmp_path / "b") == digest
    changes = {"prompt": "other", "score_identity": 0.25, "accepted": False, "reasons": ["x"], "seed": 7}
    for name, value in changes.items():
        write_manifest(tmp_path / "c", [rows[0] | {name: value}, *rows[1:]])
        assert dataset_digest(tmp_path / "c") != digest, name
    moved = [rows[0] | {"prompt": "ab", "style": "c"}, rows[0] | {"prompt": "a", "style": "bc"}]
    for folder, row in zip("de", moved, strict=True):
        write_manifest(tmp_path / folder, [row])
    assert dataset_digest(tmp_path / "d") != dataset_digest(tmp_path / "e")


def test_accepted_rows_are_those_that_passed(rows):
    rows[1]["accepted"] = False
    assert "sample-0001" not in accepted_rows(rows_table(rows))["key"].to_pylist()
    assert accepted_rows(rows_table(rows)).num_rows == 5


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0.05, 1.0), st.integers(0, 99))
def test_balance_keeps_what_it_can_and_no_value_has_more_than_its_share(counts, share, seed):
    nouns = np.random.default_rng(seed).permutation(np.repeat([f"n{i}" for i in range(len(counts))], counts))
    table = pa.table({"key": [f"k{i}" for i in range(len(nouns))], "noun": nouns.tolist()})
    if len(counts) * share < 1:
        with pytest.raises(ValueError, match="cannot have at most"):
            balanced_rows(table, "noun", share)
        return
    kept = balanced_rows(table, "noun", share, seed)
    left = {entry["values"]: entry["counts"] for entry in kept["noun"].value_counts().to_pylist()}
    assert max(left.values()) <= share * kept.num_rows + 1e-6
    # One row more of the fullest value would break the rule, or there is none.
    limit = max(left.values())
    assert [left[f"n{i}"] for i in range(len(counts))] == [min(count, limit) for count in counts]
    more = np.minimum(counts, limit + 1)
    assert limit == max(counts) or more.max() > share * more.sum()
    keys = kept["key"].to_pylist()
    assert keys == sorted(keys, key=lambda key: int(key[1:]))
    shuffled = table.take(pa.array(np.random.default_rng(seed + 1).permutation(len(nouns))))
    assert set(balanced_rows(shuffled, "noun", share, seed)["key"].to_pylist()) == set(keys)
