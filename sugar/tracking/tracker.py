"""What a stage may tell about itself, and the tracker that keeps nothing of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np


class Tracker(Protocol):
    """What a stage may tell about itself. The bodies here keep nothing.

    Names of pictures, videos and files are paths (`samples/step-200`) and are kept under the stage's name.
    """

    @property
    def run_id(self) -> str | None:
        """Id of the run in the store."""
        return None

    def begin(self) -> None:
        """Say that the stage works: what it does now is to be told. See `sugar.tracking.late`."""

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
        checked_metrics(metrics)


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


def checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The numbers as floats.

    Raises:
        ValueError: a value that is no number, with its name.
    """
    checked = {}
    for name, value in metrics.items():
        try:
            checked[name] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metric '{name}' must be a number, got {value!r}") from error
    return checked
