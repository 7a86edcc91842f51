"""A dataset at a glance, for the report: how much was accepted, why the rest was not, how it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class DatasetSummary:
    """reasons: reason -> rejected triplets (one may have several); sheet: uint8 [H, W, 3] or None."""

    name: str
    num_rows: int
    num_accepted: int
    reasons: Mapping[str, int]
    sheet: np.ndarray | None


def summarise_dataset(folder: Path | str, name: str, num_pictures: int = 10) -> DatasetSummary:
    """Counts from the manifest of a dataset folder, and a contact sheet of some accepted triplets.

    Raises:
        InputError: the folder has no manifest, or one of another version.
    """
    from sugar.data.contact_sheet import contact_sheet
    from sugar.data.dataset_report import triplet_strip, triplets_to_show
    from sugar.data.manifest import read_manifest

    table = read_manifest(folder)
    verdicts = table.select(["accepted", "reasons"]).to_pylist()
    accepted = np.flatnonzero([row["accepted"] for row in verdicts])
    reasons = Counter(reason for row in verdicts if not row["accepted"] for reason in row["reasons"])
    sheet = None
    if len(accepted) and num_pictures:
        chosen = accepted[np.linspace(0, len(accepted) - 1, min(num_pictures, len(accepted))).astype(int)]
        triplets = triplets_to_show(folder, table.take(chosen))
        strips = [triplet_strip(triplet, 64) for triplet in triplets]
        sheet = contact_sheet(strips, [t.prompt for t in triplets], columns=1) if triplets else None
    return DatasetSummary(name, len(verdicts), len(accepted), dict(reasons.most_common()), sheet)
