"""Motions and the clips they make: they move as they are called, masks are the truth."""

import numpy as np
import pytest

from sugar.sprites import (
    CAMERAS,
    MOTIONS,
    draw_background,
    draw_identity,
    draw_subject,
    motion_affines,
    render_clip,
    render_clip_with_masks,
)

MOVING = [name for name in MOTIONS if name != "still"]


@pytest.fixture(scope="module")
def subject() -> np.ndarray:
    return draw_subject(draw_identity(11, "robot"), 64)


@pytest.fixture(scope="module")
def place() -> np.ndarray:
    return draw_background("meadow", 64, 64, 1)


def centres(masks: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) of every mask, in shares of the frame, [T, 2]."""
    height, width = masks.shape[1:]
    y, x = np.mgrid[:height, :width]
    mass = masks.sum(axis=(1, 2))
    return np.stack(
        [(masks * x).sum(axis=(1, 2)) / mass / width, (masks * y).sum(axis=(1, 2)) / mass / height], axis=1
    )


def difference(frames: np.ndarray) -> float:
    return float(np.abs(np.diff(frames.astype(int), axis=0)).mean())


def test_still_moves_far_less_than_every_motion(subject: np.ndarray, place: np.ndarray) -> None:
    amounts = {m: difference(render_clip(subject, place, m, 9, 5)) for m in MOTIONS}
    assert amounts["still"] < 0.9
    assert min(amounts[m] for m in MOVING) > 4 * amounts["still"]


@pytest.mark.parametrize("seed", range(4))
def test_motions_go_where_they_say(subject: np.ndarray, place: np.ndarray, seed: int) -> None:
    masks = {m: render_clip_with_masks(subject, place, m, 17, seed)[1] for m in MOTIONS}
    path = {m: centres(masks[m]) for m in MOTIONS}
    assert np.ptp(path["still"], axis=0).max() < 0.02
    assert (np.diff(path["slide left"][:, 0]) < 0).all()
    assert (np.diff(path["slide right"][:, 0]) > 0).all()
    assert np.ptp(path["jump"][:, 1]) > 0.12
    assert np.ptp(path["jump"][:, 0]) < 0.02
    area = {m: masks[m].sum(axis=(1, 2)) for m in MOTIONS}
    assert area["grow"][-1] > 3 * area["grow"][0]
    assert area["spin"].min() < 0.4 * area["spin"].max()
    assert path["float"][-1, 1] < path["float"][0, 1] - 0.12
    assert np.ptp(path["dance"][:, 0]) > 0.1


def test_spin_shows_the_other_side(subject: np.ndarray) -> None:
    maps = motion_affines("spin", 9, 0)
    assert maps.shape == (9, 2, 3)
    assert abs(maps[0, 0, 0]) == pytest.approx(1)
    assert abs(maps[4, 0, 0]) < 0.2
    assert maps[8, 0, 0] == pytest.approx(-maps[0, 0, 0])


def test_maps_are_in_sprite_coordinates() -> None:
    """The ground point of a standing subject stays; a jumping one leaves it upwards and comes back."""
    ground = np.array([0, 0, 1])
    assert np.abs(motion_affines("still", 9, 3) @ ground).max() < 1e-9
    heights = -(motion_affines("jump", 9, 3) @ ground)[:, 1]
    assert heights[[0, 8]] == pytest.approx([0, 0], abs=1e-9)
    assert heights[4] > 0.3


@pytest.mark.parametrize("num_frames", [1, 2, 9, 17])
@pytest.mark.parametrize("motion", MOTIONS)
def test_any_number_of_frames_and_any_size(subject: np.ndarray, motion: str, num_frames: int) -> None:
    background = draw_background("room", 48, 80, 2)
    frames, masks = render_clip_with_masks(subject, background, motion, num_frames, 7)
    assert frames.shape == (num_frames, 48, 80, 3)
    assert frames.dtype == np.uint8
    assert masks.shape == (num_frames, 48, 80)
    assert np.array_equal(frames, render_clip(subject, background, motion, num_frames, 7))


def test_masks_are_where_the_subject_is(subject: np.ndarray) -> None:
    """A pure green subject on a pure red place: full mask means green, empty mask means no green."""
    green = subject.copy()
    green[:, :, :3] = (0, 255, 0)
    red = np.zeros((64, 64, 3), np.uint8)
    red[:, :, 0] = 255
    frames, masks = render_clip_with_masks(green, red, "dance", 9, 1)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert np.abs(frames[..., 1] - masks * 255).max() <= 1.01


def test_scale_is_the_longer_side_of_what_is_visible(subject: np.ndarray) -> None:
    """A cut-out far from the middle of a large photo stands where a centred sprite would stand."""
    photo = np.zeros((300, 200, 4), np.uint8)
    photo[20:120, 130:180] = (200, 60, 60, 255)
    background = draw_background("snow", 100, 120, 1)
    _, masks = render_clip_with_masks(photo, background, "still", 1, 1, subject_scale=0.5)
    rows, columns = np.nonzero(masks[0] > 0.5)
    assert np.ptp(rows) + 1 == pytest.approx(50, abs=2)
    assert np.ptp(columns) + 1 == pytest.approx(25, abs=2)
    assert columns.mean() == pytest.approx(59.5, abs=1)
    assert rows.max() == pytest.approx(87, abs=1.5)


def test_subject_throws_a_shadow(subject: np.ndarray) -> None:
    white = np.full((64, 64, 3), 255, np.uint8)
    frames, masks = render_clip_with_masks(subject, white, "still", 1, 1)
    outside = masks[0] < 0.01
    assert frames[0, 54:60][outside[54:60]].min() < 200
    assert frames[0, :20][outside[:20]].min() == 255


@pytest.mark.parametrize("camera", ["pan", "zoom"])
def test_camera_moves_a_still_scene_mildly(subject: np.ndarray, place: np.ndarray, camera: str) -> None:
    fixed = render_clip(subject, place, "still", 9, 1)
    moved = render_clip(subject, place, "still", 9, 1, camera=camera)
    jump = render_clip(subject, place, "jump", 9, 1)
    assert 3 * difference(fixed) < difference(moved) < 2 * difference(jump)
    assert set(CAMERAS) == {"none", "pan", "zoom"}


def test_wrong_arguments_are_named(subject: np.ndarray, place: np.ndarray) -> None:
    with pytest.raises(ValueError, match="motion must be one of"):
        motion_affines("fly", 9, 1)
    with pytest.raises(ValueError, match="num_frames must be >= 1"):
        render_clip(subject, place, "jump", 0, 1)
    with pytest.raises(ValueError, match="camera must be one of"):
        render_clip(subject, place, "jump", 9, 1, camera="crane")
    with pytest.raises(ValueError, match="alpha is empty"):
        render_clip(np.zeros_like(subject), place, "jump", 9, 1)
    with pytest.raises(ValueError, match=r"shape \[H, W, 4\]"):
        render_clip(place, place, "jump", 9, 1)
