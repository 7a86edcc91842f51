import numpy as np
import pytest
import torch

from sugar.config import InputError
from sugar.encoders.loading import check_source, load_tokenizer, resolve_device
from sugar.encoders.text import encode_text, load_text_encoder
from sugar.encoders.vae import (
    decode_latents,
    encode_posterior,
    load_vae,
    num_latent_frames,
    spatial_ratio,
    to_model_space,
)

PROMPTS = ["a red dog", "a blue cat in the snow"]


@pytest.fixture(scope="module")
def base_folder(tiny_networks):
    return tiny_networks / "base"


@pytest.fixture(scope="module")
def vae(base_folder):
    return load_vae(base_folder)


def random_frames(batch: int, frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, frames, height, width, 3), dtype=np.uint8)


def test_posterior_is_the_vaes_own_with_frames_before_channels(vae):
    frames = random_frames(2, 9, 16, 24)
    mean, std = encode_posterior(vae, frames)
    assert mean.shape == std.shape == (2, 3, 4, 2, 3)
    pixels = torch.from_numpy(frames[1].astype(np.float32) / 127.5 - 1).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
    torch.testing.assert_close(mean[1], posterior.mean[0].transpose(0, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(std[1], posterior.std[0].transpose(0, 1), rtol=1e-4, atol=1e-5)


def test_decode_divides_by_the_scaling_factor(vae):
    latents = torch.randn(1, 3, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    frames = decode_latents(
        vae, to_model_space(latents, torch.zeros(1), torch.zeros(1), vae.config.scaling_factor)
    )
    assert frames.shape == (1, 9, 16, 24, 3)
    assert frames.dtype == torch.uint8
    with torch.no_grad():
        pixels = vae.decode(latents.transpose(1, 2)).sample[0]
    expected = ((pixels.clamp(-1, 1) + 1) * 127.5).round()
    difference = (frames[0].permute(3, 0, 1, 2).float() - expected).abs()
    assert difference.max() <= 1


def test_to_model_space():
    mean, std, noise = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([3.0])
    assert to_model_space(mean, std, noise, 0.5).item() == 3.5


@pytest.mark.parametrize("shape", [(1, 4, 16, 16), (1, 5, 16, 16), (1, 9, 12, 16), (1, 9, 16, 20)])
def test_vae_names_the_size_that_does_not_fit(vae, shape):
    with pytest.raises(ValueError, match="must be"):
        encode_posterior(vae, random_frames(*shape))


def test_vae_wants_uint8(vae):
    with pytest.raises(ValueError, match="uint8"):
        encode_posterior(vae, torch.zeros(1, 9, 16, 16, 3))


def test_vae_ratios(vae):
    assert spatial_ratio(vae) == 8
    assert num_latent_frames(vae, 9) == 3
    assert num_latent_frames(vae, 49) == 13
    with pytest.raises(ValueError, match="odd number"):
        decode_latents(vae, torch.zeros(1, 2, 4, 2, 2))


def test_text_is_what_the_cogvideox_pipeline_conditions_on(base_folder):
    from diffusers import CogVideoXPipeline

    tokenizer, model = load_text_encoder(base_folder)
    tokens = encode_text(tokenizer, model, PROMPTS, 24)
    assert tokens.shape == (2, 24, 16)

    class Stub:
        _execution_device = torch.device("cpu")

    Stub.text_encoder, Stub.tokenizer = model, tokenizer
    with torch.no_grad():
        expected = CogVideoXPipeline._get_t5_prompt_embeds(Stub(), PROMPTS, max_sequence_length=24)
    torch.testing.assert_close(tokens, expected)


def test_text_does_not_depend_on_its_batch(base_folder):
    tokenizer, model = load_text_encoder(base_folder)
    alone = encode_text(tokenizer, model, PROMPTS[:1], 24)
    torch.testing.assert_close(alone[0], encode_text(tokenizer, model, PROMPTS, 24)[0])
    assert encode_text(tokenizer, model, ["dog " * 50], 24).shape == (1, 24, 16)
    with pytest.raises(ValueError, match="at least one prompt"):
        encode_text(tokenizer, model, [], 24)


@pytest.mark.parametrize("source", ["/no/such/folder", "foundation/no/such", "./nothing", ""])
def test_a_missing_folder_is_named(source):
    with pytest.raises(InputError, match="no such folder"):
        check_source(source)


def test_a_folder_without_the_network_is_named(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        load_vae(tmp_path)
    with pytest.raises(InputError, match=str(tmp_path)):
        load_tokenizer(tmp_path)


def test_a_checkpoint_that_lacks_weights_is_refused(base_folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(base_folder / "text_encoder", tmp_path / "text_encoder")
    shutil.copytree(base_folder / "tokenizer", tmp_path / "tokenizer")
    weights = load_file(tmp_path / "text_encoder" / "model.safetensors")
    dropped = next(name for name in weights if "block.0" in name)
    del weights[dropped]
    save_file(weights, tmp_path / "text_encoder" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="every weight"):
        load_text_encoder(tmp_path)


def test_device(caplog):
    with caplog.at_level("INFO"):
        device = resolve_device("auto")
    assert device.type in {"cpu", "cuda"}
    assert str(device) in caplog.text
    with pytest.raises(InputError, match=r"networks\.device"):
        resolve_device("quantum")
    if device.type == "cpu":
        with pytest.raises(InputError, match="no CUDA"):
            resolve_device("cuda")
