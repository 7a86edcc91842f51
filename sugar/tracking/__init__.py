"""Where every number, picture, video, dataset digest and checkpoint of a run is kept: MLflow.

The only room that imports mlflow, and only when a run is opened. A stage talks to the `Tracker`
protocol, so that it reads the same with tracking on (`MlflowTracker`) and off (`NullTracker`).

Locally the store is a SQLite file and a folder of artifacts; on a cluster it is the server that
Kubeflow Pipelines names in `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_ID` and `MLFLOW_RUN_ID`: a run
that already exists is adopted, and left open for its owner to close.

A store that cannot be reached when a run is opened is an error. One that goes away later ends nothing:
numbers, pictures, videos, files and dataset digests wait in an `Outbox` and are sent when it is back, at the
latest when the run is closed; the log says when that fails. A model that is logged or registered needs it.

A stage that finds nothing to do opens no run (`late_run`).
"""

from sugar.tracking.late import LateTracker, late_run
from sugar.tracking.mlflow_tracker import MlflowTracker
from sugar.tracking.run import revision_tags, start_run
from sugar.tracking.store import StoreUnavailable, absolute_uri
from sugar.tracking.tracker import NullTracker, Tracker, flatten

__all__ = [
    "LateTracker",
    "MlflowTracker",
    "NullTracker",
    "StoreUnavailable",
    "Tracker",
    "absolute_uri",
    "flatten",
    "late_run",
    "revision_tags",
    "start_run",
]
