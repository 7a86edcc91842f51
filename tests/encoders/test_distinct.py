"""The subject of a clip without a network: the whole thing among hands, people and shrubs."""

import cv2
import numpy as np
import pytest

from sugar.encoders.distinct import DistinctSegmenter
from sugar.encoders.grabcut import overlap
from sugar.encoders.proposals import proposals
from sugar.encoders.segmentation import GrabCutSegmenter, NoSubject, motion_prior, usual_picture

SKIN, BLUE, FUR = (222, 168, 140), (40, 70, 190), (150, 90, 50)
SIZE = 160


def table(seed: int = 0) -> np.ndarray:
    """A pale, slightly mottled ground with a strip of leaves at the top."""
    rng = np.random.default_rng(seed)
    ground = np.full((SIZE, SIZE, 3), 205, np.int64) + rng.integers(-6, 7, (SIZE, SIZE, 3))
    leaves = cv2.resize(rng.integers(0, 90, (8, 40, 1), np.uint8), (SIZE, 30), interpolation=cv2.INTER_CUBIC)
    ground[:30] = np.stack([leaves // 2, leaves, leaves // 3], axis=2)
    return np.clip(ground, 0, 255).astype(np.uint8)


def disc(x: int, y: int, radius: int = 16) -> np.ndarray:
    return cv2.circle(np.zeros((SIZE, SIZE), np.uint8), (x, y), radius, 1, -1) > 0


def bar(x: int, y: int) -> np.ndarray:
    """An arm that comes in from the right edge."""
    return cv2.line(np.zeros((SIZE, SIZE), np.uint8), (SIZE - 1, y), (x, y), 1, 24) > 0


def frame(*things: tuple[np.ndarray, tuple[int, int, int]], rough: int = 8) -> np.ndarray:
    """Things on the table; `rough`: how much their brightness varies from pixel to pixel."""
    picture = table()
    for mask, colour in things:
        shade = np.random.default_rng(1).integers(-rough, rough + 1, (SIZE, SIZE, 1))
        picture[mask] = np.clip(np.array(colour) + shade, 0, 255).astype(np.uint8)[mask]
    return picture


def cut(shown: np.ndarray, usual: np.ndarray) -> np.ndarray:
    return DistinctSegmenter()(shown, "thing", usual_HWC=usual).mask > 127


def test_the_thing_is_taken_and_not_the_hand_beside_it():
    thing = disc(50, 90)
    found = cut(frame((thing, BLUE), (bar(120, 100), SKIN)), table())
    assert overlap(found, thing) > 0.85


def test_what_moves_is_taken_and_not_what_stands():
    moves, stands = disc(110, 110), disc(45, 75)
    usual = frame((stands, (190, 30, 30)))
    assert overlap(cut(frame((stands, (190, 30, 30)), (moves, BLUE)), usual), moves) > 0.85


def test_the_thing_is_taken_where_it_is_and_not_where_it_was():
    there, gone = disc(110, 110), disc(45, 80)
    assert overlap(cut(frame((there, BLUE)), frame((gone, BLUE))), there) > 0.85


def test_a_thing_that_the_frame_cuts_is_no_subject():
    with pytest.raises(NoSubject) as refused:
        cut(frame((bar(100, 90), BLUE)), table())
    assert refused.value.reason == "cut_by_edge"


def test_a_hand_alone_is_no_subject():
    with pytest.raises(NoSubject) as refused:
        cut(frame((disc(80, 95), SKIN)), table())
    assert refused.value.reason == "skin"


def test_fur_in_the_colours_of_skin_is_told_by_its_roughness():
    animal = disc(80, 95, 20)
    assert overlap(cut(frame((animal, FUR), rough=50), table()), animal) > 0.8
    with pytest.raises(NoSubject, match="skin"):
        cut(frame((animal, FUR), rough=4), table())


def test_where_much_of_the_frame_differs_only_one_whole_thing_is_taken():
    thing = disc(80, 95, 25)
    shown, elsewhere = frame((thing, BLUE)), 255 - table()
    assert overlap(cut(shown, elsewhere), thing) > 0.85
    with pytest.raises(NoSubject) as refused:
        cut(frame((thing, SKIN)), elsewhere)
    assert refused.value.reason == "skin"


@pytest.mark.parametrize("known", [False, True])
def test_without_motion_against_a_usual_picture_it_is_grabcut(known):
    shown = frame((disc(80, 90), BLUE))
    found = DistinctSegmenter()(shown, "thing", usual_HWC=shown if known else None)
    expected = GrabCutSegmenter()(shown)
    assert found.score == expected.score
    assert (found.mask == expected.mask).all()


def test_the_same_frame_gives_the_same_mask():
    shown = frame((disc(50, 90), BLUE), (bar(120, 100), SKIN))
    assert (cut(shown, table()) == cut(shown, table())).all()


def test_the_usual_picture_has_nothing_that_passes():
    stills = [frame((disc(20 + 13 * k, 90, 6), BLUE)) for k in range(10)]
    usual = usual_picture(stills)
    assert usual is not None
    assert np.abs(usual.astype(int) - table()).max() <= 1
    assert usual_picture(stills[:9]) is None
    assert motion_prior(np.stack(stills), 0)[90, 20] > 0.9


def test_proposals_differ_and_have_a_fit_size():
    shown = frame((disc(50, 90), BLUE), (disc(110, 110), FUR))
    moving = disc(50, 90).astype(np.float32)
    found = proposals(shown, moving, [disc(110, 110)])
    assert all(0.006 <= mask.mean() <= 0.4 for mask in found)
    assert all(overlap(one, other) < 0.8 for i, one in enumerate(found) for other in found[:i])
    for thing in (disc(50, 90), disc(110, 110)):
        assert max(overlap(mask, thing) for mask in found) > 0.8
