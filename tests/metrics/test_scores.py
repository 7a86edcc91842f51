import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from sugar.metrics.identity import identity_score, identity_scores
from sugar.metrics.retrieval import nearest, top1, video_feature
from sugar.metrics.text_alignment import paired_cosine, text_alignment

RNG = np.random.default_rng(0)
FRAMES = RNG.normal(size=(3, 5, 8)).astype(np.float32)
SINGLE = RNG.normal(size=(3, 8)).astype(np.float32)


@pytest.mark.parametrize("score", [identity_score, text_alignment])
def test_score_is_the_mean_cosine(score):
    expected = functional.cosine_similarity(
        torch.from_numpy(SINGLE[0])[None], torch.from_numpy(FRAMES[0])
    ).mean()
    assert score(SINGLE[0], FRAMES[0]) == pytest.approx(expected.item(), abs=1e-6)
    assert type(score(SINGLE[0], FRAMES[0])) is float
    assert score(torch.from_numpy(SINGLE[0]), torch.from_numpy(FRAMES[0])) == score(SINGLE[0], FRAMES[0])
    assert score(SINGLE[0] * 7, FRAMES[0] * 0.1) == pytest.approx(score(SINGLE[0], FRAMES[0]), abs=1e-6)
    assert score(SINGLE[0], SINGLE[:1]) == pytest.approx(1.0)
    assert score(SINGLE[0], -SINGLE[:1]) == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="one width"):
        score(SINGLE[0, :4], FRAMES[0])
    with pytest.raises(ValueError, match="T, D"):
        score(SINGLE[0], FRAMES)


def test_many_scores_at_once():
    expected = [identity_score(SINGLE[i], FRAMES[i]) for i in range(3)]
    np.testing.assert_allclose(identity_scores(SINGLE, FRAMES), expected)
    np.testing.assert_allclose(
        paired_cosine(SINGLE, FRAMES[:, 2]), [identity_score(SINGLE[i], FRAMES[i, 2:3]) for i in range(3)]
    )
    with pytest.raises(ValueError, match="one reference a video"):
        identity_scores(SINGLE[:2], FRAMES)
    with pytest.raises(ValueError, match="one shape"):
        paired_cosine(SINGLE[:2], SINGLE)


def test_retrieval():
    gallery = np.eye(4)
    queries = np.array([[2.0, 1, 0, 0], [0, 0, 3, 1], [0, 1, 0, 5]])
    np.testing.assert_array_equal(nearest(queries, gallery), [0, 2, 3])
    assert top1(queries, gallery, [0, 2, 3]) == 1.0
    assert top1(torch.from_numpy(queries), gallery, torch.tensor([0, 1, 3])) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="targets"):
        top1(queries, gallery, [0, 2, 4])
    with pytest.raises(ValueError, match="one target a query"):
        top1(queries, gallery, [0, 2])


def test_video_feature_is_the_direction_of_the_mean():
    feature = video_feature(np.array([[10.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(feature, [2**-0.5, 2**-0.5])
