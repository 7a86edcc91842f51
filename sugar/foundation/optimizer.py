"""Optimizers of the small networks: Muon for weight matrices, AdamW for everything else.

Muon orthogonalises each matrix's momentum; on these small networks it needs fewer steps than AdamW
(docs/log.md). `torch.optim.Muon` takes matrices only, so that convolution kernels [out, in, ...] are given
to it as views [out, in * ...] of the same storage.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

MIN_SIDE = 16
"""Matrices with a shorter side (first and last convolutions) stay with AdamW."""


class MuonAdamW:
    """`torch.optim.Muon` and `torch.optim.AdamW` behind one `step`, `zero_grad` and `state_dict`.

    Both run at the same learning rate: Muon's update is scaled to the root mean square of AdamW's.
    """

    def __init__(self, module: torch.nn.Module, learning_rate: float, weight_decay: float) -> None:
        embeddings = {id(m.weight) for m in module.modules() if isinstance(m, torch.nn.Embedding)}
        self.matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for parameter in module.parameters():
            if not parameter.requires_grad:
                continue
            flat = (
                parameter.shape[0] if parameter.ndim else 1,
                parameter.numel() // max(1, parameter.shape[0] if parameter.ndim else 1),
            )
            is_matrix = parameter.ndim >= 2 and min(flat) >= MIN_SIDE and id(parameter) not in embeddings
            (self.matrices if is_matrix else others).append(parameter)
        self.views = [torch.nn.Parameter(p.data.view(p.shape[0], -1)) for p in self.matrices]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay)
        ]
        if self.views:
            self.optimizers.append(
                torch.optim.Muon(
                    self.views, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
                )
            )

    def set_learning_rate(self, rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        for view, parameter in zip(self.views, self.matrices, strict=True):
            view.grad = None if parameter.grad is None else parameter.grad.view(parameter.shape[0], -1)
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        for parameter in self.matrices:
            parameter.grad = None

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: Iterable[dict[str, Any]]) -> None:
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
