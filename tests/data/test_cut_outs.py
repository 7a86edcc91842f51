"""Cut-outs: trimmed, bounded, and refused with a reason."""

import numpy as np
import pytest

from sugar.data.cut_outs import cut_subject, fit_within, trim
from sugar.data.image_io import BadMedia


@pytest.fixture
def picture():
    image = np.full((100, 80, 3), (10, 200, 30), np.uint8)
    image[40:60, 20:60] = (250, 20, 40)
    mask = np.zeros((100, 80), np.uint8)
    mask[40:60, 20:60] = 255
    return image, mask


def test_the_box_and_a_margin(picture):
    rgba = cut_subject(*picture)
    assert rgba.shape == (24, 44, 4)
    visible = rgba[..., 3] == 255
    assert visible.sum() == 20 * 40
    assert (rgba[visible][:, :3] == (250, 20, 40)).all()


def test_the_picture_s_edge_ends_the_margin(picture):
    rgba = np.dstack([picture[0], picture[1]])[40:60, 20:60]
    assert trim(rgba).shape == (20, 40, 4)


@pytest.mark.parametrize(
    "bounds, reason",
    [({"min_area": 0.2}, "mask_too_small"), ({"max_area": 0.05}, "mask_too_large")],
)
def test_bounds_of_the_area(picture, bounds, reason):
    with pytest.raises(BadMedia) as error:
        cut_subject(*picture, **bounds)
    assert error.value.reason == reason
    assert "got 0.1000" in str(error.value)


def test_an_empty_mask_is_no_subject(picture):
    with pytest.raises(BadMedia) as error:
        cut_subject(picture[0], np.zeros_like(picture[1]))
    assert error.value.reason == "no_subject"


def test_another_size_is_an_error(picture):
    with pytest.raises(ValueError, match="as its picture"):
        cut_subject(picture[0], picture[1][:-1])


def test_smaller_cut_outs_keep_the_subject_s_colour_at_the_edge(picture):
    small = cut_subject(*picture, max_side_px=15)
    assert max(small.shape[:2]) == 15
    edge = small[(small[..., 3] > 40) & (small[..., 3] < 215)]
    assert len(edge)
    assert np.abs(edge[:, :3].astype(int) - (250, 20, 40)).max() <= 3


def test_what_fits_is_left_alone(picture):
    assert fit_within(picture[0], 100) is picture[0]
    assert fit_within(picture[0], 50).shape == (50, 40, 3)
