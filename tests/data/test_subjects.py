import numpy as np
import pytest

from sugar.config import InputError
from sugar.data.image_io import BadMedia
from sugar.data.shards import remove_damaged_shards
from sugar.data.subjects import Subject, read_subjects, subjects_manifest, write_subjects


def subject(number: int) -> Subject:
    image = np.random.default_rng(number).integers(0, 256, (6, 8, 3 + number % 2), np.uint8)
    return Subject(f"s{number}", image, "dog", "animal", source_digest="ab", seed=number)


def test_subjects_come_back_in_order(tmp_path):
    table = write_subjects(tmp_path, map(subject, range(5)), shard_size=2)
    assert table.equals(subjects_manifest(tmp_path))
    assert table["shard"].to_pylist()[-1] == "shard-000002.tar"
    assert table["has_alpha"].to_pylist() == [False, True, False, True, False]
    back = list(read_subjects(tmp_path))
    assert [one.key for one in back] == ["s0", "s1", "s2", "s3", "s4"]
    for number, one in enumerate(back):
        np.testing.assert_array_equal(one.image, subject(number).image)
        assert (one.noun, one.category, one.source_digest, one.seed) == ("dog", "animal", "ab", number)


def test_keys_choose_subjects(tmp_path):
    write_subjects(tmp_path, map(subject, range(5)), shard_size=2)
    (tmp_path / "shard-000000.tar").unlink()
    assert [one.key for one in read_subjects(tmp_path, {"s3", "s4"})] == ["s3", "s4"]
    with pytest.raises(InputError, match=r"shard-000000\.tar"):
        list(read_subjects(tmp_path))


def test_a_shorter_run_leaves_nothing_of_the_longer_one(tmp_path):
    write_subjects(tmp_path / "a", map(subject, range(5)), shard_size=2)
    write_subjects(tmp_path / "a", map(subject, range(2)), shard_size=2)
    write_subjects(tmp_path / "b", map(subject, range(2)), shard_size=2)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()
    }


def test_no_subjects_make_a_dataset_too(tmp_path):
    write_subjects(tmp_path, [])
    assert list(read_subjects(tmp_path)) == []


def test_a_key_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="s0"):
        write_subjects(tmp_path, [subject(0), subject(1), subject(0)], shard_size=2)
    with pytest.raises(ValueError, match="key must be"):
        Subject("a/b", subject(0).image, "dog", "animal")
    with pytest.raises(ValueError, match="image must be uint8"):
        Subject("a", subject(0).image[..., :2], "dog", "animal")


def test_a_subject_with_other_bytes_than_were_written_is_bad(tmp_path):
    write_subjects(tmp_path, map(subject, range(5)), shard_size=2)
    shard = tmp_path / "shard-000001.tar"
    shard.write_bytes(shard.read_bytes().replace(b'"noun": "dog"', b'"noun": "dig"', 1))
    told: list[tuple[str, str]] = []
    kept = [one.key for one in read_subjects(tmp_path, on_bad=lambda *bad: told.append(bad))]
    assert (kept, told) == (["s0", "s1", "s3", "s4"], [("s2", "changed")])
    with pytest.raises(BadMedia, match="s2: not the bytes that the manifest is about"):
        list(read_subjects(tmp_path))
    assert remove_damaged_shards(tmp_path) == [shard.name]
    write_subjects(tmp_path, map(subject, range(5)), shard_size=2)
    assert remove_damaged_shards(tmp_path) == []
