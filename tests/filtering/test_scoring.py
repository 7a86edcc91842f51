from dataclasses import replace

import numpy as np
import pytest
import torch

from sugar.encoders.image import identity_canvas
from sugar.filtering.labelled import KINDS, labelled_batch
from sugar.filtering.scoring import Judges, load_judges, score_triplets
from sugar.filtering.thresholds import SCORES
from sugar.metrics.dynamics import flow_strength
from sugar.metrics.identity import identity_score
from sugar.metrics.text_alignment import text_alignment


@pytest.fixture(scope="module")
def batch():
    return labelled_batch("right", 3, 0)


@pytest.fixture(scope="module")
def judges(tiny_networks):
    judges = load_judges(dino=tiny_networks / "dino", clip=tiny_networks / "clip", flow="dis", quality=True)
    return replace(judges, aesthetic=lambda features: np.asarray(features, np.float64)[:, 0])


def test_scores_are_the_metrics_of_each_clip(batch, judges):
    frames, identities, prompts = batch
    scores = score_triplets(frames, identities, prompts, judges)
    assert set(scores) == set(SCORES)
    for i in range(3):
        features = judges.dino(frames[i])
        reference = judges.dino(identity_canvas(identities[i], judges.canvas_px)[None])[0]
        text = judges.clip_text(prompts[i : i + 1])[0]
        assert scores["identity"][i] == pytest.approx(identity_score(reference, features), abs=1e-5)
        assert scores["image_text"][i] == pytest.approx(
            text_alignment(text, judges.clip_image(frames[i, :1])), abs=1e-5
        )
        neighbours = [identity_score(features[t], features[t + 1 : t + 2]) for t in range(8)]
        assert scores["consecutive"][i] == pytest.approx(np.mean(neighbours), abs=1e-5)
        assert scores["flow_px"][i] == pytest.approx(flow_strength(judges.flow(frames[i])).mean())


def test_each_network_is_called_once_for_all_clips(batch):
    frames, identities, prompts = batch
    calls = []

    def features(images):
        calls.append(len(images))
        return torch.ones(len(images), 4)

    judges = Judges(dino=features, clip_image=features, clip_text=features, canvas_px=16)
    score_triplets(frames, identities, prompts, judges)
    assert calls == [3, 3, 27, 3]


def test_the_flow_of_a_long_clip_is_that_of_evenly_spaced_pairs():
    frames = np.arange(49, dtype=np.uint8)[None, :, None, None, None] * np.ones((1, 1, 16, 16, 3), np.uint8)
    asked = []

    def flow(frames_THWC, first=None):
        asked.append(first)
        return np.ones((len(first), 2, 16, 16)) * frames_THWC[first, :1, :1, 0][:, None]

    scores = score_triplets(frames, None, None, Judges(flow=flow))
    (starts,) = asked  # one call, so that a network takes the pairs in batches
    assert len(starts) == 24 and starts[0] == 0 and starts[-1] == 47
    assert set(np.diff(starts)) == {2, 3}
    assert scores["flow_px"][0] == pytest.approx(np.sqrt(2) * np.mean(starts))


def test_what_is_not_given_is_not_scored(batch):
    frames, _, prompts = batch
    assert score_triplets(frames, None, prompts, Judges()) == {}
    judges = Judges(dino=lambda images: torch.ones(len(images), 4))
    assert set(score_triplets(frames, None, None, judges)) == {"consecutive", "random_pair"}
    with pytest.raises(ValueError, match="prompts must be one a clip"):
        score_triplets(frames, None, prompts[:2], Judges())


def test_flow_is_sampled_as_vbench_does(batch):
    seen = []

    def flow(frames, first=None):
        assert first is None
        seen.append(len(frames))
        return np.zeros((len(frames) - 1, 2, 64, 64))

    frames = batch[0]
    for fps in (8, 24, 1000):
        score_triplets(frames[:1], None, None, Judges(flow=flow), fps=fps)
    assert seen == [9, 3, 2]


def test_labelled_clips_differ_in_the_way_they_say():
    batches = {kind: labelled_batch(kind, 4, 7) for kind in KINDS}
    again = labelled_batch("right", 4, 7)
    np.testing.assert_array_equal(batches["right"][0], again[0])
    flow = {
        kind: score_triplets(b[0], None, None, load_judges(flow="dis"))["flow_px"]
        for kind, b in batches.items()
    }
    assert flow["frozen"].max() < 0.01 < flow["right"].min()
    steps = {kind: np.abs(np.diff(b[0].astype(float), axis=1)).mean() for kind, b in batches.items()}
    assert steps["flicker"] > steps["morph"] > steps["right"]
    assert batches["other prompt"][2] != batches["right"][2]
    with pytest.raises(ValueError, match="kind must be"):
        labelled_batch("perfect", 1, 0)
