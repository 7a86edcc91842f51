"""Attention by readers against its definition, the dense mask."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sugar.model.attention import (
    DESIGNS,
    GROUPS,
    IMAGE_GROUPS,
    AttentionDesign,
    attention_plan,
    dense_mask,
    selective_attention,
)
from sugar.model.by_readers import attend_by_readers, reader_calls, rows

sys.path.insert(0, str(Path(__file__).parent))
from small_models import random_batch, sugar_transformer

MIDDLING = {"dino": 65, "clip": 65, "text": 32, "first_frame": 192, "other_frames": 768}
BY_ALL = frozenset({"text", "first_frame", "other_frames"})
more = st.frozensets(st.sampled_from(IMAGE_GROUPS))
tables = st.fixed_dictionaries(dict.fromkeys((*IMAGE_GROUPS, "first_frame"), more))
group_lengths = st.fixed_dictionaries(
    {
        "dino": st.integers(0, 60),
        "clip": st.integers(0, 60),
        "text": st.integers(0, 60),
        "first_frame": st.integers(1, 200),
        "other_frames": st.integers(740, 800),
    }
)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@settings(max_examples=15, deadline=None)
@given(table=tables, lengths=group_lengths, seed=st.integers(0, 99))
def test_attention_by_readers_equals_the_dense_mask(dtype, tolerance, table, lengths, seed):
    design = AttentionDesign({group: BY_ALL | table.get(group, frozenset()) for group in GROUPS})
    plan = attention_plan(design, lengths)
    assume(reader_calls(plan))
    total = sum(lengths.values())
    drawn = torch.randn(4, 1, 2, total, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)
    *qkv, weight = drawn.unbind()
    qkv = [tensor.clone().requires_grad_() for tensor in qkv]
    wanted = [tensor.detach().float().requires_grad_() for tensor in qkv]

    out = attend_by_readers(*qkv, plan)
    reference = F.scaled_dot_product_attention(*wanted, attn_mask=dense_mask(design, lengths))
    torch.testing.assert_close(out.float(), reference, atol=tolerance, rtol=tolerance)
    grads = torch.autograd.grad(out, qkv, weight)
    for grad, want in zip(grads, torch.autograd.grad(reference, wanted, weight.float()), strict=True):
        torch.testing.assert_close(grad.float(), want, atol=tolerance, rtol=tolerance)


def test_in_design_b_few_rows_ask_twice():
    everyone, again = reader_calls(attention_plan(DESIGNS["b"], MIDDLING))
    assert rows(everyone.query_spans) == 1122
    assert rows(everyone.key_spans) == 1122 - 130
    assert (rows(again.query_spans), rows(again.key_spans)) == (130 + 192, 130)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("a", {}),  # no keys that all read
        ("d", {}),  # most rows would have to be joined
        ("e", {}),  # one call as it is
        ("b", {"other_frames": 300}),  # few queries
        ("b", {"first_frame": 1350, "other_frames": 16200}),  # calls that are large as they are
    ],
)
def test_where_it_does_not_pay_the_plan_stays(name, changes):
    assert not reader_calls(attention_plan(DESIGNS[name], {**MIDDLING, **changes}))


@pytest.fixture
def taken(monkeypatch):
    """An entry for each attention by readers that the function or the processor made."""
    calls = []

    def attend(*arguments):
        calls.append(True)
        return attend_by_readers(*arguments)

    monkeypatch.setattr("sugar.model.by_readers.attend_by_readers", attend)
    monkeypatch.setattr("sugar.model.processor.attend_by_readers", attend)
    return calls


def test_selective_attention_takes_it_where_the_fused_kernel_may_be_used(taken):
    qkv = torch.randn(3, 1, 1, 1122, 8).unbind()
    fused = selective_attention(*qkv, DESIGNS["b"], MIDDLING)
    assert len(taken) == 1
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        plain = selective_attention(*qkv, DESIGNS["b"], MIDDLING)
    assert len(taken) == 1
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_backend_that_is_asked_for_is_used_instead(taken):
    from diffusers.models.attention_dispatch import attention_backend

    model = sugar_transformer("b", sample_width=32, sample_height=32)
    batch = replace(random_batch(1), latents=torch.randn(1, 3, 4, 32, 32))
    expected = model(*batch.arguments).sample
    assert taken
    taken.clear()
    with attention_backend("_native_math"):
        torch.testing.assert_close(model(*batch.arguments).sample, expected, atol=1e-5, rtol=1e-4)
    assert not taken
