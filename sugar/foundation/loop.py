"""One resumable training loop for all small networks.

Every step is a pure function of (seed, step): a batch is drawn by the step's number, so a run that was
killed continues from its newest checkpoint with the batches it would have seen. Batches are drawn on the CPU,
some steps ahead, and moved to the device of the training; there is no waiting for a GPU at each step.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sugar.foundation.optimizer import MuonAdamW

Losses = Mapping[str, torch.Tensor]
CPU = torch.device("cpu")
WORKERS = 8
"""Processes that draw batches for a GPU, at most."""
SECONDS_BETWEEN_SAVES = 60.0
"""At least, on a GPU, where `checkpoint_every` steps may take less time than writing the state."""


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast one network is trained.

    `precision` is "bf16" (autocast; the weights stay fp32) or "fp32".
    """

    name: str
    steps: int
    learning_rate: float
    warmup_steps: int = 100
    final_rate: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    checkpoint_every: int = 250
    precision: str = "bf16"
    device: torch.device = CPU


def learning_rate_at(step: int, settings: LoopSettings) -> float:
    """Linear warm-up, then a cosine down to `final_rate` of the peak."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return settings.learning_rate * (settings.final_rate + (1 - settings.final_rate) * cosine)


class Ema:
    """Exponential moving average of the parameters, with the usual warm-up (1 + n) / (10 + n)."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.shadow = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        for parameter, average in zip(self.parameters, self.shadow, strict=True):
            parameter.copy_(average)


def _save(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _each(change: Callable[[torch.Tensor], torch.Tensor], batch: Any) -> Any:
    """The same tuples and dictionaries of changed tensors."""
    if isinstance(batch, torch.Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {key: _each(change, value) for key, value in batch.items()}
    return tuple(_each(change, value) for value in batch)


class _Steps(torch.utils.data.Dataset):
    """Item i is the batch of step `start + i`."""

    def __init__(self, draw_batch: Callable[[int], Any], start: int, stop: int) -> None:
        self.draw_batch, self.start, self.stop = draw_batch, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Any:
        return self.draw_batch(self.start + index)


def _as_drawn(batch: Any) -> Any:
    return batch


def drawn_by_processes(
    draw_batch: Callable[[int], Any], start: int, stop: int, num_workers: int, pinned: bool
) -> Iterator[Any]:
    """The batches of `start` to `stop`, in order: a GPU's step is shorter than the draw of a batch."""
    return iter(
        torch.utils.data.DataLoader(
            _Steps(draw_batch, start, stop),
            batch_size=None,
            collate_fn=_as_drawn,
            num_workers=num_workers,
            prefetch_factor=4,
            pin_memory=pinned,
            multiprocessing_context="fork",  # the pools are open files, the draws closures
        )
    )


def drawn_by_a_thread(draw_batch: Callable[[int], Any], start: int, stop: int) -> Iterator[Any]:
    """The batches of `start` to `stop`, in order, each drawn while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        upcoming: Future[Any] | None = None
        for step in range(start, stop):
            batch = (upcoming or pool.submit(draw_batch, step)).result()
            upcoming = pool.submit(draw_batch, step + 1) if step + 1 < stop else None
            yield batch


def batches_of(
    draw_batch: Callable[[int], Any], start: int, stop: int, device: torch.device
) -> Iterator[Any]:
    """The batches of `start` to `stop`, in order, on `device`."""
    if device.type == "cpu":
        yield from drawn_by_a_thread(draw_batch, start, stop)
        return
    num_workers = max(1, min(WORKERS, (os.cpu_count() or 1) - 2))
    for batch in drawn_by_processes(draw_batch, start, stop, num_workers, pinned=True):
        yield _each(lambda tensor: tensor.to(device, non_blocking=True), batch)


@contextmanager
def plain_attention(model: Any, device: torch.device) -> Iterator[None]:
    """On a CPU a transformers model has attention written out: fused bf16 attention has a slow backward."""
    if device.type != "cpu":
        yield
        return
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def train_network(
    module: torch.nn.Module,
    draw_batch: Callable[[int], Any],
    loss_of: Callable[[Any, int], Losses],
    settings: LoopSettings,
    checkpoint: Path,
    report: Callable[[int, dict[str, float]], None] | None = None,
    report_every: int = 50,
) -> dict[str, float]:
    """Train `module` in place on `settings.device` and leave it on the CPU with its averaged weights.

    draw_batch: step -> tensors on the CPU, in tuples and dictionaries; runs ahead, for a GPU in processes.
    loss_of: (batch on the device, step) -> losses, of which "loss" is minimised. checkpoint: file of the
    newest state; a finished run is loaded and not repeated.

    Returns the last smoothed losses and `seconds`, the time spent over all starts.
    """
    device = settings.device
    module.to(device)  # before anything takes hold of the parameters' storage
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = MuonAdamW(module, settings.learning_rate, settings.weight_decay)
    ema = Ema(parameters, settings.ema_decay)
    start, seconds, smoothed = 0, 0.0, {}
    if checkpoint.exists():
        # To the CPU: each part copies what is its own to where it works (AdamW's step counts stay there).
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        for average, saved in zip(ema.shadow, state["ema"], strict=True):
            average.copy_(saved)
        start, seconds, smoothed = state["step"], state["seconds"], state["smoothed"]
    module.train()
    clock = saved_at = time.perf_counter()
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16")
    batches = batches_of(draw_batch, start, settings.steps, device)
    names, running = list(smoothed), torch.tensor(list(smoothed.values()), dtype=torch.float64, device=device)
    with tqdm(total=settings.steps, initial=start, desc=settings.name) as bar:
        for step, batch in enumerate(batches, start):
            optimizer.set_learning_rate(learning_rate_at(step, settings))
            with autocast:
                losses = loss_of(batch, step)
            losses["loss"].backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            ema.update(step)
            values = torch.stack([value.detach().double() for value in losses.values()])
            if not names:
                names, running = list(losses), values
            running = 0.98 * running + 0.02 * values
            bar.update()
            last = step + 1 == settings.steps
            if (step + 1) % report_every == 0:
                smoothed = dict(zip(names, running.tolist(), strict=True))
                bar.set_postfix({k: f"{v:.4f}" for k, v in smoothed.items()})
                if report is not None:
                    report(step + 1, dict(smoothed))
            due = device.type == "cpu" or time.perf_counter() - saved_at >= SECONDS_BETWEEN_SAVES
            if last or ((step + 1) % settings.checkpoint_every == 0 and due):
                smoothed = dict(zip(names, running.tolist(), strict=True))
                saved_at = time.perf_counter()
                _save(
                    checkpoint,
                    {
                        "module": module.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "ema": ema.shadow,
                        "step": step + 1,
                        "seconds": seconds + saved_at - clock,
                        "smoothed": smoothed,
                    },
                )
    ema.copy_to_model()
    module.eval().to("cpu")
    return {**smoothed, "seconds": seconds + time.perf_counter() - clock}
