"""Stateless sampling: what step k trains on is a function of (seed, k, slot), not of history.

Slot i of step k is draw n = k * global_batch + i. Three functions without memory answer everything:

1. Which source draws n? A binary tree over the sources shares out the first n draws: at a node with m draws,
   floor(m * p_left / (p_left + p_right) + 1/2) go left. Each count grows by 0 or 1 a draw and stays close to
   n * p at every n (within 1/2 for two sources), in exact integer arithmetic.
2. The source's count of earlier draws, c, gives its pass, c // size, and its place in the pass, c % size.
3. The place goes through a permutation of the pass: a Feistel network that walks its cycle until it is inside
   (Black and Rogaway 2002), O(1) in memory for millions of samples. Up to 12 samples, where different passes
   would soon meet by chance, the passes go through all orders instead.

Assumption: decision 0011.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import operator
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDS = 8
_ENUMERATED = 12


def batch_indices(
    seed: int,
    step: int,
    global_batch: int,
    sizes: Mapping[str, int],
    probabilities: Mapping[str, float],
) -> list[tuple[str, int]]:
    """The samples of one step: (source, index) for each of its slots; a pure function.

    Within a source no index repeats before all were used, and each pass has another order. After any number
    n of draws a source was drawn less than one time more or less than n * p (two or three sources; below
    two for any number).

    Args:
        seed: any integer.
        step: >= 0.
        global_batch: slots a step, >= 1.
        sizes: source -> number of samples.
        probabilities: source -> share of the draws, in [0, 1]; together 1. A source without one is not drawn.

    Raises:
        ValueError: one of these rules is broken, or a source that is drawn has no samples.
    """
    seed, step, global_batch = (operator.index(value) for value in (seed, step, global_batch))
    if step < 0:
        raise ValueError(f"step must be >= 0, got {step}")
    if global_batch < 1:
        raise ValueError(f"global_batch must be >= 1, got {global_batch}")
    tree = _tree(_shares(sizes, probabilities))
    first = step * global_batch
    before = _counts(tree, first)
    draws = before
    order: list[str] = []
    for n in range(first + 1, first + global_batch + 1):
        after = _counts(tree, n)
        source = next(name for name, count in after.items() if count > draws[name])
        order.append(source)
        draws = after
    picks = {
        name: iter(_picks(seed, name, operator.index(sizes[name]), before[name], draws[name]))
        for name in draws
    }
    return [(name, next(picks[name])) for name in order]


def source_counts(
    step: int, global_batch: int, sizes: Mapping[str, int], probabilities: Mapping[str, float]
) -> dict[str, int]:
    """How often each source was drawn before `step`; arguments as for `batch_indices`."""
    return _counts(_tree(_shares(sizes, probabilities)), step * global_batch)


def slot_seed(seed: int, step: int, slot: int, purpose: str) -> int:
    """A 63-bit seed for one purpose ("noise", "timestep", ...) of one slot of one step; a pure function."""
    return _hash(operator.index(seed), operator.index(step), operator.index(slot), purpose) >> 1


def slot_noise(
    seed: int, step: int, slots: Sequence[int], shape: Sequence[int], purpose: str = "noise"
) -> Tensor:
    """Standard normal float32 [len(slots), *shape] on the CPU; a slot's values do not depend on others."""
    import torch

    noise = torch.empty(len(slots), *shape)
    generator = torch.Generator()
    for row, slot in zip(noise, slots, strict=True):
        generator.manual_seed(slot_seed(seed, step, slot, purpose))
        row.normal_(generator=generator)
    return noise


def slot_uniform(seed: int, step: int, slots: Sequence[int], purpose: str, n: int) -> Tensor:
    """Uniform float32 [len(slots), n] in [0, 1) on the CPU; a slot's values do not depend on others."""
    import torch

    values = torch.empty(len(slots), n)
    generator = torch.Generator()
    for row, slot in zip(values, slots, strict=True):
        generator.manual_seed(slot_seed(seed, step, slot, purpose))
        row.uniform_(generator=generator)
    return values


def _shares(sizes: Mapping[str, int], probabilities: Mapping[str, float]) -> tuple[tuple[str, Fraction], ...]:
    """The sources that are drawn, with exact shares that add up to 1, in order of their names."""
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise ValueError(f"probabilities[{name!r}] must be in [0, 1], got {value}")
    total = math.fsum(probabilities.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"probabilities must add up to 1, got {total}")
    drawn = sorted(name for name, value in probabilities.items() if value > 0)
    for name in drawn:
        if name not in sizes:
            raise ValueError(f"probabilities name an unknown source {name!r}, sizes has {sorted(sizes)}")
        if sizes[name] < 1:
            raise ValueError(f"sizes[{name!r}] must be >= 1 for a source that is drawn, got {sizes[name]}")
    exact = {name: Fraction(float(probabilities[name])) for name in drawn}
    whole = sum(exact.values())
    return tuple((name, share / whole) for name, share in exact.items())


class _Leaf(NamedTuple):
    source: str


class _Node(NamedTuple):
    """Of m draws, (2 * m * share + whole) // (2 * whole) go to the left: m * share / whole, rounded."""

    share: int
    whole: int
    left: _Leaf | _Node
    right: _Leaf | _Node


@lru_cache(maxsize=64)
def _tree(shares: tuple[tuple[str, Fraction], ...]) -> _Leaf | _Node:
    """Huffman's tree: the two smallest shares are joined until one is left; errors halve downwards."""
    heap: list[tuple[Fraction, int, _Leaf | _Node]]
    heap = [(share, i, _Leaf(source)) for i, (source, share) in enumerate(shares)]
    heapq.heapify(heap)
    for i in range(len(shares), 2 * len(shares) - 1):
        (share_a, _, a), (share_b, _, b) = heapq.heappop(heap), heapq.heappop(heap)
        left = share_a / (share_a + share_b)
        heapq.heappush(heap, (share_a + share_b, i, _Node(left.numerator, left.denominator, a, b)))
    return heap[0][2]


def _counts(tree: _Leaf | _Node, n: int) -> dict[str, int]:
    """How many of the first n draws each source has."""
    if isinstance(tree, _Leaf):
        return {tree.source: n}
    left = (2 * n * tree.share + tree.whole) // (2 * tree.whole)
    return _counts(tree.left, left) | _counts(tree.right, n - left)


def _picks(seed: int, source: str, size: int, start: int, end: int) -> list[int]:
    """The indices of draws start..end-1 of a source."""
    picks: list[int] = []
    while start < end:
        number, place = divmod(start, size)
        stop = min(size, place + end - start)
        picks += _order(seed, source, number, size, np.arange(place, stop, dtype=np.uint64))
        start += stop - place
    return picks


def _order(seed: int, source: str, number: int, size: int, places: np.ndarray) -> list[int]:
    """The indices at these places of pass `number`."""
    if size > _ENUMERATED:
        return _permute(_hash(seed, source, number), places, size).tolist()
    orders = math.factorial(size)
    rank = np.array([number % orders], np.uint64)
    code = int(_permute(_hash(seed, source, "orders"), rank, orders)[0])
    left, order = list(range(size)), []
    for remaining in range(size, 0, -1):
        code, digit = divmod(code, remaining)
        order.append(left.pop(digit))
    return [order[place] for place in places.tolist()]


def _permute(key: int, places: np.ndarray, size: int) -> np.ndarray:
    """A pseudorandom permutation of range(size), evaluated at `places` (uint64).

    The network permutes pairs (high, low) of range(rows) x range(columns), a little more than `size` numbers;
    where it leads outside range(size), it is applied again.
    """
    columns = math.isqrt(size - 1) + 1
    rows = -(-size // columns)
    result, outside = places.copy(), np.ones(len(places), bool)
    while outside.any():
        high, low = np.divmod(result[outside], np.uint64(columns))
        for number in range(_ROUNDS):
            if number % 2:
                high = (high + _mix(key, number, low) % np.uint64(rows)) % np.uint64(rows)
            else:
                low = (low + _mix(key, number, high) % np.uint64(columns)) % np.uint64(columns)
        result[outside] = high * np.uint64(columns) + low
        outside[outside] = result[outside] >= size
    return result


def _mix(key: int, number: int, values: np.ndarray) -> np.ndarray:
    """64 hashed bits of (key, number, value): two rounds of splitmix64's finalizer."""
    bits = values + np.uint64((key + (number + 1) * 0x9E3779B97F4A7C15) % (1 << 64))
    for _ in range(2):
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
        bits += np.uint64(key)
    return bits


def _hash(*parts: object) -> int:
    """64 bits of SHA-256 over the parts as text."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
