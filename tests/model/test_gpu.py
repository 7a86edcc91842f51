"""On a GPU: fused kernels, FlexAttention and checkpointing against the definition, forward and backward."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parent))
from small_models import random_batch, sugar_transformer

from sugar.model.attention import (
    DESIGNS,
    GROUPS,
    AttentionDesign,
    attention_plan,
    dense_mask,
    selective_attention,
)
from sugar.model.checkpointing import selective_checkpoint
from sugar.model.flex import flex_selective_attention

pytestmark = pytest.mark.gpu

LENGTHS = {"dino": 130, "clip": 3, "text": 40, "first_frame": 128, "other_frames": 260}
TABLES = [*DESIGNS.values(), AttentionDesign({"text": frozenset({"dino", "other_frames"})})]


@pytest.mark.parametrize("variant", ["selective", "flex"])
@pytest.mark.parametrize("design", TABLES, ids=lambda design: design.name)
def test_half_precision_equals_the_dense_mask(design, variant):
    """bfloat16 on the GPU against float32 of the same numbers: outputs and gradients within 2e-2."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, sum(LENGTHS.values()), 64)
    qkv = [torch.randn(shape, generator=generator).bfloat16() for _ in range(3)]
    cotangent = torch.randn(shape, generator=generator)
    exact = [each.float().requires_grad_() for each in qkv]
    expected = F.scaled_dot_product_attention(*exact, attn_mask=dense_mask(design, LENGTHS))
    gradients = torch.autograd.grad(expected, exact, cotangent)
    given = [each.cuda().requires_grad_() for each in qkv]
    if variant == "flex":
        got = flex_selective_attention(*given, attention_plan(design, LENGTHS))
    else:
        got = selective_attention(*given, design, LENGTHS, order=GROUPS)
    for ours, theirs in zip(
        (got, *torch.autograd.grad(got, given, cotangent.cuda().bfloat16())),
        (expected, *gradients),
        strict=True,
    ):
        assert_close(ours.float().cpu(), theirs, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("compiled", [False, True])
def test_selective_checkpointing_changes_no_gradient(compiled):
    model, batch = sugar_transformer("b", "rotary").cuda(), random_batch()
    arguments = [each.cuda() for each in batch.arguments]
    checkpointed = copy.deepcopy(model).train()
    checkpointed.enable_gradient_checkpointing(selective_checkpoint(compiled))
    for one in (model, checkpointed):
        one(*arguments).sample.square().mean().backward()
    for (name, plain), other in zip(model.named_parameters(), checkpointed.parameters(), strict=True):
        assert_close(other.grad, plain.grad, msg=name, atol=1e-6, rtol=1e-3)


def test_the_network_equals_its_copy_on_the_cpu():
    model, batch = sugar_transformer("b", "rotary"), random_batch()
    with torch.no_grad():
        expected = model(*batch.arguments).sample
        got = copy.deepcopy(model).cuda()(*(each.cuda() for each in batch.arguments)).sample
    assert_close(got.cpu(), expected, atol=1e-4, rtol=1e-3)
