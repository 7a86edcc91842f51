"""`sugar synthesize --recalibrate`: thresholds for a wanted precision; no dataset is made or scored."""

from __future__ import annotations

from pathlib import Path

from sugar.config import Params
from sugar.stages.truth import scored_sprites

DATASETS = {"synthesize": "synthetic", "ingest": "real"}
NUM_CLIPS = 100
PRECISION = 0.75


def recalibrate(
    params: Params, stage: str, *, precision: float, labels: Path | None = None, out: Path | None = None
) -> str:
    """Choose thresholds that together reach a precision; returns what they do, as text.

    With `labels` the dataset's own scores are compared with what somebody said of its samples. Without, the
    filter networks score clips of Sprite World that are good or bad in one known way (decision 0008). The
    proposal and the labels are noted in the dataset's report, whose page shows them when the stage runs next.

    Args:
        stage: "synthesize" or "ingest": whose filters.
        precision: wanted share of good samples among what all thresholds together accept.
        labels: CSV file (key, good).
        out: a profile to write, for `--profile`.

    Raises:
        InputError: wrong labels, no dataset, a network is missing, or nothing reaches the precision: then
            nothing is written.
    """
    from sugar.data.atomic import write_bytes_atomic, write_json_atomic
    from sugar.data.filter_page import PROPOSAL
    from sugar.data.verdicts import keep_labels
    from sugar.filtering.recalibration import labelled_by_hand, overlay_yaml, proposal_text, propose

    dataset, filters = params.path(DATASETS[stage]), params.section(stage)["filters"]
    labelled = scored_sprites(params, NUM_CLIPS) if labels is None else labelled_by_hand(dataset, labels)
    proposal = propose(labelled, precision, filters)
    if dataset.is_dir():
        write_json_atomic(dataset / "report" / PROPOSAL, proposal.as_json())
        if labels is not None:
            keep_labels(dataset / "report", labelled.about, labelled.table)
    overlay = overlay_yaml(stage, proposal.bounds, list(filters))
    if out is not None:
        write_bytes_atomic(out, overlay.encode())
    return f"{proposal_text(proposal)}\n\n{overlay}"
