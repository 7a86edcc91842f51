"""The page about filters: histograms of the scores, sheets of what was kept and of each reason."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sugar.config import InputError
from sugar.data.manifest import SCORE_PREFIX, score_names

PROPOSAL = "proposal.json"
"""Written by `sugar synthesize --recalibrate` beside the page: thresholds that it proposes."""
NUM_BINS = 40
_WIDTH, _HEIGHT = 480, 120
_KEPT, _REJECTED = "#4c8c5a", "#c8654e"
_LINE = "stroke='#343842' stroke-width='2' stroke-dasharray='5 3'"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#343842}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}figure{display:inline-block;margin:1em}"
)


def histogram(values: np.ndarray, accepted: np.ndarray, num_bins: int = NUM_BINS) -> dict[str, list[float]]:
    """Counts of kept and rejected rows over equal bins of a score: edges [num_bins + 1], kept, rejected.

    Rows without the score (nan) are left out; without any row all lists are empty.
    """
    known = np.isfinite(values)
    if not known.any():
        return {"edges": [], "kept": [], "rejected": []}
    low, high = float(values[known].min()), float(values[known].max())
    edges = np.linspace(low, high if high > low else low + 1.0, num_bins + 1)
    kept, rejected = (np.histogram(values[known & side], edges)[0] for side in (accepted, ~accepted))
    return {"edges": edges.tolist(), "kept": kept.tolist(), "rejected": rejected.tolist()}


def histograms(table: pa.Table) -> dict[str, dict[str, list[float]]]:
    """`histogram` of each score of a manifest."""
    accepted = table["accepted"].to_numpy(zero_copy_only=False)
    return {
        name: histogram(pc.fill_null(table[f"{SCORE_PREFIX}{name}"], float("nan")).to_numpy(), accepted)
        for name in score_names(table)
    }


def write_filter_page(
    report: Path,
    table: pa.Table,
    rejections: Mapping[str, Any],
    limits: Mapping[str, Sequence[float]] | None = None,
    judged: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write `filters.html` into the folder of the report, and `histograms.json` with its numbers.

    Args:
        report: where the sheets lie (contact_sheet.png, rejected-REASON.png), and PROPOSAL where there is one.
        table: the manifest.
        rejections: contents of rejections.json.
        limits: score -> its thresholds, shown as lines in its histogram.
        judged: of `verdicts.in_force`, one for each set of labelled samples.

    Raises:
        InputError: PROPOSAL is damaged.
    """
    from sugar.data.atomic import write_bytes_atomic, write_json_atomic

    found = histograms(table)
    write_json_atomic(report / "histograms.json", found)
    file = report / PROPOSAL
    proposal = None
    if file.is_file():
        try:
            proposal = json.loads(file.read_bytes())
            _proposal(proposal)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{file}: must be as --recalibrate wrote it; run that again, or delete it ({error})"
            ) from error
    page = filter_page(found, rejections, report, limits=limits, judged=judged, proposal=proposal)
    write_bytes_atomic(report / "filters.html", page.encode())


def filter_page(
    found: Mapping[str, Mapping[str, list[float]]],
    rejections: Mapping[str, Any],
    report: Path,
    *,
    limits: Mapping[str, Sequence[float]] | None = None,
    judged: Sequence[Mapping[str, Any]] = (),
    proposal: Mapping[str, Any] | None = None,
) -> str:
    """HTML of the page; pictures are named relative to it.

    Args:
        found: of `histograms`.
        limits: score -> its thresholds.
        judged: of `verdicts.in_force`.
        proposal: of `sugar.filtering.recalibration.Proposal.as_json`.
    """
    parts = [
        f"<!doctype html><meta charset='utf-8'><title>Filters</title><style>{_STYLE}</style><h1>Filters</h1>",
        f"<p>{rejections['triplets']} triplets, {rejections['accepted']} kept.</p>",
        _table("Rejected", rejections["rejected"]),
        _table("Skipped before scoring", rejections["skipped"]),
        *(_in_force(about, limits or {}) for about in judged),
        _proposal(proposal),
        "<h2>Scores</h2>",
        f"<p><span style='color:{_KEPT}'>kept</span>, <span style='color:{_REJECTED}'>rejected</span></p>",
        *(_figure(name, bins, (limits or {}).get(name, ())) for name, bins in found.items() if bins["edges"]),
        *(_sheet(path, report) for path in sorted(report.glob("*.png"))),
        _without_sheet([r for r in rejections["rejected"] if not (report / f"rejected-{r}.png").is_file()]),
    ]
    return "\n".join(parts)


def _table(title: str, reasons: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(reason)}</td><td>{entry['count']}</td>"
        f"<td>{html.escape('; '.join(map(str, entry['examples'][:3])))}</td></tr>"
        for reason, entry in reasons.items()
    )
    if not rows:
        return ""
    return f"<h2>{title}</h2><table><tr><th>reason</th><th>count</th><th>examples</th></tr>{rows}</table>"


def _in_force(about: Mapping[str, Any], limits: Mapping[str, Sequence[float]]) -> str:
    """Precision and recall of the thresholds that made this dataset's verdicts."""
    told = ", ".join(f"{name} {' and '.join(f'{v:.4g}' for v in values)}" for name, values in limits.items())
    rows = {name if name == "together" else f"{name} alone": row for name, row in about["rows"].items()}
    names = ("refused_good", "refused_bad", "precision", "recall")
    return (
        "<h2>Thresholds in force, on labelled samples</h2>"
        f"<p>{html.escape(about['about'])}: {about['good']} good, {about['bad']} bad. "
        f"In force: {html.escape(told) or 'none'}. A reason that is not listed refuses none of them.</p>"
        + _figures_table("reason", names, rows)
    )


def _proposal(proposal: Mapping[str, Any] | None) -> str:
    """What `--recalibrate` proposes; never mixed with what is in force."""
    if proposal is None:
        return ""
    names = ("threshold", "refused_good", "refused_bad")
    together = {name: row for name, row in proposal["together"].items() if row is not None}
    return (
        "<h2>Proposal of --recalibrate (not in force unless its profile is used)</h2>"
        f"<p>For a precision of {proposal['precision']:g}, on {html.escape(proposal['about'])}: "
        f"{proposal['good']} good, {proposal['bad']} bad. A bound that is not listed is null.</p>"
        + _figures_table("bound", names, proposal["bounds"])
        + _figures_table("all together", ("precision", "recall"), together)
    )


def _figures_table(title: str, names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    body = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{'-' if row[n] is None else format(row[n], '.4g')}</td>" for n in names)
        + "</tr>"
        for name, row in rows.items()
    )
    heads = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in names)
    return f"<table><tr><th>{title}</th>{heads}</tr>{body}</table>"


def _without_sheet(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    listed = ", ".join(map(html.escape, reasons))
    return f"<p>{len(reasons)} rarer reasons have no sheet here: {listed}.</p>"


def _figure(name: str, bins: Mapping[str, list[float]], limits: Sequence[float]) -> str:
    """Stacked bars of one score, and a line where a threshold lies within them."""
    highest = max(k + r for k, r in zip(bins["kept"], bins["rejected"], strict=True)) or 1
    width = _WIDTH / len(bins["kept"])
    bars = []
    for i, (kept, rejected) in enumerate(zip(bins["kept"], bins["rejected"], strict=True)):
        top = float(_HEIGHT)
        for count, colour in ((kept, _KEPT), (rejected, _REJECTED)):
            height = _HEIGHT * count / highest
            top -= height
            if count:
                bars.append(
                    f"<rect x='{i * width:.1f}' y='{top:.1f}' width='{width - 1:.1f}' height='{height:.1f}' "
                    f"fill='{colour}'/>"
                )
    low, high = bins["edges"][0], bins["edges"][-1]
    for limit in limits:
        if low <= limit <= high:
            x = _WIDTH * (limit - low) / (high - low)
            bars.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='0' y2='{_HEIGHT}' {_LINE}/>")
    told = f", threshold {' and '.join(f'{limit:.4g}' for limit in limits)}" if limits else ""
    return (
        f"<figure><figcaption>{html.escape(name)}: {low:.3g} to {high:.3g}{told}</figcaption>"
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' role='img'>{''.join(bars)}</svg></figure>"
    )


def _sheet(path: Path, report: Path) -> str:
    name = path.relative_to(report).as_posix()
    return (
        f"<h2>{html.escape(path.stem.replace('_', ' '))}</h2><img src='{html.escape(name)}' loading='lazy'>"
    )
