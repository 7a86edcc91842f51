"""Prompts: any noun, tags that agree with the words, motions that suit the category."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sugar.config import InputError
from sugar.data.subjects import Subject
from sugar.sprites import BACKGROUNDS, NOUNS, STYLES, caption, vocabulary
from sugar.sprites import MOTIONS as SPRITE_MOTIONS
from sugar.synthesis.nouns import category_of
from sugar.synthesis.prompts import MOTIONS_OF_CATEGORY, make_prompt, sentence
from sugar.synthesis.shard import SynthesisRecipe, different_prompts
from sugar.synthesis.wide_prompts import MOTIONS, TEXTURES, make_wide_prompt
from sugar.synthesis.wide_prompts import STYLES as WIDE_STYLES

SEEDS = range(400)


@pytest.mark.parametrize("category", MOTIONS_OF_CATEGORY)
def test_the_words_are_those_of_the_tags(category):
    for seed in SEEDS[:100]:
        prompt = make_prompt("sneaker", category, seed)
        style, motion = STYLES[prompt.style], SPRITE_MOTIONS[prompt.motion]
        assert "a sneaker" in prompt.text
        assert any(phrase in prompt.text for phrase in (*style.prefixes, *style.suffixes))
        assert any(phrase in prompt.text for phrase in BACKGROUNDS[prompt.background].phrases)
        assert any(phrase in prompt.text for phrase in (*motion.verbs, *motion.participles))


def test_the_words_are_those_the_text_encoder_was_trained_on():
    known = set(vocabulary())
    for number, noun in enumerate(NOUNS):
        assert set(make_prompt(noun, NOUNS[noun].category, number).text.split()) <= known


def test_the_grammar_is_that_of_sprite_world():
    numbers = list(product((0.0, 0.3, 0.6, 0.9), repeat=5))
    ours = {sentence("cat", "neon", "space", "jump", choices) for choices in numbers}
    theirs = {caption("cat", "neon", "space", "jump", seed) for seed in range(300)}
    assert ours == theirs


def test_mostly_still_and_never_as_is():
    prompts = [make_prompt("vase", "static_object", seed) for seed in SEEDS]
    moving = sum(prompt.motion != "still" for prompt in prompts)
    assert 0.17 < moving / len(prompts) < 0.33
    assert all(prompt.style != "as is" for prompt in prompts)
    assert all(prompt.camera == "none" for prompt in prompts if prompt.motion != "still")
    assert min(Counter(prompt.style for prompt in prompts).values()) > 40
    assert {make_prompt("vase", "static_object", s, real_motion_share=0).motion for s in SEEDS} == {"still"}


def test_a_vase_does_not_dance():
    motions = {make_prompt("vase", "static_object", s, real_motion_share=1).motion for s in SEEDS}
    assert motions == {"slide left", "slide right", "spin", "grow", "float"}
    assert "dance" in {make_prompt("dog", "animal", s, real_motion_share=1).motion for s in SEEDS}


@given(st.text(min_size=1, max_size=30), st.integers(0, 2**62))
def test_any_noun(noun, seed):
    if not noun.split():
        with pytest.raises(ValueError, match="noun must contain a word"):
            make_prompt(noun, "animal", seed)
    else:
        prompt = make_prompt(noun, "animal", seed)
        assert prompt == make_prompt(noun, "animal", seed)
        assert "  " not in prompt.text


@pytest.mark.parametrize(
    "noun, words", [("owl", "an owl"), ("red sunglasses", "a pair of red sunglasses"), ("glass", "a glass")]
)
def test_articles(noun, words):
    assert words in sentence(noun, "as is", "room", "still", [0.0] * 5)


def test_unknown_category():
    with pytest.raises(ValueError, match=r"category must be one of animal, .*, got 'plant'"):
        make_prompt("fern", "plant", 0)


@pytest.mark.parametrize(
    "noun, category",
    [
        ("dog", "animal"),
        ("dogs", "animal"),
        ("corgi dog", "animal"),
        ("stuffed animal", "active_object"),
        ("teddy bear", "active_object"),
        ("toy", "active_object"),
        ("robot", "active_object"),
        ("sneaker", "static_object"),
        ("bear mug", "static_object"),
        ("gizmo", "static_object"),
    ],
)
def test_categories(noun, category):
    assert category_of(noun) == category


def test_the_wide_grammar_says_its_tags():
    seen = Counter()
    for category in MOTIONS:
        for seed in SEEDS:
            prompt = make_wide_prompt("red panda", category, seed)
            assert "red panda" in prompt.text
            assert prompt.background in prompt.text
            assert prompt.style or prompt.texture or prompt.colour
            assert not prompt.colour or f"{prompt.colour} red panda" in prompt.text
            if prompt.texture:
                assert any(phrase in prompt.text for phrase in TEXTURES[prompt.texture])
            if prompt.motion != "still":
                assert any(verb in prompt.text for verb in MOTIONS[category][prompt.motion])
                assert prompt.camera == "none"
            seen.update([prompt.style, prompt.texture, prompt.colour, prompt.background, prompt.motion])
    assert set(WIDE_STYLES) | set(TEXTURES) <= set(seen)
    with pytest.raises(ValueError, match="category must be one of"):
        make_wide_prompt("fern", "plant", 0)
    with pytest.raises(ValueError, match="noun must contain a word"):
        make_wide_prompt(" ", "animal", 0)


def test_a_subject_never_gets_a_sentence_twice():
    recipe = SynthesisRecipe(0, 8, 5, 32, 32, 60)
    subject = Subject("a", np.zeros((8, 8, 3), np.uint8), "cat", "animal")
    prompts = different_prompts(subject, recipe, [5] * 3 + list(range(57)))
    assert len({prompt.text for prompt in prompts}) == 60
    assert prompts[0] == make_prompt("cat", "animal", 5)
    with pytest.raises(InputError, match="grammar must be sprites"):
        replace(recipe, grammar="wide")
