"""A dataset that is as its stage left it is recognised, and no other."""

import json

import pytest

from sugar.data.published import PUBLISHED, published, remember
from sugar.data.shard_driver import ShardGroup, shards_by

FIGURES = {"triplets": 3.0, "seconds": 9.0, "shards_made": 2.0, "triplets_per_second": 0.3}


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "report").mkdir()
    for name in ("shard-000000.tar", "shard-000000.json", "manifest.parquet", "report/filters.html"):
        (tmp_path / name).write_text(name)
    remember(tmp_path, tmp_path / "report", "digest", FIGURES)
    return tmp_path


def test_the_figures_of_the_dataset_come_back_without_those_of_the_run(dataset):
    assert published(dataset, dataset / "report", "digest") == {"triplets": 3.0, "shards_made": 0.0}


@pytest.mark.parametrize(
    "name, content",
    [
        ("shard-000000.tar", "longer than before"),
        ("shard-000000.json", "shard-000001.json"),
        ("manifest.parquet", "manifest.parquex"),
        ("report/filters.html", ""),
        ("shard-000001.tar", "one more"),
        ("report/proposal.json", "{}"),
        (f"report/{PUBLISHED}", "[1]"),
        (f"report/{PUBLISHED}", "{"),
    ],
)
def test_a_change_of_any_file_is_seen(dataset, name, content):
    (dataset / name).write_text(content)
    assert published(dataset, dataset / "report", "digest") is None


@pytest.mark.parametrize("figures", [{"triplets": 4.0, "shards_made": 0.0}, [1], None])
def test_other_figures_than_were_noted_are_seen(dataset, figures):
    note = dataset / "report" / PUBLISHED
    note.write_text(json.dumps(json.loads(note.read_text()) | {"figures": figures}))
    assert published(dataset, dataset / "report", "digest") is None


@pytest.mark.parametrize("name", ["shard-000000.tar", "manifest.parquet", "report/filters.html"])
def test_a_file_that_is_gone_is_seen(dataset, name):
    (dataset / name).unlink()
    assert published(dataset, dataset / "report", "digest") is None


def test_other_inputs_are_seen(dataset):
    assert published(dataset, dataset / "report", "other") is None
    assert published(dataset, dataset / "nowhere", "digest") is None


def test_one_group_among_several_always_looks_for_itself(dataset):
    with shards_by(ShardGroup(0, 2)):
        assert published(dataset, dataset / "report", "digest") is None
