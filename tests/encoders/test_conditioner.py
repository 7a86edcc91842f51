"""The image conditioner: both encoders as one component of a pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sugar.config import InputError
from sugar.encoders.conditioner import ImageConditioner, encoder_folders
from sugar.encoders.image import clip_tokens, dino_tokens, identity_canvases, load_clip, load_dino


@pytest.fixture(scope="module")
def conditioner(tiny_networks) -> ImageConditioner:
    return ImageConditioner.load(tiny_networks / "dino", tiny_networks / "clip")


@pytest.fixture(scope="module")
def identities() -> list[np.ndarray]:
    """Two cut-outs of different sizes."""
    noise = np.random.default_rng(0)
    return [noise.integers(1, 256, (height, 20, 4), dtype=np.uint8) for height in (12, 30)]


def test_its_tokens_are_those_of_the_two_encoders(conditioner, identities, tiny_networks):
    dino, clip = conditioner(identities)
    own_dino, own_clip = load_dino(tiny_networks / "dino"), load_clip(tiny_networks / "clip")
    assert torch.equal(dino, dino_tokens(own_dino, identity_canvases(identities, 28)))
    assert torch.equal(clip, clip_tokens(own_clip, identity_canvases(identities, 32)))
    assert not any(parameter.requires_grad for parameter in conditioner.parameters())


def test_its_folder_holds_both_as_transformers_saves_them(conditioner, identities, tmp_path):
    conditioner.save_pretrained(tmp_path / "image_conditioner")
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    parts = {f"{part}/{file}" for part in ("dino", "clip") for file in ("config.json", "model.safetensors")}
    assert files == {f"image_conditioner/{name}" for name in ("config.json", *parts)}
    assert encoder_folders(tmp_path) == tuple(
        str(tmp_path / "image_conditioner" / name) for name in ("dino", "clip")
    )
    whole = ImageConditioner.from_pretrained(tmp_path / "image_conditioner")
    below = ImageConditioner.from_pretrained(tmp_path, subfolder="image_conditioner")
    separate = ImageConditioner.load(*encoder_folders(tmp_path))
    saved = conditioner.state_dict()
    for loaded in (whole, below, separate):
        assert loaded.state_dict().keys() == saved.keys()
        assert all(torch.equal(loaded.state_dict()[key], saved[key]) for key in saved)
    half = ImageConditioner.from_pretrained(tmp_path / "image_conditioner", torch_dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert all(tokens.dtype == torch.float32 for tokens in half(identities))


def test_what_it_cannot_load_is_an_error(conditioner, tmp_path):
    with pytest.raises(InputError, match=r"cannot read config\.json"):
        ImageConditioner.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="variant"):
        ImageConditioner.from_pretrained(tmp_path, variant="fp16")
    with pytest.raises(ValueError, match="safetensors only"):
        conditioner.save_pretrained(tmp_path, safe_serialization=False)


def test_a_cut_out_that_shows_nothing_is_an_error(conditioner):
    with pytest.raises(InputError, match="shows no subject"):
        conditioner([np.zeros((8, 8, 4), np.uint8)])
