"""What became of a dataset: contact sheets of what was kept and of each reason to reject, and the counts."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from sugar.config import InputError
from sugar.data.atomic import write_bytes_atomic, write_json_atomic
from sugar.data.contact_sheet import contact_sheet, film_strip, on_checkerboard
from sugar.data.filter_page import write_filter_page
from sugar.data.image_io import encode_png
from sugar.data.manifest import score_names, write_manifest
from sugar.data.shard_pool import MAX_EXAMPLES, ShardRun
from sugar.data.shards import read_triplets
from sugar.data.verdicts import Judge, Labelled, in_force, kept_labels, rows_by_reason
from sugar.triplet import Triplet

logger = logging.getLogger(__name__)

Truth = Callable[[Path, int], Labelled | None]
"""From the report's folder and the number of rows to labelled samples such as the dataset's; None: none."""

ROW_PX = 96
REPAIR = "the stage that made it makes damaged shards anew with --check"
MAX_REASONS = 12


def publish_dataset(
    folder: Path | str, run: ShardRun, judge: Judge | None = None, *, report: Path | str | None = None,
    num_shown: int = 24, limits: Mapping[str, Sequence[float]] | None = None, truth: Truth | None = None,
) -> dict[str, float]:  # fmt: skip
    """Write the manifest with the verdicts, and the report; returns the counts and the rate.

    Nothing is scored here: another threshold changes `accepted` and `reasons` alone.

    Args:
        folder: where the shards of `run` lie.
        judge: None accepts every row.
        report: folder for contact_sheet.png (kept), rejected-REASON.png, rejections.json and filters.html.
        num_shown: triplets on a sheet.
        limits: score -> the thresholds of `judge`, for the page.
        truth: labelled samples, on which the page says how right the verdicts are; labels that
            `--recalibrate` noted in the report tell it too.

    Raises:
        InputError: there is not one triplet; the message says why.
    """
    table = run.table
    if not table.num_rows:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(run.skips.counts.items()))
        raise InputError(f"{folder}: must get at least one triplet, got none; skipped: {reasons or 0}")
    table = write_manifest(folder, judge(table) if judge else table)
    rejected = rows_by_reason(table)
    if report is not None:
        _write_sheets(Path(folder), Path(report), table, rejected, num_shown)
        rejections = _rejections(run, table, rejected)
        write_json_atomic(Path(report) / "rejections.json", rejections)
        known = [kept_labels(Path(report), table), truth and truth(Path(report), table.num_rows)]
        judged = [in_force(judge, labelled) for labelled in known if labelled and judge]
        write_filter_page(Path(report), table, rejections, limits, judged)
    return _metrics(run, table, rejected)


def triplet_strip(triplet: Triplet, height_px: int = ROW_PX) -> np.ndarray:
    """A triplet in one row, uint8 [height_px, W, 3]: photo, cut-out, five frames."""
    photo = _boxed(triplet.subject, height_px)
    cut_out = _boxed(on_checkerboard(triplet.identity), height_px)
    frames = film_strip(triplet.video)
    width = max(1, round(frames.shape[1] * height_px / frames.shape[0]))
    return np.concatenate([photo, cut_out, _resized(frames, height_px, width)], axis=1)


def _boxed(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Whole picture in a white square."""
    scale = side_px / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    square = np.full((side_px, side_px, 3), 255, np.uint8)
    top, left = (side_px - height) // 2, (side_px - width) // 2
    square[top : top + height, left : left + width] = _resized(picture, height, width)
    return square


def _resized(picture: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    smaller = picture.shape[0] > height_px
    return cv2.resize(
        picture, (width_px, height_px), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    )


def _write_sheets(
    folder: Path, report: Path, table: pa.Table, rejected: dict[str, np.ndarray], num_shown: int
) -> None:
    report.mkdir(parents=True, exist_ok=True)
    for old in (*report.glob("rejected-*.png"), *report.glob("contact_sheet.png")):
        old.unlink()
    kept = np.flatnonzero(table["accepted"].to_numpy(zero_copy_only=False))
    sheets = {"contact_sheet.png": kept}
    for reason in list(rejected)[:MAX_REASONS]:
        sheets[f"rejected-{reason}.png"] = rejected[reason]
    for name, rows in sheets.items():
        if len(rows):
            chosen = rows[np.unique(np.linspace(0, len(rows) - 1, num_shown).round().astype(int))]
            if triplets := triplets_to_show(folder, table.take(pa.array(chosen))):
                write_bytes_atomic(report / name, encode_png(_sheet(triplets)))


def triplets_to_show(folder: Path | str, table: pa.Table) -> list[Triplet]:
    """The triplets of these rows; a damaged one costs its place in a picture and a line of the log."""

    def warn(key: str, reason: str) -> None:
        logger.warning("%s: %s cannot be shown (%s): %s", folder, key, reason, REPAIR)

    return list(read_triplets(folder, table, warn))


def _sheet(triplets: Sequence[Triplet]) -> np.ndarray:
    return contact_sheet([triplet_strip(t) for t in triplets], [_label(t) for t in triplets], columns=2)


def _label(triplet: Triplet) -> str:
    scores = " ".join(f"{name} {value:.2f}" for name, value in sorted(triplet.scores.items()))
    verdict = "" if triplet.accepted else f" [{', '.join(triplet.reasons)}]"
    return f"{triplet.key}: {triplet.prompt}{verdict} | {scores}"


def _rejections(run: ShardRun, table: pa.Table, rejected: dict[str, np.ndarray]) -> dict[str, Any]:
    def examples(rows: np.ndarray) -> list[str]:
        return table["key"].take(pa.array(rows[:MAX_EXAMPLES])).to_pylist()

    return {
        "triplets": table.num_rows,
        "accepted": _num_accepted(table),
        "rejected": {r: {"count": len(rows), "examples": examples(rows)} for r, rows in rejected.items()},
        "skipped": run.skips.as_json(),
    }


def _metrics(run: ShardRun, table: pa.Table, rejected: dict[str, np.ndarray]) -> dict[str, float]:
    accepted = _num_accepted(table)
    metrics: dict[str, Any] = {
        "triplets": table.num_rows,
        "accepted": accepted,
        "rejected": table.num_rows - accepted,
        "skipped": sum(run.skips.counts.values()),
        "acceptance": accepted / table.num_rows,
        "shards_made": run.num_shards_made,
        "seconds": run.seconds,
    }
    if run.num_triplets_made:
        metrics["triplets_per_second"] = run.num_triplets_made / max(run.seconds, 1e-9)
    metrics |= {f"rejected_{reason}": len(rows) for reason, rows in rejected.items()}
    metrics |= {f"skipped_{reason}": count for reason, count in sorted(run.skips.counts.items())}
    metrics |= {f"mean_{name}": float(np.nanmean(_scores(table, name))) for name in score_names(table)}
    return {name: float(value) for name, value in metrics.items()}


def _num_accepted(table: pa.Table) -> int:
    return int(table["accepted"].to_numpy(zero_copy_only=False).sum())


def _scores(table: pa.Table, name: str) -> np.ndarray:
    return table[f"score_{name}"].to_numpy(zero_copy_only=False).astype(np.float64)
