"""Stills of synthetic clips beside the clips' own latents, with the real classes at random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sugar.encoders.vae import encode_posterior, load_vae
from sugar.stages.encoding import Networks, load_encoders, still_frames
from sugar.triplet import Triplet


@pytest.fixture
def triplets() -> list[Triplet]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(2):
        video = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
        alpha = np.full((32, 32, 1), 255, np.uint8)
        made.append(
            Triplet(
                key=f"sample-{number}",
                subject=video[0],
                identity=np.concatenate([video[0], alpha], axis=2),
                video=video,
                fps=8.0,
                prompt="a dog",
                noun="dog",
                category="animal",
                source="synthetic",
                seed=number,
                source_digest="ab" * 32,
            )
        )
    return made


def test_a_still_is_a_frame_encoded_alone(tiny_networks: Path, triplets: list[Triplet]):
    base = str(tiny_networks / "base")
    networks = Networks(base, str(tiny_networks / "dino"), str(tiny_networks / "clip"), device="cpu")
    without, with_stills = load_encoders(networks)(triplets), load_encoders(networks, 2)(triplets)
    for name, value in without.items():
        assert torch.equal(value, with_stills[name])
    vae = load_vae(base, torch.device("cpu"), torch.float32)
    for row, triplet in enumerate(triplets):
        for column, frame in enumerate(still_frames(triplet, 2)):
            mean, std = encode_posterior(vae, triplet.video[None, frame : frame + 1])
            torch.testing.assert_close(
                with_stills["still_mean"][row, column], mean[0, 0], atol=1e-5, rtol=1e-4
            )
            torch.testing.assert_close(with_stills["still_std"][row, column], std[0, 0], atol=1e-5, rtol=1e-4)


def test_frames_of_a_clip_differ_and_are_a_function_of_its_key(triplets: list[Triplet]):
    first, second = (still_frames(triplet, 9).tolist() for triplet in triplets)
    assert sorted(first) == sorted(second) == list(range(9))
    assert first == still_frames(triplets[0], 9).tolist()
    assert len(still_frames(triplets[0], 12)) == 12


def test_the_number_of_stills_is_part_of_what_a_latent_is(tiny_networks: Path):
    networks = Networks(*(str(tiny_networks / name) for name in ("base", "dino", "clip")))
    assert networks.meta() == networks.meta(0)
    assert networks.meta(1) == networks.meta() | {"stills": 1}
