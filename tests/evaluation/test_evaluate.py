"""Scores are right where the truth is known, and a run that was killed ends as one that was not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from oracle import Model, judges

from sugar.config import InputError
from sugar.evaluation.benchmark import sprite_benchmark
from sugar.evaluation.evaluate import Candidate, Evaluation, evaluate
from sugar.evaluation.scores import METRICS, mean_and_interval

BENCHMARK = sprite_benchmark(6, 2, seed=7, size_px=32)


def run(output: Path, model: Model, *, digest: str = "", scales=(4.0,), judge=None, more=()) -> Evaluation:
    candidates = [Candidate("sugar", lambda: model, digest, scales), *more]
    return evaluate(output, BENCHMARK, judge or judges(), candidates, fps=8, batch_size=5)


def test_a_model_that_does_as_told_is_right_everywhere(tmp_path):
    scores = run(tmp_path, Model()).rows[0].scores
    assert set(scores) == {metric.name for metric in METRICS}
    for name, (mean, low, high) in scores.items():
        assert mean == pytest.approx(1.0, abs=0.05), name
        assert low <= mean + 1e-9
        assert high >= mean - 1e-9


def test_a_model_that_ignores_the_picture_is_caught_by_both_galleries(tmp_path):
    def another(pair):
        return BENCHMARK.lookalikes[pair.subject.noun][3].identity

    scores = run(tmp_path, Model(subject_of=another)).rows[0].scores
    assert scores["retrieval_top1_same_noun"][0] == 0
    assert scores["retrieval_top1"][0] < 0.6
    assert scores["style_accuracy"][0] == scores["motion_accuracy"][0] == 1


@pytest.mark.parametrize("attribute", ["style", "background", "motion"])
def test_a_model_that_ignores_words_is_caught_there_alone(tmp_path, attribute):
    scores = run(tmp_path, Model(deaf_to=attribute)).rows[0].scores
    accuracies = {name: scores[f"{name}_accuracy"][0] for name in ("style", "background", "motion")}
    assert accuracies.pop(attribute) < 0.5
    assert set(accuracies.values()) == {1.0}
    assert scores["retrieval_top1"][0] == 1


def test_style_counts_only_where_a_change_was_asked_for(tmp_path):
    for record in run(tmp_path, Model()).videos:
        assert (record["style_accuracy"] is None) == (record["style"] == "as is")


def test_dynamic_degree_follows_the_flow(tmp_path):
    assert run(tmp_path, Model(), judge=judges(flow_px=0.1)).rows[0].scores["dynamic_degree"][0] == 0


def test_files_say_what_was_measured_and_by_whom(tmp_path):
    blind = Candidate("design_a", lambda: Model(deaf_to="motion"), "a", (4.0,))
    result = run(tmp_path, Model(), scales=(4.0, 2.5), more=[blind])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == result.metrics()
    assert metrics["num_videos"] == 12
    for prefix in ("", "image_scale_2.5/", "compare/design_a/"):
        assert metrics[f"{prefix}dino_score.metrics_dino"] == pytest.approx(1, abs=0.05)
    assert metrics["compare/design_a/motion_accuracy.video_text"] < metrics["motion_accuracy.video_text"] == 1
    assert json.loads((tmp_path / "encoders.json").read_text())["metrics_dino"]["source"] == "oracle"
    with open(tmp_path / "per_video.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 36
    assert all((tmp_path / row["file"]).is_file() for row in rows)
    assert rows[0]["prompt"] == BENCHMARK.pairs[0].text


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_killed_and_continued_equals_undisturbed(tmp_path):
    run(tmp_path / "undisturbed", Model())
    model = Model()
    model.dies_after = 6
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", model)
    first = list(model.asked)
    model.dies_after = None
    run(tmp_path / "killed", model)
    assert model.asked == [pair.key for pair in BENCHMARK.pairs]
    assert first == model.asked[:5]
    assert tree(tmp_path / "killed") == tree(tmp_path / "undisturbed")


def test_only_what_is_missing_damaged_or_made_otherwise_is_made_again(tmp_path):
    model = Model()
    run(tmp_path, model)
    before = tree(tmp_path)
    model.asked.clear()
    run(tmp_path, model)
    assert model.asked == []
    folder = tmp_path / "videos" / "sugar-scale-4"
    damaged, missing = BENCHMARK.pairs[1].key, BENCHMARK.pairs[7].key
    (folder / f"{damaged}.mp4").write_bytes(b"damaged")
    (folder / f"{missing}.mp4").unlink()
    run(tmp_path, model)
    assert model.asked == [damaged, missing]
    assert tree(tmp_path) == before
    model.asked.clear()
    run(tmp_path, model, digest="other weights")
    assert len(model.asked) == len(BENCHMARK.pairs)


def test_other_judges_score_the_same_videos_again(tmp_path):
    model = Model()
    run(tmp_path, model)
    model.asked.clear()
    scores = run(tmp_path, model, judge=judges("others", flow_px=0.0)).rows[0].scores
    assert model.asked == []
    assert scores["dynamic_degree"][0] == 0


def test_videos_of_earlier_settings_are_removed(tmp_path):
    run(tmp_path, Model(), scales=(4.0, 2.5))
    run(tmp_path, Model(), scales=(2.5,))
    assert [folder.name for folder in (tmp_path / "videos").iterdir()] == ["sugar-scale-2.5"]


def test_two_candidates_of_one_name_are_an_error(tmp_path):
    with pytest.raises(InputError, match="different names"):
        run(tmp_path, Model(), more=[Candidate("sugar", Model, "", (4.0,))])


def test_interval_counts_subjects_and_not_videos():
    values = [1.0] * 10 + [0.0] * 10
    one_each = mean_and_interval(values, [str(i) for i in range(20)])
    of_two = mean_and_interval(values, ["a"] * 10 + ["b"] * 10)
    assert one_each is not None
    assert of_two is not None
    assert one_each[0] == of_two[0] == 0.5
    assert of_two[1:] == (0.0, 1.0)
    assert 0.2 < one_each[1] < 0.35
    assert mean_and_interval([None, None], ["a", "b"]) is None
    assert mean_and_interval([None, 1.0], ["a", "b"]) == (1.0, 1.0, 1.0)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(60):
        values = rng.normal(0.3, 1.0, size=40)
        summary = mean_and_interval(list(values), [str(i) for i in range(40)], resamples=300)
        assert summary is not None
        covered += summary[1] <= 0.3 <= summary[2]
    assert 50 <= covered <= 60
