"""Curves and tables of an evaluation: for DVC as CSV, for the report as pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sugar.config import InputError
from sugar.data.atomic import atomic_path
from sugar.evaluation.evaluate import Evaluation, Row
from sugar.evaluation.scores import METRICS

COLOURS = ("#3866d6", "#e39a1c", "#1f8f5f", "#8b5cc7", "#c2473d", "#5d6778")


def write_plots(folder: Path | str, evaluation: Evaluation) -> None:
    """Write `scores.csv`: a line for each model, image scale and metric, with its encoder and interval."""
    with (
        atomic_path(Path(folder) / "scores.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["candidate", "image_scale", "metric", "encoder", "mean", "low", "high"])
        for row in evaluation.rows:
            for metric in METRICS:
                if metric.name in row.scores:
                    numbers = [round(value, 6) for value in row.scores[metric.name]]
                    writer.writerow([row.candidate, row.image_scale, metric.name, metric.encoder, *numbers])


def read_history(folder: Path | str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Losses over steps of a training stage, by source: title -> (steps, values).

    Args:
        folder: of the stage, with `history.csv` and `held_out.csv` (columns `step`, `loss_real`, ...; an
            empty cell is a step at which a column was not measured).

    Raises:
        InputError: there is no history, or no loss in it.
    """
    curves = {}
    for file, when in (("history.csv", "training"), ("held_out.csv", "held out")):
        rows = _read_rows(Path(folder) / file) if (Path(folder) / file).is_file() else []
        by_source = {
            name: f"{name.removeprefix('loss_')}, {when}" for name in ("loss_real", "loss_synthetic")
        }
        if not any(row.get(name) for row in rows for name in by_source):
            by_source = {"loss": when}
        for column, title in by_source.items():
            points = [(float(row["step"]), float(row[column])) for row in rows if row.get(column)]
            if points:
                steps, values = zip(*points, strict=True)
                curves[title] = (np.array(steps), np.array(values))
    if not curves:
        raise InputError(f"{folder}: has no history.csv with a loss in it")
    return curves


def _read_rows(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if rows and "step" not in rows[0]:
        raise InputError(f"{file}: a training history needs a column 'step', got {list(rows[0])}")
    return rows


def loss_picture(stage: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """PNG of the losses of a stage: each curve thin, its running mean thick."""
    figure, axes = _figure(stage, "step", "loss")
    for colour, (name, (steps, values)) in zip(_colours(len(curves)), curves.items(), strict=True):
        if len(values) > 50:
            window = len(values) // 25
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            axes.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
            axes.plot(steps[window - 1 :], smooth, color=colour, linewidth=2, label=name)
        else:
            axes.plot(steps, values, color=colour, linewidth=2, marker="o", markersize=3.5, label=name)
    high = max(float(np.quantile(values, 0.97)) for _, values in curves.values())
    low = min(float(values.min()) for _, values in curves.values())
    axes.set_ylim(max(0.0, low - 0.08 * (high - low)), high + 0.12 * (high - low) + 1e-9)
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def scale_picture(rows: Sequence[Row]) -> bytes:
    """PNG of the scores over the image scale (as the paper's Figures 5 and 6 trade identity for text)."""
    figure, axes = _figure("Identity against text and motion", "DINO score", "score")
    ordered = sorted(rows, key=lambda row: row.image_scale)
    across = [row.scores["dino_score"][0] for row in ordered]
    shown = [
        metric for metric in METRICS if metric.name in ("clip_score", "dynamic_degree", "style_accuracy")
    ]
    for colour, metric in zip(_colours(len(shown)), shown, strict=True):
        if all(metric.name in row.scores for row in ordered):
            values = [row.scores[metric.name][0] for row in ordered]
            axes.plot(
                across,
                values,
                color=colour,
                marker="o",
                linewidth=2,
                label=f"{metric.title} ({metric.encoder})",
            )
            for row, x, y in zip(ordered, across, values, strict=True):
                axes.annotate(f"{row.image_scale:g}", (x, y), (0, 6), textcoords="offset points", fontsize=8)
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _figure(title: str, across: str, up: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.2), dpi=144, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.tick_params(labelsize=8, color="#c5ccd8")
    axes.grid(color="#e3e7ee", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c5ccd8")
    return figure, axes


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
