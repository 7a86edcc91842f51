"""The denoiser of the sampler: the branches that it is asked for, together or in turn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parent))
from small_models import random_batch, sugar_transformer

from sugar.model.denoiser import BranchDenoiser, Tokens


class Branch(NamedTuple):
    dino: bool
    clip: bool
    text: str


BRANCHES = [Branch(False, False, "negative"), Branch(True, False, "null"), Branch(True, True, "prompt")]


@pytest.mark.parametrize("batch_branches", ["auto", "all", "one"])
@pytest.mark.parametrize("variant", ["sinusoidal", "rotary"])
@torch.no_grad()
def test_each_branch_is_a_forward_under_its_conditions(batch_branches, variant):
    model, batch = sugar_transformer("b", variant), random_batch()
    negative = torch.randn(batch.text.shape, generator=torch.Generator().manual_seed(9))
    denoise = BranchDenoiser(model, Tokens(batch.text, batch.dino, batch.clip, negative), batch_branches)
    timestep = torch.tensor(500)
    for _ in range(2):  # the second time from what was kept
        predictions = denoise(batch.latents, timestep, BRANCHES)
        for branch, prediction in zip(BRANCHES, predictions, strict=True):
            expected = model(
                batch.latents,
                negative if branch.text == "negative" else batch.text,
                timestep.expand(2),
                batch.dino,
                batch.clip,
                dino_keep=torch.tensor([branch.dino] * 2),
                clip_keep=torch.tensor([branch.clip] * 2),
                text_keep=torch.tensor([branch.text != "null"] * 2),
            ).sample
            assert_close(prediction, expected, atol=2e-6, rtol=1e-5)


def test_a_branch_with_a_negative_prompt_needs_one():
    model, batch = sugar_transformer("b"), random_batch()
    denoise = BranchDenoiser(model, Tokens(batch.text))
    with pytest.raises(ValueError, match="negative_text"):
        denoise(batch.latents, torch.tensor(5), BRANCHES[:1])


def test_an_unknown_way_of_batching_is_an_error():
    with pytest.raises(ValueError, match="batch_branches"):
        BranchDenoiser(sugar_transformer("b"), Tokens(random_batch().text), "two")  # type: ignore[arg-type]
