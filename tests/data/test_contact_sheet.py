"""Sheets and strips show the pictures that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from sugar.data.contact_sheet import GAP_PX, contact_sheet, film_strip, on_checkerboard

RED = np.full((16, 24, 3), (255, 0, 0), np.uint8)


def test_film_strip_holds_first_and_last_frame():
    frames = np.stack([np.full((8, 10, 3), value, np.uint8) for value in range(9)])
    strip = film_strip(frames, num_frames=3, gap_px=2)
    assert strip.shape == (8, 3 * 10 + 2 * 2, 3)
    assert [int(strip[0, x, 0]) for x in (0, 12, 24)] == [0, 4, 8]
    assert film_strip(frames[:2], num_frames=5).shape == (8, 22, 3)


def test_every_picture_lies_in_its_cell():
    sheet = contact_sheet([RED] * 5, columns=3, scale=2)
    assert sheet.shape == (2 * 32 + 3 * GAP_PX, 3 * 48 + 4 * GAP_PX, 3)
    assert int((sheet == (255, 0, 0)).all(axis=2).sum()) == 5 * 32 * 48
    assert sheet[GAP_PX, GAP_PX].tolist() == [255, 0, 0]
    assert sheet[-1, -1].tolist() == [255, 255, 255]


def test_labels_are_written_below_and_stay_in_their_cell():
    plain = contact_sheet([RED, RED], columns=2)
    sheet = contact_sheet([RED, RED], ["a word of far more than twenty-four pixels", ""], columns=2)
    assert sheet.shape[1] == plain.shape[1]
    assert sheet.shape[0] > plain.shape[0]
    assert (sheet[plain.shape[0] :, : GAP_PX + 24] < 128).any()
    assert (sheet[plain.shape[0] :, 2 * GAP_PX + 24 :] == 255).all()


def test_transparent_pictures_lie_on_a_checkerboard():
    board = on_checkerboard(np.zeros((16, 16, 4), np.uint8))
    assert len(np.unique(board.reshape(-1, 3), axis=0)) == 2
    opaque = np.dstack([RED, np.full((16, 24), 255, np.uint8)])
    assert np.array_equal(on_checkerboard(opaque), RED)


@pytest.mark.parametrize(
    "pictures, labels, rule",
    [
        ([], None, "at least one picture"),
        ([RED], ["a", "b"], "2 for 1"),
        ([RED.astype(float)], None, "float64"),
        ([RED[..., :2]], None, r"\[16, 24, 2\]"),
    ],
)
def test_what_is_no_picture_is_an_error(pictures, labels, rule):
    with pytest.raises(ValueError, match=rule):
        contact_sheet(pictures, labels)
