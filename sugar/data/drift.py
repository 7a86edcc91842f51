"""How far a dataset has moved from an earlier version of itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from sugar.config import InputError
from sugar.data.manifest import MANIFEST, SCORE_PREFIX, accepted_rows, extra_tags, read_manifest, score_names

TAGS = ("noun", "category", "style", "background", "motion")


def drift(now: pa.Table, before: pa.Table) -> dict[str, float]:
    """Distance of two manifests, each number in [0, 1], 0 for alike.

    acceptance: difference of the shares of accepted rows. Each tag of the accepted rows that both have: total variation
    distance of its shares, half the sum of their differences. Each score that both have: Kolmogorov-Smirnov
    statistic, the largest difference of the cumulative distributions over all rows.
    """
    found = {"acceptance": abs(_acceptance(now) - _acceptance(before))}
    for tag in (*TAGS, *(name for name in extra_tags(now) if name in before.column_names)):
        found[tag] = _total_variation(*(accepted_rows(table)[tag] for table in (now, before)))
    for name in sorted(set(score_names(now)) & set(score_names(before))):
        columns = (table[f"{SCORE_PREFIX}{name}"].drop_null().to_numpy() for table in (now, before))
        found[f"{SCORE_PREFIX}{name}"] = _kolmogorov_smirnov(*columns)
    return found


def previous_manifest(folder: Path | str, revision: str) -> pa.Table:
    """The manifest of a dataset folder as DVC knows it at a git revision.

    Args:
        folder: tracked by DVC, inside a git checkout; revision: "HEAD", a tag, a commit, ...

    Raises:
        InputError: there is no checkout, no such revision, no such dataset in it, or its data is not in the
            cache or the default remote.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    folder = Path(folder).resolve()
    root = next((parent for parent in folder.parents if (parent / ".dvc").is_dir()), None)
    if root is None:
        raise InputError(f"validate.baseline: {folder} lies in no DVC repository, so it has no {revision!r}")
    name = f"{folder.relative_to(root).as_posix()}/{MANIFEST}"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            DVCFileSystem(str(root), rev=revision).get_file(name, f"{scratch}/{MANIFEST}")
        except (DvcException, SCMError, OSError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"validate.baseline: no {name} at {revision!r} ({why})") from error
        return read_manifest(scratch)


def _acceptance(table: pa.Table) -> float:
    return accepted_rows(table).num_rows / max(table.num_rows, 1)


def _total_variation(now: pa.ChunkedArray, before: pa.ChunkedArray) -> float:
    shares: list[dict[str, float]] = []
    for column in (now, before):
        counts = column.value_counts().to_pylist()
        shares.append({str(entry["values"]): entry["counts"] / len(column) for entry in counts})
    names = shares[0].keys() | shares[1].keys()
    return 0.5 * sum(abs(shares[0].get(name, 0.0) - shares[1].get(name, 0.0)) for name in names)


def _kolmogorov_smirnov(now: np.ndarray, before: np.ndarray) -> float:
    if not len(now) or not len(before):
        return 0.0
    now, before = np.sort(now), np.sort(before)
    places = np.concatenate([now, before])
    below = [np.searchsorted(values, places, side="right") / len(values) for values in (now, before)]
    return float(np.abs(below[0] - below[1]).max())
