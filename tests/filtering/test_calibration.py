import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.filtering import calibration
from sugar.filtering.calibration import choose_thresholds, figures, held_out_figures, passed
from sugar.filtering.labelled import KINDS, labelled_sprites
from sugar.filtering.thresholds import Bound

NAN = float("nan")


def drawn(num, num_random, seed, *, shift=2.0, num_useful=1, share=0.6):
    """Scores of which the first `num_useful` tell good from bad, and labels."""
    rng = np.random.default_rng(seed)
    good = rng.random(num) < share
    scores = {f"useful{i}": rng.normal(size=num) + shift * good for i in range(num_useful)}
    scores |= {f"random{i}": rng.normal(size=num) for i in range(num_random)}
    return scores, good, [(name, "min") for name in scores]


def test_figures_of_bounds_together():
    scores = {"a": np.array([0.1, 0.4, 0.6, NAN]), "b": np.array([5.0, 6.0, 9.0, 1.0])}
    good = np.array([False, True, True, True])
    accepted = passed(scores, [Bound("a", "min", 0.4), Bound("b", "max", 8.0)], 4)
    assert accepted.tolist() == [False, True, False, False]
    found = figures(accepted, good)
    assert (found.precision, found.recall, found.good, found.bad) == (1.0, pytest.approx(1 / 3), 3, 1)
    assert np.isnan(figures(np.zeros(4, bool), good).precision)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=20).filter(
        lambda rows: len({good for _, good in rows}) == 2
    ),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.sampled_from(["min", "max"]),
)
def test_one_score_gets_the_best_of_all_its_thresholds(rows, precision, direction):
    scores = {"a": np.array([score / 8 for score, _ in rows])}
    good = np.array([good for _, good in rows])
    every = [Bound("a", direction, value) for value in scores["a"]]
    tried = [figures(passed(scores, [bound], len(good)), good) for bound in every]
    tried.append(figures(np.ones(len(good), bool), good))
    reaching = [found.recall for found in tried if found.precision >= precision and found.recall > 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "LUCK", np.inf)  # so few samples are all luck
        choice = choose_thresholds(scores, good, precision, [("a", direction)])
    assert choice.reached == bool(reaching)
    assert choice.fitted == figures(passed(scores, choice.bounds, len(good)), good)
    if reaching:
        assert choice.fitted.recall == max(reaching)
        assert choice.fitted.precision >= precision


@pytest.mark.parametrize("seed", range(4))
def test_scores_that_say_nothing_stay_unused_and_cost_no_recall(seed):
    scores, good, limits = drawn(400, 6, seed)
    choice = choose_thresholds(scores, good, 0.85, limits)
    alone = choose_thresholds(scores, good, 0.85, limits[:1])
    assert choice.reached
    assert {bound.score for bound in choice.bounds} == {"useful0"}
    assert choice.fitted.precision >= 0.85
    assert choice.fitted.recall == alone.fitted.recall > 0.85
    held_out = held_out_figures(scores, good, 0.85, limits)
    assert held_out.precision > 0.8
    assert held_out.recall > 0.8


def test_where_no_score_says_anything_nothing_is_reached_by_luck():
    for seed in range(10):
        scores, good, limits = drawn(100, 7, seed, num_useful=0)
        choice = choose_thresholds(scores, good, 0.9, limits)
        assert (choice.reached, choice.bounds) == (False, ())


def test_together_scores_keep_more_than_any_alone():
    scores, good, limits = drawn(2000, 2, 1, shift=1.5, num_useful=3)
    together = choose_thresholds(scores, good, 0.9, limits)
    alone = [choose_thresholds(scores, good, 0.9, [limit]).fitted for limit in limits[:3]]
    assert together.fitted.precision >= 0.9
    assert together.fitted.recall > max(found.recall for found in alone) + 0.05


def test_each_kind_of_error_gets_the_threshold_that_finds_it():
    rng = np.random.default_rng(0)
    good = np.arange(300) < 150
    scores = {"a": rng.uniform(1, 2, 300), "b": rng.uniform(1, 2, 300), "c": rng.uniform(1, 2, 300)}
    scores["a"][150:225] = 0.0
    scores["b"][225:] = 9.0
    scores["a"][0] = scores["c"][1] = NAN
    limits = [("a", "min"), ("a", "max"), ("b", "min"), ("b", "max"), ("c", "min")]
    choice = choose_thresholds(scores, good, 1.0, limits)
    assert [(bound.score, bound.direction) for bound in choice.bounds] == [("a", "min"), ("b", "max")]
    assert choice.fitted.precision == 1.0
    assert choice.fitted.recall == 149 / 150
    assert 0.4 < choice.bounds[0].value < 0.6
    assert 5 < choice.bounds[1].value < 6


def test_no_threshold_where_none_is_needed():
    scores, good, limits = drawn(200, 3, 0, num_useful=0, share=0.9)
    choice = choose_thresholds(scores, good, 0.7, limits)
    assert choice.reached
    assert choice.bounds == ()
    assert choice.fitted.recall == 1.0


def test_ten_thousand_labels_take_seconds():
    scores, good, limits = drawn(10_000, 5, 0, shift=1.5, num_useful=3)
    start = time.process_time()
    choice = choose_thresholds(scores, good, 0.95, limits)
    assert choice.reached
    assert choice == choose_thresholds(scores, good, 0.95, limits)
    assert time.process_time() - start < 10


def test_too_few_labels_to_hold_some_out():
    scores = {"a": np.arange(5.0)}
    assert held_out_figures(scores, np.arange(5) > 0, 0.9, [("a", "min")]) is None


@pytest.mark.parametrize(
    ("labels", "precision", "message"),
    [
        ([True, True], 0.9, "good and bad, got 2 of 2 good"),
        ([False, False], 0.9, "good and bad, got 0 of 2 good"),
        ([True], 0.9, r"\[N\]"),
        ([True, False], 0.0, r"in \(0, 1\], got 0"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels, precision, message):
    with pytest.raises(ValueError, match=message):
        choose_thresholds({"a": [0.5, 0.6]}, labels, precision, [("a", "min")])


def test_clips_of_sprite_world_are_half_good_and_scored_once_each():
    seen = []

    def score(frames, identities, prompts):
        """How much neighbouring frames differ: nothing where the clip is frozen."""
        seen.append((len(frames), len(identities), len(prompts)))
        return {"flow_px": np.abs(np.diff(frames.astype(np.float32), axis=1)).mean(axis=(1, 2, 3, 4))}

    labelled = labelled_sprites(score, num_clips=3, seed=1, num_frames=5, side_px=32)
    num_bad = sum(not good for good in KINDS.values())
    assert labelled.good.sum() == 3 * num_bad == (~labelled.good).sum()
    assert seen == [(15, 15, 15), *[(3, 3, 3)] * num_bad]
    still = labelled.table["score_flow_px"].to_numpy() == 0
    assert still.sum() == 3
    assert not labelled.good[still].any()


def test_large_clips_are_scored_a_few_at_a_time(monkeypatch):
    seen = []

    def score(frames, identities, prompts):
        seen.append(len(frames))
        return {"flow_px": np.zeros(len(frames))}

    monkeypatch.setattr("sugar.filtering.labelled.BATCH_BYTES", 2 * 5 * 32 * 32 * 3)
    labelled_sprites(score, num_clips=2, seed=1, num_frames=5, side_px=32)
    assert set(seen) == {2}
    monkeypatch.setattr("sugar.filtering.labelled.BATCH_BYTES", 1)
    labelled_sprites(score, num_clips=1, seed=1, num_frames=5, side_px=32)
    assert seen[-1] == 1
