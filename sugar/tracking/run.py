"""Opening and closing the run of a stage."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sugar.config import InputError
from sugar.tracking.mlflow_tracker import MlflowTracker
from sugar.tracking.store import (
    absolute_uri,
    artifact_location,
    experiment_id,
    first_user,
    make_store,
    opening,
)
from sugar.tracking.tracker import NullTracker, Tracker


@contextlib.contextmanager
def start_run(
    stage: str,
    params: Mapping[str, Any],
    *,
    uri: str = "sqlite:///mlflow.db",
    artifacts: str | None = "mlartifacts",
    experiment: str = "sugar",
    enabled: bool = True,
    root: Path | str = ".",
    checkout: Path | str | None = None,
    run_name: str = "",
    tags: Mapping[str, Any] | None = None,
) -> Iterator[Tracker]:
    """Open the run of a stage, log its parameters and the revision of the code, and close it.

    A run named by `MLFLOW_RUN_ID` is adopted (with `MLFLOW_TRACKING_URI` where it is set) and not
    ended here; otherwise a run is created, ended as FINISHED, FAILED (an
    exception) or KILLED (an interrupt).

    Args:
        stage: name of the stage; metrics are kept as `stage/name`, so that stages can share a run.
        params: nested parameters, flattened to `section.key`.
        uri: MLflow tracking URI; the file of a relative `sqlite:///file` lies under `root`.
        artifacts: folder for artifacts, under `root`; None or a server URI leaves it to the server.
        experiment: name of the experiment, created where it is missing.
        enabled: False gives a `NullTracker`.
        root: folder that relative paths start from.
        checkout: folder of the code, whose git revision is noted; None: `root`.
        run_name: of a run that is created; empty: the stage's name.
        tags: further tags of the run.

    Raises:
        InputError: the experiment was deleted in MLflow, or the adopted run does not exist.
        StoreUnavailable: the store cannot be reached or opened.
    """
    if not enabled:
        yield NullTracker()
        return
    tracker = _open(
        stage, run_name or stage, uri=uri, artifacts=artifacts, experiment=experiment, root=Path(root)
    )
    status = "FAILED"
    try:
        tracker.set_tags({"sugar.stage": stage, **revision_tags(Path(checkout or root)), **(tags or {})})
        tracker.log_params(params)
        yield tracker
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)


def revision_tags(root: Path) -> dict[str, str]:
    """Git commit of the checkout (or `SUGAR_GIT_REVISION`, as an image sets it) and whether it was edited."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"mlflow.source.git.commit": os.environ.get("SUGAR_GIT_REVISION") or "unknown"}
    edited = git("status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": commit, "sugar.git_edited": str(bool(edited)).lower()}


def _open(
    stage: str, run_name: str, *, uri: str, artifacts: str | None, experiment: str, root: Path
) -> MlflowTracker:
    """Connect, adopt or create the run, and start its buffer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves the machine unasked
    for noisy in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    adopted = os.environ.get("MLFLOW_RUN_ID") or None
    if adopted and os.environ.get("MLFLOW_TRACKING_URI"):
        uri = os.environ["MLFLOW_TRACKING_URI"]
    uri = absolute_uri(uri, root)
    with first_user(uri), opening(uri):
        make_store(uri)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if adopted:
            try:
                run = client.get_run(adopted)
            except MlflowException as error:
                raise InputError(f"MLFLOW_RUN_ID={adopted}: {uri} has no such run") from error
        else:
            location = (
                None if artifacts is None or uri.startswith("http") else artifact_location(artifacts, root)
            )
            run = client.create_run(experiment_id(client, experiment, location), run_name=run_name)
    return MlflowTracker(client, uri, stage, run.info.run_id, run.info.experiment_id, adopted is not None)
