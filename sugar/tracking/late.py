"""The run of a stage that may find nothing to do: opened when the stage says that it works.

Opening a run takes seconds, most of them MLflow's import. A stage that finds its outputs as it left them
tells nothing new: the run that made them has its records. Which one that is, is noted beside each output.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sugar.data.atomic import remove_file, write_json_atomic
from sugar.tracking.store import absolute_uri, public_uri
from sugar.tracking.tracker import NullTracker, Tracker

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

OpenRun = Callable[[], AbstractContextManager[Tracker]]
_RUN = "run"


class LateTracker(Tracker):
    """Keeps nothing until its run is open; from then on what that run's tracker does.

    Attributes:
        began: whether the stage has said that it works.
    """

    def __init__(self, open_run: Callable[[], Tracker]) -> None:
        self._open_run = open_run
        self._opened: Tracker | None = None
        self.began = False

    def begin(self) -> None:
        self.began = True
        self.open()

    def open(self) -> None:
        """Open the run, if it is not."""
        if self._opened is None:
            self._opened = self._open_run()

    @property
    def _now(self) -> Tracker:
        return self._opened or NullTracker()

    @property
    def run_id(self) -> str | None:
        return self._now.run_id

    def environment(self) -> dict[str, str]:
        return self._now.environment()

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._now.log_params(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._now.log_metrics(metrics, step)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self._now.set_tags(tags)

    def log_image(self, name: str, image: np.ndarray) -> None:
        self._now.log_image(name, image)

    def log_video(self, name: str, video: np.ndarray | Path | str, fps: float = 8.0) -> None:
        self._now.log_video(name, video, fps)

    def log_artifacts(self, path: Path | str, name: str = "") -> None:
        self._now.log_artifacts(path, name)

    def log_dataset(
        self, name: str, digest: str, context: str, source: str = "", profile: Mapping[str, Any] | None = None
    ) -> None:
        self._now.log_dataset(name, digest, context, source, profile)

    def log_model_folder(
        self,
        folder: Path | str,
        name: str,
        exclude: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
    ) -> str | None:
        return self._now.log_model_folder(folder, name, exclude, params)

    def register(
        self, model_id: str | None, name: str, alias: str, tags: Mapping[str, Any] | None = None
    ) -> str | None:
        return self._now.register(model_id, name, alias, tags)


@contextmanager
def late_run(
    open_run: OpenRun,
    stage: str,
    outputs: Sequence[Path],
    *,
    uri: str,
    experiment: str,
    enabled: bool,
    root: Path,
) -> Iterator[LateTracker]:
    """A tracker whose run is opened when the stage begins to work.

    It is opened at once where no run of this store and experiment tells of the outputs yet, and where a run
    is adopted (`MLFLOW_RUN_ID`): that is somebody's own, and gets figures of its own.

    Args:
        open_run: opens and closes the run.
        outputs: folders that the stage writes; beside each lies the note, `.NAME.run.json`.
        uri, experiment, enabled, root: as for `start_run`.
    """
    place = {"uri": public_uri(absolute_uri(uri, root)), "experiment": experiment}
    notes = [folder.parent / f".{folder.name}.run.json" for folder in outputs]
    adopted = bool(os.environ.get("MLFLOW_RUN_ID"))
    with ExitStack() as stack:

        def opened() -> Tracker:
            for note in notes:  # the run may not come to its end, the outputs may become others
                remove_file(note)
            return stack.enter_context(open_run())

        tracker = LateTracker(opened)
        if enabled and (adopted or not all(_tells(note, place) for note in notes)):
            tracker.open()
        yield tracker
        if not tracker.began:
            logger.info("%s: nothing to do", stage)
    if tracker.run_id is not None and not adopted:
        for note in notes:
            write_json_atomic(note, {**place, _RUN: tracker.run_id})


def _tells(note: Path, place: Mapping[str, str]) -> bool:
    """Whether the note names a run at this place, as far as can be seen without asking the store."""
    try:
        about = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(about, dict) or not about.pop(_RUN, None) or about != place:
        return False
    uri = place["uri"]
    return not uri.startswith("sqlite:////") or Path(uri.removeprefix("sqlite:///")).is_file()
