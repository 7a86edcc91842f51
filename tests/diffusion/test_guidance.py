"""Dual guidance against the paper's formulas, and the branches that need no forward."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sugar.diffusion.guidance import (
    ORDERS,
    Branch,
    Guidance,
    branch_weights,
    combine,
    dual_guidance,
    rescale_guidance,
)

scales = st.sampled_from([0.0, 1.0, 2.5, 4.0, 7.5]) | st.floats(0.0, 20.0)


def predictions(seed=0):
    return torch.randn(3, 2, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equation_1_and_2_literally():
    uncond, single, both = predictions()
    assert_close(
        dual_guidance(uncond, single, both, 4.0, 7.5, "image_first"),
        uncond + 4.0 * (single - uncond) + 7.5 * (both - single),
    )
    assert_close(
        dual_guidance(uncond, single, both, 4.0, 7.5, "text_first"),
        uncond + 7.5 * (single - uncond) + 4.0 * (both - single),
    )


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=25, deadline=None)
@given(scale=scales, seed=st.integers(0, 99))
def test_equal_scales_collapse_to_plain_guidance(order, scale, seed):
    uncond, single, both = predictions(seed)
    assert_close(dual_guidance(uncond, single, both, scale, scale, order), uncond + scale * (both - uncond))


def test_an_unknown_order_is_an_error():
    with pytest.raises(ValueError, match="order must be one of"):
        dual_guidance(*predictions(), 1.0, 1.0, "both_first")  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    image_scale=scales,
    text_scale=scales,
    order=st.sampled_from(ORDERS),
    dino=st.booleans(),
    clip=st.booleans(),
    negative=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_live_branches_give_the_literal_formula(
    image_scale, text_scale, order, dino, clip, negative, seed
):
    """Whatever a model predicts from its conditions, the saved branches change nothing."""
    table = {}

    def model(branch):
        if branch not in table:
            generator = torch.Generator().manual_seed(seed * 100 + len(table))
            table[branch] = torch.randn(7, generator=generator, dtype=torch.float64)
        return table[branch]

    no_text = "negative" if negative else "null"
    uncond = model(Branch(False, False, no_text))
    single = model(Branch(dino, clip, no_text) if order == "image_first" else Branch(False, False, "prompt"))
    both = model(Branch(dino, clip, "prompt"))
    weights = branch_weights(image_scale, text_scale, order, dino=dino, clip=clip, negative=negative)
    got = combine([model(branch) for branch in weights], weights)
    assert_close(
        got, dual_guidance(uncond, single, both, image_scale, text_scale, order), atol=1e-9, rtol=1e-9
    )
    assert sum(weights.values()) == pytest.approx(1.0)
    assert all(weights.values())


@pytest.mark.parametrize(("scales", "streams", "order", "count"), [
    ((4.0, 7.5), (True, True), "image_first", 3),
    ((1.0, 1.0), (True, True), "image_first", 1),     # the conditional prediction alone
    ((7.5, 7.5), (True, True), "image_first", 2),     # the middle branch has weight zero
    ((1.0, 7.5), (True, True), "image_first", 2),     # so has the unconditional one
    ((4.0, 0.0), (True, True), "image_first", 2),     # and here the conditional one
    ((4.0, 7.5), (False, False), "image_first", 2),   # without an image, image-only is unconditional
    ((4.0, 7.5), (False, False), "text_first", 2),    # without an image, text-only is both
    ((4.0, 7.5), (False, True), "image_first", 3),
    ((0.0, 0.0), (True, True), "text_first", 1),
])  # fmt: skip
def test_dead_and_equal_branches_are_left_out(scales, streams, order, count):
    weights = branch_weights(*scales, order, dino=streams[0], clip=streams[1], negative=False)
    assert len(weights) == count


def test_scales_outside_the_interval_are_one():
    guidance = Guidance(interval=(0.2, 0.6))
    got = [guidance.scales_at(step, 10) for step in range(10)]
    assert got == [(1.0, 1.0)] * 2 + [(4.0, 7.5)] * 4 + [(1.0, 1.0)] * 4


def test_dynamic_scales_rise_as_in_cogvideox():
    got = [Guidance(dynamic=True).scales_at(step, 1000) for step in range(1000)]
    assert got[0] == (1.0, 1.0)
    assert got == sorted(got)
    assert got[-1] == pytest.approx((5.0, 8.5), abs=1e-3)
    assert got[800] == pytest.approx(
        (1 + 4.0 * (1 - math.cos(math.pi * 0.8**5)) / 2, 1 + 7.5 * (1 - math.cos(math.pi * 0.8**5)) / 2)
    )


def test_rescaled_guidance_has_the_conditional_spread():
    guided, conditional, _ = predictions()
    rescaled = rescale_guidance(5.0 * guided, conditional, 1.0)
    assert_close(rescaled.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)))
    assert_close(rescale_guidance(guided, conditional, 0.0), guided)


@pytest.mark.parametrize("changes", [{"interval": (0.5, 0.2)}, {"rescale": 2.0}, {"order": "none"}])
def test_bad_guidance_is_a_value_error(changes):
    with pytest.raises(ValueError, match="must"):
        Guidance(**changes)
