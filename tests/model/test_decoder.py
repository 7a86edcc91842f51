"""The decoder whose norms work at the latent's size equals diffusers' own."""

import copy

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from tiny_networks import tiny_vae

from sugar.model.decoder import LatentSizeSpatialNorm, modulate_at_latent_size


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLCogVideoX:
    torch.manual_seed(0)
    return tiny_vae(sample_height=32, sample_width=32)


@pytest.mark.parametrize("latent_frames", [1, 2, 3, 5])
def test_decoding_is_the_same(vae, latent_frames: int) -> None:
    quick = modulate_at_latent_size(copy.deepcopy(vae))
    latent = torch.randn(2, 4, latent_frames, 4, 6)
    with torch.no_grad():
        torch.testing.assert_close(quick.decode(latent).sample, vae.decode(latent).sample)


def test_gradients_are_the_same(vae) -> None:
    quick = modulate_at_latent_size(copy.deepcopy(vae))
    latent = torch.randn(1, 4, 3, 4, 4)
    for network in (vae, quick):
        network.zero_grad()
        network.decode(latent).sample.square().mean().backward()
    pairs = zip(vae.decoder.named_parameters(), quick.decoder.named_parameters(), strict=True)
    for (name, left), (_, right) in pairs:
        torch.testing.assert_close(left.grad, right.grad, msg=name, rtol=1e-3, atol=1e-6)


def test_names_of_weights_stay_and_all_norms_change(vae) -> None:
    quick = modulate_at_latent_size(copy.deepcopy(vae))
    assert list(quick.state_dict()) == list(vae.state_dict())
    norms = [m for m in quick.decoder.modules() if type(m).__name__.endswith("SpatialNorm3D")]
    assert not norms
    assert sum(isinstance(m, LatentSizeSpatialNorm) for m in quick.modules()) > 10
