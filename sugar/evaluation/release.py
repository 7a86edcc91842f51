"""Is a model good enough to be registered?"""

from __future__ import annotations

from collections.abc import Mapping

from sugar.config import InputError
from sugar.evaluation.scores import PAPER_METRICS

IDENTITY = PAPER_METRICS[0].key


def release_failures(metrics: Mapping[str, float], min_identity: float) -> list[str]:
    """Why a model is not to be registered; empty when it is.

    Args:
        metrics: what `evaluate` wrote to metrics.json.
        min_identity: smallest DINO score of the main row (`register.min_identity`).

    Raises:
        InputError: the metrics hold no DINO score.
    """
    if IDENTITY not in metrics:
        raise InputError(
            f"metrics.json of the evaluation needs the figure '{IDENTITY}', got {sorted(metrics)}"
        )
    score = metrics[IDENTITY]
    if score < min_identity:
        return [f"{IDENTITY} must be >= {min_identity:g} (register.min_identity), got {score:.4f}"]
    return []
