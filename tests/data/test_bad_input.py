"""Damaged files by the thousand: read or refused with a reason; none crashes, hangs or eats memory."""

from collections.abc import Sequence

import numpy as np
import pytest
from damaged_files import damaged, fuzz, good_files, moving_clip, picture, reader, saved
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from photo_folders import folder_subjects

from sugar.data.atomic import sha256_bytes
from sugar.data.shard_pool import Skips
from sugar.data.shards import read_shard, write_shard
from sugar.data.video_io import encode_mp4
from sugar.encoders.segmentation import NoSubject, Segmentation
from sugar.ingest.clips import FolderClips
from sugar.ingest.shard import IngestRecipe, ingest_shard
from sugar.synthesis.nouns import category_of
from sugar.triplet import Triplet


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, bytes]:
    return good_files(tmp_path_factory.mktemp("seeds"))


def test_the_seeds_themselves_are_read(seeds, tmp_path):
    for name, data in seeds.items():
        assert reader(name, tmp_path)(data) is not None, name


def test_a_few_damaged_files(seeds, tmp_path):
    reasons = [outcome.reason for outcome in fuzz(seeds, 180, 0, tmp_path)]
    assert len(reasons) == 180
    assert "read" in reasons
    assert all(reasons)  # every refusal has a reason
    assert len(set(reasons)) > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_thousand_damaged_files(seeds, tmp_path, seed):
    assert len(fuzz(seeds, 1000, seed, tmp_path)) == 1000


@pytest.mark.parametrize("num_bad", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_good_photos_survive_among_damaged_ones(seeds, tmp_path, num_bad):
    rng, skips = np.random.default_rng(num_bad), Skips()
    kinds = [name for name in sorted(seeds) if name.split(".")[1] in ("png", "jpg", "webp")]
    good = [saved(picture("RGB", (40 + i, 40)), "PNG") for i in range(num_bad // 4)]
    for i, data in enumerate(good):
        (tmp_path / f"dog{i:04d}.png").write_bytes(data)
    for i in range(num_bad):
        kind = kinds[i % len(kinds)]
        (tmp_path / f"bad{i:04d}.{kind.split('.')[1]}").write_bytes(damaged(seeds[kind], rng))
    subjects = list(folder_subjects(tmp_path, on_skip=skips.add))
    assert {sha256_bytes(data) for data in good} <= {subject.source_digest for subject in subjects}
    assert len(subjects) + skips.counts.total() == len(good) + num_bad


def bright(image_rgb: np.ndarray, noun: str, **evidence: np.ndarray | None) -> Segmentation:
    mask = (image_rgb.min(axis=2) > 180).astype(np.uint8) * 255
    if not mask.any():
        raise NoSubject("all dark")
    return Segmentation(mask, 1.0)


def no_score(triplets: Sequence[Triplet]) -> list[dict[str, float]]:
    return [{} for _ in triplets]


@pytest.mark.parametrize("num_bad", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_good_clips_survive_among_damaged_ones(seeds, tmp_path, num_bad):
    rng, skips = np.random.default_rng(num_bad), Skips()
    kinds = [name for name in sorted(seeds) if name.split(".")[1] in ("mp4", "mkv", "avi")]
    good = [encode_mp4(moving_clip(100 + i, 9), 8) for i in range(num_bad // 4)]
    for i, data in enumerate(good):
        (tmp_path / f"good{i:04d}.mp4").write_bytes(data)
        (tmp_path / f"good{i:04d}.txt").write_text("a square")
    for i in range(num_bad):
        kind = kinds[i % len(kinds)]
        (tmp_path / f"bad{i:04d}.{kind.split('.')[1]}").write_bytes(damaged(seeds[kind], rng))
        (tmp_path / f"bad{i:04d}.txt").write_text("damaged")
    clips = FolderClips(tmp_path, 0, category_of=category_of)
    recipe = IngestRecipe(seed=0, fps=8, num_frames=5, height_px=32, width_px=48, max_windows=1)
    made = list(ingest_shard(map(clips.load, range(len(clips))), recipe, bright, no_score, skips.add))
    assert {sha256_bytes(data) for data in good} <= {triplet.source_digest for triplet in made}
    assert len(made) + skips.counts.total() == len(clips)
    assert len(clips) + len(clips.skips) == len(good) + num_bad


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@example("NUL \0 in the middle")
@example("שלום עולם \u202e right to left")
@example("🐕‍🦺" * 20)
@example("x" * 10_000)
def test_any_caption_survives_a_shard(make_triplet, tmp_path, prompt):
    path = tmp_path / "shard-000000.tar"
    write_shard(path, [make_triplet(0, prompt=prompt)])
    (triplet,) = read_shard(path)
    assert triplet.prompt == prompt
