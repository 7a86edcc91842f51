"""Tokenizers, captions with some attributes, and what a caption fits."""

import numpy as np
import torch

from sugar.foundation import identity, matching
from sugar.foundation.pools import NOUN_NAMES, STYLE_NAMES, identity_views
from sugar.foundation.tokenizer import build_tokenizer
from sugar.sprites import sample_clip


def test_captions_are_whole_words_and_unknown_words_are_spelled() -> None:
    tokenizer = build_tokenizer(32, kind="t5")
    for seed in range(20):
        text = sample_clip(seed, num_frames=1).caption
        ids = tokenizer(text).input_ids
        assert len(ids) == len(text.split()) + 1 and ids[-1] == tokenizer.eos_token_id
    spelled = tokenizer("a xylophone").input_ids
    assert tokenizer.unk_token_id not in spelled and len(spelled) == 1 + len("xylophone") + 1


def test_a_saved_tokenizer_loads_the_same(tmp_path) -> None:
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer(32, kind="clip")
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "a golden statue of a cat in the snow"
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded(text).input_ids[0] == tokenizer.bos_token_id


def test_a_caption_fits_exactly_what_has_its_tags() -> None:
    tags = {"noun": np.array([0, 0, 1]), "style": np.array([2, 3, 2])}
    fits = matching.matches([{"noun": 0}, {"style": 2}, {"noun": 1, "style": 2}], tags)
    assert fits.tolist() == [[True, True, False], [True, False, True], [False, False, True]]


def test_matching_loss_is_clips_loss_when_each_fits_only_its_own() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    target = torch.arange(5)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    assert torch.allclose(matching.matching_loss(logits, torch.eye(5, dtype=torch.bool)), expected)


def test_identity_loss_prefers_views_of_one_subject_together() -> None:
    generator = torch.Generator().manual_seed(0)
    subjects = torch.randn(1, 6, 16, generator=generator)
    together = subjects + 0.05 * torch.randn(2, 6, 16, generator=generator)
    apart = torch.randn(2, 6, 16, generator=generator)
    assert identity.identity_loss(together, 0.1) < identity.identity_loss(apart, 0.1)


def test_partial_captions_name_only_what_they_say() -> None:
    tags = {"noun": 0, "style": 3, "background": 1, "motion": 2}
    for seed in range(30):
        text, named = matching.partial_caption(tags, seed, with_motion=True)
        assert named.items() <= tags.items()
        if "noun" in named:
            assert NOUN_NAMES[0] in text
        if "style" not in named:
            assert STYLE_NAMES[3] not in text


def test_views_are_pure_in_their_index() -> None:
    one, tags = identity_views(5, 3, 32, held_out=False)
    other, _ = identity_views(5, 3, 32, held_out=False)
    held_out, _ = identity_views(5, 3, 32, held_out=True)
    assert np.array_equal(one, other) and not np.array_equal(one, held_out)
    assert one.shape == (3, 32, 32, 3) and tags[0].tolist()[1:] == [0, -1]


def test_x_clip_finds_the_end_of_a_caption():
    # Its text side takes the feature at the highest token number.
    tokenizer = build_tokenizer(32, kind="clip")
    ids = tokenizer(["a dog", "a zebra with a zigzag"], padding="max_length", return_tensors="pt").input_ids
    assert (ids.argmax(-1) == (ids == tokenizer.eos_token_id).int().argmax(-1)).all()
    assert tokenizer.eos_token_id == len(tokenizer) - 1


def test_a_patchs_pixels_are_read_in_the_order_of_its_token() -> None:
    """A reader that gives each patch its own halved pixels has no error; with two patches swapped it has."""
    pixels = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    convolution = torch.nn.functional.avg_pool2d(pixels / 127.5 - 1, 2)
    patches = convolution.unflatten(3, (4, 4)).unflatten(2, (4, 4)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    tokens = patches.flatten(1, 2)
    assert identity.seeing_loss(tokens, pixels) < 1e-9
    assert identity.seeing_loss(tokens.flip(1), pixels) > 0.01
