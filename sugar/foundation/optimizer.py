"""Optimizers of the small networks: Muon for weight matrices, AdamW for everything else.

Muon orthogonalises each matrix's momentum; on these small networks it needs fewer steps than AdamW
(docs/log.md). `torch.optim.Muon` takes matrices only, so that convolution kernels [out, in, ...] are given
to it as views [out, in * ...] of the same storage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

MIN_SIDE = 16
"""Matrices with a shorter side (first and last convolutions) stay with AdamW."""


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` ("match_rms_adamw") that takes all matrices of one shape as one batch.

    The same sums in far fewer kernels: matrix by matrix, a GPU waits for its launches. State and options are
    Muon's own, so that either continues what the other began.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert closure is None
        for group in self.param_groups:
            assert group["nesterov"] and group["adjust_lr_fn"] == "match_rms_adamw"
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for view in group["params"]:
                if view.grad is not None:
                    by_shape.setdefault(view.shape, []).append(view)
            for shape, views in by_shape.items():
                self._step_of_shape(group, shape, views)

    def _step_of_shape(self, group: dict[str, Any], shape: torch.Size, views: list[torch.Tensor]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        gradients: Any = [view.grad for view in views]
        for view, gradient in zip(views, gradients, strict=True):
            if "momentum_buffer" not in self.state[view]:
                self.state[view]["momentum_buffer"] = torch.zeros_like(gradient)
        buffers = [self.state[view]["momentum_buffer"] for view in views]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        updates = torch.stack(list(torch._foreach_lerp(gradients, buffers, momentum)))
        directions = _orthogonalised(updates, group["ns_coefficients"], group["ns_steps"], group["eps"])
        torch._foreach_mul_(views, 1 - rate * group["weight_decay"])
        torch._foreach_add_(views, directions.unbind(), alpha=-rate * 0.2 * math.sqrt(max(shape)))


def _orthogonalised(
    updates_NAB: torch.Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float
) -> torch.Tensor:
    """Muon's Newton-Schulz iteration in bf16 on N matrices at once; float32."""
    a, b, c = coefficients
    x = updates_NAB.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(num_steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float().contiguous()


class MuonAdamW:
    """`torch.optim.Muon` and `torch.optim.AdamW` behind one `step`, `zero_grad` and `state_dict`.

    Both run at the same learning rate: Muon's update is scaled to the root mean square of AdamW's. The views
    stay those of the parameters' storage: `module` must lie on its device before.
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
            muon = BatchedMuon if self.views[0].is_cuda else torch.optim.Muon
            self.optimizers.append(
                muon(self.views, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            )

    def set_learning_rate(self, rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        for view, parameter in zip(self.views, self.matrices, strict=True):
            view.grad = None if parameter.grad is None else parameter.grad.reshape(parameter.shape[0], -1)
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
