"""Triplets with their scores, a few at a time."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from sugar.data.shard_pool import OnSkip
from sugar.triplet import Triplet

Score = Callable[[Sequence[Triplet]], Sequence[Mapping[str, float]]]
"""From triplets of one video size to the scores of each."""

BATCH_BYTES = 64 << 20
MAX_BATCH = 32


def with_scores(triplets: Iterable[Triplet], score: Score, on_skip: OnSkip) -> Iterator[Triplet]:
    """Each triplet with its scores, in order; one whose score is not finite is skipped ("score_not_finite").

    Batches hold at most 64 MiB of frames, so that memory is bounded at any video size.
    """
    batch: list[Triplet] = []
    for triplet in triplets:
        batch.append(triplet)
        if len(batch) >= min(MAX_BATCH, max(1, BATCH_BYTES // triplet.video.nbytes)):
            yield from _scored(batch, score, on_skip)
            batch = []
    if batch:
        yield from _scored(batch, score, on_skip)


def _scored(batch: list[Triplet], score: Score, on_skip: OnSkip) -> Iterator[Triplet]:
    for triplet, scores in zip(batch, score(batch), strict=True):
        if bad := [name for name, value in scores.items() if not math.isfinite(value)]:
            on_skip(triplet.key, "score_not_finite", f"score {bad[0]} must be finite, got {scores[bad[0]]}")
        else:
            yield replace(triplet, scores=dict(scores))
