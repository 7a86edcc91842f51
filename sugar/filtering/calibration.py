"""Choosing thresholds where the right answer is known.

Assumption: decision 0008.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Choice:
    """A threshold and how it does: precision of what passes, recall of what should."""

    threshold: float
    precision: float
    recall: float
    num_good: int
    num_bad: int


def precision_recall(
    scores: Any, labels: Any, threshold: float, direction: Literal["min", "max"] = "min"
) -> tuple[float, float]:
    """Precision and recall of "passes the threshold" as a finder of good samples.

    Args:
        scores: [N]; labels: [N], true where the sample is good.
        direction: "min": a score passes from the threshold up; "max": from it down.

    Returns:
        share of good among those that pass (1 where none passes), share of the good that pass.
    """
    values, good = _checked(scores, labels)
    passed = values >= threshold if direction == "min" else values <= threshold
    hits = int((passed & good).sum())
    return (hits / int(passed.sum()) if passed.any() else 1.0), hits / int(good.sum())


def choose_threshold(
    scores: Any, labels: Any, precision: float, direction: Literal["min", "max"] = "min"
) -> Choice:
    """The threshold with the highest recall among those that reach `precision`.

    It lies half-way between the last score that passes and the next that does not, so that it does not hang
    on one sample's exact score.

    Raises:
        ValueError: when no threshold reaches the precision, or the labels are all alike.
    """
    values, good = _checked(scores, labels)
    if not 0.0 < precision <= 1.0:
        raise ValueError(f"precision must be in (0, 1], got {precision}")
    if good.all():
        raise ValueError("labels must have bad samples too")
    signed = values if direction == "min" else -values
    order = np.argsort(-signed, kind="stable")
    ranked, hits = signed[order], np.cumsum(good[order])
    shares = hits / np.arange(1, len(ranked) + 1)
    # Samples of equal score pass together: only the last of them is a place to cut.
    cuts = np.append(ranked[1:] != ranked[:-1], True)
    usable = np.flatnonzero(cuts & (shares >= precision) & (hits > 0))
    if usable.size == 0:
        best = shares[cuts].max()
        raise ValueError(f"no threshold reaches precision {precision}: the best is {best:.3f}")
    last = usable[np.argmax(hits[usable])]
    following = ranked[last + 1] if last + 1 < len(ranked) else ranked[last]
    cut = float((ranked[last] + following) / 2)
    # Between neighbouring floats the middle may round down onto the score that must not pass.
    cut = cut if cut > following or last + 1 == len(ranked) else float(ranked[last])
    return Choice(
        threshold=cut if direction == "min" else -cut,
        precision=float(shares[last]),
        recall=float(hits[last] / good.sum()),
        num_good=int(good.sum()),
        num_bad=int((~good).sum()),
    )


def calibrate(
    batches: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, bool]]], precision: float
) -> dict[str, Choice]:
    """A lower threshold for each labelled score.

    Args:
        batches: (scores, labels) of sets of samples: `scores` maps a name to [N], `labels` to whether the set
            is good by that score; a score that it does not name is not judged on the set.
    """
    names = sorted({name for _, labels in batches for name in labels})
    chosen = {}
    for name in names:
        sets = [(scores[name], labels[name]) for scores, labels in batches if name in labels]
        values = np.concatenate([scores for scores, _ in sets])
        good = np.concatenate([np.full(len(scores), label) for scores, label in sets])
        try:
            chosen[name] = choose_threshold(values, good, precision)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return chosen


def calibrate_on_sprites(
    score: Callable[[np.ndarray, Sequence[np.ndarray], Sequence[str]], Mapping[str, np.ndarray]],
    *,
    num_clips: int,
    seed: int,
    precision: float,
) -> dict[str, Choice]:
    """Thresholds for the networks behind `score`, chosen on labelled clips of Sprite World.

    Args:
        score: (frames [B, T, H, W, 3], identities, prompts) to scores, as `score_triplets` with its judges.
        num_clips: clips of each kind of `labelled.KINDS`.
    """
    from sugar.filtering.labelled import KINDS, labelled_batch

    batches = []
    for kind, labels in KINDS.items():
        frames, identities, prompts = labelled_batch(kind, num_clips, seed)
        batches.append((score(frames, identities, prompts), labels))
    return calibrate(batches, precision)


def _checked(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    values, good = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if values.ndim != 1 or values.shape != good.shape:
        raise ValueError(f"scores and labels must be [N], got {values.shape} and {good.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    if not good.any():
        raise ValueError("labels must have good samples")
    return values, good
