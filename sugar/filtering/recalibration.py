"""New thresholds for a wanted precision, from samples whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from sugar.config import InputError
from sugar.data.manifest import SCORE_PREFIX, read_manifest, score_names
from sugar.data.tables import read_rows
from sugar.filtering.calibration import Choice, choose_threshold

GOOD = {
    **dict.fromkeys(("1", "yes", "true", "good"), True),
    **dict.fromkeys(("0", "no", "false", "bad"), False),
}
"""What the column `good` may say."""


def choices_from_labels(
    dataset: Path | str, labels: Path | str, precision: float
) -> tuple[dict[str, Choice], dict[str, str]]:
    """A lower threshold for each score of a dataset, from rows that somebody has judged by eye.

    Nothing is scored: the manifest has every score.

    Args:
        dataset: folder with a manifest.
        labels: CSV file with the columns key and good (1 or 0, yes or no, true or false, good or bad).
        precision: wanted share of good among what passes, in (0, 1].

    Returns:
        score -> choice, and score -> why there is none.

    Raises:
        InputError: a wrong row, an unknown key, or labels that are all alike.
    """
    judged = _labels(Path(labels))
    table = read_manifest(dataset)
    position = {key: i for i, key in enumerate(table["key"].to_pylist())}
    if unknown := [key for key in judged if key not in position]:
        raise InputError(f"{labels}: key must be one of {dataset}, got {unknown[0]!r}")
    rows = np.array([position[key] for key in judged], np.int64)
    good = np.array(list(judged.values()))
    if good.all() or not good.any():
        raise InputError(
            f"{labels}: must have good and bad samples, got {int(good.sum())} of {len(good)} good"
        )
    chosen: dict[str, Choice] = {}
    refused: dict[str, str] = {}
    for name in score_names(table):
        values = pc.fill_null(table[f"{SCORE_PREFIX}{name}"], float("nan")).to_numpy()[rows]
        known = np.isfinite(values)
        try:
            chosen[name] = choose_threshold(values[known], good[known], precision)
        except ValueError as error:
            refused[name] = str(error)
    return chosen, refused


def overlay_yaml(section: str, chosen: Mapping[str, Choice]) -> str:
    """The choices as a profile: text of a YAML file to lay over params.yaml."""
    lines = [f"  min_{name}: {choice.threshold:.6g}" for name, choice in chosen.items()]
    return "\n".join([f"{section}:", "  filters:", *(f"  {line}" for line in lines)]) + "\n"


def choices_json(chosen: Mapping[str, Choice]) -> dict[str, dict[str, float]]:
    """The choices as plain values, for the report."""
    return {name: dict(vars(choice)) for name, choice in chosen.items()}


def choices_text(chosen: Mapping[str, Choice], refused: Mapping[str, str]) -> str:
    """The choices as a Markdown table, and why a score has none."""
    lines = ["| score | threshold | precision | recall | good | bad |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {c.threshold:.4g} | {c.precision:.3f} | {c.recall:.3f} | {c.num_good} | {c.num_bad} |"
        for name, c in chosen.items()
    ]
    return "\n".join([*lines, *(f"{name}: {why}" for name, why in refused.items())])


def _labels(file: Path) -> dict[str, bool]:
    judged: dict[str, bool] = {}
    for line, row in read_rows(file, ("key", "good")):
        verdict = GOOD.get(row["good"].lower())
        if verdict is None:
            raise InputError(
                f"{file} line {line}: good must be one of {', '.join(GOOD)}, got {row['good']!r}"
            )
        if row["key"] in judged:
            raise InputError(f"{file} line {line}: key {row['key']!r} appears twice")
        judged[row["key"]] = verdict
    if not judged:
        raise InputError(f"{file}: must have at least one row")
    return judged
