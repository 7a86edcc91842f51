"""What a person watches while a model trains, and what is left of it: a bar, a log, two tables of losses.

Names in the log: "loss" and, of the samples that they say, "loss_real", "loss_synthetic",
"loss_noise_quarter_1" (least noise) to "..._4", "loss_all_conditions", "loss_image_dropped",
"loss_text_dropped"; the same with "held_out_" before them; "grad_norm", "learning_rate", "skipped_steps",
"peak_memory_gib"; and the rates of `sugar.training.throughput.Meter`.
"""

from __future__ import annotations

import logging
import math
import resource
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sugar.training.batches import Batch
from sugar.training.engine import Engine, StepResult
from sugar.training.history import Window
from sugar.training.throughput import Meter

logger = logging.getLogger(__name__)

Log = Callable[[Mapping[str, float], int], None]
HISTORY_COLUMNS = ("loss", "loss_real", "loss_synthetic", "grad_norm")
HELD_OUT_DROPS = {"": (), "image_dropped": ("dino", "clip"), "text_dropped": ("text",)}
"""What a held-out loss is told for: conditions that are dropped from the same samples with the same noise."""


class Report:
    """Takes in the losses of the steps, tells their means, keeps the tables.

    Args:
        phase, steps: of the run.
        num_train_timesteps: of the noise schedule.
        log: takes (name -> number, step) on rank 0.
    """

    def __init__(
        self, phase: str, steps: int, num_train_timesteps: int, engine: Engine, meter: Meter, log: Log
    ) -> None:
        self._phase, self._steps, self._num_train_timesteps = phase, steps, num_train_timesteps
        self._engine, self._meter, self._log = engine, meter, log
        self._window = Window()
        self.history: list[dict[str, float]] = []
        self.held_out_history: list[dict[str, float]] = []

    def bar(self, step: int) -> tqdm:
        """A progress bar with the time left, from `step` on; none where nobody sees it."""
        hidden = None if self._engine.rank == 0 else True
        return tqdm(total=self._steps, initial=step, desc=self._phase, unit="step", disable=hidden)

    # ---- the steps --------------------------------------------------------------------------------------

    def add_losses(self, loss_B: Tensor, batch: Batch) -> None:
        """Take in one micro-batch."""
        self._window.add_losses(loss_B, batch, self._num_train_timesteps)

    def add_step(self, result: StepResult) -> None:
        """Take in what became of a step; rank 0 tells the norm, which all ranks know."""
        if result.applied and self._engine.rank == 0:
            self._window.add("grad_norm", result.grad_norm)

    def tell(self, step: int, learning_rate: float, skipped: int, bar: tqdm) -> None:
        """Means and rates since the last time, to the log and the bar. Collective."""
        self._gather()
        means, rates = self._window.means(), self._meter.read()
        self._window = Window()
        told = {"learning_rate": learning_rate, "skipped_steps": skipped}
        self.history.append({"step": step, **_columns(means), **told})
        if self._engine.rank != 0:
            return
        self._log({**means, **told, "peak_memory_gib": _peak_gib(), **rates}, step)
        shown = {
            "loss": f"{means.get('loss', math.nan):.4f}",
            "samples/s": f"{rates['samples_per_second']:.1f}",
            "waiting": f"{rates['data_wait_share']:.1%}",
        }
        bar.set_postfix(shown)
        if bar.disable:
            left = tqdm.format_interval((self._steps - step) * rates["seconds_per_step"])
            words = ", ".join(f"{name} {value}" for name, value in shown.items())
            logger.info("%s: step %d of %d, %s, %s left", self._phase, step, self._steps, words, left)

    # ---- held-out samples -------------------------------------------------------------------------------

    def tell_held_out(
        self,
        step: int,
        loss: Callable[[Batch], Tensor],
        batches: Callable[[tuple[str, ...]], Iterable[Batch]],
    ) -> None:
        """Held-out losses to the log. Collective.

        Args:
            loss: `[B]` of a batch; batches: names of conditions -> the batches of this rank without them.
        """
        windows = {}
        for state, dropped in HELD_OUT_DROPS.items():
            windows[state] = Window()
            for batch in batches(dropped):
                windows[state].add_losses(loss(batch), batch, self._num_train_timesteps)
        sums = self._engine.sum_over_ranks(torch.stack([window.values for window in windows.values()]))
        whole, *others = (Window(values.tolist()).means() for values in sums)
        if not whole:
            return
        means = whole | {f"loss_{state}": o["loss"] for state, o in zip([*windows][1:], others, strict=True)}
        row = {name: value for name, value in means.items() if name.endswith("dropped")}
        self.held_out_history.append({"step": step, **_columns(means), **row})
        if self._engine.rank == 0:
            self._log({f"held_out_{name}": value for name, value in means.items()}, step)

    # ---- what is left -----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps. Collective."""
        self._gather()
        tables = {"history": list(self.history), "held_out_history": list(self.held_out_history)}
        return {"window": self._window.values.tolist(), **tables}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept; its sums are of all ranks, and rank 0 goes on with them."""
        self.history, self.held_out_history = state["history"], state["held_out_history"]
        if self._engine.rank == 0:
            self._window = Window(state["window"])

    def figures(self) -> dict[str, float]:
        """The last rows of both tables, and the rates of the whole run."""
        last = {name: value for row in self.history[-1:] for name, value in row.items() if name != "step"}
        for row in self.held_out_history[-1:]:
            last |= {f"held_out_{name}": value for name, value in row.items() if name != "step"}
        self._meter.read()
        return last | self._meter.totals()

    def _gather(self) -> None:
        """Move the sums of all ranks to rank 0. Collective."""
        total = self._engine.sum_over_ranks(self._window.values)
        self._window = Window(total.tolist() if self._engine.rank == 0 else None)


def _columns(means: Mapping[str, float]) -> dict[str, float]:
    return {name: means[name] for name in HISTORY_COLUMNS if name in means}


def _peak_gib() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
