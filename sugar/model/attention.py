"""Selective attention: who reads whom, as a table, and attention that never builds an L x L tensor.

SUGAR section 3.2 "Special Attention Design", Figure 4.

Legend: B batch, N heads, L tokens, K head size. Suffixes name a tensor's axes (`query_BNLK`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGE_GROUPS = ("dino", "clip")
TEXT_SIDE = ("dino", "clip", "text")
VIDEO_SIDE = ("first_frame", "other_frames")
GROUPS = TEXT_SIDE + VIDEO_SIDE

Span = tuple[int, int]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AttentionDesign:
    """One row per token group: the groups that it reads.

    Every group reads itself, whether its row says so or not; a group without a row reads only itself.

    Args:
        reads: group -> groups read, over "dino", "clip", "text", "first_frame", "other_frames".
        name: what messages call it.

    Raises:
        ValueError: an unknown group.

    Source: SUGAR Figure 4. Assumption: decision 0004 (the figure's content).
    """

    reads: Mapping[str, frozenset[str]]
    name: str = "custom"

    def __post_init__(self) -> None:
        for group, read in self.reads.items():
            for name in (group, *read):
                if name not in GROUPS:
                    raise ValueError(
                        f"design {self.name!r}: a group must be one of {', '.join(GROUPS)}, got {name!r}"
                    )
        object.__setattr__(self, "reads", {g: frozenset(self.reads.get(g, ())) for g in GROUPS})

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.reads[group] for group in GROUPS)))

    def keys_of(self, group: str) -> frozenset[str]:
        """The groups that `group` reads, itself included."""
        return self.reads[group] | {group}

    def reached_by(self, groups: Sequence[str]) -> frozenset[str]:
        """The groups whose tokens can influence `groups` through any number of layers."""
        reached = frozenset(groups)
        while (wider := reached.union(*(self.keys_of(group) for group in reached))) != reached:
            reached = wider
        return reached

    def to_table(self) -> dict[str, list[str]]:
        """The table as plain lists, for a JSON or YAML file."""
        return {group: [g for g in GROUPS if g in self.reads[group]] for group in GROUPS}


def _design(
    name: str, image: Sequence[str], text: Sequence[str], first: Sequence[str], others: Sequence[str]
):
    rows = {"dino": image, "clip": image, "text": text, "first_frame": first, "other_frames": others}
    return AttentionDesign({group: frozenset(read) for group, read in rows.items()}, name)


_UNCONDITIONED = ("text", *VIDEO_SIDE)
DESIGNS: Mapping[str, AttentionDesign] = {
    "a": _design("a", IMAGE_GROUPS, _UNCONDITIONED, _UNCONDITIONED, _UNCONDITIONED),
    "b": _design("b", GROUPS, _UNCONDITIONED, GROUPS, _UNCONDITIONED),
    "c": _design("c", IMAGE_GROUPS, _UNCONDITIONED, GROUPS, _UNCONDITIONED),
    "d": _design("d", IMAGE_GROUPS, _UNCONDITIONED, GROUPS, GROUPS),
    "e": _design("e", GROUPS, GROUPS, GROUPS, GROUPS),
}


def resolve_design(design: AttentionDesign | str | Mapping[str, Sequence[str]]) -> AttentionDesign:
    """A design from its letter, from a table group -> groups read, or itself.

    Raises:
        ValueError: an unknown letter or group.
    """
    if isinstance(design, AttentionDesign):
        return design
    if isinstance(design, str):
        if design not in DESIGNS:
            raise ValueError(
                f"attention_design must be one of {', '.join(DESIGNS)} or a table of groups, got {design!r}"
            )
        return DESIGNS[design]
    return AttentionDesign({group: frozenset(read) for group, read in design.items()})


def dense_mask(design: AttentionDesign, lengths: Mapping[str, int]) -> Tensor:
    """The definition: a boolean `[L, L]`, True where the row's token may attend to the column's.

    Args:
        lengths: group -> tokens, zero allowed; a missing group counts zero. The order is that of `GROUPS`.
    """
    table = torch.tensor([[key in design.keys_of(query) for key in GROUPS] for query in GROUPS])
    counts = torch.tensor([lengths.get(group, 0) for group in GROUPS])
    group_L = torch.arange(len(GROUPS)).repeat_interleave(counts)
    return table[group_L][:, group_L]


@dataclass(frozen=True)
class AttentionCall:
    """One attention without a mask: these rows read these columns."""

    query_spans: tuple[Span, ...]
    key_spans: tuple[Span, ...]


@dataclass(frozen=True)
class AttentionPlan:
    """Calls that together are one attention under a design.

    Args:
        calls: one per distinct key set.
        query_spans: those of all calls, in the order of the sequence, which they cover.
    """

    calls: tuple[AttentionCall, ...] = ()
    query_spans: tuple[Span, ...] = ()


def merged_spans(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same tokens without empty spans, neighbours joined."""
    merged: list[Span] = []
    for start, stop in spans:
        if start == stop:
            continue
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)


def _spans(lengths: Sequence[int], order: Sequence[str]) -> dict[str, Span]:
    starts = [sum(lengths[:i]) for i in range(len(order))]
    return {group: (start, start + n) for group, start, n in zip(order, starts, lengths, strict=True)}


@lru_cache(maxsize=1024)
def _plan(
    design: AttentionDesign,
    lengths: tuple[int, ...],
    key_lengths: tuple[int, ...],
    order: tuple[str, ...],
    queries: tuple[str, ...],
) -> AttentionPlan:
    asking = tuple(group for group in order if group in queries)
    query_span = _spans([lengths[order.index(group)] for group in asking], asking)
    key_span = _spans(key_lengths, order)
    readers: dict[tuple[Span, ...], list[Span]] = {}
    for group, (start, stop) in query_span.items():
        if start < stop:
            keys = merged_spans([key_span[key] for key in order if key in design.keys_of(group)])
            readers.setdefault(keys, []).append((start, stop))
    calls = tuple(AttentionCall(merged_spans(spans), keys) for keys, spans in readers.items())
    return AttentionPlan(calls, tuple(sorted(span for call in calls for span in call.query_spans)))


def attention_plan(
    design: AttentionDesign,
    lengths: Mapping[str, int],
    order: Sequence[str] = GROUPS,
    *,
    key_lengths: Mapping[str, int] | None = None,
    queries: Sequence[str] = GROUPS,
) -> AttentionPlan:
    """The mask-free calls that together equal the masked attention, one per distinct key set.

    Args:
        lengths: group -> tokens, zero allowed.
        order: the order in which the groups stand in the sequence.
        key_lengths: group -> keys, where these differ from the tokens that ask (see `repeat_keys`).
        queries: the groups that ask; the query tensor holds these alone.
    """
    keys = lengths if key_lengths is None else key_lengths
    counts, key_counts = (tuple(each.get(group, 0) for group in order) for each in (lengths, keys))
    return _plan(design, counts, key_counts, tuple(order), tuple(queries))


@lru_cache(maxsize=64)
def token_order(design: AttentionDesign) -> tuple[str, ...]:
    """The order of the groups that makes every key set one slice, where there is one.

    The text side stays before the video side, because CogVideoX's blocks modulate the two differently and
    either has to be one slice too. Among the orders that qualify, the one with the fewest query slices wins.
    """

    def cost(order: tuple[str, ...]) -> tuple[int, int]:
        ones = (1,) * len(order)
        calls = _plan(design, ones, ones, order, order).calls
        return sum(len(call.key_spans) - 1 for call in calls), sum(len(call.query_spans) for call in calls)

    orders = [text + video for video in permutations(VIDEO_SIDE) for text in permutations(TEXT_SIDE)]
    return min(orders, key=cost)


def slices(tensor: Tensor, spans: Sequence[Span], dim: int) -> Tensor:
    """The spans of one axis joined: the tensor itself or a view where there is a single span, else a copy.

    A view by `split`, because its backward writes the gradient once; that of `narrow` first fills a tensor of
    the whole size with zeros.
    """
    length = tensor.shape[dim]
    if tuple(spans) == ((0, length),):
        return tensor
    parts = [tensor.split((start, stop - start, length - stop), dim=dim)[1] for start, stop in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)


def repeat_keys(keys: Tensor, copies: Sequence[tuple[Span, int]], dim: int) -> Tensor:
    """Keys or values with the tokens of some spans repeated along `dim`; `copies`: (span, times), in order.

    n equal tokens that all are read by the same queries can be computed as one: their keys and values are
    equal, and the softmax needs them n times.
    """
    if not copies:
        return keys
    parts, done = [], 0
    for (start, stop), times in copies:
        parts.append(keys.narrow(dim, done, start - done))
        parts.append(keys.narrow(dim, start, stop - start).repeat_interleave(times, dim=dim))
        done = stop
    parts.append(keys.narrow(dim, done, keys.shape[dim] - done))
    return torch.cat(parts, dim=dim)


def run_plan(
    query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, attend: Attend, dim: int
) -> Tensor:
    """The calls of a plan, joined in the order of the sequence along axis `dim` of query, key and value."""
    spans = plan.query_spans
    asking = [query] if len(spans) == 1 else query.split([stop - start for start, stop in spans], dim=dim)
    parts = dict(zip(spans, asking, strict=True))
    for call in plan.calls:
        queries = [parts[span] for span in call.query_spans]
        out = attend(
            queries[0] if len(queries) == 1 else torch.cat(queries, dim=dim),
            slices(key, call.key_spans, dim),
            slices(value, call.key_spans, dim),
        )
        answers = [out] if len(queries) == 1 else out.split([q.shape[dim] for q in queries], dim=dim)
        parts.update(zip(call.query_spans, answers, strict=True))
    return parts[spans[0]] if len(spans) == 1 else torch.cat([parts[span] for span in spans], dim=dim)


def selective_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    design: AttentionDesign,
    lengths: Mapping[str, int],
    *,
    order: Sequence[str] = GROUPS,
    attend: Attend | None = None,
) -> Tensor:
    """Attention under a design, equal to masking with `dense_mask`, without a mask.

    Query groups with the same key set share one call on slices of the keys: no tensor of L x L elements
    exists, forward or backward, and the fused kernels stay in use. On a CPU short sequences are computed as
    `sugar.model.by_readers` says.

    Args:
        query, key, value: `[B, N, L, K]`.
        design: who reads whom.
        lengths: group -> tokens, zero allowed; they sum to L.
        order: the order in which the groups stand along L.
        attend: the kernel, on `[B, N, l, K]`; None: torch's.

    Returns:
        `[B, N, L, K]`.

    Raises:
        ValueError: the lengths do not sum to L.

    Source: SUGAR section 3.2, "Selective Attention".
    """
    total = sum(lengths.get(group, 0) for group in order)
    if total != query.shape[2]:
        raise ValueError(
            f"lengths must sum to the {query.shape[2]} tokens of the query, got {total}: {dict(lengths)}"
        )
    if total == 0:
        return torch.empty_like(query)
    plan = attention_plan(design, lengths, order)
    if attend is None:
        from sugar.model.by_readers import attend_by_readers, readers_pay

        if readers_pay(query, plan):
            return attend_by_readers(query, key, value, plan)
    return run_plan(query, key, value, plan, attend or F.scaled_dot_product_attention, dim=2)
