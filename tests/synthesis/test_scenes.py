"""From a cut-out to a clip: customise, expand, animate; any size, any aspect, pure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sugar.sprites import draw_identity, draw_subject
from sugar.synthesis.animate import animate_procedural, camera_over
from sugar.synthesis.customize import Customized, customize_procedural, fit_square
from sugar.synthesis.expand import expand_opencv, expand_scene
from sugar.synthesis.prompts import Prompt

PROMPT = Prompt("a golden statue of a cat in space is resting", "gold", "space", "still", "pan")


@pytest.fixture(scope="module")
def cut_out() -> np.ndarray:
    return draw_subject(draw_identity(5, "cat"), 64)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 48)])
def test_a_clip_of_the_wanted_size_that_is_pure(cut_out, size):
    def clip() -> np.ndarray:
        scene = expand_scene(customize_procedural(cut_out, PROMPT, 7, *size), *size)
        return animate_procedural(scene, PROMPT, 5, 7)

    frames = clip()
    assert (frames.shape, frames.dtype) == ((5, *size, 3), np.uint8)
    np.testing.assert_array_equal(frames, clip())


def test_still_clips_move_with_the_camera_and_moving_ones_with_the_subject(cut_out):
    def change(motion: str, camera: str) -> float:
        prompt = PROMPT._replace(motion=motion, camera=camera)
        frames = animate_procedural(customize_procedural(cut_out, prompt, 7, 64, 64), prompt, 9, 7)
        return float(np.abs(np.diff(frames.astype(float), axis=0)).mean())

    frozen = change("still", "none")
    assert frozen < 1.0
    for motion, camera in (("still", "pan"), ("still", "zoom"), ("jump", "none"), ("slide left", "none")):
        assert change(motion, camera) > 3 * frozen


def test_the_customised_image_shows_the_subject_in_its_new_style(cut_out):
    scene = customize_procedural(cut_out, PROMPT, 7, 64, 64)
    assert scene.subject is not None
    assert scene.background is not None
    solid = scene.subject[..., 3] > 200
    red, _, blue = (scene.subject[solid][:, c].astype(float).mean() for c in range(3))
    assert red > blue + 60
    assert np.abs(scene.image.astype(float) - scene.background).mean() > 5


@given(st.integers(2, 90), st.integers(2, 90), st.integers(16, 80))
@settings(max_examples=25, deadline=None)
def test_a_square_holds_the_whole_cut_out(height, width, side):
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[5 : 5 + height, 5 : 5 + width] = (200, 40, 90, 255)
    square = fit_square(rgba, side)
    assert square.shape == (side, side, 4)
    rows, columns = np.nonzero(square[..., 3] > 127)
    spans = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert abs(max(spans) - 0.92 * side) <= 2
    assert abs(spans[0] - 0.92 * side * height / max(height, width)) <= 2
    assert np.abs(square[rows, columns, :3].astype(int) - (200, 40, 90)).max() <= 2


def test_an_empty_cut_out_is_refused():
    with pytest.raises(ValueError, match="visible subject"):
        fit_square(np.zeros((8, 8, 4), np.uint8), 16)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_expansion_has_the_wanted_size_for_any_picture(height, width, to_height, to_width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert expand_opencv(image, to_height, to_width).shape == (to_height, to_width, 3)


def test_only_the_missing_border_is_made_up():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    wide = expand_opencv(image, 40, 72)
    np.testing.assert_array_equal(wide[:, 16:56], image)
    np.testing.assert_array_equal(expand_opencv(image, 40, 40), image)
    flat = np.full((30, 20, 3), (10, 120, 200), np.uint8)
    # The fast marching fill is a few levels off even on a flat picture.
    assert np.abs(expand_opencv(flat, 60, 90).astype(int) - (10, 120, 200)).max() <= 6


def test_layers_are_expanded_too(cut_out):
    scene = expand_scene(customize_procedural(cut_out, PROMPT, 7, 32, 32), 32, 64)
    assert scene.background is not None
    assert scene.image.shape == scene.background.shape == (32, 64, 3)
    assert animate_procedural(scene, PROMPT, 5, 1).shape == (5, 32, 64, 3)


def test_a_flat_picture_gets_the_camera_alone():
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    clip = animate_procedural(Customized(image), PROMPT, 5, 3)
    np.testing.assert_array_equal(clip, camera_over(image, "pan", 5, 3))
    np.testing.assert_array_equal(camera_over(image, "none", 3, 3), np.stack([image] * 3))
    assert not np.array_equal(clip[0], clip[-1])
    with pytest.raises(ValueError, match="motion must be 'still' for a picture without layers"):
        animate_procedural(Customized(image), PROMPT._replace(motion="jump"), 5, 3)
    with pytest.raises(ValueError, match="camera must be one of"):
        camera_over(image, "tilt", 3, 3)
