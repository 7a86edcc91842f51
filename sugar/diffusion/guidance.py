"""Dual classifier-free guidance: one scale for the image, one for the text.

Legend: tensors are predictions `[B, F, C, H, W]`, or any shape that all branches share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

Order = Literal["image_first", "text_first"]
ORDERS: tuple[Order, ...] = ("image_first", "text_first")


def dual_guidance(
    uncond: Tensor, single: Tensor, both: Tensor, image_scale: float, text_scale: float, order: Order
) -> Tensor:
    """Combine three predictions into the guided one.

    image_first, equation (1): `uncond + image_scale * (single - uncond) + text_scale * (both - single)`,
    `single` being the image-only prediction.
    text_first, equation (2): `uncond + text_scale * (single - uncond) + image_scale * (both - single)`,
    `single` being the text-only prediction.

    Args:
        uncond: the prediction without image and text (with the negative prompt where one is given).
        single: the prediction under one condition.
        both: the prediction under image and text.

    Raises:
        ValueError: an unknown order.

    Source: SUGAR section 3.2, equations (1) and (2). Assumption: decision 0005.
    """
    first_scale, second_scale = _scales_in_order(image_scale, text_scale, order)
    return uncond + first_scale * (single - uncond) + second_scale * (both - single)


def _scales_in_order(image_scale: float, text_scale: float, order: str) -> tuple[float, float]:
    if order not in ORDERS:
        raise ValueError(f"sampling.order must be one of {', '.join(ORDERS)}, got {order!r}")
    return (image_scale, text_scale) if order == "image_first" else (text_scale, image_scale)


class Branch(NamedTuple):
    """What one forward of the denoiser is conditioned on.

    Args:
        dino, clip: whether the stream is kept; a stream that is not kept is dropped (null tokens).
        text: "prompt", "negative" (the negative prompt) or "null" (dropped).
    """

    dino: bool
    clip: bool
    text: Literal["prompt", "negative", "null"]


@dataclass(frozen=True)
class Guidance:
    """How the branches are weighed.

    Args:
        image_scale, text_scale: the two scales; 1 and 1 is the conditional prediction alone.
        order: which condition stands alone in the middle branch.
        negative: whether a negative prompt stands in for the missing text.
        interval: the part of the steps, as fractions, in which guidance acts; outside it the conditional
            prediction is used alone.
        dynamic: let both scales rise along CogVideoX's cosine, `1 + s * (1 - cos(pi * p^5)) / 2` with p the
            part of the steps that is done (`DynamicCFG` of its `sgm/modules/diffusionmodules/guiders.py`).
        rescale: share of the conditional prediction's standard deviation to restore, 0 to 1.

    Source: SUGAR section 3.2 "Improved Sampling"; the options from CogVideoX and diffusers.
    """

    image_scale: float = 4.0
    text_scale: float = 7.5
    order: Order = "image_first"
    negative: bool = False
    interval: tuple[float, float] = (0.0, 1.0)
    dynamic: bool = False
    rescale: float = 0.0

    def __post_init__(self) -> None:
        _scales_in_order(self.image_scale, self.text_scale, self.order)
        start, stop = self.interval
        if not 0.0 <= start <= stop <= 1.0:
            raise ValueError(f"guidance interval must satisfy 0 <= start <= stop <= 1, got {self.interval}")
        if not 0.0 <= self.rescale <= 1.0:
            raise ValueError(f"guidance rescale must be within [0, 1], got {self.rescale}")

    def scales_at(self, step: int, num_steps: int) -> tuple[float, float]:
        """(image, text) scales of one step; (1, 1) outside the interval."""
        start, stop = self.interval
        done = step / num_steps
        if not start <= done < stop:
            return 1.0, 1.0
        if not self.dynamic:
            return self.image_scale, self.text_scale
        rise = (1.0 - math.cos(math.pi * done**5)) / 2.0
        return 1.0 + self.image_scale * rise, 1.0 + self.text_scale * rise


def branch_weights(
    image_scale: float, text_scale: float, order: Order, *, dino: bool, clip: bool, negative: bool
) -> dict[Branch, float]:
    """The guided prediction as a weighted sum over the branches that matter; the weights sum to 1.

    Collecting the terms of `dual_guidance` gives `(1 - s1) * uncond + (s1 - s2) * single + s2 * both`.
    Branches under the same conditions are one branch, with the sum of their weights; a branch of weight
    zero is left out.

    Args:
        dino, clip: whether the image streams are active at this step (and seen by the model at all).
        negative: whether a negative prompt stands in for the missing text.
    """
    first, second = _scales_in_order(image_scale, text_scale, order)
    no_text: Literal["negative", "null"] = "negative" if negative else "null"
    both = Branch(dino, clip, "prompt")
    single = Branch(dino, clip, no_text) if order == "image_first" else Branch(False, False, "prompt")
    weights: dict[Branch, float] = {}
    for branch, weight in (
        (Branch(False, False, no_text), 1.0 - first),
        (single, first - second),
        (both, second),
    ):
        weights[branch] = weights.get(branch, 0.0) + weight
    live = {branch: weight for branch, weight in weights.items() if abs(weight) > 1e-12}
    return live


def combine(predictions: Sequence[Tensor], weights: Mapping[Branch, float]) -> Tensor:
    """The weighted sum of the branches' predictions, in the mapping's order."""
    total, *rest = [
        weight * prediction for weight, prediction in zip(weights.values(), predictions, strict=True)
    ]
    for term in rest:
        total = total + term
    return total


def rescale_guidance(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """Bring the guided prediction's standard deviation, a sample each, towards the conditional one's.

    Source: "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2305.08891) section 3.4.
    """
    axes = tuple(range(1, guided.ndim))
    ratio = conditional.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return share * guided * ratio + (1.0 - share) * guided
