"""Identities and their pictures: pure, varied, the right size, the colour they are called by."""

import hashlib
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.sprites import (
    CATEGORIES,
    COLOUR_NAMES,
    HELD_OUT_SEEDS,
    NOUNS,
    PATTERNS,
    TRAIN_SEEDS,
    colour_name,
    draw_identity,
    draw_subject,
    sample_clip,
)
from sugar.sprites.pen import Pen, Proportions


def luma(colour: tuple[int, int, int]) -> float:
    return float(np.dot(colour, (0.299, 0.587, 0.114)))


def test_there_are_eight_nouns_in_each_category() -> None:
    counts = {c: sum(noun.category == c for noun in NOUNS.values()) for c in CATEGORIES}
    assert counts == {"animal": 8, "active_object": 8, "static_object": 8}


def test_training_and_held_out_seeds_are_disjoint() -> None:
    assert TRAIN_SEEDS.stop == HELD_OUT_SEEDS.start
    assert len(TRAIN_SEEDS) == len(HELD_OUT_SEEDS) == 2**31


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_identity_is_in_range_and_its_pattern_shows_in_lightness(seed: int) -> None:
    identity = draw_identity(seed)
    assert identity == draw_identity(seed)
    assert identity.category == NOUNS[identity.noun].category
    assert identity.pattern in PATTERNS
    assert all(-1 <= p <= 1 for p in identity.proportions)
    assert all(0 <= channel <= 255 for colour in identity.palette for channel in colour)
    assert abs(luma(identity.palette.primary) - luma(identity.palette.secondary)) > 55
    assert colour_name(identity) in COLOUR_NAMES


def test_identities_use_every_noun_pattern_and_colour_and_never_repeat() -> None:
    identities = [draw_identity(seed) for seed in range(1000)]
    assert {i.noun for i in identities} == set(NOUNS)
    assert {i.pattern for i in identities} == set(PATTERNS)
    assert {colour_name(i) for i in identities} == set(COLOUR_NAMES)
    assert len({(i.palette, i.proportions) for i in identities}) == 1000


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((220, 30, 40), "red"),
        ((250, 130, 20), "orange"),
        ((250, 220, 50), "yellow"),
        ((60, 180, 60), "green"),
        ((40, 190, 180), "teal"),
        ((50, 110, 230), "blue"),
        ((140, 70, 200), "purple"),
        ((255, 130, 190), "pink"),
        ((120, 75, 45), "brown"),
        ((250, 248, 245), "white"),
        ((140, 142, 148), "grey"),
    ],
)
def test_colour_is_called_by_its_everyday_name(colour: tuple[int, int, int], expected: str) -> None:
    identity = draw_identity(3)
    palette = identity.palette._replace(primary=colour)
    assert colour_name(type(identity)(**{**identity.__dict__, "palette": palette})) == expected


def test_noun_changes_nothing_else_of_an_identity() -> None:
    drawn, asked = draw_identity(12), draw_identity(12, "teapot")
    assert asked.noun == "teapot"
    assert (drawn.palette, drawn.pattern, drawn.proportions) == (
        asked.palette,
        asked.pattern,
        asked.proportions,
    )


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_fills_its_picture_and_is_centred(noun: str) -> None:
    for seed in range(5):
        picture = draw_subject(draw_identity(seed, noun), 64)
        assert picture.shape == (64, 64, 4)
        assert picture.dtype == np.uint8
        rows, columns = np.nonzero(picture[:, :, 3] > 20)
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 54 <= extent <= 61
        for positions in (rows, columns):
            assert abs((positions.min() + positions.max()) / 2 - 31.5) <= 1
        share = float((picture[:, :, 3] > 128).mean())
        assert 0.15 < share < 0.85
        colours = picture[picture[:, :, 3] > 200][:, :3]
        assert colours.std(axis=0).max() > 20


@pytest.mark.parametrize("noun", NOUNS)
def test_nothing_is_cut_off_at_extreme_proportions(noun: str) -> None:
    """Nothing reaches the border of the pen's canvas, whatever the proportions."""
    for corner in itertools.product((-1.0, 1.0), repeat=6):
        pen = Pen(192)
        NOUNS[noun].draw(pen, Proportions(*corner))
        border = np.concatenate([pen.labels[0], pen.labels[-1], pen.labels[:, 0], pen.labels[:, -1]])
        assert not border.any()


def test_nouns_have_different_silhouettes() -> None:
    masks = np.stack([draw_subject(draw_identity(7, noun), 64)[:, :, 3] > 128 for noun in NOUNS])
    both = np.einsum("iyx,jyx->ij", masks.astype(float), masks.astype(float))
    area = masks.sum(axis=(1, 2))
    overlap = both / (area[:, None] + area[None, :] - both)
    assert overlap[~np.eye(len(masks), dtype=bool)].max() < 0.9


def test_size_changes_the_resolution_not_the_subject() -> None:
    identity = draw_identity(5, "cat")
    small, large = draw_subject(identity, 64), draw_subject(identity, 256)
    assert large.shape == (256, 256, 4)
    other = draw_subject(draw_identity(6, "cat"), 64)

    def coarse(rgba: np.ndarray) -> np.ndarray:
        visible = rgba[:, :, :3] * (rgba[:, :, 3:] / 255.0)
        return cv2.resize(visible, (16, 16), interpolation=cv2.INTER_AREA)

    distance = [np.abs(coarse(large) - coarse(picture)).mean() for picture in (small, other)]
    # Centring on whole pixels moves the small picture by up to half a pixel.
    assert distance[0] < 0.45 * distance[1]


def test_pictures_are_the_same_in_another_process() -> None:
    code = (
        "import hashlib; from sugar.sprites import sample_clip; "
        "print(hashlib.sha256(b''.join(sample_clip(s).frames_THWC.tobytes() for s in range(12))).hexdigest())"
    )
    here = hashlib.sha256(b"".join(sample_clip(s).frames_THWC.tobytes() for s in range(12))).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="noun must be one of"):
        draw_identity(1, "unicorn")
    with pytest.raises(ValueError, match="seed must be in"):
        draw_identity(-1)
    with pytest.raises(ValueError, match="size_px must be >= 8"):
        draw_subject(draw_identity(1), 4)
