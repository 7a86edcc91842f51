"""Styles and backgrounds: every style is itself, on sprites and on photo-like pictures of any size."""

import numpy as np
import pytest

from sugar.sprites import (
    BACKGROUNDS,
    STYLES,
    apply_style,
    draw_background,
    draw_identity,
    draw_subject,
    style_background,
)

RESTYLED = [name for name in STYLES if name != "as is"]


def photo(height: int, width: int) -> np.ndarray:
    """Photo-like cut-out: coloured noise over shapes, a soft round mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 255 / width, y * 255 / height, (x + y) % 97 * 2.6], axis=2) + rng.normal(
        0, 12, (height, width, 3)
    )
    alpha = 255 * np.clip(1.3 - ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 8, 0, 1)
    return np.clip(np.dstack([rgb, alpha]), 0, 255).astype(np.uint8)


def visible(picture: np.ndarray) -> np.ndarray:
    return picture[:, :, :3] * (picture[:, :, 3:] / 255.0)


def chroma(rgb: np.ndarray) -> float:
    return float((rgb.max(axis=-1).astype(float) - rgb.min(axis=-1)).mean())


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return draw_subject(draw_identity(100, "cat"), 64)


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (48, 80), (9, 12)])
@pytest.mark.parametrize("style", STYLES)
def test_styles_keep_size_and_are_pure_on_any_picture(style: str, shape: tuple[int, int]) -> None:
    picture = photo(*shape)
    before = picture.copy()
    styled = apply_style(picture, style, 3)
    assert styled.shape == picture.shape
    assert styled.dtype == np.uint8
    assert np.array_equal(styled, apply_style(picture, style, 3))
    place = style_background(picture[:, :, :3].copy(), style, 3)
    assert place.shape == (*shape, 3)
    assert place.dtype == np.uint8
    assert np.array_equal(picture, before)


def test_as_is_changes_nothing(cat: np.ndarray) -> None:
    assert np.array_equal(apply_style(cat, "as is", 1), cat)
    place = draw_background("city", 64, 64, 1)
    assert np.array_equal(style_background(place, "as is", 1), place)


def test_styles_differ_from_the_original_and_from_one_another(cat: np.ndarray) -> None:
    versions = [visible(apply_style(cat, style, 1)) for style in STYLES]
    for i, one in enumerate(versions):
        for other in versions[i + 1 :]:
            assert np.abs(one - other).mean() > 8


@pytest.mark.parametrize("style", RESTYLED)
def test_style_keeps_who_the_subject_is(style: str) -> None:
    """Among restyled individuals of one noun, each is nearest to itself drawn again in the style."""

    def features(rgba: np.ndarray) -> np.ndarray:
        rgb = rgba[:, :, :3].astype(float).mean(axis=2) * (rgba[:, :, 3] / 255.0)
        flat = rgb.reshape(16, 4, 16, 4).mean(axis=(1, 3)).ravel()
        return (flat - flat.mean()) / flat.std()

    pictures = [draw_subject(draw_identity(seed, "bear"), 64) for seed in range(12)]
    first = np.stack([features(apply_style(p, style, 1)) for p in pictures])
    second = np.stack([features(apply_style(p, style, 2)) for p in pictures])
    assert np.array_equal((first @ second.T).argmax(axis=1), np.arange(12))


def test_gold_is_gold_and_leaves_the_place_natural(cat: np.ndarray) -> None:
    gold = apply_style(cat, "gold", 1)
    red, green, blue = gold[gold[:, :, 3] > 200][:, :3].astype(int).T
    assert (red >= green).all()
    assert (green >= blue).all()
    assert np.mean(red - blue) > 70
    place = draw_background("beach", 64, 64, 1)
    assert np.array_equal(style_background(place, "gold", 1), place)


def test_pencil_is_grey_on_pale_paper(cat: np.ndarray) -> None:
    pencil = apply_style(cat, "pencil drawing", 1)
    assert chroma(pencil[pencil[:, :, 3] > 128][:, :3]) < 15
    assert style_background(draw_background("meadow", 64, 64, 1), "pencil drawing", 1).mean() > 170


def test_neon_glows_on_a_dark_place(cat: np.ndarray) -> None:
    neon = apply_style(cat, "neon", 1)
    assert neon[neon[:, :, 3] > 200][:, :3].max(axis=1).mean() > 120
    for background in BACKGROUNDS:
        assert style_background(draw_background(background, 64, 64, 1), "neon", 1).mean() < 60


def test_pixel_art_has_few_colours_in_blocks(cat: np.ndarray) -> None:
    art = apply_style(cat, "pixel art", 1)
    solid = art[:, :, 3] > 0
    assert set(np.unique(art[:, :, 3])) == {0, 255}
    assert len(np.unique(art[solid][:, :3], axis=0)) <= 9
    same = (art[:, 1:] == art[:, :-1]).all(axis=2)
    assert same.mean() > 0.7


def test_watercolour_is_pastel_with_a_bleeding_edge() -> None:
    subject = draw_subject(draw_identity(4, "car"), 64)
    paint = apply_style(subject, "watercolour", 1)
    solid = subject[:, :, 3] > 250
    assert paint[solid][:, :3].mean() > subject[solid][:, :3].mean() + 15
    soft = [((p[:, :, 3] > 20) & (p[:, :, 3] < 200)).mean() for p in (subject, paint)]
    assert soft[1] > 1.5 * soft[0]


def test_an_invisible_picture_can_be_restyled() -> None:
    for style in STYLES:
        assert apply_style(np.zeros((20, 30, 4), np.uint8), style, 1).shape == (20, 30, 4)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_vary_with_the_seed_and_have_the_asked_size(name: str) -> None:
    one, same, other = (draw_background(name, 48, 80, seed) for seed in (1, 1, 2))
    assert one.shape == (48, 80, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert np.abs(one.astype(int) - other).mean() > 2


def test_backgrounds_are_far_apart() -> None:
    pictures = [draw_background(name, 64, 64, 1).astype(int) for name in BACKGROUNDS]
    assert len(pictures) == 6
    for i, one in enumerate(pictures):
        assert all(np.abs(one - other).mean() > 20 for other in pictures[i + 1 :])


def test_wrong_arguments_are_named(cat: np.ndarray) -> None:
    with pytest.raises(ValueError, match="style must be one of"):
        apply_style(cat, "marble", 1)
    with pytest.raises(ValueError, match=r"subject_rgba must be uint8 \[H, W, 4\]"):
        apply_style(cat[:, :, :3], "gold", 1)
    with pytest.raises(ValueError, match=r"background_rgb must be uint8 \[H, W, 3\]"):
        style_background(cat, "neon", 1)
    with pytest.raises(ValueError, match="background must be one of"):
        draw_background("moon", 64, 64, 1)
    with pytest.raises(ValueError, match="must be >= 8"):
        draw_background("snow", 4, 64, 1)
