"""Selective attention against its definition, the dense mask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.model.attention import (
    DESIGNS,
    GROUPS,
    IMAGE_GROUPS,
    VIDEO_SIDE,
    AttentionDesign,
    attention_plan,
    dense_mask,
    resolve_design,
    selective_attention,
    token_order,
)

LENGTHS = {"dino": 3, "clip": 2, "text": 4, "first_frame": 5, "other_frames": 10}
VIDEO_AND_TEXT = {"text", "first_frame", "other_frames"}

tables = st.fixed_dictionaries({group: st.frozensets(st.sampled_from(GROUPS)) for group in GROUPS})
group_lengths = st.fixed_dictionaries({group: st.integers(0, 40) for group in GROUPS}).filter(
    lambda lengths: sum(lengths.values()) > 0
)


def masked_attention(query, key, value, design, lengths):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=dense_mask(design, lengths))


def random_qkv(batch, heads, length, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, length, 8)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@settings(max_examples=25, deadline=None)
@given(
    table=tables,
    lengths=group_lengths,
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_selective_attention_equals_the_dense_mask(dtype, tolerance, table, lengths, batch, heads, seed):
    design = AttentionDesign(table)
    qkv = random_qkv(batch, heads, sum(lengths.values()), dtype, seed)
    reference_qkv = [tensor.detach().float().requires_grad_() for tensor in qkv]
    out = selective_attention(*qkv, design, lengths)
    reference = masked_attention(*reference_qkv, design, lengths)
    torch.testing.assert_close(out.float(), reference, atol=tolerance, rtol=tolerance)
    weight = torch.randn(reference.shape, generator=torch.Generator().manual_seed(seed + 1))
    grads = torch.autograd.grad(out.float(), qkv, weight, allow_unused=True)
    expected = torch.autograd.grad(reference, reference_qkv, weight)
    for grad, want in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad.float(), want, atol=tolerance, rtol=tolerance)


@settings(max_examples=20, deadline=None)
@given(table=tables, lengths=group_lengths, order=st.permutations(GROUPS), seed=st.integers(0, 99))
def test_any_order_of_the_groups_gives_the_same_rows(table, lengths, order, seed):
    design = AttentionDesign(table)
    qkv = random_qkv(1, 2, sum(lengths.values()), torch.float32, seed)

    def reordered(tensor):
        parts = dict(zip(GROUPS, tensor.split([lengths[group] for group in GROUPS], dim=2), strict=True))
        return torch.cat([parts[group] for group in order], dim=2)

    out = selective_attention(*(reordered(tensor) for tensor in qkv), design, lengths, order=order)
    torch.testing.assert_close(
        out, reordered(selective_attention(*qkv, design, lengths)), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", DESIGNS)
def test_every_key_set_of_the_papers_designs_is_one_slice(name):
    calls = attention_plan(DESIGNS[name], LENGTHS, token_order(DESIGNS[name])).calls
    assert all(len(call.key_spans) == 1 for call in calls)
    assert len(calls) == {"a": 2, "b": 2, "c": 3, "d": 3, "e": 1}[name]


@settings(max_examples=20, deadline=None)
@given(table=tables)
def test_the_token_order_keeps_the_text_side_before_the_video_side(table):
    order = token_order(AttentionDesign(table))
    assert sorted(order) == sorted(GROUPS)
    assert set(order[-2:]) == set(VIDEO_SIDE)


# Design section 7, row by row: what each group reads besides itself.
FIGURE_4 = {
    "a": {"dino": {"clip"}, "clip": {"dino"}, "text": VIDEO_AND_TEXT, "first_frame": VIDEO_AND_TEXT,
          "other_frames": VIDEO_AND_TEXT},
    "b": {"dino": set(GROUPS), "clip": set(GROUPS), "text": VIDEO_AND_TEXT, "first_frame": set(GROUPS),
          "other_frames": VIDEO_AND_TEXT},
    "c": {"dino": {"clip"}, "clip": {"dino"}, "text": VIDEO_AND_TEXT, "first_frame": set(GROUPS),
          "other_frames": VIDEO_AND_TEXT},
    "d": {"dino": {"clip"}, "clip": {"dino"}, "text": VIDEO_AND_TEXT, "first_frame": set(GROUPS),
          "other_frames": set(GROUPS)},
    "e": {group: set(GROUPS) for group in GROUPS},
}  # fmt: skip


@pytest.mark.parametrize("name", DESIGNS)
def test_the_designs_are_those_of_figure_4(name):
    assert {group: DESIGNS[name].keys_of(group) for group in GROUPS} == {
        group: frozenset(read | {group}) for group, read in FIGURE_4[name].items()
    }


def test_the_dense_mask_of_design_b():
    mask = dense_mask(DESIGNS["b"], {"dino": 1, "clip": 1, "text": 1, "first_frame": 1, "other_frames": 2})
    expected = [[1] * 6, [1] * 6, [0, 0, 1, 1, 1, 1], [1] * 6, [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    assert mask.tolist() == [[bool(cell) for cell in row] for row in expected]


def test_a_group_reads_itself_whatever_its_row_says():
    assert dense_mask(AttentionDesign({}), {"dino": 2, "text": 1}).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]


def test_only_design_a_hides_the_image_from_the_video():
    hidden = [name for name in DESIGNS if not DESIGNS[name].reached_by(VIDEO_SIDE) & set(IMAGE_GROUPS)]
    assert hidden == ["a"]


def test_a_design_survives_its_table():
    for name, design in DESIGNS.items():
        assert resolve_design(design.to_table()).reads == design.reads, name
        assert resolve_design(name) is design


@pytest.mark.parametrize("design", ["f", {"dino": ["frames"]}, {"frame": ["dino"]}])
def test_an_unknown_design_or_group_is_an_error(design):
    with pytest.raises(ValueError, match="must be"):
        resolve_design(design)


def test_lengths_that_do_not_sum_to_the_sequence_are_an_error():
    qkv = random_qkv(1, 1, 7, torch.float32, 0)
    with pytest.raises(ValueError, match="sum to the 7 tokens"):
        selective_attention(*qkv, DESIGNS["b"], {"text": 6})
