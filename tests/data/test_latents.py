from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sugar.config import InputError
from sugar.data.latent_files import DIGESTS as NOTE
from sugar.data.latent_files import latent_files, remove_damaged_latents
from sugar.data.latent_index import INDEX, held_out, remove_damaged_index
from sugar.data.latents import LatentCache, LatentWriter

META = {"vae_scaling_factor": 0.7, "encoders": "abc", "dtype": "float32"}
KEYS = [f"k{i}" for i in range(7)]
DIGESTS = [f"d{i}" for i in range(7)]


def tensors(digests: list[str]) -> dict[str, torch.Tensor]:
    """What an encoder would give: a function of the digests."""
    rows = [torch.Generator().manual_seed(int(digest[1:])) for digest in digests]
    return {
        "mean": torch.stack([torch.randn(3, 2, 4, 4, generator=g) for g in rows]),
        "std": torch.stack([torch.rand(3, 2, 4, 4, generator=g) for g in rows]),
        "text": torch.stack([torch.randn(5, 8, generator=g) for g in rows]).bfloat16(),
    }


def build(
    folder: Path, keys: list[str] = KEYS, digests: list[str] = DIGESTS, batch: int = 2, **changes: object
) -> list[int]:
    """Bring the cache up to date; returns what was encoded."""
    options = {"meta": META, "shard_size": 3, "held_out_fraction": 0.3} | changes
    writer = LatentWriter(folder, **options)
    todo = writer.plan(keys, digests)
    for start in range(0, len(todo), batch):
        positions = todo[start : start + batch]
        writer.add(positions, tensors([digests[position] for position in positions]))
    writer.finish()
    return todo


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_samples_come_back_one_by_one_and_stacked(tmp_path):
    assert build(tmp_path) == list(range(7))
    cache = LatentCache.open(tmp_path)
    assert len(cache) == 7
    assert cache.keys == KEYS
    assert cache.digests == DIGESTS
    shapes = {"mean": [3, 2, 4, 4], "std": [3, 2, 4, 4], "text": [5, 8]}
    assert cache.meta == META | {"shapes": shapes}
    expected = tensors(DIGESTS)
    order = [6, 0, 3, 3, 1]
    batch = cache.batch(order)
    for name, value in expected.items():
        assert torch.equal(batch[name], value[order])
        assert batch[name].dtype == value.dtype
        assert torch.equal(cache.get(4)[name], value[4])


def test_what_a_batch_gives_may_be_changed(tmp_path):
    build(tmp_path)
    cache = LatentCache.open(tmp_path)
    cache.get(0)["mean"].zero_()
    assert torch.equal(cache.get(0)["mean"], tensors(DIGESTS[:1])["mean"][0])


def test_nothing_is_encoded_twice(tmp_path):
    build(tmp_path)
    before = content(tmp_path)
    assert build(tmp_path) == []
    assert content(tmp_path) == before


def test_a_cache_is_whole_until_anything_is_to_be_done(tmp_path):
    def whole(keys: list[str] = KEYS, digests: list[str] = DIGESTS, **changes: object) -> bool:
        options = {"meta": META, "shard_size": 3, "held_out_fraction": 0.3} | changes
        writer = LatentWriter(tmp_path, **options)
        index = writer.whole(pa.chunked_array([keys], pa.string()), pa.chunked_array([digests], pa.string()))
        assert index is None or index["key"].to_pylist() == keys
        return index is not None

    assert not whole()
    build(tmp_path)
    assert whole()
    assert not whole(KEYS[:6], DIGESTS[:6])
    assert not whole(KEYS[::-1], DIGESTS[::-1])
    assert not whole(KEYS, [*DIGESTS[:6], "d9"])
    for changes in ({"meta": META | {"dtype": "x"}}, {"shard_size": 2}, {"held_out_fraction": 0.2}):
        assert not whole(**changes)
    left = tmp_path / "latents-000009-0123456789ab.safetensors"  # of a state before
    left.touch()
    assert not whole()
    left.unlink()
    assert whole()
    next(tmp_path.glob("latents-000001-*")).rename(tmp_path / "elsewhere")
    assert not whole()


def test_a_change_encodes_what_changed_alone_and_leaves_no_trace_of_the_past(tmp_path):
    keys = ["new", *KEYS[:2], *KEYS[3:]]
    digests = ["d100", DIGESTS[0], "d101", *DIGESTS[3:]]
    build(tmp_path / "a")
    assert build(tmp_path / "a", keys, digests) == [0, 2]
    assert build(tmp_path / "b", keys, digests, batch=5) == list(range(7))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert torch.equal(LatentCache.open(tmp_path / "a").batch(range(7))["mean"], tensors(digests)["mean"])


def test_another_order_or_shard_size_encodes_nothing(tmp_path):
    build(tmp_path / "a")
    assert build(tmp_path / "a", KEYS[::-1], DIGESTS[::-1]) == []
    assert build(tmp_path / "a", KEYS[::-1], DIGESTS[::-1], shard_size=4) == []
    build(tmp_path / "b", KEYS[::-1], DIGESTS[::-1], shard_size=4)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_another_encoder_encodes_everything(tmp_path):
    build(tmp_path)
    assert build(tmp_path, meta=META | {"encoders": "xyz"}) == list(range(7))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_an_interrupted_run_keeps_its_shards_and_the_old_index(tmp_path):
    build(tmp_path / "a", KEYS[:2], DIGESTS[:2])
    writer = LatentWriter(tmp_path / "a", META, 3, 0.3)
    assert writer.plan(KEYS, DIGESTS) == [2, 3, 4, 5, 6]
    writer.add([2, 3], tensors(DIGESTS[2:4]))
    assert LatentCache.open(tmp_path / "a").keys == KEYS[:2]
    assert build(tmp_path / "a") == [3, 4, 5, 6]
    build(tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_held_out_samples_are_judged_alone(tmp_path):
    keys = [f"key-{i}" for i in range(4000)]
    judged = held_out(keys, 0.1)
    assert 300 < sum(judged) < 500
    assert held_out(keys[::2], 0.1) == judged[::2]
    assert sum(held_out(keys, 0.0)) == 0
    assert sum(held_out(keys[:3], 1e-6)) == 1
    assert held_out(keys[:1], 1e-6) == [False]
    assert held_out([], 0.5) == []
    build(tmp_path)
    cache = LatentCache.open(tmp_path)
    assert sorted([*cache.train_indices, *cache.held_out_indices]) == list(range(7))
    assert [i in cache.held_out_indices for i in range(7)] == held_out(KEYS, 0.3)


def test_an_empty_cache_is_a_cache(tmp_path):
    assert build(tmp_path, [], []) == []
    cache = LatentCache.open(tmp_path)
    assert len(cache) == 0
    assert len(cache.train_indices) == 0


def test_wrong_tensors_are_refused(tmp_path):
    writer = LatentWriter(tmp_path, META, 3)
    writer.plan(KEYS, DIGESTS)
    writer.add([0], tensors(DIGESTS[:1]))
    good = tensors(DIGESTS[1:2])
    with pytest.raises(ValueError, match="position must be one that plan returned"):
        writer.add([0], good)
    with pytest.raises(ValueError, match="position must be one that plan returned"):
        writer.add([99], good)
    with pytest.raises(ValueError, match="tensors must be"):
        writer.add([1], good | {"text": good["text"].float()})
    with pytest.raises(ValueError, match="must have 2 rows, got 1"):
        writer.add([1, 2], good)
    with pytest.raises(ValueError, match="k1: std must be finite"):
        writer.add([1], good | {"std": good["std"] / 0 * 0})
    with pytest.raises(ValueError, match="6 of the planned samples were not given"):
        writer.finish()
    with pytest.raises(ValueError, match="keys must be unique"):
        writer.plan(["a", "a"], ["1", "2"])
    with pytest.raises(ValueError, match="one length"):
        writer.plan(["a"], [])


def test_wrong_indices_are_refused(tmp_path):
    build(tmp_path)
    cache = LatentCache.open(tmp_path)
    with pytest.raises(IndexError, match=r"0\.\.6"):
        cache.get(7)
    with pytest.raises(IndexError):
        cache.batch([0, -1])
    with pytest.raises(ValueError, match="empty"):
        cache.batch([])


def test_a_damaged_cache_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"index\.parquet: no such file"):
        LatentCache.open(tmp_path)
    build(tmp_path)
    shard = min(tmp_path.glob("*.safetensors"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        LatentCache.open(tmp_path)
    shard.unlink()
    with pytest.raises(InputError, match=r"no such file, but index\.parquet names it"):
        LatentCache.open(tmp_path)
    shard.write_bytes(whole)
    assert len(LatentCache.open(tmp_path)) == 7
    assert (tmp_path / INDEX).is_file()


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "header": lambda path: flip(path, 3),
    "addresses": lambda path: path.write_bytes(path.read_bytes().replace(b"a", b"b", 40)),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("size", [3, 4])
def test_what_a_damaged_file_held_is_encoded_again(tmp_path, damage, size, caplog):
    build(tmp_path / "a")
    build(tmp_path / "b", shard_size=size)
    damage(latent_files(tmp_path / "a")[1])
    writer = LatentWriter(tmp_path / "a", META, 3, 0.3)
    assert writer.whole(pa.chunked_array([KEYS]), pa.chunked_array([DIGESTS])) is None
    assert build(tmp_path / "a", shard_size=size) == [3, 4, 5]
    assert "latents-000001-" in caplog.text and "what it held is encoded again" in caplog.text
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_changed_bytes_are_found_by_their_digest(tmp_path):
    build(tmp_path / "a")
    build(tmp_path / "b")
    assert remove_damaged_latents(tmp_path / "a") == []
    assert content(tmp_path / "a") == content(tmp_path / "b")
    flip(latent_files(tmp_path / "a")[2], -1)
    assert build(tmp_path / "a") == []  # nothing is read without need
    assert remove_damaged_latents(tmp_path / "a") == [latent_files(tmp_path / "b")[2].name]
    assert build(tmp_path / "a") == [6]
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.parametrize("keys", [KEYS, KEYS[1:]])
def test_changed_bytes_are_not_copied_into_new_files(tmp_path, keys, caplog):
    digests = [DIGESTS[KEYS.index(key)] for key in keys]
    build(tmp_path / "a")
    build(tmp_path / "b", keys, digests, shard_size=2)
    flip(latent_files(tmp_path / "a")[1], -1)
    again = [keys.index(key) for key in KEYS[3:6]]
    assert build(tmp_path / "a", keys, digests, shard_size=2) == again
    assert caplog.text.count("is not what was written; what it held is encoded again") == 1
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert remove_damaged_latents(tmp_path / "a") == []


def index_of(folder: Path) -> pa.Table | None:
    """What `whole` finds of the samples of `build`."""
    writer = LatentWriter(folder, META, 3, 0.3)
    return writer.whole(pa.chunked_array([KEYS], pa.string()), pa.chunked_array([DIGESTS], pa.string()))


def test_a_bit_of_the_index_that_has_changed_changes_nothing_unnoticed(tmp_path):
    build(tmp_path)
    index = tmp_path / INDEX
    good, data = index_of(tmp_path), index.read_bytes()
    assert good is not None
    for bit in {5 * 8 + 1, *np.random.default_rng(0).integers(0, 8 * len(data), 300).tolist()}:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        index.write_bytes(damaged)
        found = index_of(tmp_path)
        assert found is None or found.equals(good), bit
        try:
            LatentCache.open(tmp_path)
        except InputError as error:
            assert str(error).endswith("run encode again")
    flip(index, 5)
    assert remove_damaged_index(tmp_path) == [INDEX]
    index.write_bytes(data)
    assert remove_damaged_index(tmp_path) == []


@pytest.mark.parametrize("values", [[None] * 7, [True] * 7])
def test_samples_that_are_not_held_out_as_they_must_be_are_noticed(tmp_path, values):
    build(tmp_path)
    before = content(tmp_path)
    table = pq.read_table(tmp_path / INDEX)
    at = table.column_names.index("held_out")
    pq.write_table(table.set_column(at, "held_out", pa.array(values, pa.bool_())), tmp_path / INDEX)
    assert index_of(tmp_path) is None
    if None in values:
        with pytest.raises(InputError, match=r"index\.parquet: column 'held_out' must have no nulls, got 7"):
            LatentCache.open(tmp_path)
    assert remove_damaged_index(tmp_path) == [INDEX]
    assert build(tmp_path) == []
    assert content(tmp_path) == before
    assert remove_damaged_index(tmp_path / "nowhere") == []


def test_a_cache_without_digests_gets_them_when_it_is_checked(tmp_path):
    build(tmp_path)
    noted = (tmp_path / NOTE).read_bytes()
    (tmp_path / NOTE).unlink()
    assert remove_damaged_latents(tmp_path) == []
    assert (tmp_path / NOTE).read_bytes() == noted
    (tmp_path / NOTE).unlink()
    build(tmp_path, KEYS[:3], DIGESTS[:3])
    assert len(LatentCache.open(tmp_path)) == 3 and (tmp_path / NOTE).is_file()
    assert remove_damaged_latents(tmp_path / "nowhere") == []


@pytest.mark.parametrize("bad", [[0], [2], [0, 1, 2], [1, 3, 6], [6]])
def test_a_sample_that_does_not_come_costs_no_other(tmp_path, bad):
    good = [i for i in range(7) if i not in bad]
    writer = LatentWriter(tmp_path / "a", META, 3, 0.3)
    assert writer.plan(KEYS, DIGESTS) == list(range(7))
    for position in range(7):
        if position in bad:
            writer.drop(position)
        else:
            writer.add([position], tensors([DIGESTS[position]]))
    keys, digests = [KEYS[i] for i in good], [DIGESTS[i] for i in good]
    assert writer.plan(keys, digests) == []
    writer.finish()
    build(tmp_path / "b", keys, digests)
    assert content(tmp_path / "a") == content(tmp_path / "b")
