"""Latents of a dataset with damaged triplets; stills beside the clips' own latents (real classes, random
weights)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shard_stubs import tiny_triplet

from sugar.config import InputError
from sugar.data.latents import LatentCache
from sugar.data.manifest import write_manifest
from sugar.data.shards import shard_name, write_shard
from sugar.encoders.image import _square_pixels, identity_canvases, load_clip, load_dino
from sugar.encoders.vae import encode_posterior, load_vae
from sugar.stages import encoding
from sugar.stages.encoding import Networks, encode_dataset, load_encoders, still_frames
from sugar.stages.rejected import REJECTIONS
from sugar.triplet import Triplet

DINO_PIXELS = [[0.074, 0.007, 0.007], [0.205, -0.034, -0.631], [0.426, 0.477, 0.477]]
CLIP_PIXELS = [[0.076, 0.016, 0.016], [0.169, -0.040, -0.580], [0.340, 0.385, 0.385]]
"""Channels of three pixels of a cut-out as the two networks get it."""


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


def test_frames_of_a_clip_differ_and_are_a_function_of_what_it_shows(triplets: list[Triplet]):
    first, second = (still_frames(triplet, 9).tolist() for triplet in triplets)
    assert sorted(first) == sorted(second) == list(range(9))
    assert first == still_frames(triplets[0], 9).tolist()
    assert len(still_frames(triplets[0], 12)) == 12
    # A latent is found by its triplet's digest, which does not know the key.
    assert first == still_frames(replace(triplets[0], key="renamed"), 9).tolist()


def test_another_transform_is_another_latent(tiny_networks: Path, monkeypatch):
    networks = Networks(*(str(tiny_networks / name) for name in ("base", "dino", "clip")))
    before = networks.meta()
    assert "transform" not in before  # latents from before there was a version keep their address
    monkeypatch.setattr(encoding, "TRANSFORM", 2)
    assert networks.meta() == before | {"transform": 2}


def test_pixels_of_this_version_of_the_transform(tiny_networks: Path):
    """Where these numbers change, every latent does: raise `TRANSFORM`."""
    y, x = np.mgrid[:40, :56]
    alpha = np.where((x - 30) ** 2 + (y - 18) ** 2 < 200, 255, 0)
    cut_out = np.stack([4 * x, 6 * y, 255 - 4 * x, alpha], axis=-1).astype(np.uint8)
    for load, name, expected in ((load_dino, "dino", DINO_PIXELS), (load_clip, "clip", CLIP_PIXELS)):
        network = load(tiny_networks / name)
        vision = getattr(network, "vision_model", network)
        pixels = _square_pixels(vision, identity_canvases([cut_out], 48))[0]
        side = pixels.shape[-1]
        found = pixels[:, [0, side // 2, side // 3], [0, side // 2, side // 2]]
        np.testing.assert_allclose(found.numpy(), expected, atol=0.02)


def test_the_number_of_stills_is_part_of_what_a_latent_is(tiny_networks: Path):
    networks = Networks(*(str(tiny_networks / name) for name in ("base", "dino", "clip")))
    assert networks.meta() == networks.meta(0)
    assert networks.meta(1) == networks.meta() | {"stills": 1}


class Dataset:
    """Ten triplets in three shards, and the encoding of them without networks."""

    def __init__(self, folder: Path, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.output = folder / "real", folder / "latents"
        self.output.mkdir(parents=True)
        self.encoded: list[str] = []
        self.networks = Networks(*(str(networks / name) for name in ("base", "dino", "clip")))
        self.shards = [[f"c{4 * shard + i}" for i in range(4)] for shard in range(2)] + [["c8", "c9"]]
        rows = []
        for number in range(3):
            rows += self.write(number)
        write_manifest(self.folder, rows)
        monkeypatch.setattr(encoding, "load_encoders", lambda *_: self._encode)

    def write(self, number: int) -> list[dict[str, Any]]:
        return write_shard(self.path(number), map(tiny_triplet, self.shards[number]))

    def path(self, number: int) -> Path:
        return self.folder / shard_name(number)

    def damage(self, key: str) -> None:
        """Make one clip unreadable, the size of its shard what it was."""
        path = self.path(next(n for n, keys in enumerate(self.shards) if key in keys))
        data = bytearray(path.read_bytes())
        start = data.index(f"{key}.mp4".encode()) + 512
        data[start : start + 200] = bytes(200)
        path.write_bytes(data)

    def _encode(self, triplets: Sequence[Triplet]) -> dict[str, torch.Tensor]:
        self.encoded += [triplet.key for triplet in triplets]
        means = torch.tensor([[float(triplet.video.mean())] for triplet in triplets])
        return {"mean": means, "std": means + 1}

    def encode(self, **changes: Any) -> dict[str, float]:
        options = {"batch_size": 2, "shard_size": 3, "held_out_fraction": 0.1, "num_workers": 2} | changes
        self.encoded.clear()
        return encode_dataset(self.folder, self.output, self.networks, made_by="ingest", **options)

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.output.iterdir()}


@pytest.fixture
def dataset(tmp_path: Path, tiny_networks: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    return Dataset(tmp_path, tiny_networks, monkeypatch)


def test_a_damaged_triplet_is_left_out_and_its_neighbours_are_kept(dataset: Dataset, caplog):
    with caplog.at_level(logging.WARNING):
        dataset.damage("c5")
        figures = dataset.encode()
    assert (figures["samples"], figures["encoded"], figures["skipped"]) == (9, 9, 1)
    (reason,) = [name for name in figures if name.startswith("skipped_")]
    told = json.loads((dataset.output / REJECTIONS).read_text())
    assert told["keys"] == {"c5": reason.removeprefix("skipped_")}
    assert told["skipped"][told["keys"]["c5"]] == {"count": 1, "examples": ["c5"]}
    assert "1 of 10 accepted triplets cannot be read and are left out" in caplog.text
    assert "`sugar ingest --check` makes damaged shards anew" in caplog.text
    assert LatentCache.open(dataset.output).keys == [f"c{i}" for i in range(10) if i != 5]


def test_what_was_damaged_once_is_tried_again_and_nothing_else(dataset: Dataset):
    dataset.damage("c5")
    first = dataset.encode()
    before, worked = dataset.content(), []
    again = dataset.encode(on_work=lambda: worked.append(1))
    assert (again, worked) == (first | {"encoded": 0}, [])
    assert dataset.content() == before
    dataset.write(1)  # repaired
    repaired = dataset.encode()
    assert (repaired["samples"], repaired["encoded"], repaired["skipped"]) == (10, 1, 0)
    assert set(dataset.encoded) == {"c5"}
    assert not (dataset.output / REJECTIONS).exists()


@pytest.mark.parametrize("keys", [[1, None], [["c5"]], {"c5": 1}, 1])
def test_a_list_of_rejected_triplets_that_is_damaged_costs_nothing(dataset: Dataset, keys: object):
    dataset.encode()
    (dataset.output / REJECTIONS).write_text(json.dumps({"keys": keys}))
    figures = dataset.encode()
    assert (figures["samples"], figures["encoded"], figures["skipped"]) == (10, 0, 0)
    assert not (dataset.output / REJECTIONS).exists()


def test_the_bytes_do_not_depend_on_when_a_triplet_was_damaged(dataset: Dataset):
    dataset.encode()
    dataset.damage("c0")
    dataset.damage("c9")
    for path in dataset.output.iterdir():
        path.unlink()
    dataset.encode(num_workers=0)
    apart = dataset.content()
    for path in dataset.output.iterdir():
        path.unlink()
    dataset.encode(batch_size=4)
    assert dataset.content() == apart


def test_a_dataset_of_which_nothing_can_be_read_is_refused(dataset: Dataset):
    for number in range(3):
        dataset.path(number).write_bytes(b"x" * dataset.path(number).stat().st_size)
    with pytest.raises(InputError, match=r"10 of 10 .* no_tar 10 .*; `sugar ingest --check`"):
        dataset.encode()
    dataset.path(1).unlink()
    with pytest.raises(InputError, match=r"shard-000001\.tar: cannot be read as a tar .*; run ingest again"):
        dataset.encode()
