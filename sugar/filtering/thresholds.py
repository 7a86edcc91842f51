"""Thresholds over scores: which triplets are kept, and why the others are not (SUGAR section 3.1).

Thresholds are rows of data (score, direction, value). A triplet is accepted when it passes every row; each
row that it fails gives one reason, for example "identity 0.41 < 0.60". Assumption: decision 0008.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sugar.config import InputError

SCORES: Mapping[str, str] = {
    "image_text": "cosine of CLIP's features of the first frame and of the prompt",
    "identity": "mean cosine of DINO's features of the identity image and of each frame",
    "consecutive": "mean cosine of DINO's features of neighbouring frames",
    "random_pair": "mean cosine of DINO's features of two frames drawn at random",
    "flow_px": "mean over pairs of frames of the mean length of the largest 5 % of flow vectors, in pixels",
    "sharpness": "variance of the Laplacian of the luma, the median over the frames",
    "exposure": "share of pixels that are neither black nor blown out",
    "aesthetic": "rating by an aesthetic head on CLIP's features, mean of the first, middle and last frame",
}


@dataclass(frozen=True)
class Bound:
    """One row: `score` must be at least ("min") or at most ("max") `value`."""

    score: str
    direction: Literal["min", "max"]
    value: float

    def passes(self, values: Any) -> Any:
        """Whether a value, or which values of an array, pass; nan never does."""
        return values >= self.value if self.direction == "min" else values <= self.value

    def reason(self, value: float | None) -> str:
        """Why `value`, which does not pass, is refused."""
        if value is None:
            return f"{self.score} is missing"
        if math.isnan(value):
            return f"{self.score} is nan"
        sign = "<" if self.direction == "min" else ">"
        # Two decimals, or as many as it takes to show the difference.
        for digits in range(2, 17):
            shown, limit = f"{value:.{digits}f}", f"{self.value:.{digits}f}"
            if shown != limit:
                return f"{self.score} {shown} {sign} {limit}"
        return f"{self.score} {value!r} {sign} {self.value!r}"


@dataclass(frozen=True)
class Thresholds:
    """The rows that a triplet must pass."""

    bounds: tuple[Bound, ...]

    @classmethod
    def from_filters(cls, filters: Mapping[str, float | None]) -> "Thresholds":
        """Rows from configuration keys: "min_identity: 0.6" becomes (identity, min, 0.6); None is no row.

        Raises:
            InputError: for a key that is not min_ or max_ and a score's name, or a value that is not finite.
        """
        bounds = []
        for key, value in filters.items():
            direction, _, score = key.partition("_")
            if direction not in ("min", "max") or score not in SCORES:
                raise InputError(f"filters.{key}: must be min_ or max_ and one of {', '.join(SCORES)}")
            if value is None:
                continue
            if not math.isfinite(value):
                raise InputError(f"filters.{key} must be a finite number, got {value}")
            bounds.append(Bound(score, "min" if direction == "min" else "max", float(value)))
        return cls(tuple(bounds))


def decide(scores: Mapping[str, float | None], thresholds: Thresholds) -> tuple[bool, tuple[str, ...]]:
    """Whether a triplet with these scores is accepted, and a reason for each row that it fails.

    A score that is missing or nan fails its row.
    """
    reasons = []
    for bound in thresholds.bounds:
        value = scores.get(bound.score)
        if value is None or not bound.passes(float(value)):
            reasons.append(bound.reason(None if value is None else float(value)))
    return not reasons, tuple(reasons)


def decide_table(table: pa.Table, thresholds: Thresholds) -> pa.Table:
    """A manifest with its columns "accepted" and "reasons" decided anew from its columns "score_*".

    Nothing is scored and only rows that fail cost more than a comparison: millions take seconds.

    Raises:
        InputError: when a thresholded score has no column.
    """
    num = table.num_rows
    rows: list[np.ndarray] = []
    reasons: list[str] = []
    for bound in thresholds.bounds:
        name = f"score_{bound.score}"
        if name not in table.column_names:
            raise InputError(f"manifest: filters.{bound.direction}_{bound.score} needs a column {name!r}")
        column = table[name].cast(pa.float64())
        values = pc.fill_null(column, float("nan")).to_numpy()
        failed = np.flatnonzero(~bound.passes(values))
        rows.append(failed)
        reasons += _reasons(bound, values[failed], column.is_null().to_numpy()[failed])
    failed_rows = np.concatenate(rows) if rows else np.empty(0, np.int64)
    order = np.argsort(failed_rows, kind="stable")
    counts = np.bincount(failed_rows, minlength=num) if num else np.empty(0, np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    texts = pa.array(reasons, pa.string()).take(pa.array(order))
    # The field's name as in the manifest's schema, so that tables of several verdicts fit together.
    listed = pa.ListArray.from_arrays(
        pa.array(offsets), texts, type=pa.list_(pa.field("element", pa.string()))
    )
    return _with_columns(table, pa.array(counts == 0), listed)


def _reasons(bound: Bound, values: np.ndarray, null: np.ndarray) -> list[str]:
    """Why each of these values, none of which passes, is refused: as `Bound.reason`, a column at a time."""
    sign, limit = ("<" if bound.direction == "min" else ">"), f"{bound.value:.2f}"
    shown = np.char.mod("%.2f", values)
    texts = [f"{bound.score} {text} {sign} {limit}" for text in shown.tolist()]
    for i in np.flatnonzero(null | np.isnan(values) | (shown == limit)).tolist():
        texts[i] = bound.reason(None if null[i] else float(values[i]))
    return texts


def _with_columns(table: pa.Table, accepted: pa.Array, reasons: pa.Array) -> pa.Table:
    for name, values in (("accepted", accepted), ("reasons", reasons)):
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, values)
        else:
            table = table.append_column(name, values)
    return table
