"""A box around the subject: what it adds to a picture whose subject is not found, or the wrong one."""

import cv2
import numpy as np
import pytest

from sugar.box import Box, read_box
from sugar.data.image_io import load_image
from sugar.encoders.boxed import boxed_mask
from sugar.encoders.segmentation import GrabCutSegmenter, NoSubject, make_segmenter

# Drawn by eye around subjects of real photos that are not cut right by themselves (512 px).
PHOTO_BOXES = {
    "dog3": (8, 202, 512, 512),
    "rc_car": (137, 75, 385, 412),
    "teapot": (167, 48, 452, 314),
    "vase": (95, 131, 206, 467),
}


def two_discs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo with a loud disc in the middle and a quiet one beside it, and where each is."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:320, :320]
    loud = (y - 160) ** 2 + (x - 150) ** 2 < 60**2
    quiet = (y - 250) ** 2 + (x - 265) ** 2 < 36**2
    image = np.full((320, 320, 3), (70, 110, 90), np.float32)
    image[loud] = (230, 40, 40)
    image[quiet] = (60, 70, 170)
    return np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8), loud, quiet


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(((mask > 127) & truth).sum() / ((mask > 127) | truth).sum())


@pytest.mark.parametrize("kind", ["grabcut", "distinct"])
def test_a_box_chooses_the_subject(kind):
    image, loud, quiet = two_discs()
    segmenter = make_segmenter(kind)
    alone = segmenter(image, "ball").mask
    assert overlap(alone, loud) > 0.9 > overlap(alone, quiet)
    found = segmenter(image, "ball", box=Box(0.7, 0.65, 0.96, 0.92))
    assert overlap(found.mask, quiet) > 0.9
    assert 0.3 < found.score <= 1.0
    assert found.mask.dtype == np.uint8 and found.mask.shape == (320, 320)


def test_nothing_outside_of_the_box_is_the_subject():
    image, loud, _ = two_discs()
    box = Box(0.2, 0.2, 0.45, 0.8)
    mask = GrabCutSegmenter()(image, box=box).mask
    assert not mask[~box.inside(320, 320)].any()
    assert overlap(mask, loud & box.inside(320, 320)) > 0.9


def test_a_right_mask_stays_and_a_wrong_one_goes():
    image, loud, _ = two_discs()
    inside = np.zeros(loud.shape, bool)
    inside[95:225, 85:215] = True
    bitten = loud.copy()
    bitten[150:170, 140:150] = False
    kept, _ = boxed_mask(image, inside, bitten)
    np.testing.assert_array_equal(kept, bitten)
    half = loud.copy()
    half[:, :150] = False
    mended, _ = boxed_mask(image, inside, half)
    assert overlap(mended * np.uint8(255), loud) > 0.95
    spilt = bitten.copy()
    spilt[:60] = True
    both, _ = boxed_mask(image, inside, spilt)
    assert not (both & ~bitten).any() and both.sum() > 0.95 * bitten.sum()


def test_a_box_with_nothing_in_it():
    flat = np.full((300, 300, 3), 90, np.uint8)
    with pytest.raises(NoSubject, match="in its box"):
        GrabCutSegmenter()(flat, box=Box(0.2, 0.2, 0.8, 0.8))


def test_the_same_box_gives_the_same_mask():
    image, _, _ = two_discs()
    box = Box(0.7, 0.65, 0.96, 0.92)
    first = GrabCutSegmenter()(image, box=box).mask
    cv2.setRNGSeed(5)
    np.testing.assert_array_equal(first, GrabCutSegmenter()(image, box=box).mask)


@pytest.mark.parametrize("text", ["1 2 30 40", "1,2,30,40", " 1, 2, 30 , 40 ", "1;2;30;40", "1.0 2.0 3e1 40"])
def test_a_box_is_four_numbers(text):
    assert read_box(text) == (1, 2, 30, 40)
    assert read_box("  ") is None


@pytest.mark.parametrize("text", ["1 2 3", "1 2 3 4 5", "a b c d", "1 2 3 nan", "1 2 3 inf", "(1, 2, 3, 4)"])
def test_anything_else_is_not(text):
    with pytest.raises(ValueError, match="box must be four numbers"):
        read_box(text)


@pytest.mark.parametrize(
    "corners", [(-1, 0, 20, 20), (0, 0, 65, 20), (20, 0, 10, 20), (0, 0, 7, 20), (0, 0, 20, 49)]
)
def test_a_box_lies_in_its_picture(corners):
    with pytest.raises(ValueError, match="within 64 x 48 px and at least 8 px"):
        Box.of(corners, 48, 64)
    assert Box.of((0, 0, 64, 48), 48, 64).inside(48, 64).all()
    assert Box.of((16, 12, 48, 36), 48, 64).inside(12, 16).sum() == 6 * 8
    assert Box(0.999, 0.999, 1.0, 1.0).inside(10, 10).sum() == 1


@pytest.mark.parametrize("name", PHOTO_BOXES)
def test_real_photos_that_need_a_box(real_data, name):
    image = load_image(real_data / "dreambench" / f"{name}.jpg")
    box = Box.of(PHOTO_BOXES[name], 512, 512)
    mask = GrabCutSegmenter()(image, box=box).mask > 127
    _, _, width, height = cv2.boundingRect(mask.astype(np.uint8))
    reach = width * height / box.inside(512, 512).sum()
    assert 0.7 < reach <= 1.0
    share = mask.sum() / box.inside(512, 512).sum()
    assert 0.35 < share < 0.8
