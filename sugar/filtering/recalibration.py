"""New thresholds for a wanted precision, from samples whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from sugar.config import Filters, InputError
from sugar.data.manifest import SCORE_PREFIX, read_manifest, score_names
from sugar.data.tables import read_rows
from sugar.data.verdicts import Labelled
from sugar.filtering.calibration import Figures, choose_thresholds, figures, held_out_figures, passed
from sugar.filtering.thresholds import Bound, Thresholds

GOOD = {
    **dict.fromkeys(("1", "yes", "true", "good"), True),
    **dict.fromkeys(("0", "no", "false", "bad"), False),
}
"""What the column `good` may say."""


@dataclass(frozen=True)
class Proposal:
    """Thresholds to be applied together, and how they do.

    precision: the wanted one; about: which samples; refused: what each bound refuses alone, (good, bad).
    fitted: on the samples that they were chosen on; held_out: on samples that they were not; in_force: what
    the thresholds of the configuration do on the same samples. None: cannot be told.
    """

    precision: float
    about: str
    bounds: tuple[Bound, ...]
    refused: tuple[tuple[int, int], ...]
    fitted: Figures
    held_out: Figures | None
    in_force: Figures | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the page about filters."""
        known = {"fitted": self.fitted, "held out": self.held_out}
        return {
            "precision": self.precision,
            "about": self.about,
            "good": self.fitted.good,
            "bad": self.fitted.bad,
            "bounds": {
                f"{bound.direction}_{bound.score}": {
                    "threshold": bound.value,
                    "refused_good": good,
                    "refused_bad": bad,
                }
                for bound, (good, bad) in zip(self.bounds, self.refused, strict=True)
            },
            "together": {
                name: found and {"precision": _known(found.precision), "recall": found.recall}
                for name, found in known.items()
            },
        }


def propose(labelled: Labelled, precision: float, filters: Mapping[str, float | None]) -> Proposal:
    """The thresholds that together reach `precision` with the highest recall (decision 0008).

    Args:
        filters: keys that may be set, with the values in force.

    Raises:
        InputError: all samples are alike, or nothing reaches the precision; the best that does is told.
    """
    good, table = labelled.good, labelled.table
    scores = {
        name: pc.fill_null(table[f"{SCORE_PREFIX}{name}"].cast(pa.float64()), float("nan")).to_numpy()
        for name in score_names(table)
    }
    limits = [(score, way) for way, score in map(_parts, filters) if score in scores]
    try:
        choice = choose_thresholds(scores, good, precision, limits)
    except ValueError as error:
        raise InputError(f"--precision {precision:g}, {labelled.about}: {error}") from error
    if not choice.reached:
        told = ", ".join(f"{b.direction}_{b.score} {b.value:.4g}" for b in choice.bounds)
        raise InputError(
            f"--precision {precision:g} cannot be reached on {labelled.about} ({_counts(choice.fitted)}): "
            f"the best is {choice.fitted.precision:.3f} at recall {choice.fitted.recall:.3f}, with "
            f"{told or 'no threshold at all: no score tells good from bad better than luck'}"
        )
    now = Thresholds.from_filters(filters).bounds
    known = all(bound.score in scores for bound in now)
    num = len(good)
    return Proposal(
        precision,
        labelled.about,
        choice.bounds,
        tuple(_refused(passed(scores, [bound], num), good) for bound in choice.bounds),
        choice.fitted,
        held_out_figures(scores, good, precision, limits),
        figures(passed(scores, now, num), good) if known else None,
    )


def labelled_by_hand(dataset: Path | str, labels: Path | str) -> Labelled:
    """Samples of a dataset that somebody has judged by eye; nothing is scored, the manifest has every score.

    Args:
        dataset: folder with a manifest.
        labels: CSV file with the columns key and good (1 or 0, yes or no, true or false, good or bad).

    Raises:
        InputError: a wrong row, an unknown key, or labels that are all alike.
    """
    judged = _labels(Path(labels))
    table = read_manifest(dataset)
    position = {key: i for i, key in enumerate(table["key"].to_pylist())}
    if unknown := [key for key in judged if key not in position]:
        raise InputError(f"{labels}: key must be one of {dataset}, got {unknown[0]!r}")
    good = np.array(list(judged.values()))
    if good.all() or not good.any():
        raise InputError(
            f"{labels}: must have good and bad samples, got {int(good.sum())} of {len(good)} good"
        )
    rows = table.take(pa.array([position[key] for key in judged], pa.int64()))
    return Labelled(rows.append_column("good", pa.array(good)), f"labels of {Path(labels).name}")


def overlay_yaml(section: str, bounds: Sequence[Bound], keys: Sequence[str]) -> str:
    """The bounds as a profile: text of a YAML file to lay over params.yaml.

    Every key is written: what is not chosen is null, so that no other threshold stays in force beside them.
    """
    chosen = {f"{bound.direction}_{bound.score}": bound.value for bound in bounds}
    return yaml.safe_dump({section: {"filters": {key: chosen.get(key) for key in keys}}}, sort_keys=False)


def proposal_text(proposal: Proposal, keys: Sequence[str] = tuple(Filters.model_fields)) -> str:
    """The proposal as Markdown tables: what each bound refuses alone, and what all do together."""
    rows = proposal.as_json()["bounds"]
    lines = [
        f"{proposal.about}: {_counts(proposal.fitted)}; wanted precision {proposal.precision:g}",
        "",
        "| bound | threshold | good refused by it alone | bad refused by it alone |",
        "|---|---|---|---|",
    ]
    for key in keys:
        if key in rows:
            row = rows[key]
            lines.append(f"| {key} | {row['threshold']:.6g} | {row['refused_good']} | {row['refused_bad']} |")
    lines += [] if rows else ["| none | | | |"]
    lines += ["", "| all together | precision | recall | accepted |", "|---|---|---|---|"]
    lines.append(_together("fitted", proposal.fitted))
    if proposal.held_out is not None:
        lines.append(_together("held out", proposal.held_out))
    if proposal.in_force is not None:
        lines.append(_together("now in force", proposal.in_force))
    return "\n".join([*lines, "", _advice(proposal)]).rstrip()


def _advice(proposal: Proposal) -> str:
    """What the figures do not say by themselves."""
    if proposal.held_out is None:
        return "Too few labels to hold some out: expect less than the fitted precision."
    accepted = max(1, proposal.held_out.hits + proposal.held_out.mistakes)
    error = (proposal.precision * (1 - proposal.precision) / accepted) ** 0.5
    if proposal.held_out.precision >= proposal.precision - error:
        return ""
    return (
        "Held out, the precision is below the wanted one by more than chance: thresholds know the samples "
        "that they were fitted on. More labels or a higher --precision help."
    )


def _parts(key: str) -> tuple[Any, str]:
    direction, _, score = key.partition("_")
    return direction, score


def _refused(accepted: np.ndarray, good: np.ndarray) -> tuple[int, int]:
    return int((~accepted & good).sum()), int((~accepted & ~good).sum())


def _counts(found: Figures) -> str:
    return f"{found.good} good, {found.bad} bad"


def _known(share: float) -> float | None:
    return share if np.isfinite(share) else None


def _together(name: str, found: Figures) -> str:
    share = f"{found.precision:.3f}" if np.isfinite(found.precision) else "-"
    accepted, num = found.hits + found.mistakes, found.good + found.bad
    return f"| {name} | {share} | {found.recall:.3f} | {accepted} of {num} |"


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
