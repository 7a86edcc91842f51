"""Verdicts on samples: why rows are rejected, and how right that is where the truth of some samples is known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sugar.config import InputError
from sugar.data.atomic import write_json_atomic

Judge = Callable[[pa.Table], pa.Table]
"""Fills the columns `accepted` and `reasons` of a manifest from its scores."""
LABELS = "labels.json"
"""In a report: what somebody said of samples of the dataset, so that other thresholds can be judged by it."""


class Labelled(NamedTuple):
    """Samples whose truth is known: a table with `good` and the scores, and in words where it comes from."""

    table: pa.Table
    about: str

    @property
    def good(self) -> np.ndarray:
        """bool [N]."""
        return self.table["good"].to_numpy(zero_copy_only=False)


def reason_kind(reason: str) -> str:
    """What rows rejected for like reasons share: "identity 0.41 < 0.60" is "identity_low"."""
    name, *rest = reason.split()
    ending = "low" if "<" in rest else "high" if ">" in rest else rest[-1] if rest else ""
    return re.sub(r"[^a-z0-9]+", "_", f"{name} {ending}".lower()).strip("_")


def rows_by_reason(table: pa.Table) -> dict[str, np.ndarray]:
    """Kind of reason -> row numbers, the most frequent first."""
    lists: Any = table["reasons"].combine_chunks()
    rows = np.asarray(lists.value_parent_indices())
    # Millions of reasons are a few thousand texts.
    texts = lists.flatten().dictionary_encode()
    kinds = [reason_kind(reason) for reason in texts.dictionary.to_pylist()]
    names, kind_of_text = np.unique(np.asarray(kinds, dtype=str), return_inverse=True)
    number = kind_of_text[texts.indices.to_numpy()]
    found = {str(name): rows[number == i] for i, name in enumerate(names)}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def in_force(judge: Judge, labelled: Labelled) -> dict[str, Any]:
    """How the thresholds of `judge` do on labelled samples: each kind of reason alone, and all together.

    Returns:
        about, good, bad (counts), rows: {name -> {refused_good, refused_bad, precision, recall}}, "together"
        the last; precision is None where nothing passes.

    Raises:
        InputError: as `judge`, where a thresholded score is missing.
    """
    judged, good = judge(labelled.table), labelled.good
    accepted = {}
    for name, rejected in rows_by_reason(judged).items():
        accepted[name] = np.ones(len(good), bool)
        accepted[name][rejected] = False
    accepted["together"] = judged["accepted"].to_numpy(zero_copy_only=False)
    num_good = int(good.sum())
    rows = {}
    for name, kept in accepted.items():
        hits, num = int((kept & good).sum()), int(kept.sum())
        rows[name] = {
            "refused_good": num_good - hits,
            "refused_bad": len(good) - num_good - (num - hits),
            "precision": hits / num if num else None,
            "recall": hits / num_good,
        }
    return {"about": labelled.about, "good": num_good, "bad": len(good) - num_good, "rows": rows}


def keep_labels(report: Path, about: str, table: pa.Table) -> None:
    """Note what was said of samples: columns key, digest and good of `table`."""
    rows = zip(*(table[name].to_pylist() for name in ("key", "digest", "good")), strict=True)
    labels = {key: [digest, good] for key, digest, good in rows}
    write_json_atomic(report / LABELS, {"about": about, "labels": labels})


def kept_labels(report: Path, manifest: pa.Table) -> Labelled | None:
    """The labels that `keep_labels` noted, with the manifest's scores; None: none of any of its samples.

    A sample that was made anew since, with another digest, is another sample: its label is left out and counted.

    Raises:
        InputError: the file is damaged.
    """
    file = report / LABELS
    if not file.is_file():
        return None
    try:
        kept = json.loads(file.read_bytes())
        labels, about = {key: (digest, bool(good)) for key, (digest, good) in kept["labels"].items()}, kept["about"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: must be as --recalibrate --labels wrote it; run that again, or delete it ({error})") from error
    pairs = zip(manifest["key"].to_pylist(), manifest["digest"].to_pylist(), strict=True)
    rows = [i for i, (key, digest) in enumerate(pairs) if labels.get(key, ("",))[0] == digest]
    table = manifest.take(pa.array(rows, pa.int64()))
    good = [labels[key][1] for key in table["key"].to_pylist()]
    if not any(good):
        return None
    if len(rows) < len(labels):
        about += f" ({len(labels) - len(rows)} more are of samples that are no longer as they were)"
    return Labelled(table.append_column("good", pa.array(good, pa.bool_())), about)
