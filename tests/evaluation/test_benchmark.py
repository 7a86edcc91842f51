"""The benchmark has the shape of the paper's: 30 subjects, three categories, 18 prompts for each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sugar.box import Box
from sugar.config import InputError
from sugar.data.image_io import encode_png
from sugar.evaluation.benchmark import folder_benchmark, sprite_benchmark
from sugar.evaluation.prompts import AS_IS, PLACEHOLDER, PROMPTS, PROMPTS_PER_CATEGORY
from sugar.sprites import CATEGORIES, STYLES, vocabulary


@pytest.fixture(scope="module")
def full():
    return sprite_benchmark(30, 18, seed=1234)


def test_every_category_has_eighteen_different_prompts_with_one_placeholder():
    assert set(PROMPTS) == set(CATEGORIES)
    for prompts in PROMPTS.values():
        templates = [prompt.template for prompt in prompts]
        assert len(set(templates)) == PROMPTS_PER_CATEGORY == 18
        assert all(template.split().count(PLACEHOLDER) == 1 for template in templates)
        changes = Counter(prompt.style for prompt in prompts if prompt.style != AS_IS)
        assert set(changes) == set(STYLES) - {AS_IS}
        assert set(changes.values()) == {2}


def test_prompts_use_words_that_the_text_encoder_has_learned(full):
    assert {word for pair in full.pairs for word in pair.text.split()} <= set(vocabulary())


def test_the_noun_takes_the_place_of_the_placeholder_with_its_article():
    prompt = PROMPTS["animal"][0]
    assert prompt.text("dog") == "a dog jumping on the beach"
    assert prompt.text("otter") == "an otter jumping on the beach"


@pytest.mark.parametrize("attribute", ["style", "background", "motion"])
def test_alternatives_differ_in_one_attribute_and_hold_the_prompt_itself(attribute):
    for prompts in PROMPTS.values():
        for prompt in prompts:
            texts = prompt.alternatives(attribute, "dog")
            assert texts[getattr(prompt, attribute)] == prompt.text("dog")
            assert len(set(texts.values())) == len(texts)


def test_the_full_benchmark_has_540_different_pairs(full):
    assert len({pair.key for pair in full.pairs}) == len({pair.seed for pair in full.pairs}) == 540
    nouns = Counter(subject.noun for subject in full.subjects)
    assert len(full.subjects) == 30
    assert set(nouns.values()) == {5}
    assert Counter(s.category for s in full.subjects) == dict.fromkeys(CATEGORIES, 10)
    for category in CATEGORIES:
        assert {p.prompt for p in full.pairs if p.subject.category == category} == set(PROMPTS[category])


def test_subjects_all_differ_and_lookalikes_are_further_subjects_of_the_noun(full):
    pictures = {subject.identity.tobytes() for subject in full.gallery}
    assert len(pictures) == 30
    for noun, others in full.lookalikes.items():
        assert len(others) == 29
        assert {other.noun for other in others} == {noun}
        assert not pictures & {other.identity.tobytes() for other in others}


def test_a_part_of_the_benchmark_is_even_and_asks_the_same(full):
    part = sprite_benchmark(6, 3, seed=1234)
    assert Counter(pair.subject.category for pair in part.pairs) == dict.fromkeys(CATEGORIES, 6)
    assert len({subject.noun for subject in part.subjects}) == 6
    assert len(part.gallery) == 30
    seeds = {pair.key: (pair.seed, pair.text) for pair in full.pairs}
    assert all(seeds[pair.key] == (pair.seed, pair.text) for pair in part.pairs)
    twice = sprite_benchmark(30, 2, seed=1234)
    for category in CATEGORIES:
        asked = {pair.prompt_index for pair in twice.pairs if pair.subject.category == category}
        assert asked == set(range(18))
    for subject in twice.subjects:
        assert any(pair.prompt.style != AS_IS for pair in twice.pairs if pair.subject is subject)


def test_another_seed_gives_other_noise_for_the_same_subjects(full):
    other = sprite_benchmark(30, 18, seed=1)
    assert not {pair.seed for pair in other.pairs} & {pair.seed for pair in full.pairs}
    assert all(
        np.array_equal(a.identity, b.identity) for a, b in zip(full.subjects, other.subjects, strict=True)
    )


@pytest.mark.parametrize(
    "arguments, key",
    [
        ((31, 2), "evaluate.num_subjects"),
        ((3, 19), "evaluate.prompts_per_subject"),
        ((0, 1), "evaluate.num_subjects"),
    ],
)
def test_a_number_out_of_range_names_its_key(arguments, key):
    with pytest.raises(InputError, match=rf"{key} must be between 1 and"):
        sprite_benchmark(*arguments, seed=0)


def folder_of_photos(folder: Path, rows: list[str], header: str = "file,noun,category") -> Path:
    for i, row in enumerate(rows):
        photo = np.full((40, 30, 3), 40 * i, np.uint8)
        (folder / row.split(",")[0]).write_bytes(encode_png(photo))
    (folder / "subjects.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def opaque(image: np.ndarray, noun: str, box: Box | None) -> np.ndarray:
    if box is not None:
        return np.dstack([image, box.inside(*image.shape[:2]) * np.uint8(255)])
    return np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])


ROWS = ["d1.png,dog,animal", "d2.png,dog,animal", "v.png,vase,static_object", "t.png,toy,active_object"]


def test_a_folder_of_photos_is_a_benchmark(tmp_path):
    benchmark = folder_benchmark(folder_of_photos(tmp_path, ROWS), 3, 2, seed=0, cut_out=opaque)
    assert [subject.key for subject in benchmark.subjects] == ["d1", "t", "v"]
    assert [subject.key for subject in benchmark.gallery] == ["d1", "t", "v", "d2"]
    assert [subject.key for subject in benchmark.lookalikes["dog"]] == ["d1", "d2"]
    assert benchmark.subjects[0].identity.shape == (40, 30, 4)


def test_a_box_of_the_table_is_where_the_subject_is_cut(tmp_path):
    rows = ["d1.png,dog,animal,3 8 18 28", "v.png,vase,static_object,", "t.png,toy,active_object,"]
    folder_of_photos(tmp_path, rows, "file,noun,category,box")
    benchmark = folder_benchmark(tmp_path, 3, 1, seed=0, cut_out=opaque)
    covered = {s.key: (s.identity[..., 3] > 0).sum() for s in benchmark.subjects}
    assert covered == {"d1": 15 * 20, "v": 1200, "t": 1200}


@pytest.mark.parametrize(
    "rows, header, rule",
    [
        (ROWS, "file,noun,kind", "must have the columns file, noun, category, lacks category"),
        (["a.png,dog,plant"], "file,noun,category", "category must be one of animal"),
        (["a.png,,animal"], "file,noun,category", "line 2: noun must not be empty"),
        ([], "file,noun,category", "lists no subjects"),
        (["a.png,dog,animal,1 2"], "file,noun,category,box", "line 2: box must be four numbers"),
        (["a.png,dog,animal,1 2 31 40"] * 3, "file,noun,category,box", "within 30 x 40 px"),
        (ROWS[:2], "file,noun,category", "evaluate.num_subjects must be <= 2"),
    ],
)
def test_a_bad_folder_says_what_is_wrong(tmp_path, rows, header, rule):
    folder_of_photos(tmp_path, rows, header)
    with pytest.raises(InputError, match=rule):
        folder_benchmark(tmp_path, 3, 1, seed=0, cut_out=opaque)


def test_a_missing_or_broken_photo_names_the_file(tmp_path):
    folder_of_photos(tmp_path, ROWS)
    (tmp_path / "v.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "v.png"))):
        folder_benchmark(tmp_path, 3, 1, seed=0, cut_out=opaque)
    (tmp_path / "v.png").unlink()
    with pytest.raises(InputError, match=r"line 4: file must name a file in .*, got 'v\.png'"):
        folder_benchmark(tmp_path, 3, 1, seed=0, cut_out=opaque)


def test_dreambench_photos_make_540_pairs(real_data):
    benchmark = folder_benchmark(real_data / "dreambench", 30, 18, seed=0, cut_out=opaque)
    assert len(benchmark.pairs) == 540
    assert len(benchmark.lookalikes["dog"]) == 7
