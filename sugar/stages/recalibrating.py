"""`sugar synthesize --recalibrate`: thresholds for a wanted precision; no dataset is made or scored."""

from __future__ import annotations

import functools
from pathlib import Path

from sugar.config import Params

DATASETS = {"synthesize": "synthetic", "ingest": "real"}
NUM_CLIPS = 100


def recalibrate(
    params: Params, stage: str, *, precision: float, labels: Path | None = None, out: Path | None = None
) -> str:
    """Choose a threshold for each score; returns a table of them with precision and recall, as text.

    With `labels` the dataset's own scores are compared with what somebody said of its samples. Without, the
    filter networks score clips of Sprite World that are good or bad in one known way (decision 0008).

    Args:
        stage: "synthesize" or "ingest": whose filters.
        precision: wanted share of good samples among what a threshold accepts.
        labels: CSV file (key, good).
        out: a profile to write, for `--profile`.

    Raises:
        InputError: wrong labels, no dataset, a network is missing.
        ValueError: no threshold of a score reaches the precision on Sprite World.
    """
    from sugar.data.atomic import write_bytes_atomic, write_json_atomic
    from sugar.data.filter_page import CALIBRATION
    from sugar.filtering.recalibration import choices_from_labels, choices_json, choices_text, overlay_yaml

    dataset = params.path(DATASETS[stage])
    refused: dict[str, str] = {}
    if labels is not None:
        chosen, refused = choices_from_labels(dataset, labels, precision)
    else:
        chosen = _on_sprites(params, precision)
    if dataset.is_dir():
        write_json_atomic(dataset / "report" / CALIBRATION, choices_json(chosen))
    overlay = overlay_yaml(stage, chosen)
    if out is not None:
        write_bytes_atomic(out, overlay.encode())
    return f"{choices_text(chosen, refused)}\n\n{overlay}"


def _on_sprites(params: Params, precision: float) -> dict:
    from sugar.encoders.loading import resolve_device
    from sugar.filtering.calibration import calibrate_on_sprites
    from sugar.filtering.scoring import load_judges, score_triplets

    judges = load_judges(
        dino=params.network("dino"),
        clip=params.network("clip"),
        flow=params.networks.flow.kind,
        device=resolve_device(params.networks.device),
    )
    score = functools.partial(score_triplets, judges=judges)
    return calibrate_on_sprites(score, num_clips=NUM_CLIPS, seed=params.seed, precision=precision)
