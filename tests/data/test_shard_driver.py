"""Shards dealt out to groups give the dataset that one process would have made."""

import itertools

import pytest
import shard_stubs
from hypothesis import given
from hypothesis import strategies as st

from sugar.config import InputError
from sugar.data.shard_driver import GroupDone, ShardGroup, current_driver, shards_by
from sugar.data.shard_pool import run_shards

DIGESTS = ["a", "b", "c", "d", "e"]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("shard-")}


@given(st.integers(0, 40), st.integers(1, 9))
def test_every_shard_belongs_to_one_group(num_shards, count):
    parts = [ShardGroup(index, count).own(range(num_shards)) for index in range(count)]
    assert sorted(itertools.chain(*parts)) == list(range(num_shards))


@pytest.mark.parametrize("text", ["3", "3/3", "-1/3", "0/0", "a/b", "1/2/3", ""])
def test_a_wrong_group_is_refused(text):
    with pytest.raises(InputError, match="group must be INDEX/COUNT"):
        ShardGroup.parse(text)


def test_groups_in_any_order_and_twice_give_the_same_bytes(tmp_path):
    whole = run_shards(tmp_path / "whole", DIGESTS, shard_stubs.prepare)
    for group, num_made in (("1/2", 2), ("0/2", 3), ("1/2", 0)):
        with shards_by(ShardGroup.parse(group)), pytest.raises(GroupDone) as done:
            run_shards(tmp_path / "dealt", DIGESTS, shard_stubs.prepare)
        assert done.value.num_made == num_made
    merged = run_shards(tmp_path / "dealt", DIGESTS, shard_stubs.prepare)
    assert merged.num_shards_made == 0
    assert (merged.table, merged.skips) == (whole.table, whole.skips)
    assert files(tmp_path / "dealt") == files(tmp_path / "whole")


def test_a_driver_makes_the_shards_first(tmp_path):
    asked = []

    def elsewhere(num_shards):
        asked.append(num_shards)
        with shards_by(None):
            run_shards(tmp_path, DIGESTS, shard_stubs.prepare)

    for _ in range(2):  # the second time there is nothing left to do
        with shards_by(elsewhere):
            run = run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
        assert (run.table.num_rows, run.num_shards_made) == (5 * shard_stubs.NUM_TRIPLETS, 0)
    assert asked == [5]
    assert current_driver() is None


def test_shards_that_were_not_made_are_named(tmp_path):
    with (
        shards_by(lambda num_shards: None),
        pytest.raises(RuntimeError, match=r"5 of 5 shards were not made, the first is shard-000000\.tar"),
    ):
        run_shards(tmp_path, DIGESTS, shard_stubs.prepare)
