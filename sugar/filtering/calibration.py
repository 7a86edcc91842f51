"""Choosing thresholds together where the right answer is known: the most good samples at a wanted precision.

Axes: N labelled samples. A limit is a score and a direction; its cut is how many samples, in the order of the
score, it refuses: 0 is no threshold. Assumption: decision 0008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from sugar.filtering.thresholds import Bound

LUCK = 0.05
"""Accepted chance that any threshold at all is chosen where no score says anything; assumption."""
NUM_PLACES = 20
"""The luckiest of all cuts of one score is as unlikely as one of so many independent tries; assumption
(drawn labels: 2 with 30 samples, 8 with 100, 10 to 30 from 400 on)."""
NUM_FOLDS = 5
NUM_PRICES = 16
"""Prices of an accepted bad sample, in accepted good ones, that are tried."""

Limit = tuple[str, Literal["min", "max"]]


class Figures(NamedTuple):
    """What thresholds do to labelled samples: good ones and bad ones accepted, of so many."""

    hits: int
    mistakes: int
    good: int
    bad: int

    @property
    def precision(self) -> float:
        """Share of good among the accepted; nan where none is."""
        accepted = self.hits + self.mistakes
        return self.hits / accepted if accepted else float("nan")

    @property
    def recall(self) -> float:
        """Share of the good that are accepted."""
        return self.hits / self.good


@dataclass(frozen=True)
class Choice:
    """Thresholds that are meant to be applied together, on the samples that they were chosen on.

    reached: whether they have the wanted precision; otherwise they are those that come nearest to it.
    """

    bounds: tuple[Bound, ...]
    fitted: Figures
    reached: bool


def passed(scores: Mapping[str, np.ndarray], bounds: Sequence[Bound], num: int) -> np.ndarray:
    """Which of `num` samples pass every bound, bool [N]; a score that is nan passes none."""
    result = np.ones(num, bool)
    for bound in bounds:
        result &= bound.passes(scores[bound.score])
    return result


def figures(accepted: np.ndarray, good: np.ndarray) -> Figures:
    """Counts of accepted samples, both bool [N]."""
    hits, num_good = int((accepted & good).sum()), int(good.sum())
    return Figures(hits, int(accepted.sum()) - hits, num_good, len(good) - num_good)


def choose_thresholds(
    scores: Mapping[str, Any], labels: Any, precision: float, limits: Sequence[Limit]
) -> Choice:
    """The thresholds that together reach `precision` with the highest recall that is found.

    A bad sample that is accepted costs as much as `price` good ones that are not. While the price rises,
    thresholds are set, moved and given up one after the other, always the change that gains most (each exact:
    all its cuts are tried); what reaches the precision is then loosened as far as it holds. A threshold is
    used only where the samples that it alone refuses are bad more often than luck explains. Deterministic.

    Args:
        scores: name -> [N], nan where a sample has none; labels: [N], true where the sample is good.
        precision: wanted share of good among what passes all thresholds, in (0, 1].
        limits: which scores may be bounded, from below ("min") or above ("max").

    Raises:
        ValueError: a precision out of range, shapes that differ, or labels that are all alike.
    """
    good = np.asarray(labels, dtype=bool)
    values = {name: np.asarray(value, dtype=np.float64) for name, value in scores.items()}
    if not 0.0 < precision <= 1.0:
        raise ValueError(f"precision must be in (0, 1], got {precision}")
    if any(value.shape != good.shape for value in values.values()) or good.ndim != 1:
        raise ValueError(f"scores and labels must be [N], got {[v.shape for v in values.values()]}")
    if good.all() or not good.any():
        raise ValueError(f"labels must be good and bad, got {int(good.sum())} of {len(good)} good")
    limits = [limit for limit in limits if np.isfinite(values[limit[0]]).any()]
    search = _Search([_signed(values[name], way) for name, way in limits], good)
    cuts, reached = search.best(precision)
    found = zip(limits, search.orders, cuts, strict=True)
    bounds = tuple(_bound(limit, order, cut) for limit, order, cut in found if cut)
    return Choice(bounds, figures(passed(values, bounds, len(good)), good), reached)


def held_out_figures(
    scores: Mapping[str, np.ndarray], good: np.ndarray, precision: float, limits: Sequence[Limit]
) -> Figures | None:
    """Figures of thresholds on samples that they were not chosen on: NUM_FOLDS times a part is left out.

    None: there are too few good or bad samples to leave some out.
    """
    num_folds = min(NUM_FOLDS, int(good.sum()), int((~good).sum()))
    if num_folds < 2:
        return None
    fold = np.empty(len(good), np.int64)
    for side in (good, ~good):
        fold[side] = np.arange(int(side.sum())) % num_folds
    accepted = np.zeros(len(good), bool)
    for number in range(num_folds):
        rest, left = fold != number, fold == number
        fit = {name: values[rest] for name, values in scores.items()}
        choice = choose_thresholds(fit, good[rest], precision, limits)
        out = {name: values[left] for name, values in scores.items()}
        accepted[left] = passed(out, choice.bounds, int(left.sum()))
    return figures(accepted, good)


class _Order(NamedTuple):
    """Samples in the order in which a limit refuses them.

    rows: [N] their numbers; values: [N] theirs, rising; rank: [N] place of each; allowed: [N] places where a
    cut parts unequal values (a cut of 0 always does).
    """

    rows: np.ndarray
    values: np.ndarray
    rank: np.ndarray
    allowed: np.ndarray


def _signed(values: np.ndarray, direction: str) -> _Order:
    signed = np.where(np.isnan(values), -np.inf, values if direction == "min" else -values)
    rows = np.argsort(signed, kind="stable")
    rank = np.empty(len(rows), np.int64)
    rank[rows] = np.arange(len(rows))
    ranked = signed[rows]
    return _Order(rows, ranked, rank, np.append(True, ranked[1:] != ranked[:-1]))


def _bound(limit: Limit, order: _Order, cut: int) -> Bound:
    low, high = float(order.values[cut - 1]), float(order.values[cut])
    value = _between(low, high)
    return Bound(limit[0], limit[1], value if limit[1] == "min" else -value)


def _between(low: float, high: float) -> float:
    """A short number in (low, high], half-way, so that it does not hang on one sample's exact score."""
    if np.isfinite(low):
        for digits in range(3, 18):
            short = float(f"{low + (high - low) / 2:.{digits}g}")
            if low < short <= high:
                return short
    return high


class _Search:
    """Cuts of all limits together; see `choose_thresholds`."""

    def __init__(self, orders: Sequence[_Order], good: np.ndarray) -> None:
        self.orders, self.good = orders, good
        self.luck = LUCK / max(1.0, len(orders) * min(NUM_PLACES, len(good) / 10))

    def best(self, precision: float) -> tuple[list[int], bool]:
        """The cuts with the most good samples among those found that reach `precision`, and true.

        False: none does; these are the cuts of the highest precision found.
        """
        num_good = int(self.good.sum())
        # At this price it is worth accepting just what has the precision.
        highest = precision / (1 - precision) if precision < 1 else float(len(self.good))
        lowest = min(highest, num_good / (len(self.good) - num_good)) / 8
        found = [[0] * len(self.orders)]
        # Each from the cuts of the price before: a high one at once has one score do what several do better.
        for price in np.geomspace(lowest, highest, NUM_PRICES).tolist():
            found.append(self._priced(price, found[-1]))
        reaching = [self._loosened(cuts, precision) for cuts in found if self._share(cuts) >= precision]
        if reaching:
            return max(reaching, key=lambda cuts: (self._figures(cuts).hits, self._share(cuts))), True
        found.append(self._priced(float(len(self.good)), found[-1]))
        return max(found, key=lambda cuts: (self._share(cuts), self._figures(cuts).hits)), False

    def _priced(self, price: float, start: Sequence[int]) -> list[int]:
        """Cuts that no single change makes better: good samples accepted less `price` times the bad ones."""
        weights = np.where(self.good, 1.0, -price)
        cuts, given_up = list(start), set[int]()
        while True:
            moves = [(-1.0, 0)] * len(cuts)
            for i in range(len(cuts)):
                if i not in given_up:
                    moves[i] = self._move(i, cuts, weights)
            best = max(range(len(cuts)), key=lambda i: moves[i][0], default=None)
            if best is not None and moves[best][0] > 1e-9 * len(self.good):
                cuts[best] = moves[best][1]
                continue
            # What others refuse since it was set may have left it with nothing but luck.
            chances = {i: self._chance(i, cut, self._others(i, cuts)) for i, cut in enumerate(cuts) if cut}
            weakest = max(chances, key=lambda i: chances[i], default=None)
            if weakest is None or chances[weakest] <= self.luck:
                return cuts
            cuts[weakest] = 0
            given_up.add(weakest)

    def _move(self, i: int, cuts: Sequence[int], weights: np.ndarray) -> tuple[float, int]:
        """(gain, cut) of the best change of one limit; the cut is 0 where luck explains the best one."""
        others, order = self._others(i, cuts), self.orders[i]
        refused = np.cumsum((weights * others)[order.rows])
        lost = np.where(order.allowed, np.append(0.0, refused[:-1]), np.inf)
        cut = int(np.argmin(lost))
        if cut and cut != cuts[i] and self._chance(i, cut, others) > self.luck:
            cut = 0
        return float(lost[cuts[i]] - lost[cut]), cut

    def _loosened(self, start: Sequence[int], precision: float) -> list[int]:
        """The cuts, each as loose as the precision allows, always that first which wins most good samples."""
        cuts = list(start)
        while True:
            moves = []
            for i, cut in enumerate(cuts):
                others, order = self._others(i, cuts)[self.orders[i].rows], self.orders[i]
                good = others & self.good[order.rows]
                hits, accepted = (np.cumsum(side[::-1])[::-1] for side in (good, others))
                fits = order.allowed & (hits >= precision * accepted * (1 - 1e-12))
                fits[cut + 1 :] = False
                # Of cuts with as many good samples that which refuses the most bad ones: the last.
                places = np.flatnonzero(fits)
                place = int(places[len(places) - 1 - np.argmax(hits[places][::-1])])
                moves.append((int(hits[place] - hits[cut]), -i, place))
            gain, number, place = max(moves, default=(0, 0, 0))
            if gain <= 0:
                return cuts
            cuts[-number] = place

    def _others(self, i: int, cuts: Sequence[int]) -> np.ndarray:
        """Samples that all limits but the i-th accept, bool [N]."""
        result = np.ones(len(self.good), bool)
        for j, (order, cut) in enumerate(zip(self.orders, cuts, strict=True)):
            if cut and j != i:
                result &= order.rank >= cut
        return result

    def _chance(self, i: int, cut: int, others: np.ndarray) -> float:
        """Of refusing at least so many bad samples where the score says nothing (Fisher's exact test)."""
        from scipy.stats import hypergeom

        refused = others & (self.orders[i].rank < cut)
        bad = others & ~self.good
        counts = (int(others.sum()), int(bad.sum()), int(refused.sum()))
        return float(hypergeom.sf(int((refused & bad).sum()) - 1, *counts))

    def _figures(self, cuts: Sequence[int]) -> Figures:
        return figures(self._others(-1, cuts), self.good)

    def _share(self, cuts: Sequence[int]) -> float:
        return self._figures(cuts).precision
