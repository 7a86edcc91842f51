"""One resumable training loop for all small networks.

Every step is a pure function of (seed, step): a batch is drawn by the step's number, so a run that was
killed continues from its newest checkpoint with the batches it would have seen.
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


@contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """A transformers model with attention written out: the CPU's fused bf16 attention has a slow backward."""
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
    """Train `module` in place and leave it with its averaged weights.

    draw_batch: step -> batch; runs one step ahead in a thread. loss_of: (batch, step) -> losses, of which
    "loss" is minimised. checkpoint: file of the newest state; a finished run is loaded and not repeated.

    Returns the last smoothed losses and `seconds`, the time spent over all starts.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = MuonAdamW(module, settings.learning_rate, settings.weight_decay)
    ema = Ema(parameters, settings.ema_decay)
    start, seconds, smoothed = 0, 0.0, {}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        for average, saved in zip(ema.shadow, state["ema"], strict=True):
            average.copy_(saved)
        start, seconds, smoothed = state["step"], state["seconds"], state["smoothed"]
    module.train()
    clock = time.perf_counter()
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.precision == "bf16")
    with ThreadPoolExecutor(1) as pool, tqdm(total=settings.steps, initial=start, desc=settings.name) as bar:
        upcoming: Future[Any] = pool.submit(draw_batch, start)
        for step in range(start, settings.steps):
            batch = upcoming.result()
            upcoming = pool.submit(draw_batch, min(step + 1, settings.steps - 1))
            optimizer.set_learning_rate(learning_rate_at(step, settings))
            with autocast:
                losses = loss_of(batch, step)
            losses["loss"].backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            ema.update(step)
            for name, value in losses.items():
                smoothed[name] = 0.98 * smoothed.get(name, float(value.detach())) + 0.02 * float(
                    value.detach()
                )
            bar.update()
            if (step + 1) % report_every == 0:
                bar.set_postfix({k: f"{v:.4f}" for k, v in smoothed.items()})
                if report is not None:
                    report(step + 1, dict(smoothed))
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
                _save(
                    checkpoint,
                    {
                        "module": module.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "ema": ema.shadow,
                        "step": step + 1,
                        "seconds": seconds + time.perf_counter() - clock,
                        "smoothed": smoothed,
                    },
                )
    ema.copy_to_model()
    module.eval()
    return {**smoothed, "seconds": seconds + time.perf_counter() - clock}
