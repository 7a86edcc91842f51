import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.filtering.calibration import calibrate, calibrate_on_sprites, choose_threshold, precision_recall


def test_precision_and_recall():
    scores, labels = [0.1, 0.4, 0.6, 0.9], [False, True, False, True]
    assert precision_recall(scores, labels, 0.5) == (0.5, 0.5)
    assert precision_recall(scores, labels, 0.4) == (pytest.approx(2 / 3), 1.0)
    assert precision_recall(scores, labels, 2.0) == (1.0, 0.0)
    assert precision_recall(scores, labels, 0.4, "max") == (0.5, 0.5)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=20).filter(
        lambda rows: len({good for _, good in rows}) == 2
    ),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.sampled_from(["min", "max"]),
)
def test_the_choice_is_the_best_of_all_thresholds(rows, precision, direction):
    scores, labels = [score / 8 for score, _ in rows], [good for _, good in rows]
    candidates = [precision_recall(scores, labels, value, direction) for value in scores]
    reaching = [recall for share, recall in candidates if share >= precision and recall > 0]
    if not reaching:
        with pytest.raises(ValueError, match="no threshold reaches"):
            choose_threshold(scores, labels, precision, direction)
        return
    choice = choose_threshold(scores, labels, precision, direction)
    assert choice.recall == max(reaching)
    assert (choice.precision, choice.recall) == precision_recall(scores, labels, choice.threshold, direction)


def test_the_threshold_lies_between_good_and_bad():
    choice = choose_threshold([0.2, 0.3, 0.7, 0.9], [False, False, True, True], 0.95)
    assert (choice.threshold, choice.precision, choice.recall) == (0.5, 1.0, 1.0)
    assert (choice.num_good, choice.num_bad) == (2, 2)
    assert choose_threshold([0.2, 0.3, 0.7, 0.9], [True, True, False, False], 0.95, "max").threshold == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.5, 0.6], [True, True], "bad samples"),
        ([0.5, 0.6], [False, False], "good samples"),
        ([0.5, np.nan], [True, False], "finite"),
        ([0.5], [True, False], r"\[N\]"),
    ],
)
def test_labels_that_teach_nothing_are_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        choose_threshold(scores, labels, 0.9)


def test_a_set_is_judged_only_by_the_scores_it_names():
    good = {"identity": np.array([0.8, 0.9]), "flow_px": np.array([3.0, 4.0])}
    bad = {"identity": np.array([0.1, 0.2]), "flow_px": np.array([9.0, 9.0])}
    still = {"identity": np.array([0.9, 0.9]), "flow_px": np.array([0.0, 0.0])}
    chosen = calibrate(
        [
            (good, {"identity": True, "flow_px": True}),
            (bad, {"identity": False}),
            (still, {"flow_px": False}),
        ],
        0.9,
    )
    assert chosen["identity"].threshold == pytest.approx(0.5)
    assert chosen["flow_px"].threshold == pytest.approx(1.5)


def test_a_judge_that_knows_the_truth_is_calibrated_perfectly():
    def score(frames, identities, prompts):
        """Sharp answers read off the clips themselves: how much neighbouring and opposite frames differ."""
        pixels = frames.astype(np.float32)
        step = np.abs(np.diff(pixels, axis=1)).mean(axis=(1, 2, 3, 4))
        return {
            "consecutive": -step,
            "random_pair": -np.abs(pixels[:, 0] - pixels[:, -1]).mean(axis=(1, 2, 3)),
            "flow_px": step,
            "identity": np.array([hash(i.tobytes()) % 1000 for i in identities]),
            "image_text": np.array([len(p) for p in prompts]),
        }

    chosen = calibrate_on_sprites(score, num_clips=3, seed=1, precision=0.5)
    assert chosen["flow_px"].precision == chosen["flow_px"].recall == 1.0
    assert chosen["flow_px"].num_good == chosen["flow_px"].num_bad == 3
    assert chosen["random_pair"].num_bad == 6
