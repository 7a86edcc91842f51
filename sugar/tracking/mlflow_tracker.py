"""The tracker of an MLflow run."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sugar.config import InputError
from sugar.outbox import Outbox
from sugar.tracking.tracker import Tracker, checked_metrics, flatten

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# Limits of MLflow's log_batch request.
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100
MAX_PARAM_CHARS = 6000


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
        checked = checked_metrics(metrics)
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
