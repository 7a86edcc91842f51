"""Selective attention as one FlexAttention call: the backend "flex" of `set_attention_backend`.

The block mask is made from the spans of a plan, block by block: no tensor of L x L elements exists.

Legend: B batch, N heads, L tokens, K head size, Q query blocks, J key blocks, P calls of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from sugar.model.attention import AttentionPlan, Span

BLOCK = 128


def _inside(spans: Sequence[Span], length: int) -> Tensor:
    """bool `[length]`: which tokens lie in one of the spans."""
    inside_L = torch.zeros(length, dtype=torch.bool)
    for start, stop in spans:
        inside_L[start:stop] = True
    return inside_L


def _blocks(inside_PL: Tensor, fill: bool) -> Tensor:
    """`[P, L]` as `[P, blocks, BLOCK]`, the last block filled up."""
    padding = -inside_PL.shape[1] % BLOCK
    return torch.nn.functional.pad(inside_PL, (0, padding), value=fill).unflatten(1, (-1, BLOCK))


def _listed(table_QJ: Tensor) -> tuple[Tensor, Tensor]:
    """How many key blocks of each query block, and which ones first: int32 `[1, 1, Q]`, `[1, 1, Q, J]`."""
    order_QJ = torch.argsort(table_QJ.int(), dim=1, descending=True, stable=True)
    return table_QJ.sum(dim=1).int()[None, None], order_QJ.int()[None, None]


@lru_cache(maxsize=32)
def block_mask(plan: AttentionPlan, num_queries: int, num_keys: int, device: torch.device) -> BlockMask:
    """The plan as a mask of blocks of 128 x 128 tokens: skipped, whole or looked at token by token."""
    queries_PL = torch.stack([_inside(call.query_spans, num_queries) for call in plan.calls])
    keys_PL = torch.stack([_inside(call.key_spans, num_keys) for call in plan.calls])
    asking_PQ = _blocks(queries_PL, False).any(dim=2)
    some_PJ, all_PJ = _blocks(keys_PL, False).any(dim=2), _blocks(keys_PL, True).all(dim=2)
    some_QJ = (asking_PQ[:, :, None] & some_PJ[:, None]).any(dim=0)
    whole_QJ = (~asking_PQ[:, :, None] | all_PJ[:, None]).all(dim=0) & some_QJ
    call_of_query_L, read_PL = queries_PL.int().argmax(dim=0).to(device), keys_PL.to(device)

    def may_read(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return read_PL[call_of_query_L[query], key]

    partial, whole = (_listed(table) for table in (some_QJ & ~whole_QJ, whole_QJ))
    return BlockMask.from_kv_blocks(
        *(table.to(device) for table in (*partial, *whole)),
        BLOCK_SIZE=BLOCK,
        mask_mod=may_read,
        seq_lengths=(num_queries, num_keys),
    )


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)


def flex_selective_attention(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    """Attention under a plan on `[B, N, L, K]`, in one call.

    On a GPU the kernel is compiled at the first call. On a CPU it is torch's uncompiled form, which is there
    to compare with: slow, and without a backward.
    """
    attend: Any = _compiled() if query.is_cuda and not torch.compiler.is_compiling() else flex_attention
    return attend(query, key, value, block_mask=block_mask(plan, query.shape[2], key.shape[2], query.device))
