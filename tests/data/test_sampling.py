import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.data.sampling import batch_indices, slot_noise, slot_seed, slot_uniform, source_counts

SETTINGS = settings(max_examples=30, deadline=None)

mixtures = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=1).map(
    lambda parts: {name: part / sum(parts.values()) for name, part in parts.items()}
)


@SETTINGS
@given(st.integers(), mixtures, st.integers(1, 24), st.data())
def test_no_index_repeats_before_all_were_used(seed, probabilities, batch, data):
    sizes = {name: data.draw(st.integers(1, 30), label=name) for name in probabilities}
    drawn: dict[str, list[int]] = {name: [] for name in sizes}
    for step in range(12):
        for source, index in batch_indices(seed, step, batch, sizes, probabilities):
            drawn[source].append(index)
    for source, size in sizes.items():
        indices = drawn[source]
        passes = [indices[start : start + size] for start in range(0, len(indices), size)]
        for one in passes:
            assert len(set(one)) == len(one)
            assert set(one) <= set(range(size))
        whole = [tuple(one) for one in passes if len(one) == size]
        if size > 1:
            assert all(a != b for a, b in pairwise(whole))
        assert len(set(whole)) == min(len(whole), math.factorial(size))


@SETTINGS
@given(mixtures, st.integers(1, 40), st.integers(0, 10**9))
def test_counts_follow_the_probabilities_at_every_step(probabilities, batch, first):
    sizes = dict.fromkeys(probabilities, 7)
    bound = {1: 0, 2: 0.5, 3: 1}.get(len(probabilities), 2)
    counts = source_counts(first, batch, sizes, probabilities)
    for step in range(first, first + 15):
        assert counts == source_counts(step, batch, sizes, probabilities)
        assert sum(counts.values()) == step * batch
        for source, probability in probabilities.items():
            assert abs(counts[source] - probability * step * batch) <= bound + 1e-15 * step * batch
        drawn = Counter(source for source, _ in batch_indices(0, step, batch, sizes, probabilities))
        counts = {source: counts[source] + drawn[source] for source in counts}


@SETTINGS
@given(st.integers(0, 100), st.integers(1, 12), st.integers(1, 6))
def test_the_batch_size_cuts_one_sequence(seed, batch, factor):
    sizes, probabilities = {"real": 11, "synthetic": 5}, {"real": 0.7, "synthetic": 0.3}
    long = batch_indices(seed, 3, batch * factor, sizes, probabilities)
    short = [
        pick
        for step in range(3 * factor, 4 * factor)
        for pick in batch_indices(seed, step, batch, sizes, probabilities)
    ]
    assert long == short


def test_it_is_pure_and_the_seed_matters():
    arguments = (3, 16, {"real": 100, "synthetic": 50}, {"real": 0.5, "synthetic": 0.5})
    assert batch_indices(0, *arguments) == batch_indices(0, *arguments)
    assert batch_indices(0, *arguments) != batch_indices(1, *arguments)
    assert batch_indices(np.int64(0), *arguments) == batch_indices(0, *arguments)


def test_this_is_the_sequence_of_every_machine():
    picks = batch_indices(7, 1000, 4, {"real": 1000, "synthetic": 5}, {"real": 0.5, "synthetic": 0.5})
    assert picks == [("real", 953), ("synthetic", 4), ("real", 924), ("synthetic", 2)]


def test_half_and_half_is_half_of_every_batch():
    for step in range(20):
        batch = batch_indices(0, step, 16, {"real": 9, "synthetic": 9}, {"real": 0.5, "synthetic": 0.5})
        assert Counter(source for source, _ in batch) == {"real": 8, "synthetic": 8}


def test_probability_zero_is_never_and_needs_no_samples():
    for sizes in ({"real": 5, "synthetic": 5}, {"real": 5, "synthetic": 0}, {"real": 5}):
        batch = batch_indices(0, 2, 50, sizes, {"real": 1.0, "synthetic": 0.0})
        assert {source for source, _ in batch} == {"real"}
    assert {source for source, _ in batch_indices(0, 2, 50, {"real": 5, "other": 5}, {"real": 1})} == {"real"}


def test_millions_of_samples_need_no_list_of_them():
    size = 2_500_000
    for step in (0, size // 1000, 10**7):
        picks = [index for _, index in batch_indices(0, step, 1000, {"real": size}, {"real": 1.0})]
        assert len(set(picks)) == 1000
        assert 0 <= min(picks) <= max(picks) < size


@pytest.mark.parametrize("size", [13, 30, 100])
def test_orders_look_random(size):
    """Chi-square of where each index lands, over many passes: mean 1 a degree of freedom."""
    passes, landed = 1000, np.zeros((size, size))
    for number in range(passes):
        order = [index for _, index in batch_indices(1, number, size, {"a": size}, {"a": 1.0})]
        landed[np.arange(size), order] += 1
    expected = passes / size
    degrees = (size - 1) ** 2
    chi_square = ((landed - expected) ** 2 / expected).sum()
    assert abs(chi_square - degrees) < 5 * math.sqrt(2 * degrees)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"probabilities": {"real": 0.5, "synthetic": 0.4}}, "must add up to 1, got 0.9"),
        ({"probabilities": {"real": 1.5, "synthetic": -0.5}}, r"'real'\] must be in \[0, 1\], got 1.5"),
        ({"probabilities": {"real": float("nan")}}, r"must be in \[0, 1\], got nan"),
        ({"probabilities": {}}, "must add up to 1"),
        ({"probabilities": {"real": 0.5, "sythetic": 0.5}}, "unknown source 'sythetic'"),
        ({"sizes": {"real": 5, "synthetic": 0}}, r"sizes\['synthetic'\] must be >= 1"),
        ({"step": -1}, "step must be >= 0, got -1"),
        ({"global_batch": 0}, "global_batch must be >= 1, got 0"),
    ],
)
def test_a_broken_rule_is_named(changes, message):
    arguments = {
        "seed": 0,
        "step": 0,
        "global_batch": 4,
        "sizes": {"real": 5, "synthetic": 5},
        "probabilities": {"real": 0.5, "synthetic": 0.5},
    }
    with pytest.raises(ValueError, match=message):
        batch_indices(**(arguments | changes))


def test_slot_seeds_are_63_bits_and_differ():
    seeds = {
        slot_seed(seed, step, slot, purpose)
        for seed in range(3)
        for step in range(4)
        for slot in range(5)
        for purpose in ("noise", "timestep")
    }
    assert len(seeds) == 120
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**61
    assert slot_seed(1, 23, 4, "a") != slot_seed(12, 3, 4, "a")
    assert slot_seed(np.int64(1), 2, 3, "a") == slot_seed(1, 2, 3, "a")


def test_a_slot_has_its_own_noise_whoever_asks():
    import torch

    whole = slot_noise(0, 5, range(8), (3, 4, 4))
    assert whole.shape == (8, 3, 4, 4)
    assert whole.dtype == torch.float32
    assert torch.equal(whole[[6, 1]], slot_noise(0, 5, [6, 1], (3, 4, 4)))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], slot_noise(0, 6, [0], (3, 4, 4))[0])
    assert not torch.equal(whole[0], slot_noise(0, 5, [0], (3, 4, 4), purpose="posterior")[0])


def test_noise_is_normal_and_uniform_is_uniform():
    noise = slot_noise(0, 0, range(64), (256,))
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03
    values = slot_uniform(0, 0, range(64), "drop", 256)
    assert values.shape == (64, 256)
    assert 0 <= values.min() < 0.001
    assert 0.999 < values.max() < 1
    assert abs(values.mean() - 0.5) < 0.02
    assert (slot_uniform(0, 0, [5], "drop", 256)[0] == values[5]).all()
