"""Selective attention of middling length on a CPU: a call per set of readers in place of one per key set.

torch's fused CPU kernel is slower, operation by operation, where a call has fewer than 768 queries
(docs/log.md). In design (b) image tokens and first frame are such a call. Here all queries ask in one call
for the keys that all of them read, and the few that read more ask again for those. Rows of several calls are
joined as FlashAttention joins blocks of keys:

    lse = log sum_i exp(lse_i),    out = sum_i exp(lse_i - lse) out_i

and the kernel's backward, given the joined out and lse, yields the share of each call in the gradients.

Legend: B batch, N heads, L tokens, K head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sugar.model.attention import AttentionCall, AttentionPlan, Span, merged_spans

MANY_QUERIES = 768
"""From which on the kernel is at its best."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def rows(spans: Sequence[Span]) -> int:
    return sum(stop - start for start, stop in spans)


@lru_cache(maxsize=1024)
def reader_calls(plan: AttentionPlan) -> tuple[AttentionCall, ...]:
    """Calls that together are the plan's attention, every key in one of them, those of most readers first.

    Empty where that would not pay: no keys are read by all, the plan's own calls are large or a single one,
    all queries together are few, or more than half of the rows would have to be joined.
    """
    edges = sorted({edge for call in plan.calls for span in call.key_spans for edge in span})
    keys: dict[tuple[Span, ...], list[Span]] = {}
    for start, stop in pairwise(edges):
        reading = [
            span
            for call in plan.calls
            if any(first <= start and stop <= last for first, last in call.key_spans)
            for span in call.query_spans
        ]
        if reading:
            keys.setdefault(merged_spans(sorted(reading)), []).append((start, stop))
    calls = sorted(
        (AttentionCall(readers, merged_spans(spans)) for readers, spans in keys.items()),
        key=lambda call: -rows(call.query_spans),
    )
    total = rows(plan.query_spans)
    pays = (
        len(calls) > 1
        and total >= MANY_QUERIES
        and min(rows(call.query_spans) for call in plan.calls) < MANY_QUERIES
        and rows(calls[0].query_spans) == total
        and 2 * sum(rows(call.query_spans) for call in calls[1:]) <= total
    )
    return tuple(calls) if pays else ()


def readers_pay(query: Tensor, plan: AttentionPlan) -> bool:
    """Whether `attend_by_readers` is to be used: on a CPU, its fused kernel allowed and fit, the plan too."""
    return (
        not torch.compiler.is_compiling()
        and query.device.type == "cpu"
        and query.dtype in DTYPES
        and query.stride(-1) == 1
        and torch.backends.cuda.flash_sdp_enabled()
        and bool(reader_calls(plan))
    )


def attend_by_readers(
    query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor, plan: AttentionPlan
) -> Tensor:
    """Attention under the plan, `[B, N, L, K]`, where `readers_pay`."""
    return _ByReaders.apply(query_BNLK, key_BNLK, value_BNLK, reader_calls(plan))  # pyright: ignore[reportReturnType]


class _ByReaders(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, calls: tuple[AttentionCall, ...]
    ) -> Tensor:
        out, lse = _forward(query, _take(key, calls[0].key_spans), _take(value, calls[0].key_spans))
        for call in calls[1:]:
            readers, keys = call.query_spans, call.key_spans
            answers = _forward(_take(query, readers), _take(key, keys), _take(value, keys))
            for (start, stop), more, more_lse in zip(
                readers, *(_parts(a, readers) for a in answers), strict=True
            ):
                _join(out[:, :, start:stop], lse[:, :, start:stop], more, more_lse)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.calls = calls
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_out, (query, key, value, out, lse) = gradients[0], ctx.saved_tensors
        grad_query = None
        grad_key, grad_value = (torch.empty_like(each) for each in (key, value))
        for call in ctx.calls:
            readers, keys = call.query_spans, call.key_spans
            asking = (_take(grad_out, readers), _take(query, readers), _take(key, keys), _take(value, keys))
            share, *of_keys = _backward(*asking, _take(out, readers), _take(lse, readers), 0.0, False)
            for whole, part in zip((grad_key, grad_value), of_keys, strict=True):
                for (start, stop), piece in zip(keys, _parts(part, keys), strict=True):
                    whole[:, :, start:stop] = piece
            if grad_query is None:
                grad_query = share  # of all rows
                continue
            for (start, stop), piece in zip(readers, _parts(share, readers), strict=True):
                grad_query[:, :, start:stop] += piece
        return grad_query, grad_key, grad_value, None


def _take(tensor: Tensor, spans: Sequence[Span]) -> Tensor:
    """The tokens of the spans: a view where there is one span."""
    parts = [tensor[:, :, start:stop] for start, stop in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _parts(tensor: Tensor, spans: Sequence[Span]) -> tuple[Tensor, ...]:
    return tensor.split([stop - start for start, stop in spans], dim=2)


def _join(out: Tensor, lse: Tensor, more: Tensor, more_lse: Tensor) -> None:
    """Add the answers of another call to the same rows, in place."""
    joined = torch.logaddexp(lse, more_lse)
    weight = (more_lse - joined).exp_().unsqueeze(-1)
    out.lerp_(more, weight.to(out.dtype))
    lse.copy_(joined)
