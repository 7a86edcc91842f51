"""What a stage is: inputs, outputs and parameters that it declares, one writer, one tracked run."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sugar.config import InputError, Params

if TYPE_CHECKING:
    from sugar.tracking import Tracker

logger = logging.getLogger(__name__)

Paths = Mapping[str, Path]
Body = Callable[[Params, Paths, Paths, "Tracker"], dict[str, float]]

METRICS = "metrics"
"""Optional output of every stage: the JSON file of its figures."""


LOCATIONS = ("paths",)
"""Read by every stage, and no part of what its results depend on."""


class StageFailure(RuntimeError):
    """A stage has done its work and the answer is no (a gate that fails): the message says why."""

    expected = True


@dataclass(frozen=True)
class Stage:
    """A stage of the chain, called as `stage(params, inputs, outputs)`.

    Args:
        name: the verb.
        inputs, outputs: names of the folders it reads and writes: keys of `paths` in params.yaml.
        optional: inputs that need not be there.
        may_rest: its body says when it begins to work (`tracker.begin`); where it does not, there was nothing
            to do, and no run is opened.
        reads: sections (`video`) and single values (`networks.dino`) of the parameters; it sees no others.
        body: the work: (parameters that it declared, inputs, outputs, tracker) -> figures.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reads: tuple[str, ...]
    body: Body
    optional: tuple[str, ...] = ()
    may_rest: bool = False

    def __call__(
        self,
        params: Params,
        inputs: Paths,
        outputs: Paths,
        ablation: str | None = None,
        check: bool = False,
    ) -> dict[str, float]:
        """Run it: lock the outputs, open a tracked run where there is work, work, keep the figures.

        Args:
            inputs, outputs: folder of each declared name (a body may do with fewer); `outputs` may name the
                file of `METRICS` too.
            ablation: name in `ablations` of what is run, for the tracked run alone.
            check: compare every byte of shards and latents in `outputs` with the digest that was noted when
                they were written; what is damaged is made anew.

        Returns:
            The figures, with `seconds`.

        Raises:
            InputError: an input is missing, another process writes the outputs, or what was given is wrong.
            StageFailure: the work is done and the answer is no.
        """
        from sugar.data.atomic import StageLock, write_json_atomic
        from sugar.data.shard_driver import shards_by
        from sugar.stages.sharding import cluster_driver
        from sugar.tracking import late_run, start_run

        self._check_names(inputs, outputs)
        seen = params.only((*self.reads, *LOCATIONS))
        tracking = params.tracking
        start = time.monotonic()
        with ExitStack() as stack:
            folders = [outputs[name] for name in sorted(outputs.keys() - {METRICS})]
            for folder in folders:
                stack.enter_context(StageLock(folder, self.name))
                if check:
                    _remove_damaged(folder)
            open_run = partial(
                start_run,
                self.name,
                params.only(self.reads).as_dict(),
                uri=tracking.uri,
                artifacts=tracking.artifacts,
                experiment=tracking.experiment,
                enabled=tracking.enabled,
                root=params.root,
                checkout=params.folder,
                run_name=self.name if ablation is None else f"{self.name} {ablation}",
                tags=None if ablation is None else {"sugar.ablation": ablation},
            )
            if self.may_rest:
                open_run = partial(
                    late_run,
                    open_run,
                    self.name,
                    folders,
                    uri=tracking.uri,
                    experiment=tracking.experiment,
                    enabled=tracking.enabled,
                    root=params.root,
                )
            tracker = stack.enter_context(open_run())
            with shards_by(cluster_driver(self, params, inputs, outputs)):
                figures = self.body(seen, inputs, outputs, tracker)
            figures = {**figures, "seconds": round(time.monotonic() - start, 1)}
            tracker.log_metrics(figures, int(figures.get("steps", 0)))  # of a training: after its last step
            if METRICS in outputs:
                write_json_atomic(outputs[METRICS], figures)
        return figures

    def _check_names(self, inputs: Paths, outputs: Paths) -> None:
        unknown = (inputs.keys() - {*self.inputs, *self.optional}) | (
            outputs.keys() - {*self.outputs, METRICS}
        )
        if unknown or not outputs:
            raise ValueError(
                f"{self.name} takes {self.inputs} and writes {self.outputs}, got {sorted(unknown)}"
            )
        for name, folder in inputs.items():
            if not folder.exists():
                raise InputError(f"{self.name} needs {folder} ({name}), which does not exist")


def _remove_damaged(folder: Path) -> None:
    from sugar.data.latent_files import remove_damaged_latents
    from sugar.data.latent_index import remove_damaged_index
    from sugar.data.shards import remove_damaged_shards

    latents = [*remove_damaged_latents(folder), *remove_damaged_index(folder)]
    damaged = [*remove_damaged_shards(folder), *latents]
    logger.info("%s: every byte compared; damaged files: %d", folder, len(damaged))
    for name in damaged:
        logger.warning("%s: damaged; is made anew", folder / name)


def declare(
    inputs: str, outputs: str, reads: tuple[str, ...], optional: str = "", *, may_rest: bool = False
) -> Callable[[Body], Stage]:
    """Make a stage of its body; `inputs`, `outputs` and `optional` are names separated by blanks."""

    def made(body: Body) -> Stage:
        name = getattr(body, "__name__", "")
        return Stage(
            name,
            tuple(inputs.split()),
            tuple(outputs.split()),
            reads,
            body,
            tuple(optional.split()),
            may_rest,
        )

    return made


def metrics_file(params: Params, stage: str, ablation: str | None = None) -> Path:
    """Where the command line keeps the figures of a stage."""
    return params.path("metrics") / (f"{stage}.json" if ablation is None else f"{ablation}/{stage}.json")


def paths_to_read(stage: Stage, params: Params) -> dict[str, Path]:
    """Folder of each input, as `paths` of params.yaml names it; an optional one where it exists."""
    there = [name for name in stage.optional if params.path(name).exists()]
    return {name: params.path(name) for name in (*stage.inputs, *there)}


def run_on_paths(stage: Stage, params: Params, check: bool = False) -> dict[str, float]:
    """Run a stage on the folders that `paths` of params.yaml names; check: as for `Stage`."""
    inputs = paths_to_read(stage, params)
    outputs = {name: params.path(name) for name in stage.outputs}
    return stage(params, inputs, {**outputs, METRICS: metrics_file(params, stage.name)}, check=check)


def read_figures(file: Path) -> dict[str, float]:
    """The figures that a stage kept."""
    return json.loads(file.read_text(encoding="utf-8"))
