"""Who is asked for what: the benchmark's subjects and its subject-prompt pairs (SUGAR section 4.1).

DreamBench has 30 subjects, several of one noun (seven dogs), in three categories; with 18 prompts a
category that makes 540 pairs. In Sprite World the subjects are drawn from held-out seeds: six nouns with
five identities each, so that knowing the noun finds the right subject among 30 at most once in five times.
Assumption: decision 0009.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from sugar.box import Box, read_box
from sugar.config import InputError
from sugar.data.tables import listed_file, read_rows
from sugar.evaluation.prompts import PROMPTS, PROMPTS_PER_CATEGORY, Prompt
from sugar.sprites import CATEGORIES, HELD_OUT_SEEDS, NOUNS, draw_identity, draw_subject

NUM_SUBJECTS = 30
SPRITE_NOUNS = ("dog", "robot", "vase", "cat", "car", "teapot")  # two nouns of each category
IDENTITIES_PER_NOUN = 5
# Held-out seeds: the subjects are the first of each thousand, the distractors lie far from them.
_DISTRACTORS_FROM = 1_000_000

CutOut = Callable[[np.ndarray, str, Box | None], np.ndarray]
"""(uint8 photo [H, W, 3], noun, box of the subject) -> uint8 cut-out [h, w, 4]."""


@dataclass(frozen=True, eq=False)
class BenchmarkSubject:
    """A subject that no training has seen.

    image: uint8 [H, W, 3], the input photo; identity: uint8 [h, w, 4], its cut-out.
    """

    key: str
    noun: str
    category: str
    image: np.ndarray
    identity: np.ndarray


@dataclass(frozen=True, eq=False)
class Pair:
    """One video to generate: a subject, a prompt and the seed of its noise."""

    subject: BenchmarkSubject
    prompt: Prompt
    prompt_index: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.subject.key}__{self.prompt_index:02d}"

    @property
    def text(self) -> str:
        return self.prompt.text(self.subject.noun)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What is asked, and whom an answer may be confused with.

    gallery: subjects that top-1 retrieval chooses among (the asked ones come first).
    lookalikes: noun -> other subjects of that noun, never asked for; the hard gallery of a subject is the
    subject and these.
    """

    pairs: tuple[Pair, ...]
    gallery: tuple[BenchmarkSubject, ...]
    lookalikes: dict[str, tuple[BenchmarkSubject, ...]]

    @property
    def subjects(self) -> tuple[BenchmarkSubject, ...]:
        """The subjects asked for, each once, in order."""
        return tuple({pair.subject.key: pair.subject for pair in self.pairs}.values())


def sprite_benchmark(
    num_subjects: int,
    prompts_per_subject: int,
    seed: int,
    retrieval_gallery: int = NUM_SUBJECTS,
    size_px: int = 64,
) -> Benchmark:
    """The benchmark in Sprite World, or an even part of it.

    Args:
        num_subjects: 1 to 30; taken round the nouns.
        prompts_per_subject: 1 to 18.
        seed: of the generated noise; the subjects are always the same.
        retrieval_gallery: subjects in either gallery, at most 30 in the first.
        size_px: side of the drawn subjects.

    Raises:
        InputError: a number out of range.
    """
    _check_range("evaluate.num_subjects", num_subjects, NUM_SUBJECTS)
    _check_range("evaluate.retrieval_gallery", retrieval_gallery, NUM_SUBJECTS)
    subjects = [
        _sprite(noun, 1000 * SPRITE_NOUNS.index(noun) + index, size_px)
        for index in range(IDENTITIES_PER_NOUN)
        for noun in SPRITE_NOUNS
    ]
    asked = subjects[:num_subjects]
    distractors = range(_DISTRACTORS_FROM, _DISTRACTORS_FROM + retrieval_gallery - 1)
    return Benchmark(
        pairs=make_pairs(asked, prompts_per_subject, seed),
        gallery=tuple(subjects[: max(num_subjects, retrieval_gallery)]),
        lookalikes={
            noun: tuple(_sprite(noun, index, size_px) for index in distractors)
            for noun in dict.fromkeys(subject.noun for subject in asked)
        },
    )


@lru_cache(maxsize=512)
def _sprite(noun: str, offset: int, size_px: int) -> BenchmarkSubject:
    rgba = draw_subject(draw_identity(HELD_OUT_SEEDS.start + offset, noun), size_px)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    photo = (rgba[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return BenchmarkSubject(f"{noun}-{offset % 1000 + 1}", noun, NOUNS[noun].category, photo, rgba)


def folder_benchmark(
    folder: Path | str,
    num_subjects: int,
    prompts_per_subject: int,
    seed: int,
    cut_out: CutOut,
    retrieval_gallery: int = NUM_SUBJECTS,
    max_pixels: int = 50_000_000,
) -> Benchmark:
    """The benchmark with photos: a folder with `subjects.csv` (columns file, noun, category and, if wanted,
    box: left, top, right, bottom in pixels), as DreamBench.

    Args:
        num_subjects: how many subjects are asked for, taken round the categories.
        cut_out: cuts the subject out of a photo.
        retrieval_gallery: subjects in the gallery, fewer where the folder has fewer; the hard gallery holds
            the folder's other subjects of the same noun.

    Raises:
        InputError: no csv, a missing column, file or category, fewer subjects than asked for, bad picture.
    """
    rows = _read_subjects_csv(Path(folder) / "subjects.csv")
    if num_subjects > len(rows):
        raise InputError(
            f"evaluate.num_subjects must be <= {len(rows)}, the subjects of {folder}, got {num_subjects}"
        )
    taken = _round_categories(rows)[: max(num_subjects, retrieval_gallery)]
    subjects = [_photo(Path(folder), row, cut_out, max_pixels) for row in taken]
    return Benchmark(
        pairs=make_pairs(subjects[:num_subjects], prompts_per_subject, seed),
        gallery=tuple(subjects),
        lookalikes={
            noun: tuple(subject for subject in subjects if subject.noun == noun)
            for noun in dict.fromkeys(subject.noun for subject in subjects)
        },
    )


def _read_subjects_csv(file: Path) -> list[dict[str, str]]:
    rows = read_rows(file, ("file", "noun", "category"))
    for line, row in rows:
        if row["category"] not in CATEGORIES:
            raise InputError(
                f"{file} line {line}: category must be one of {', '.join(CATEGORIES)}, "
                f"got {row['category']!r}"
            )
        listed_file(file.parent, file, line, row["file"])
        try:
            read_box(row.get("box", ""))
        except ValueError as error:
            raise InputError(f"{file} line {line}: {error}") from error
    if not rows:
        raise InputError(f"{file}: lists no subjects")
    return [row for _, row in rows]


def _photo(folder: Path, row: dict[str, str], cut_out: CutOut, max_pixels: int) -> BenchmarkSubject:
    from sugar.data.image_io import load_image

    file = folder / row["file"]
    try:
        image = load_image(file, max_pixels=max_pixels)
        corners = read_box(row.get("box", ""))
        box = None if corners is None else Box.of(corners, *image.shape[:2])
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    key = Path(row["file"]).with_suffix("").as_posix().replace("/", "-")
    opaque = image.shape[-1] == 3
    if box is not None and not opaque:
        raise InputError(f"{file}: box must be empty for a picture with transparent parts")
    identity = cut_out(image, row["noun"], box) if opaque else image
    return BenchmarkSubject(key, row["noun"], row["category"], image[..., :3], identity)


def _round_categories(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The same rows, a category after the other in turn, so that any first part is even."""
    by_category: dict[str, list[dict[str, str]]] = {
        name: [row for row in rows if row["category"] == name] for name in CATEGORIES
    }
    longest = max(len(group) for group in by_category.values())
    return [group[turn] for turn in range(longest) for group in by_category.values() if turn < len(group)]


def make_pairs(subjects: Iterable[BenchmarkSubject], prompts_per_subject: int, seed: int) -> tuple[Pair, ...]:
    """`prompts_per_subject` prompts for each subject; within a category the next subject takes the next
    prompts, so that a part of the benchmark still asks all of them.

    Raises:
        InputError: prompts_per_subject outside of 1 to 18.
    """
    _check_range("evaluate.prompts_per_subject", prompts_per_subject, PROMPTS_PER_CATEGORY)
    earlier: dict[str, int] = dict.fromkeys(CATEGORIES, 0)
    pairs = []
    for subject in subjects:
        first = earlier[subject.category]
        earlier[subject.category] += prompts_per_subject
        for turn in range(first, first + prompts_per_subject):
            index = turn % PROMPTS_PER_CATEGORY
            pair_seed = _pair_seed(seed, subject.key, index)
            pairs.append(Pair(subject, PROMPTS[subject.category][index], index, pair_seed))
    return tuple(pairs)


def _pair_seed(seed: int, key: str, prompt_index: int) -> int:
    """63-bit seed of a pair: the same at every image scale, for every model and in every part."""
    digest = hashlib.sha256(f"{seed}|{key}|{prompt_index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _check_range(key: str, value: int, largest: int) -> None:
    if not 1 <= value <= largest:
        raise InputError(f"{key} must be between 1 and {largest}, got {value}")
