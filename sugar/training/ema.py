"""Exponential moving average of the trainable weights, in fp32, sharded as the optimizer's masters are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Ema:
    """`average <- decay_k * average + (1 - decay_k) * weights` after every update.

    With `decay_k = min(decay, (1 + k) / (10 + k))` for update k = 1, 2, ..., so that a short run is not held
    at its start. The average lives where the masters live and only covers what this rank owns: no memory is
    doubled, no communication is needed, and frozen weights have no average.

    Args:
        masters: the flat fp32 tensors of `Engine.masters`.
        decay: 0..1.

    Assumption: decision 0006 (the paper names no average).
    """

    def __init__(self, masters: Sequence[Tensor], decay: float) -> None:
        self._masters = masters
        self._decay = decay
        self.flats = [master.detach().clone() for master in masters]

    def decay(self, update: int) -> float:
        """The decay of the k-th update, k from 1."""
        return min(self._decay, (1 + update) / (10 + update))

    @torch.no_grad()
    def update(self, update: int) -> None:
        """Take in the masters after the k-th update."""
        torch._foreach_lerp_(self.flats, list(self._masters), 1 - self.decay(update))
