"""The shipped networks load as production's do, and know what their cards say (looser, on fewer clips)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sugar.encoders.features import clip_image_features, clip_text_features, load_clip_tokenizer
from sugar.encoders.image import load_clip, load_dino
from sugar.encoders.vae import decode_latents, encode_posterior, load_vae
from sugar.foundation import identity, matching, pools
from sugar.sprites import HELD_OUT_SEEDS, draw_identity, sample_clip

SPRITES = Path(__file__).parents[2] / "foundation" / "sprites"


def held_out_clip(index: int, **wanted: str) -> np.ndarray:
    identity = draw_identity(HELD_OUT_SEEDS[index])
    return sample_clip(900_000 + index, identity=identity, **wanted).frames_THWC


def test_all_together_are_small_and_have_cards() -> None:
    size = sum(file.stat().st_size for file in SPRITES.rglob("*") if file.is_file())
    assert size < 40_000_000
    for name in ("base", "base/vae", "dino", "metrics_dino", "clip", "video_text"):
        card = (SPRITES / name / "README.md").read_text()
        assert "sugar foundation --only" in card and "seed" in card


def test_no_shipped_weight_is_a_pickle() -> None:
    assert not [
        file for file in SPRITES.rglob("*") if file.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")
    ]


def test_the_vae_gives_back_held_out_clips() -> None:
    vae = load_vae(SPRITES / "base", "cpu", torch.float32)
    frames_BTHWC = np.stack([held_out_clip(index) for index in range(4)])
    mean_BFCHW, _ = encode_posterior(vae, frames_BTHWC)
    scaled = mean_BFCHW * vae.config.scaling_factor
    assert 0.5 < float(scaled.std()) < 2.0
    back = decode_latents(vae, scaled)
    error = (back.float().numpy() - frames_BTHWC) / 255
    assert -10 * np.log10(np.square(error).mean(axis=(1, 2, 3, 4))).mean() > 18.0


def test_clip_tells_the_styles_of_held_out_subjects() -> None:
    model = load_clip(SPRITES / "clip", "cpu", torch.float32)
    tokenizer = load_clip_tokenizer(SPRITES / "clip")
    texts = [matching.attribute_text(style=index) for index in range(len(pools.STYLE_NAMES))]
    frames = np.stack(
        [held_out_clip(index, style=style)[4] for index, style in enumerate(pools.STYLE_NAMES * 2)]
    )
    guesses = (clip_image_features(model, frames) @ clip_text_features(model, tokenizer, texts).T).argmax(-1)
    right = guesses == torch.arange(len(texts)).repeat(2)
    assert float(right.float().mean()) > 0.8


@pytest.mark.parametrize("name", ["dino", "metrics_dino"])
def test_dino_finds_held_out_subjects_again(name: str) -> None:
    model = load_dino(SPRITES / name, "cpu", torch.float32)
    views = np.stack([pools.identity_views(index, 3, 64, held_out=True)[0] for index in range(24)])
    pool = pools.Pool(views, {}, ())
    figures = identity.evaluate_dino(model, pool, gallery=24)
    assert figures["retrieval_top1"] > 0.4, figures


def test_the_two_dinos_are_different_networks() -> None:
    ours, judge = (load_dino(SPRITES / name, "cpu", torch.float32) for name in ("dino", "metrics_dino"))
    pairs = zip(ours.parameters(), judge.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs if a.numel() > 1000)
