import csv

import cv2
import numpy as np
import pytest

from sugar.config import InputError
from sugar.encoders.grabcut import _along_sides, _believable
from sugar.encoders.saliency import saliency, superpixels
from sugar.encoders.segmentation import (
    GrabCutSegmenter,
    NoSubject,
    Segmentation,
    _between_bars,
    _hangs_on,
    cut_out,
    equalised,
    make_segmenter,
    motion_prior,
)

# Left, top, right, bottom of the subject as shares of the photo, read off by eye.
PHOTO_BOXES = {
    "can": (0.33, 0.15, 0.68, 0.79),
    "dog2": (0.33, 0.27, 0.66, 0.90),
    "duck_toy": (0.27, 0.22, 0.77, 0.74),
    "monster_toy": (0.27, 0.28, 0.76, 0.89),
    "poop_emoji": (0.29, 0.31, 0.65, 0.66),
    "red_cartoon": (0.28, 0.26, 0.73, 0.94),
}
# Share of the photo, least and most, where a part or the surroundings were once taken for the subject.
PHOTO_SHARES = {
    "backpack_dog": (0.14, 0.3),
    "candle": (0.025, 0.06),
    "cat": (0.17, 0.3),
    "cat2": (0.18, 0.3),
    "colorful_sneaker": (0.05, 0.16),
    "vase": (0.08, 0.2),
    "wolf_plushie": (0.1, 0.25),
}


def ellipse_on_gradient(height: int = 90, width: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A striped red ellipse on a bluish gradient with a little noise, and its true mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    image = np.stack([60 + 40 * x / width, 90 + 60 * y / height, 150 + 0 * x], axis=-1)
    inside = ((x / width - 0.55) / 0.2) ** 2 + ((y / height - 0.5) / 0.3) ** 2 < 1
    image[inside] = [200, 60, 40]
    image[inside & (y % 16 < 6)] = [230, 180, 60]
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8), inside


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    found = mask > 127
    return float((found & truth).sum() / (found | truth).sum())


def test_a_subject_with_two_colours_is_found_whole():
    image, truth = ellipse_on_gradient()
    found = GrabCutSegmenter()(image)
    assert found.mask.shape == truth.shape
    assert found.mask.dtype == np.uint8
    assert overlap(found.mask, truth) > 0.9
    assert 0.3 < found.score <= 1.0


def test_a_large_picture_gets_a_sharp_mask_with_a_soft_edge():
    image, truth = ellipse_on_gradient(600, 800)
    found = GrabCutSegmenter()(image)
    assert overlap(found.mask, truth) > 0.93
    soft = (found.mask > 5) & (found.mask < 250)
    assert 0 < soft.mean() < 0.06
    outline = cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    away_px = cv2.distanceTransform(1 - outline, cv2.DIST_L2, 3)
    assert np.percentile(away_px[soft], 90) < 20


def test_the_same_picture_gives_the_same_mask():
    image, _ = ellipse_on_gradient()
    cv2.setRNGSeed(123)
    first = GrabCutSegmenter()(image)
    second = GrabCutSegmenter()(image)
    np.testing.assert_array_equal(first.mask, second.mask)
    assert first.score == second.score


@pytest.mark.parametrize(
    "image",
    [
        np.full((64, 64, 3), 90, np.uint8),
        np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8),
    ],
    ids=["flat", "noise"],
)
def test_no_subject(image):
    with pytest.raises(NoSubject) as refused:
        GrabCutSegmenter()(image)
    assert refused.value.reason == "no_subject"


def test_a_photo_is_looked_at_again_with_more_contrast(monkeypatch):
    image, truth = ellipse_on_gradient(300, 400)
    dark = image // 3
    agreed, seen = GrabCutSegmenter._agreed, []

    def only_bright(segmenter, picture, prior_HW):
        seen.append(picture)
        if picture.mean() < 1.2 * dark.mean():
            raise NoSubject("too dark")
        return agreed(segmenter, picture, prior_HW)

    monkeypatch.setattr(GrabCutSegmenter, "_agreed", only_bright)
    assert overlap(GrabCutSegmenter()(dark).mask, truth) > 0.8
    np.testing.assert_array_equal(seen[1], equalised(dark))
    with pytest.raises(NoSubject, match="too dark"):
        GrabCutSegmenter()(np.zeros((300, 300, 3), np.uint8))
    assert len(seen) == 4
    with pytest.raises(NoSubject, match="too dark"):
        GrabCutSegmenter()(dark[:200, :200])
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("scores", "hangs", "taken"),
    [
        ((0.85, None), True, 0),
        ((0.75, 0.96), False, 1),
        ((0.75, 0.90), True, 0),
        ((0.55, 0.35), True, 1),
        ((0.55, 0.35), False, 0),
        ((0.55, None), True, 0),
    ],
)
def test_the_second_look_is_taken_where_it_is_clearer_or_leaves_out_another_thing(
    monkeypatch, scores, hangs, taken
):
    mask = np.full((300, 300), 255, np.uint8)
    looks = iter([score and Segmentation(mask, score) for score in scores])

    def photo(segmenter, picture):
        if (look := next(looks)) is None:
            raise NoSubject("nothing")
        return look

    monkeypatch.setattr(GrabCutSegmenter, "_photo", photo)
    monkeypatch.setattr("sugar.encoders.segmentation._hangs_on", lambda whole, part: hangs)
    found = GrabCutSegmenter()(np.full((300, 300, 3), 90, np.uint8))
    assert found.score == scores[taken]
    assert (next(looks, "no more") == "no more") == (scores[0] < 0.8)


def test_what_hangs_on_by_a_neck_is_another_thing():
    bottle, tray, shoe, sole, speck = (np.zeros((100, 100), bool) for _ in range(5))
    bottle[10:70, 20:40] = True
    tray[60:70, 40:90] = True
    shoe[50:70, 20:80] = True
    sole[70:78, 20:80] = True
    speck[60:63, 40:43] = True
    assert _hangs_on(bottle | tray, bottle)
    assert not _hangs_on(shoe | sole, shoe)
    assert not _hangs_on(bottle | speck, bottle), "too little to be a thing"
    assert not _hangs_on(bottle | tray, np.roll(bottle, 15, 1)), "another part altogether"
    assert not _hangs_on(bottle, np.zeros_like(bottle))


def test_bad_pictures_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        GrabCutSegmenter()(np.zeros((64, 64, 3)))
    with pytest.raises(ValueError, match="16 x 16"):
        GrabCutSegmenter()(np.zeros((8, 64, 3), np.uint8))


def test_sprites_are_found_and_movement_helps():
    from sugar.sprites import (
        BACKGROUNDS,
        draw_background,
        draw_identity,
        draw_subject,
        render_clip_with_masks,
    )

    segmenter = GrabCutSegmenter(min_score=0.0)
    still, moving = [], []
    for seed in range(18):
        place = draw_background(list(BACKGROUNDS)[seed % len(BACKGROUNDS)], 64, 64, seed)
        motion = ("slide left", "jump", "float")[seed % 3]
        clip, masks = render_clip_with_masks(draw_subject(draw_identity(seed)), place, motion, 9, seed)
        truth = masks[4] > 0.5
        for scores, prior in ((still, None), (moving, motion_prior(clip, 4))):
            try:
                scores.append(overlap(segmenter(clip[4], prior_HW=prior).mask, truth))
            except NoSubject:
                scores.append(0.0)
    assert np.median(still) > 0.7
    assert np.median(moving) > 0.8
    assert np.median(moving) > np.median(still)


def test_motion_prior_marks_what_moves_and_distrusts_the_camera():
    clip = np.full((9, 32, 32, 3), 60, np.uint8)
    for t in range(9):
        clip[t, 10:20, 2 + 2 * t : 10 + 2 * t] = 220
    prior = motion_prior(clip, 0)
    assert prior.dtype == np.float32
    assert prior[12:18, 3:6].min() > 0.9
    assert prior[24:].max() == 0.0
    texture = np.random.default_rng(0).integers(0, 256, (32, 60, 3), dtype=np.uint8)
    panning = np.stack([texture[:, 3 * t : 3 * t + 32] for t in range(9)])
    assert motion_prior(panning, 0).max() == 0.0


def test_saliency_and_superpixels():
    image, truth = ellipse_on_gradient()
    salient = saliency(image)
    assert salient.shape == truth.shape
    assert salient.dtype == np.float32
    assert 0.0 <= salient.min() <= salient.max() <= 1.0
    assert salient[truth].mean() > 2 * salient[~truth].mean()
    labels = superpixels(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), 100)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert 60 <= labels.max() <= 140


def test_cut_out():
    image, truth = ellipse_on_gradient()
    mask = truth.astype(np.uint8) * 255
    identity = cut_out(image, mask)
    np.testing.assert_array_equal(identity[..., :3], image)
    np.testing.assert_array_equal(identity[..., 3], mask)
    with pytest.raises(ValueError, match="one size"):
        cut_out(image, mask[1:])


def test_make_segmenter():
    assert isinstance(make_segmenter("grabcut"), GrabCutSegmenter)
    with pytest.raises(InputError, match=r"networks\.segmentation\.kind"):
        make_segmenter("magic")
    with pytest.raises(InputError, match="detector and segmenter"):
        make_segmenter("grounded_sam")


def test_real_photos(real_data):
    segmenter = GrabCutSegmenter()
    with (real_data / "dreambench" / "subjects.csv").open() as table:
        rows = {row["subject"]: row for row in csv.DictReader(table)}
    for subject, box in PHOTO_BOXES.items():
        photo = cv2.imread(str(real_data / "dreambench" / rows[subject]["file"]))
        assert photo is not None
        photo = cv2.resize(photo, (320, 320 * photo.shape[0] // photo.shape[1]), interpolation=cv2.INTER_AREA)
        found = segmenter(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), rows[subject]["noun"])
        x, y, width, height = cv2.boundingRect((found.mask > 127).astype(np.uint8))
        size = np.array([photo.shape[1], photo.shape[0]] * 2)
        left, top, right, bottom = np.array([x, y, x + width, y + height]) / size
        shared = max(0.0, min(right, box[2]) - max(left, box[0])) * max(
            0.0, min(bottom, box[3]) - max(top, box[1])
        )
        union = (right - left) * (bottom - top) + (box[2] - box[0]) * (box[3] - box[1]) - shared
        assert shared / union > 0.7, subject


def test_black_bars_are_no_surroundings():
    image, _ = ellipse_on_gradient()
    alone = GrabCutSegmenter()(image)
    barred = np.pad(image, ((0, 0), (30, 30), (0, 0)))
    found = GrabCutSegmenter()(barred)
    np.testing.assert_array_equal(found.mask[:, 30:-30], alone.mask)
    assert not found.mask[:, :30].any()
    assert not found.mask[:, -30:].any()
    dark = np.zeros((64, 64, 3), np.uint8)
    cv2.circle(dark, (32, 32), 16, (200, 40, 40), -1)
    assert _between_bars(dark) == (slice(None), slice(None)), "a lit subject in the dark has no bars"


def test_a_glint_that_two_guesses_agree_on_is_not_the_subject():
    glint, half, whole = (np.zeros((50, 50), bool) for _ in range(3))
    glint[20:23, 20:23] = True
    half[15:35, 15:30] = True
    whole[12:38, 12:38] = True
    assert [mask.sum() for mask in _believable([glint, glint, half, whole])] == [300, 676]
    assert len(_believable([glint, glint, whole])) == 3
    assert _along_sides(np.ones((10, 10), bool)) == 1.0
    below = np.zeros((10, 10), bool)
    below[-1] = True
    assert _along_sides(below) < 0.1


@pytest.mark.parametrize("subject", PHOTO_SHARES)
def test_real_photos_give_whole_subjects(real_data, subject):
    photo = cv2.imread(str(real_data / "dreambench" / f"{subject}.jpg"))
    assert photo is not None
    scale = 256 / max(photo.shape[:2])
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    mask = GrabCutSegmenter()(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)).mask
    low, high = PHOTO_SHARES[subject]
    assert low < (mask > 127).mean() < high
