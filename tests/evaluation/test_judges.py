"""The judges are loaded from folders, agree with the encoders, and say what they are."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import Model
from oracle import judges as oracle_judges

from sugar.config import InputError
from sugar.evaluation.benchmark import sprite_benchmark
from sugar.evaluation.evaluate import Candidate, evaluate
from sugar.evaluation.judges import folder_digest, load_judges
from sugar.evaluation.scores import METRICS

BENCHMARK = sprite_benchmark(2, 2, seed=7, size_px=32)


@pytest.fixture(scope="module")
def judges(tiny_networks):
    return load_judges(
        metrics_dino=str(tiny_networks / "metrics_dino"),
        metrics_clip=str(tiny_networks / "clip"),
        video_text=str(tiny_networks / "video_text"),
    )


def test_scores_do_not_depend_on_the_batches(tmp_path, judges):
    candidate = Candidate("sugar", Model, "", (4.0,))
    one, four = (
        evaluate(tmp_path / str(size), BENCHMARK, judges, [candidate], fps=8, batch_size=size).videos
        for size in (1, 4)
    )
    for metric in METRICS:
        for alone, together in zip(one, four, strict=True):
            assert alone[metric.name] == pytest.approx(together[metric.name], abs=1e-5), metric.name


def test_features_are_unit_vectors_and_video_text_is_a_cosine(judges):
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 255, (2, 9, 48, 64, 3), dtype=np.uint8)
    for features in (judges.identity(videos[0]), judges.picture(videos[0]), judges.text(["a dog", "a car"])):
        assert np.linalg.norm(features, axis=1) == pytest.approx(1.0, abs=1e-5)
    scores = judges.video_text(videos, ["a dog", "a car"])
    assert scores.shape == (2,)
    assert np.abs(scores).max() <= 1 + 1e-6
    assert judges.flow(videos[0]).shape == (8, 2, 48, 64)


def test_judges_say_what_they_are(judges, tiny_networks):
    assert {key: about["class"] for key, about in judges.sources.items()} == {
        "metrics_dino": "Dinov2Model",
        "metrics_clip": "CLIPModel",
        "video_text": "XCLIPModel",
        "flow": "optical flow",
    }
    assert judges.sources["metrics_dino"]["digest"] == folder_digest(tiny_networks / "metrics_dino")
    assert oracle_judges("one").digest != oracle_judges("two").digest


def test_a_missing_judge_is_an_error(tiny_networks, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_judges(
            metrics_dino=str(tmp_path / "nowhere"),
            metrics_clip=str(tiny_networks / "clip"),
            video_text=str(tiny_networks / "video_text"),
        )


def test_a_folder_is_known_by_weights_and_configuration(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    first = folder_digest(tmp_path)
    (tmp_path / "README.md").write_text("about")
    assert folder_digest(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert folder_digest(tmp_path) != first
