"""CogVideoX 1.5 (two latent frames a patch, sliced rotary tables, ofs): as in diffusers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parent))
from small_models import CLIP_DIM, DINO_DIM, VARIANTS, base_transformer, random_batch

from sugar.model.patches import pad_frames
from sugar.model.transformer import SugarTransformer3DModel
from sugar.pipeline import SugarPipeline

V1_5 = VARIANTS["rotary_1_5"]


def sugar_of(base, design: str = "a", **dims) -> SugarTransformer3DModel:
    dims = {"dino_dim": DINO_DIM, "clip_dim": CLIP_DIM, **dims}
    return SugarTransformer3DModel.from_cogvideox(base, attention_design=design, **dims).eval()


@pytest.mark.parametrize("changes", [
    {**V1_5, "ofs_embed_dim": 16},
    {**V1_5, "patch_bias": False},
    {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True},
], ids=["ofs", "no patch bias", "learned positions"])  # fmt: skip
@torch.no_grad()
def test_design_a_is_the_base_model_to_the_bit(changes):
    base = base_transformer(**changes)
    model, batch = (
        sugar_of(base),
        random_batch(variant="rotary_1_5" if "patch_size_t" in changes else "rotary"),
    )
    rotary = model.rotary_embedding(batch.latents.shape[1], 8, 8)
    ofs = torch.full((1,), 2.0) if "ofs_embed_dim" in changes else None
    expected = base(batch.latents, batch.text, batch.timestep, ofs=ofs, image_rotary_emb=rotary).sample
    assert torch.equal(model(*batch.arguments).sample, expected)
    if ofs is not None:
        assert not torch.equal(model(*batch.arguments, ofs=3.0 * ofs).sample, expected)


@pytest.mark.parametrize("variant", ["rotary_1_5", "rotary", "sinusoidal"])
def test_the_pipeline_of_design_a_is_diffusers_own(variant, tiny_networks):
    """Step 0 and all others: with scales of one, SUGAR's pipeline is CogVideoX's, padding frames included."""
    from diffusers import CogVideoXPipeline

    base = base_transformer(variant, text_embed_dim=16, max_text_seq_length=24, num_layers=2, sample_frames=9)
    sugar = SugarPipeline.assemble(
        tiny_networks / "base",
        sugar_of(base, dino_dim=16, clip_dim=16),
        tiny_networks / "dino",
        tiny_networks / "clip",
    )
    parts = (sugar.tokenizer, sugar.text_encoder, sugar.vae)
    stock = CogVideoXPipeline(*parts, base, sugar.scheduler)
    for pipeline in (sugar, stock):
        pipeline.set_progress_bar_config(disable=True)
    pixels = np.full((24, 24, 4), 255, np.uint8)
    options = {"prompt": "a cat jumping", "num_inference_steps": 2, "output_type": "latent"}
    seeded = torch.Generator().manual_seed(3)
    scales = {"image_scale": 1.0, "text_scale": 1.0, "drop": "none"}
    got = sugar(identity=Image.fromarray(pixels), generator=seeded, **scales, **options).frames
    frames = 4 if variant == "rotary_1_5" else 3
    noise = torch.randn(1, frames, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = stock(
        latents=noise,
        guidance_scale=1.0,
        num_frames=9,
        height=64,
        width=64,
        max_sequence_length=24,
        **options,
    ).frames
    assert got.shape == (1, 3, 4, 8, 8)
    assert_close(got, expected[:, -3:], atol=1e-5, rtol=1e-4)


def test_frames_are_padded_in_front_with_the_first():
    latents = torch.randn(2, 3, 4, 8, 8)
    padded = pad_frames(latents, 2)
    assert torch.equal(padded[:, 1:], latents)
    assert torch.equal(padded[:, 0], latents[:, 0])
    assert pad_frames(latents, None) is latents
    assert pad_frames(latents, 3) is latents
