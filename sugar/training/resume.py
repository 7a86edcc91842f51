"""Which run a folder belongs to, and where it continues."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from diffusers import ModelMixin

from sugar.config import InputError
from sugar.training.checkpoint import CheckpointStore
from sugar.training.frozen import digests
from sugar.training.job import TrainingJob

logger = logging.getLogger(__name__)


def run_identity(
    job: TrainingJob, model: ModelMixin, scheduler: Any, data_digests: Mapping[str, str]
) -> dict[str, Any]:
    """What decides a run's result: the job's values, model, noise schedule and samples."""
    listed = [model.to_json_string(), digests(model.state_dict().items())]  # type: ignore[attr-defined]
    start = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    schedule = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    schedule_digest = hashlib.sha256(json.dumps(schedule, sort_keys=True).encode()).hexdigest()
    known = {"start_model": start, "noise_schedule": schedule_digest}
    return {**job.fingerprint(), **known, **{f"data_{k}": v for k, v in data_digests.items()}}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in keys)


def resume_point(store: CheckpointStore, identity: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """Step and record of the checkpoint to continue from; None to begin. Rank 0 alone; it tidies the folder.

    Checkpoints of another run that was finished give way; those of one that was not are never overwritten.

    Raises:
        InputError: the newest intact checkpoint belongs to another, unfinished run, or none is intact.
    """
    store.remove_unfinished()
    found = store.newest()
    if found is None:
        return None
    step, record = found
    theirs, ours = record["identity"], json.loads(json.dumps(identity))
    if theirs != ours:
        if step < theirs["steps"]:
            raise InputError(
                f"{store.path(step)} belongs to another, unfinished run: {_differences(theirs, ours)}; "
                f"restore these values to continue it, or remove {store.folder} to begin anew"
            )
        logger.info("%s: the checkpoints of an earlier, finished run give way", store.folder)
        store.remove_after(-1)
        return None
    store.remove_after(step)
    return step, record
