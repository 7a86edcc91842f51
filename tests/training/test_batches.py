"""Batches are a function of (seed, step, slot) and of nothing else."""

from __future__ import annotations

import time

import pytest
import torch

from sugar.config import InputError
from sugar.data.latents import LatentCache
from sugar.training.batches import STREAMS, Batch, Batches, Prefetcher, rank_slots


@pytest.fixture
def batches(caches) -> Batches:
    opened = {source: LatentCache.open(folder) for source, folder in caches.items()}
    return Batches(
        opened,
        {"real": 0.5, "synthetic": 0.5},
        seed=3,
        global_batch=8,
        num_train_timesteps=1000,
        drop={"dino": 0.5, "clip": 0.2, "text": 0.2},
    )


def _joined(parts: list[Batch], order: torch.Tensor) -> dict[str, torch.Tensor]:
    tensors = {
        name: torch.cat([getattr(p, name) for p in parts])[order]
        for name in ("latents", "noise", "timesteps")
    }
    tensors |= {f"token_{n}": torch.cat([p.tokens[n] for p in parts])[order] for n in parts[0].tokens}
    return tensors | {f"keep_{n}": torch.cat([p.keep[n] for p in parts])[order] for n in parts[0].keep}


@pytest.mark.parametrize("processes, micro", [(1, 4), (2, 2), (4, 1), (2, 4), (1, 1)])
def test_ranks_and_accumulation_share_out_the_same_global_batch(batches, processes, micro) -> None:
    whole = batches.train_batch(5, range(8))
    slots = [s for rank in range(processes) for s in rank_slots(8, micro, rank, processes)]
    assert sorted(slot for r in slots for slot in r) == list(range(8))
    order = torch.tensor([slot for r in slots for slot in r]).argsort()
    parts = _joined([batches.train_batch(5, r) for r in slots], order)
    for name, tensor in _joined([whole], torch.arange(8)).items():
        assert torch.equal(tensor, parts[name]), name


@pytest.mark.parametrize("processes, micro", [(1, 8), (2, 1), (4, 2)])
def test_no_sample_comes_again_before_all_of_its_source_came(batches, caches, processes, micro) -> None:
    """After any number of steps the counts of two samples of a source differ by one at most."""
    slots = [s for rank in range(processes) for s in rank_slots(8, micro, rank, processes)]
    trained = {
        source: {cache.keys[i] for i in cache.train_indices}
        for source, cache in ((source, LatentCache.open(folder)) for source, folder in caches.items())
    }
    counts = dict.fromkeys(trained["real"] | trained["synthetic"], 0)
    for step in range(15):
        for micro_batch in slots:
            for key in batches.train_batch(step, micro_batch).keys:
                counts[key] += 1
        for keys in trained.values():
            drawn = [counts[key] for key in keys]
            assert sum(drawn) == 4 * (step + 1)
            assert max(drawn) - min(drawn) <= 1


def test_latents_are_the_posterior_in_model_space(batches, caches) -> None:
    many = [batches.train_batch(step, range(8)) for step in range(60)]
    cache = LatentCache.open(caches["real"])
    stored = cache.get(cache.keys.index(key := next(k for k in many[0].keys if k.startswith("1-"))))
    drawn = torch.stack([b.latents[b.keys.index(key)] for b in many if key in b.keys])
    noise = (drawn / 0.7 - stored["mean"]) / stored["std"]
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert noise.mean() == pytest.approx(0.0, abs=0.05)
    assert len({float(x) for x in drawn[:, 0, 0, 0, 0]}) == len(drawn)


def test_conditions_are_dropped_independently_as_often_as_stated(batches) -> None:
    keep = {
        name: torch.cat([batches.train_batch(s, range(8)).keep[name] for s in range(150)])
        for name in ("dino", "clip", "text")
    }
    dropped = {name: float((~mask).float().mean()) for name, mask in keep.items()}
    assert dropped == pytest.approx({"dino": 0.5, "clip": 0.2, "text": 0.2}, abs=0.045)
    both = float((~keep["dino"] & ~keep["text"]).float().mean())
    assert both == pytest.approx(0.1, abs=0.03)


def test_timesteps_cover_the_schedule_evenly(batches) -> None:
    t = torch.cat([batches.train_batch(s, range(8)).timesteps for s in range(150)])
    assert 0 <= t.min() < 10
    assert 990 <= t.max() < 1000
    assert torch.histc(t.float(), 4, 0, 1000) / len(t) == pytest.approx([0.25] * 4, abs=0.04)


def test_training_never_sees_a_held_out_sample_and_uses_all_others(batches, caches) -> None:
    seen = {key for step in range(12) for key in batches.train_batch(step, range(8)).keys}
    for folder in caches.values():
        cache = LatentCache.open(folder)
        assert not seen & {cache.keys[i] for i in cache.held_out_indices}
        assert seen >= {cache.keys[i] for i in cache.train_indices}


def test_held_out_batches_never_change_drop_nothing_and_are_the_same_for_all_ranks(batches) -> None:
    first, again = ([*batches.held_out_batches("real", 4, [range(8)])] for _ in range(2))
    assert len(first) == 1
    assert torch.equal(first[0].noise, again[0].noise)
    assert all(mask.all() for mask in first[0].keep.values())
    parts = [b for rank in range(2) for b in batches.held_out_batches("real", 4, rank_slots(8, 2, rank, 2))]
    order = torch.tensor([0, 1, 4, 5, 2, 3, 6, 7])
    assert torch.equal(torch.cat([part.noise for part in parts])[order], first[0].noise)
    assert [key for part in parts for key in part.keys] == [first[0].keys[i] for i in order.tolist()]


def test_caches_of_different_encoders_are_refused(caches) -> None:
    opened = {source: LatentCache.open(folder) for source, folder in caches.items()}
    opened["real"].meta["vae_scaling_factor"] = 1.0
    with pytest.raises(InputError, match="vae_scaling_factor must agree"):
        Batches(opened, {"real": 1.0}, seed=0, global_batch=1, num_train_timesteps=10, drop={})


def test_the_prefetcher_keeps_the_order_and_hands_on_errors() -> None:
    def make(step: int) -> int:
        if step == 5:
            raise ValueError("broken sample")
        return step

    with Prefetcher(make, 2, 9) as ready:
        assert [ready.next() for _ in range(3)] == [2, 3, 4]
        with pytest.raises(ValueError, match="broken sample"):
            ready.next()


def test_the_prefetcher_lets_go_when_the_loop_breaks_off() -> None:
    begun = time.monotonic()
    with Prefetcher(lambda step: step, 0, 10**9) as ready:
        ready.next()
    assert time.monotonic() - begun < 2


def test_the_exponent_moves_timesteps_of_training_and_no_others(caches) -> None:
    opened = {"real": LatentCache.open(caches["real"])}
    shared = {"seed": 3, "global_batch": 64, "num_train_timesteps": 1000, "drop": dict.fromkeys(STREAMS, 0.0)}
    uniform = Batches(opened, {"real": 1.0}, **shared)
    noisier = Batches(opened, {"real": 1.0}, **shared, timestep_exponent=0.35)
    ours, theirs = noisier.train_batch(2, range(64)), uniform.train_batch(2, range(64))
    expected = 1000 * (theirs.timesteps / 1000) ** 0.35
    assert (ours.timesteps - expected).abs().max() < 1000 * (1 / 1000) ** 0.35
    assert (ours.timesteps >= 750).float().mean() > (theirs.timesteps >= 750).float().mean() + 0.15
    assert torch.equal(ours.noise, theirs.noise) and torch.equal(ours.latents, theirs.latents)
    held = [next(iter(b.held_out_batches("real", 64, [range(64)]))) for b in (noisier, uniform)]
    assert torch.equal(held[0].timesteps, held[1].timesteps)
