"""Synthetic triplets end to end: pure shards, counted skips, thresholds that re-score nothing."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from photo_folders import folder_subjects

from sugar.box import Box
from sugar.config import InputError
from sugar.data.manifest import dataset_digest, read_manifest
from sugar.data.shard_pool import Skips
from sugar.data.shards import read_triplets, remove_damaged_shards
from sugar.data.subjects import Subject
from sugar.encoders.segmentation import NoSubject, Segmentation
from sugar.encoders.weights import Weights
from sugar.sprites import NOUNS
from sugar.synthesis.dataset import source_dataset, synthesize_dataset
from sugar.synthesis.shard import SynthesisRecipe, portrait_of, synthesize_shard
from sugar.synthesis.sourcing import PhotoRules, sprite_subjects
from sugar.triplet import Triplet

RECIPE = SynthesisRecipe(seed=1, fps=8, num_frames=5, height_px=32, width_px=32, prompts_per_subject=2)


def cut_the_middle(
    image_rgb: np.ndarray,
    noun: str,
    *,
    prior_HW: np.ndarray | None = None,
    usual_HWC: np.ndarray | None = None,
    box: Box | None = None,
) -> Segmentation:
    if noun == "ghost":
        raise NoSubject("nothing stands out")
    mask = np.zeros(image_rgb.shape[:2], np.uint8)
    height, width = mask.shape
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 255
    if box is not None:
        mask = box.inside(height, width).astype(np.uint8) * 255
    return Segmentation(mask, 1.0)


@dataclass
class CountingScore:
    """Scores by hand, and how many triplets were scored."""

    keys: list[str] = field(default_factory=list)

    def __call__(self, triplets: Sequence[Triplet]) -> list[dict[str, float]]:
        self.keys += [triplet.key for triplet in triplets]
        return [{"flow_px": float(np.abs(np.diff(t.video.astype(float), axis=0)).mean())} for t in triplets]


def judge_flow(table: pa.Table, least: float) -> pa.Table:
    accepted = pc.greater_equal(table["score_flow_px"], least)
    reasons = pa.array([[] if ok else ["flow_px"] for ok in accepted.to_pylist()], pa.list_(pa.string()))
    names = table.column_names
    table = table.set_column(names.index("accepted"), "accepted", accepted)
    return table.set_column(names.index("reasons"), "reasons", reasons)


def synthesize(
    subjects: Path, folder: Path, score: CountingScore, recipe=RECIPE, least: float = 0.0, **changes
):
    arguments = {
        "make_cut": lambda: cut_the_middle,
        "make_score": lambda: score,
        "networks_digest": "n",
        "judge": lambda table: judge_flow(table, least),
        "shard_size": 4,
    }
    return synthesize_dataset(subjects, folder, recipe, **(arguments | changes))


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "subjects"
    source_dataset(folder, lambda: sprite_subjects(4, 0, 32), Skips())
    return folder


@pytest.fixture(scope="module")
def made(subjects) -> tuple[Path, dict[str, float]]:
    folder = subjects.parent / "synthetic"
    return folder, synthesize(subjects, folder, CountingScore(), least=1.0)


def test_every_subject_gets_its_prompts(made):
    folder, figures = made
    table = read_manifest(folder)
    assert table.num_rows == figures["triplets"] == 8
    assert len(set(table["key"].to_pylist())) == 8
    assert sorted(set(table["shard"].to_pylist())) == ["shard-000000.tar", "shard-000001.tar"]
    assert figures["accepted"] + figures["rejected"] == 8
    assert (folder / "report" / "rejections.json").is_file()


def test_a_triplet_has_a_photo_its_cut_out_and_another_style(made):
    folder, _ = made
    for triplet in read_triplets(folder, read_manifest(folder)):
        assert triplet.video.shape == (5, 32, 32, 3)
        assert triplet.subject.shape == (32, 32, 3)
        assert triplet.identity.shape == (32, 32, 4)
        assert triplet.source == "synthetic"
        assert triplet.style != "as is"
        assert triplet.noun in triplet.prompt
        assert triplet.category == NOUNS[triplet.noun].category
        assert triplet.provenance["segmentation"] == "alpha"
        assert np.isfinite(triplet.scores["flow_px"])


def test_shards_are_pure(subjects, made, tmp_path):
    synthesize(subjects, tmp_path, CountingScore(), least=1.0)
    assert dataset_digest(tmp_path) == dataset_digest(made[0])
    other = replace(RECIPE, seed=2)
    synthesize(subjects, tmp_path, CountingScore(), other, least=1.0)
    assert dataset_digest(tmp_path) != dataset_digest(made[0])


def test_what_a_damaged_subject_would_have_given_comes_when_it_is_whole_again(
    subjects, made, tmp_path, caplog
):
    mine, folder = tmp_path / "subjects", tmp_path / "synthetic"
    source = functools.partial(
        source_dataset, mine, lambda: sprite_subjects(4, 0, 32), Skips(), made_from=["drawn"]
    )
    source()
    tar = mine / "shard-000000.tar"
    whole = tar.read_bytes()
    at = whole.rindex(b"IDAT") + 9
    tar.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    options = {"least": 1.0, "verdict_key": "v"}
    figures = [synthesize(mine, folder, CountingScore(), **options) for _ in range(2)]
    assert [(each["triplets"], each["shards_made"], each["skipped"]) for each in figures] == [
        (6, 2, 1),
        (6, 1, 1),
    ]
    assert "1 subjects cannot be read and are left out" in caplog.text
    assert any(name.startswith("skipped_subject_") for name in figures[0])
    assert remove_damaged_shards(mine) == [tar.name]
    source()
    assert tar.read_bytes() == whole
    repaired = synthesize(mine, folder, CountingScore(), **options)
    assert (repaired["triplets"], repaired["shards_made"], repaired["skipped"]) == (8, 1, 0)
    assert dataset_digest(folder) == dataset_digest(made[0])
    assert synthesize(mine, folder, CountingScore(), **options)["shards_made"] == 0


def test_another_threshold_scores_nothing_and_changes_two_columns(subjects, made, tmp_path):
    score = CountingScore()
    synthesize(subjects, tmp_path, score, least=0.0)
    before, shards = read_manifest(tmp_path), {p: p.read_bytes() for p in tmp_path.glob("shard-*")}
    assert len(score.keys) == 8
    flows = sorted(before["score_flow_px"].to_pylist())
    figures = synthesize(subjects, tmp_path, score, least=flows[3])
    after = read_manifest(tmp_path)
    assert len(score.keys) == 8
    assert {p: p.read_bytes() for p in tmp_path.glob("shard-*")} == shards
    assert (figures["accepted"], figures["rejected_flow_px"], figures["shards_made"]) == (5, 3, 0)
    same = [name for name in after.column_names if name not in ("accepted", "reasons")]
    assert after.select(same).equals(before.select(same))


def test_other_networks_or_subjects_make_only_what_they_touch(subjects, made, tmp_path):
    score = CountingScore()
    synthesize(subjects, tmp_path / "out", score)
    score.keys.clear()
    more = tmp_path / "subjects"
    source_dataset(more, lambda: sprite_subjects(5, 0, 32), Skips())
    synthesize(more, tmp_path / "out", score)
    assert len(score.keys) == 2
    score.keys.clear()
    synthesize(more, tmp_path / "out", score, networks_digest="other")
    assert len(score.keys) == 10


def photos() -> list[Subject]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    return [
        Subject("a", image, "dog", "animal"),
        Subject("b", image, "ghost", "animal"),
        Subject("c", np.zeros((40, 40, 4), np.uint8), "cat", "animal"),
        Subject("d", image, "dog", "plant"),
        Subject("e", image, "dog", "animal"),
    ]


def test_a_bad_subject_costs_itself_alone():
    skips = Skips()
    triplets = list(
        synthesize_shard(photos(), RECIPE, RECIPE.load(), cut_the_middle, CountingScore(), skips.add)
    )
    assert [t.key for t in triplets] == ["a-p00", "a-p01", "e-p00", "e-p01"]
    assert skips.counts == {"no_subject": 2, "failed": 1}
    assert "category must be one of" in skips.examples["failed"][0]


def test_a_score_that_is_no_number_is_a_skip():
    def score(triplets: Sequence[Triplet]) -> list[dict[str, float]]:
        return [{"identity": float("nan") if t.key == "a-p01" else 0.5} for t in triplets]

    skips = Skips()
    triplets = list(synthesize_shard(photos()[:1], RECIPE, RECIPE.load(), cut_the_middle, score, skips.add))
    assert [(t.key, t.scores) for t in triplets] == [("a-p00", {"identity": 0.5})]
    assert skips.counts == {"score_not_finite": 1}


def test_photos_are_cut_and_trimmed():
    photo, identity, how = portrait_of(photos()[0], 0, cut_the_middle)
    assert (photo.shape, how) == ((40, 60, 3), "mask")
    assert identity.shape == (24, 34, 4)
    assert (identity[..., 3] == 255).sum() == 20 * 30


def test_a_box_says_where_to_cut():
    boxed = replace(photos()[0], box=Box(0.5, 0.5, 1.0, 1.0))
    _, identity, how = portrait_of(boxed, 0, cut_the_middle)
    assert ((identity[..., 3] == 255).sum(), how) == (20 * 30, "box")
    triplets = list(
        synthesize_shard([boxed], RECIPE, RECIPE.load(), cut_the_middle, CountingScore(), Skips().add)
    )
    assert {t.provenance["segmentation"] for t in triplets} == {"grabcut in a box"}
    named = replace(RECIPE, segmentation="grounded_sam", segmentation_networks=(Weights("owner/dino"),))
    triplets = list(
        synthesize_shard([boxed], named, named.load(), cut_the_middle, CountingScore(), Skips().add)
    )
    assert {t.provenance["segmentation"] for t in triplets} == {"grounded_sam in a box: owner/dino"}


def test_unknown_backend():
    with pytest.raises(InputError, match=r"synthesize\.animate must be one of .*, got 'magic'"):
        replace(RECIPE, animate="magic")


@pytest.mark.parametrize("num, least", [(6, 4), pytest.param(30, 27, marks=pytest.mark.slow)])
def test_real_photos_give_triplets(real_data, tmp_path, num, least):
    from sugar.encoders.segmentation import make_segmenter

    skips = Skips()
    subjects = folder_subjects(real_data / "dreambench", PhotoRules(max_subjects=num), on_skip=skips.add)
    source_dataset(tmp_path / "subjects", lambda: subjects, skips)
    figures = synthesize(
        tmp_path / "subjects",
        tmp_path / "out",
        CountingScore(),
        replace(RECIPE, prompts_per_subject=1),
        make_cut=lambda: make_segmenter("grabcut"),
    )
    assert figures["triplets"] >= least
    for triplet in read_triplets(tmp_path / "out", read_manifest(tmp_path / "out")):
        covered = (triplet.identity[..., 3] > 127).mean()
        assert 0.2 < covered < 0.98
        assert triplet.provenance["segmentation"] == "grabcut"
