"""Captions name what clips show; clips are pure functions of their arguments."""

import itertools

import numpy as np
import pytest

from sugar.sprites import (
    BACKGROUNDS,
    COLOUR_NAMES,
    MOTIONS,
    NOUNS,
    STYLES,
    TRAIN_SEEDS,
    apply_style,
    caption,
    colour_name,
    draw_identity,
    sample_clip,
    vocabulary,
)

STYLE_WORD = {
    "pencil drawing": "pencil",
    "neon": "neon",
    "gold": "gold",
    "pixel art": "pixel art",
    "watercolour": "watercolour",
}
MOTION_WORDS = {
    "still": ("standing still", "resting"),
    "slide left": ("left",),
    "slide right": ("right",),
    "jump": ("jumping",),
    "spin": ("spinning",),
    "grow": ("growing",),
    "float": ("floating",),
    "dance": ("dancing",),
}


def test_captions_name_noun_style_motion_and_place() -> None:
    tags = itertools.product(NOUNS, STYLES, BACKGROUNDS, MOTIONS)
    for seed, (noun, style, background, motion) in enumerate(itertools.islice(tags, 0, None, 3)):
        colour = COLOUR_NAMES[seed % 11] if seed % 2 else None
        text = caption(noun, style, background, motion, seed, colour)
        words = text.split()
        assert noun in words
        assert background in words
        assert any(phrase in text for phrase in MOTION_WORDS[motion])
        named = {s for s, word in STYLE_WORD.items() if word in text}
        assert named == ({style} - {"as is"})
        assert (colour in words) if colour else not set(COLOUR_NAMES) & (set(words) - {"green"})
        assert len(words) <= 24
        assert text == text.lower()
        for article, following in itertools.pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (following[0] in "aeiou"), text
        assert set(words) <= set(vocabulary())


def test_captions_vary_with_the_seed_and_are_pure() -> None:
    texts = [caption("cat", "gold", "snow", "spin", seed) for seed in range(60)]
    assert texts == [caption("cat", "gold", "snow", "spin", seed) for seed in range(60)]
    assert len(set(texts)) > 15


def test_vocabulary_is_small_and_sorted() -> None:
    words = vocabulary()
    assert words == sorted(set(words))
    assert 80 < len(words) < 160
    assert all(word.isalpha() for word in words)


@pytest.mark.parametrize("key", ["noun", "style", "background", "motion", "colour"])
def test_unknown_tags_are_named(key: str) -> None:
    tags = {
        "noun": "cat",
        "style": "gold",
        "background": "snow",
        "motion": "spin",
        "colour": "red",
        key: "xyz",
    }
    with pytest.raises(ValueError, match=f"{key} must be one of .*'xyz'"):
        caption(seed=1, **tags)


def test_clip_is_a_pure_function_of_its_seed() -> None:
    one, same, other = sample_clip(5), sample_clip(5), sample_clip(6)
    assert np.array_equal(one.frames_THWC, same.frames_THWC)
    assert one.caption == same.caption
    assert one.identity == same.identity
    assert not np.array_equal(one.frames_THWC, other.frames_THWC)


def test_clips_have_the_asked_size_and_fitting_truth() -> None:
    clip = sample_clip(8, num_frames=5, height_px=48, width_px=80, with_colour=True)
    assert clip.frames_THWC.shape == (5, 48, 80, 3)
    assert clip.frames_THWC.dtype == np.uint8
    assert clip.subject_rgba.shape == clip.styled_rgba.shape == (48, 48, 4)
    assert np.array_equal(clip.styled_rgba, apply_style(clip.subject_rgba, clip.style, 8))
    assert clip.identity.noun in clip.caption
    assert colour_name(clip.identity) in clip.caption.split()


def test_given_attributes_are_kept() -> None:
    identity = draw_identity(2**31 + 4, "boat")
    clip = sample_clip(
        9, identity=identity, style="neon", background="space", motion="float", with_colour=False
    )
    assert (clip.identity, clip.style, clip.background, clip.motion) == (identity, "neon", "space", "float")
    assert sample_clip(9, noun="boot").identity.noun == "boot"
    with pytest.raises(ValueError, match="'boat'"):
        sample_clip(9, identity=identity, noun="cat")


def test_drawn_attributes_cover_the_world_and_train_only_on_training_identities() -> None:
    clips = [sample_clip(seed, num_frames=1, height_px=16, width_px=16) for seed in range(200)]
    for attribute, table in (("style", STYLES), ("background", BACKGROUNDS), ("motion", MOTIONS)):
        assert {getattr(c, attribute) for c in clips} == set(table)
    assert {c.identity.noun for c in clips} == set(NOUNS)
    assert all(c.identity.seed in TRAIN_SEEDS for c in clips)
    assert 0.3 < np.mean([c.style == "as is" for c in clips]) < 0.5
