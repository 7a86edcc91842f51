"""No tensor of L x L elements exists in selective attention, forward or backward; all are linear in L."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sugar.model.attention import DESIGNS, dense_mask, selective_attention

SHARES = {"dino": 0.1, "clip": 0.1, "text": 0.1, "first_frame": 0.2, "other_frames": 0.5}


class Sizes(TorchDispatchMode):
    """Elements of every tensor that an operation makes; of the fused kernels what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.largest, self.total = max([self.largest, *made]), self.total + sum(made)
        return out


def sizes_of(attend, length: int) -> Sizes:
    qkv = [torch.randn(1, 1, length, 4).requires_grad_() for _ in range(3)]
    with Sizes() as sizes:
        attend(*qkv).square().sum().backward()
    return sizes


def lengths_of(total: int) -> dict[str, int]:
    return {group: round(share * total) for group, share in SHARES.items()}


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: design.name)
def test_every_tensor_is_linear_in_the_length(design):
    short, long = (
        sizes_of(lambda *qkv, n=n: selective_attention(*qkv, design, lengths_of(n)), n) for n in (1000, 4000)
    )
    assert long.largest == 4 * short.largest
    assert long.total <= 4.01 * short.total
    assert long.largest == 4000 * 4 < 4000 * 4000 / 100


def test_the_dense_mask_is_seen_to_be_quadratic():
    """The ledger above would notice: the definition makes L x L tensors."""
    mask = dense_mask(DESIGNS["b"], lengths_of(1000))
    sizes = sizes_of(lambda *qkv: F.scaled_dot_product_attention(*qkv, attn_mask=mask), 1000)
    assert sizes.largest >= 1000 * 1000
