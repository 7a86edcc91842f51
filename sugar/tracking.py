"""Where every number, picture, video, dataset digest and checkpoint of a run is kept: MLflow.

The only module that imports mlflow, and only when a run is opened. A stage talks to the `Tracker`
protocol, so that it reads the same with tracking on (`MlflowTracker`) and off (`NullTracker`).

Locally the store is a SQLite file and a folder of artifacts; on a cluster it is the server that
Kubeflow Pipelines names in `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_ID` and `MLFLOW_RUN_ID`: a run
that already exists is adopted, and left open for its owner to close.

A store that cannot be reached when a run is opened is an error. One that goes away later ends nothing:
numbers, pictures, videos, files and dataset digests wait in an `Outbox` and are sent when it is back, at the
latest when the run is closed; the log says when that fails. A model that is logged or registered needs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sugar.config import InputError
from sugar.outbox import Outbox

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# Limits of MLflow's log_batch request.
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100
MAX_PARAM_CHARS = 6000


class Tracker(Protocol):
    """What a stage may tell about itself. The bodies here keep nothing.

    Names of pictures, videos and files are paths (`samples/step-200`) and are kept under the stage's name.
    """

    @property
    def run_id(self) -> str | None:
        """Id of the run in the store."""
        return None

    def environment(self) -> dict[str, str]:
        """Variables that make a child process (a torchrun worker) adopt this very run."""
        return {}

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep nested parameters, flattened to `section.key`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Queue the numbers of one step as `stage/name`; they are written in batches, seconds later."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Note short facts about the run."""

    def log_image(self, name: str, image: np.ndarray) -> None:
        """Keep a picture, uint8 `[H, W, 3|4]`, as `name.png`."""

    def log_video(self, name: str, video: np.ndarray | Path | str, fps: float = 8.0) -> None:
        """Keep a video (uint8 `[T, H, W, 3]` or an mp4 file) as `name.mp4`, with a film strip `name.png`."""

    def log_artifacts(self, path: Path | str, name: str = "") -> None:
        """Keep a file, or all files of a folder, under `name`."""

    def log_dataset(
        self, name: str, digest: str, context: str, source: str = "", profile: Mapping[str, Any] | None = None
    ) -> None:
        """Link a dataset by its digest.

        Args:
            context: what the run used it for: "training", "evaluation", ...
            source: folder or URI of the dataset.
            profile: numbers about it: rows, accepted share, ...
        """

    def log_model_folder(
        self,
        folder: Path | str,
        name: str,
        exclude: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Keep a `from_pretrained` folder as a model made by this run; returns the model's id.

        Args:
            exclude: names directly under the folder that are left out (raw weights, histories).

        Raises:
            InputError: the folder does not exist.
        """
        return None

    def register(
        self, model_id: str | None, name: str, alias: str, tags: Mapping[str, Any] | None = None
    ) -> str | None:
        """Make a logged model the next version of `name` in the registry, point `alias` at it, and return
        the version. `mlflow.artifacts.download_artifacts("models:/name@alias")` fetches it."""
        return None


class NullTracker(Tracker):
    """Keeps nothing: what `tracking.enabled: false` asks for."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        _checked_metrics(metrics)


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
        root: folder that relative paths start from; also the checkout whose git revision is noted.
        run_name: of a run that is created; empty: the stage's name.
        tags: further tags of the run.

    Raises:
        InputError: the experiment was deleted in MLflow, or the adopted run does not exist.
    """
    if not enabled:
        yield NullTracker()
        return
    tracker = _open(
        stage, run_name or stage, uri=uri, artifacts=artifacts, experiment=experiment, root=Path(root)
    )
    status = "FAILED"
    try:
        tracker.set_tags({"sugar.stage": stage, **revision_tags(Path(root)), **(tags or {})})
        tracker.log_params(params)
        yield tracker
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as `section.key -> text`; lists and None are written as JSON."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        elif isinstance(value, str):
            flat[name] = value
        else:
            flat[name] = json.dumps(value, default=str)
    return flat


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
        return {"mlflow.source.git.commit": os.environ.get("SUGAR_GIT_REVISION", "unknown")}
    edited = git("status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": commit, "sugar.git_edited": str(bool(edited)).lower()}


def _checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    checked = {}
    for name, value in metrics.items():
        try:
            checked[name] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metric '{name}' must be a number, got {value!r}") from error
    return checked


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
    with _first_user(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if adopted:
            try:
                run = client.get_run(adopted)
            except MlflowException as error:
                raise InputError(f"MLFLOW_RUN_ID={adopted}: {uri} has no such run") from error
        else:
            location = (
                None if artifacts is None or uri.startswith("http") else _artifact_location(artifacts, root)
            )
            experiment_id = _experiment_id(client, experiment, location)
            run = client.create_run(experiment_id, run_name=run_name)
    return MlflowTracker(client, uri, stage, run.info.run_id, run.info.experiment_id, adopted is not None)


def absolute_uri(uri: str, root: Path) -> str:
    """`sqlite:///mlflow.db` as an absolute path under `root`; other URIs as they are."""
    scheme = "sqlite:///"
    if not uri.startswith(scheme) or uri.startswith(f"{scheme}/") or uri == f"{scheme}:memory:":
        return uri
    return f"{scheme}{(root / uri.removeprefix(scheme)).resolve()}"


def _artifact_location(artifacts: str, root: Path) -> str:
    return artifacts if "://" in artifacts else (root / artifacts).resolve().as_uri()


@contextlib.contextmanager
def _first_user(uri: str) -> Iterator[None]:
    """One process at a time creates the tables of a SQLite store."""
    if not uri.startswith("sqlite:////"):
        yield
        return
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_name(file.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment_id(client: MlflowClient, name: str, artifact_location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=artifact_location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was quicker
    assert found is not None
    if found.lifecycle_stage != "active":
        raise InputError(f"tracking.experiment: '{name}' was deleted in MLflow; restore it or name another")
    return found.experiment_id


def _absent() -> tuple[type[Exception], ...]:
    """What the client raises while a store is away."""
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


@dataclass
class MlflowTracker(Tracker):
    """One MLflow run. Made by `start_run`."""

    client: MlflowClient
    uri: str
    stage: str
    _run_id: str
    experiment_id: str
    adopted: bool
    _metrics: Outbox = field(init=False, repr=False)
    _files: Outbox = field(init=False, repr=False)

    @property
    def run_id(self) -> str:
        return self._run_id

    def __post_init__(self) -> None:
        self._metrics = Outbox(
            "metric points",
            lambda points: self.client.log_batch(self.run_id, metrics=points),
            batch_size=MAX_METRICS_PER_BATCH,
            absent=_absent(),
        )
        self._files = Outbox(
            "pictures, videos and files",
            lambda uploads: [upload() for upload in uploads],
            batch_size=1,
            absent=_absent(),
        )

    def environment(self) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_EXPERIMENT_ID": self.experiment_id,
            "MLFLOW_RUN_ID": self.run_id,
        }

    def log_params(self, params: Mapping[str, Any]) -> None:
        """As `Tracker` says; parameters of a run cannot change in MLflow, so a key to which another stage
        of the same run gave another value is kept as `stage.key`."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        flat = {}
        for key, value in flatten(params).items():
            value = value[:MAX_PARAM_CHARS]
            if known.get(key, value) != value:
                key = f"{self.stage}.{key}"
            if key not in known:
                flat[key] = value
        entries = [Param(key, value) for key, value in flat.items()]
        for start in range(0, len(entries), MAX_PARAMS_PER_BATCH):
            self.client.log_batch(self.run_id, params=entries[start : start + MAX_PARAMS_PER_BATCH])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        checked = _checked_metrics(metrics)
        self._metrics.add(
            [Metric(f"{self.stage}/{name}", value, now, step) for name, value in checked.items()]
        )

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        for name, value in tags.items():
            self.client.set_tag(self.run_id, name, str(value))

    def log_image(self, name: str, image: np.ndarray) -> None:
        file = f"{self.stage}/{name}.png"
        picture = image.copy()
        self._files.add([lambda: self.client.log_image(self.run_id, picture, artifact_file=file)])

    def log_video(self, name: str, video: np.ndarray | Path | str, fps: float = 8.0) -> None:
        from sugar.data.contact_sheet import film_strip
        from sugar.data.video_io import decode_video, encode_mp4

        if isinstance(video, (str, Path)):
            encoded = Path(video).read_bytes()
            frames, _ = decode_video(video)
        else:
            encoded, frames = encode_mp4(video, fps), video
        self._files.add([lambda: self._upload(f"{name}.mp4", encoded)])
        self.log_image(name, film_strip(frames))

    def _upload(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(name).name
            file.write_bytes(content)
            parent = Path(self.stage) / Path(name).parent
            self.client.log_artifact(self.run_id, str(file), artifact_path=parent.as_posix())

    def log_artifacts(self, path: Path | str, name: str = "") -> None:
        target = f"{self.stage}/{name}" if name else self.stage
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: there is nothing to keep")
        log = self.client.log_artifacts if Path(path).is_dir() else self.client.log_artifact
        self._files.add([lambda: log(self.run_id, str(path), artifact_path=target)])

    def log_dataset(
        self, name: str, digest: str, context: str, source: str = "", profile: Mapping[str, Any] | None = None
    ) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:36],  # what MLflow's table holds
            source_type="local",
            source=json.dumps({"uri": source, "sha256": digest}),
            profile=json.dumps(dict(profile or {}), default=str),
        )
        tag = InputTag("mlflow.data.context", context)
        inputs = [DatasetInput(dataset=dataset, tags=[tag])]
        self._files.add([lambda: self.client.log_inputs(self.run_id, datasets=inputs)])

    def log_model_folder(
        self,
        folder: Path | str,
        name: str,
        exclude: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
    ) -> str | None:
        from mlflow.entities import LoggedModelOutput

        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such model folder")
        flat = {key: value[:MAX_PARAM_CHARS] for key, value in flatten(params or {}).items()}
        model = self.client.create_logged_model(
            self.experiment_id, name=name, source_run_id=self.run_id, params=flat, model_type="SugarPipeline"
        )
        try:
            for entry in sorted(folder.iterdir()):
                if entry.name in exclude:
                    continue
                if entry.is_dir():
                    self.client.log_model_artifacts(model.model_id, str(entry), artifact_path=entry.name)
                else:
                    self.client.log_model_artifact(model.model_id, str(entry))
        except BaseException:
            self.client.finalize_logged_model(model.model_id, "FAILED")
            raise
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
        return model.model_id

    def register(
        self, model_id: str | None, name: str, alias: str, tags: Mapping[str, Any] | None = None
    ) -> str | None:
        from mlflow.exceptions import MlflowException

        if model_id is None:
            raise ValueError("register needs the id of a logged model, got None")
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self.client.create_model_version(
            name,
            source=self.client.get_logged_model(model_id).artifact_location,
            run_id=self.run_id,
            model_id=model_id,
            tags={key: str(value) for key, value in (tags or {}).items()},
        )
        self.client.set_registered_model_alias(name, alias, version.version)
        return str(version.version)

    def close(self, status: str) -> None:
        """Write what waits and end the run, unless it was adopted."""
        self._files.close()
        self._metrics.close()
        try:
            if not self.adopted:
                self.client.set_terminated(self.run_id, status)
            elif status != "FINISHED":
                self.set_tags({f"sugar.{self.stage}.status": status})
        except _absent() as error:
            why = " ".join(str(error).split())[:300]
            logger.error("tracking: run %s could not be ended as %s: %s", self.run_id, status, why)
