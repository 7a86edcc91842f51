from pathlib import Path

import pytest
import torch

from sugar.encoders.preprocess import normalise
from sugar.foundation.identity import build_dino
from sugar.foundation.inheritance import clip_vision_weights, start_from_clip, start_from_dino
from sugar.foundation.matching import build_clip, build_video_text
from sugar.foundation.tokenizer import build_tokenizer

SIZES = (32, 2, 2, 32, 16)


@pytest.fixture
def dino():
    torch.manual_seed(3)
    model = build_dino(32, 2, 2, 32, 16).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@torch.no_grad()
def test_but_for_its_first_norm_the_image_side_of_clip_computes_what_dino_does(dino):
    clip = build_clip(build_tokenizer(32, kind="clip"), *SIZES).eval()
    clip.vision_model.load_state_dict(clip_vision_weights(dino), strict=False)
    clip.vision_model.pre_layrnorm = torch.nn.Identity()
    pixels = 255 * torch.rand(2, 3, 32, 32)
    wanted = dino(pixel_values=normalise(pixels, dino)).last_hidden_state[:, 0]
    found = clip.vision_model(pixel_values=normalise(pixels, clip)).pooler_output
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_every_weight_of_the_image_side_has_a_source(dino):
    clip = build_clip(build_tokenizer(32, kind="clip"), *SIZES)
    left = clip.vision_model.load_state_dict(clip_vision_weights(dino), strict=False)
    assert not left.unexpected_keys
    assert not [name for name in left.missing_keys if "position_ids" not in name]


def test_networks_start_from_folders_and_say_what_is_missing(dino, tmp_path: Path):
    tokenizer = build_tokenizer(32, kind="clip")
    clip = build_clip(tokenizer, *SIZES)
    with pytest.raises(ValueError, match="add --only dino"):
        start_from_dino(clip, "clip", tmp_path / "dino")
    dino.save_pretrained(tmp_path / "dino")
    start_from_dino(clip, "clip", tmp_path / "dino")
    video = build_video_text(tokenizer, *SIZES, 4)
    with pytest.raises(ValueError, match="add --only clip"):
        start_from_clip(video, "video_text", tmp_path / "clip")
    clip.save_pretrained(tmp_path / "clip")
    start_from_clip(video, "video_text", tmp_path / "clip")
    one, other = (m.vision_model.encoder.layers[1].mlp.fc1.weight for m in (clip, video))
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match="must have the sizes of"):
        start_from_clip(build_video_text(tokenizer, 64, 2, 2, 32, 16, 4), "video_text", tmp_path / "clip")
