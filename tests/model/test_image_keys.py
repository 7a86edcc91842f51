"""What the keys and values of image tokens depend on: the table of decision 0002, on the network itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_models import random_batch, sugar_transformer

from sugar.model.attention import DESIGNS, IMAGE_GROUPS


def image_keys_and_values(model, batch) -> list[torch.Tensor]:
    """Of each block, `[B, image tokens, 2 * width]`."""
    seen = []
    hooks = [
        projection.register_forward_hook(lambda module, inputs, output: seen.append(output))
        for block in model.transformer_blocks
        for projection in (block.attn1.to_k, block.attn1.to_v)
    ]
    model(*batch.arguments)
    for hook in hooks:
        hook.remove()
    counts = {"dino": batch.dino.shape[1], "clip": batch.clip.shape[1], "text": batch.text.shape[1]}
    present, start = [], 0
    for group in model.token_order[:3]:
        present += list(range(start, start + counts[group])) if group in IMAGE_GROUPS else []
        start += counts[group]
    return [torch.cat(pair, dim=-1)[:, present] for pair in zip(seen[::2], seen[1::2], strict=True)]


def changed(design, **other) -> list[bool]:
    """Whether the image's keys and values of each block change with the given inputs."""
    model, batch, second = sugar_transformer(design, num_layers=3), random_batch(), random_batch()
    for name, value in other.items():
        setattr(second, name, value)
    pairs = zip(image_keys_and_values(model, batch), image_keys_and_values(model, second), strict=True)
    return [not torch.allclose(left, right, atol=1e-6, rtol=1e-5) for left, right in pairs]


@pytest.mark.parametrize("name", ["latents", "text"])
@pytest.mark.parametrize("design", DESIGNS)
def test_only_in_designs_b_and_e_do_they_depend_on_video_and_text(design, name):
    other = torch.randn(getattr(random_batch(), name).shape, generator=torch.Generator().manual_seed(8))
    assert changed(design, **{name: 5.0 * other}) == [False, design in "be", design in "be"]


@pytest.mark.parametrize("design", DESIGNS)
def test_they_depend_on_the_timestep_in_every_block(design):
    assert changed(design, timestep=(random_batch().timestep + 300) % 1000) == [True, True, True]
