"""What a run reports: means over the steps between two log lines, split by what a person asks about."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sugar.data.atomic import atomic_path
from sugar.training.batches import Batch

QUARTERS = 4
NAMES = (
    "loss",
    "loss_real",
    "loss_synthetic",
    *(f"loss_noise_quarter_{i + 1}" for i in range(QUARTERS)),
    "loss_all_conditions",
    "loss_image_dropped",
    "loss_text_dropped",
    "grad_norm",
)


def loss_groups(batch: Batch, num_train_timesteps: int) -> dict[str, Tensor]:
    """Which samples belong to which mean, bool `[B]` each. Quarter 1 has the least noise.

    "all_conditions": nothing dropped; "image_dropped": DINO and CLIP both; "text_dropped": the text, whatever
    else.
    """
    quarter = batch.timesteps * QUARTERS // num_train_timesteps
    image_dropped = ~batch.keep["dino"] & ~batch.keep["clip"]
    all_kept = batch.keep["dino"] & batch.keep["clip"] & batch.keep["text"]
    groups = {"loss": torch.ones_like(batch.synthetic), "loss_real": ~batch.synthetic}
    groups["loss_synthetic"] = batch.synthetic
    groups |= {f"loss_noise_quarter_{i + 1}": quarter == i for i in range(QUARTERS)}
    groups |= {
        "loss_all_conditions": all_kept,
        "loss_image_dropped": image_dropped,
        "loss_text_dropped": ~batch.keep["text"],
    }
    return groups


class Window:
    """Sums and counts since the last log line, float64 `[2, names]` on the CPU, stored exactly."""

    def __init__(self, values: Sequence[Sequence[float]] | None = None) -> None:
        self.values = torch.zeros(2, len(NAMES), dtype=torch.float64)
        if values is not None:
            self.values = torch.tensor(values, dtype=torch.float64)

    def add_losses(self, loss_B: Tensor, batch: Batch, num_train_timesteps: int) -> None:
        """Take in the samples' losses of one micro-batch; non-finite ones are left out."""
        loss_B = loss_B.detach().to("cpu", torch.float64)
        finite = torch.isfinite(loss_B)
        members = torch.stack(
            [mask.cpu() & finite for mask in loss_groups(batch, num_train_timesteps).values()]
        )
        self.values[0, : len(members)] += (members * torch.where(finite, loss_B, 0.0)).sum(dim=1)
        self.values[1, : len(members)] += members.sum(dim=1)

    def add(self, name: str, value: float) -> None:
        """Take in one number."""
        self.values[0, NAMES.index(name)] += value
        self.values[1, NAMES.index(name)] += 1

    def means(self) -> dict[str, float]:
        """name -> mean, for the names that have a count."""
        sums, counts = self.values.tolist()
        return {name: s / n for name, s, n in zip(NAMES, sums, counts, strict=True) if n > 0}


def write_rows(path: Path, rows: Iterable[Mapping[str, float]]) -> None:
    """A CSV with "step" and a column for every other name in any row; a cell without a value is empty."""
    rows = list(rows)
    names = {name for row in rows for name in row}
    columns = ["step", *(n for n in NAMES if n in names), *sorted(names - {"step", *NAMES})]
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
