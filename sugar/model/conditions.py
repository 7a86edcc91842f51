"""The text side of the sequence, and what every block is told of it.

Legend: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from torch import Tensor

from sugar.model.attention import GROUPS, VIDEO_SIDE, AttentionDesign, AttentionPlan, attention_plan


@dataclass(frozen=True)
class Conditions:
    """The text side of the sequence, projected: what stays the same through all sampling steps.

    Args:
        tokens_BLD: the streams that are present, in the model's token order.
        lengths: stream -> tokens.
        copies: stream -> how many equal tokens each of its tokens stands for; one where it is not named.
    """

    tokens_BLD: Tensor
    lengths: Mapping[str, int]
    copies: Mapping[str, int] = field(default_factory=dict)


def block_kwargs(
    design: AttentionDesign,
    order: Sequence[str],
    lengths: Mapping[str, int],
    copies: Mapping[str, int],
    num_blocks: int,
    attention_kwargs: dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """`attention_kwargs` of each block, with its plan: in the last one only the video asks.

    Args:
        order: of the groups in the sequence.
        lengths: group -> tokens; copies: of `Conditions`.
    """
    key_lengths = {group: count * copies.get(group, 1) for group, count in lengths.items()}
    stops = list(accumulate(lengths.get(group, 0) for group in order))
    key_copies = tuple(
        ((stop - lengths[group], stop), copies[group])
        for group, stop in zip(order, stops, strict=True)
        if group in copies
    )
    shared = {**(attention_kwargs or {}), "key_copies": key_copies}

    def plan(queries: Sequence[str]) -> AttentionPlan:
        return attention_plan(design, lengths, order, key_lengths=key_lengths, queries=queries)

    inner = {**shared, "plan": plan(GROUPS)}
    last = {**shared, "plan": plan(VIDEO_SIDE), "video_only": True}
    return [inner] * (num_blocks - 1) + [last]
