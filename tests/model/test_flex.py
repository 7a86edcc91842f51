"""FlexAttention equals the dense mask, in the function and in the network; its blocks are read right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parent))
from small_models import random_batch, sugar_transformer

from sugar.model.attention import DESIGNS, AttentionDesign, attention_plan, dense_mask
from sugar.model.flex import block_mask, flex_selective_attention

LENGTHS = {"dino": 130, "clip": 3, "text": 40, "first_frame": 128, "other_frames": 260}
TABLES = [*DESIGNS.values(), AttentionDesign({"text": frozenset({"dino", "other_frames"})})]


@pytest.mark.parametrize("design", TABLES, ids=lambda design: design.name)
@torch.no_grad()
def test_flex_equals_the_dense_mask(design):
    generator = torch.Generator().manual_seed(0)
    qkv = [torch.randn(1, 2, sum(LENGTHS.values()), 16, generator=generator) for _ in range(3)]
    expected = F.scaled_dot_product_attention(*qkv, attn_mask=dense_mask(design, LENGTHS))
    got = flex_selective_attention(*qkv, attention_plan(design, LENGTHS))
    assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("design", TABLES, ids=lambda design: design.name)
def test_every_block_that_is_read_is_listed_and_no_other(design):
    length = sum(LENGTHS.values())
    blocks = block_mask(attention_plan(design, LENGTHS), length, length, torch.device("cpu"))
    padded = F.pad(dense_mask(design, LENGTHS), (0, -length % 128, 0, -length % 128))
    expected = padded.unflatten(0, (-1, 128)).unflatten(2, (-1, 128)).any(dim=3).any(dim=1)
    assert torch.equal(blocks.to_dense()[0, 0].bool(), expected)


@pytest.mark.parametrize("dropped", [(), ("dino", "text")])
@torch.no_grad()
def test_the_backend_flex_in_the_network(dropped, monkeypatch):
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    monkeypatch.setattr(
        _AttentionBackendRegistry, "_active_backend", _AttentionBackendRegistry._active_backend
    )
    model, batch = sugar_transformer("b", "rotary", num_layers=2), random_batch()
    conditions = model.embed_conditions(batch.text, batch.dino, batch.clip, dropped=dropped)
    arguments = {"encoder_hidden_states": None, "timestep": batch.timestep, "conditions": conditions}
    expected = model(batch.latents, **arguments).sample
    model.set_attention_backend("flex")
    assert_close(model(batch.latents, **arguments).sample, expected, atol=1e-5, rtol=1e-4)
