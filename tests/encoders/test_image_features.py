import numpy as np
import pytest
import torch

from sugar.config import InputError
from sugar.encoders import features as features_module
from sugar.encoders.features import (
    clip_image_features,
    clip_text_features,
    dino_features,
    evenly_spaced,
    load_clip_tokenizer,
    load_video_text,
    video_text_features,
)
from sugar.encoders.image import clip_tokens, dino_tokens, identity_canvas, load_clip, load_dino
from sugar.encoders.preprocess import normalise, resize_short_side

TEXTS = ["a red dog", "a blue cat in the snow", "vase"]


def pictures(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def dino(tiny_networks):
    return load_dino(tiny_networks / "dino")


@pytest.fixture(scope="module")
def clip(tiny_networks):
    return load_clip(tiny_networks / "clip"), load_clip_tokenizer(tiny_networks / "clip")


def square_identity(colour: tuple[int, int, int], hidden: tuple[int, int, int]) -> np.ndarray:
    identity = np.zeros((40, 60, 4), np.uint8)
    identity[..., :3] = hidden
    identity[10:30, 5:25] = (*colour, 255)
    return identity


def test_canvas_centres_the_subject_on_grey():
    canvas = identity_canvas(square_identity((250, 10, 10), (0, 255, 0)), 50)
    assert canvas.shape == (50, 50, 3)
    assert canvas.dtype == np.uint8
    np.testing.assert_array_equal(canvas[0, 0], [128, 128, 128])
    np.testing.assert_array_equal(canvas[25, 25], [250, 10, 10])
    red = (canvas == [250, 10, 10]).all(axis=2)
    np.testing.assert_array_equal(red, red[::-1])
    np.testing.assert_array_equal(red, red[:, ::-1])
    assert 0.7 < red.mean() < 0.85


def test_canvas_ignores_colours_under_transparent_pixels():
    plain = identity_canvas(square_identity((250, 10, 10), (0, 0, 0)), 33)
    hidden = identity_canvas(square_identity((250, 10, 10), (0, 255, 0)), 33)
    np.testing.assert_array_equal(plain, hidden)


def test_canvas_does_not_depend_on_where_the_subject_was():
    identity = square_identity((250, 10, 10), (0, 0, 0))
    moved = np.roll(identity, (7, 20), axis=(0, 1))
    np.testing.assert_array_equal(identity_canvas(identity, 32), identity_canvas(moved, 32))


def test_canvas_without_a_subject():
    with pytest.raises(InputError, match="no subject"):
        identity_canvas(np.zeros((8, 8, 4), np.uint8), 16)


def test_tokens_are_the_last_hidden_state(dino, clip):
    images = pictures(3, 28, 28)
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    imagenet = (scaled - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(dino_tokens(dino, images), dino(imagenet).last_hidden_state)
    assert dino_tokens(dino, images).shape == (3, 5, 16)
    model, images = clip[0], pictures(3, 32, 32)
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    assert clip_tokens(model, images).shape == (3, 5, 16)
    torch.testing.assert_close(clip_tokens(model, images), clip_tokens(model.vision_model, images))
    with torch.no_grad():
        expected = model.vision_model(pixel_values=normalise(scaled * 255, model)).last_hidden_state
    torch.testing.assert_close(clip_tokens(model, images), expected)


def test_tokens_resize_to_the_networks_size(dino):
    flat = np.broadcast_to(np.array([10, 200, 60], np.uint8), (1, 64, 64, 3))
    torch.testing.assert_close(
        dino_tokens(dino, flat), dino_tokens(dino, flat[:, :28, :28]), atol=1e-4, rtol=1e-4
    )
    with pytest.raises(ValueError, match="square"):
        dino_tokens(dino, pictures(1, 16, 20))


def test_features_are_unit_length_and_independent_of_the_batch(dino, clip, monkeypatch):
    images = pictures(5, 20, 33)
    for compute in (lambda x: dino_features(dino, x), lambda x: clip_image_features(clip[0], x)):
        together = compute(images)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(5))
        torch.testing.assert_close(together[3], compute(images[3:4])[0], atol=1e-5, rtol=1e-5)
        monkeypatch.setattr(features_module, "MAX_PICTURES", 2)
        torch.testing.assert_close(together, compute(images), atol=1e-5, rtol=1e-5)


def test_dino_v1_is_a_dino_network(tmp_path):
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=4,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    assert dino_features(load_dino(tmp_path), pictures(2, 20, 33)).shape == (2, 16)


def test_load_dino_refuses_another_kind(tiny_networks):
    with pytest.raises(InputError, match="must be one of"):
        load_dino(tiny_networks / "clip")


def test_clip_scores_are_the_models_own(clip):
    model, tokenizer = clip
    images = pictures(3, 32, 32)
    image, text = clip_image_features(model, images), clip_text_features(model, tokenizer, TEXTS)
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    pixels = normalise(torch.from_numpy(images).permute(0, 3, 1, 2).float(), model)
    with torch.no_grad():
        expected = model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels
        )
    torch.testing.assert_close(
        image @ text.T * model.logit_scale.exp(), expected.logits_per_image, atol=1e-5, rtol=1e-4
    )
    with pytest.raises(ValueError, match="at least one text"):
        clip_text_features(model, tokenizer, [])


def test_clip_refuses_a_tokenizer_without_the_end_token(clip):
    model, tokenizer = clip

    def without_end(*args, **kwargs):
        tokens = tokenizer(*args, **kwargs)
        tokens["input_ids"][tokens["input_ids"] == tokenizer.eos_token_id] = 0
        return tokens

    with pytest.raises(InputError, match="end each text"):
        clip_text_features(model, without_end, TEXTS)


def test_resize_keeps_the_aspect():
    pixels = torch.rand(1, 3, 30, 45) * 255
    assert resize_short_side(pixels, 16, mode="bicubic").shape == (1, 3, 16, 24)
    assert resize_short_side(pixels.transpose(2, 3), 16, mode="bilinear").shape == (1, 3, 24, 16)
    assert resize_short_side(pixels, 30, mode="bilinear") is pixels


def test_evenly_spaced_frames():
    np.testing.assert_array_equal(evenly_spaced(9, 3), [0, 4, 8])
    np.testing.assert_array_equal(evenly_spaced(2, 4), [0, 0, 1, 1])
    np.testing.assert_array_equal(evenly_spaced(8, 8), np.arange(8))
    with pytest.raises(ValueError, match="at least one frame"):
        evenly_spaced(0, 4)


def test_video_text_is_the_diagonal_of_the_networks_forward(tiny_networks, monkeypatch):
    tokenizer, model = load_video_text(tiny_networks / "video_text")
    with torch.no_grad():
        model.prompts_generator.alpha.fill_(0.7)
    videos = np.random.default_rng(1).integers(0, 256, (3, 15, 32, 32, 3), dtype=np.uint8)
    video, text = video_text_features(model, tokenizer, videos, TEXTS)
    chosen = torch.from_numpy(videos[:, 0:15:2])
    pixels = normalise(chosen.flatten(0, 1).permute(0, 3, 1, 2).float(), model).view(3, 8, 3, 32, 32)
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels
        )
    torch.testing.assert_close(video, expected.video_embeds, atol=1e-5, rtol=1e-4)
    diagonal = expected.text_embeds[torch.arange(3), torch.arange(3)]
    torch.testing.assert_close(text, diagonal, atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(features_module, "MAX_PICTURES", 8)
    again, _ = video_text_features(model, tokenizer, videos, TEXTS)
    torch.testing.assert_close(again, video, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="one text a video"):
        video_text_features(model, tokenizer, videos, TEXTS[:2])
