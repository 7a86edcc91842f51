"""Captions by real classes of transformers with random weights, loaded from folders."""

import json

import numpy as np
import pytest
import torch

from sugar.config import InputError
from sugar.data.image_io import BadMedia
from sugar.ingest.captions import VisionLanguageCaption

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[BOS]", *"a dog runs on the beach big small red".split()]
FRAMES = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("blip")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        **small,
        "vocab_size": len(WORDS),
        "encoder_hidden_size": 16,
        "bos_token_id": 4,
        "eos_token_id": 2,
    }
    config = BlipConfig(
        text_config={**text, "pad_token_id": 0, "sep_token_id": 2, "max_position_embeddings": 80},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder / "model")
    tokenizer = BertTokenizer(vocab=str(folder / "vocab.txt"))
    images = BlipImageProcessorPil(size={"height": 32, "width": 32})
    BlipProcessor(images, tokenizer).save_pretrained(folder / "model")
    return folder / "model"


def test_a_model_without_a_chat_template_describes_the_middle_frame(blip):
    caption = VisionLanguageCaption.from_pretrained(blip)
    text = caption(FRAMES, "dog")
    assert set(text.lower().split()) <= set(WORDS) | {word.lower() for word in WORDS}
    assert caption(FRAMES, "dog") == text
    shuffled = FRAMES.copy()
    shuffled[0] = 0
    assert caption(shuffled, "dog") == text


def test_what_is_no_captioner_is_refused(tmp_path, tiny_networks):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    for folder in (tmp_path, tiny_networks / "dino"):
        with pytest.raises(InputError, match=r"networks\.captioner: .* must be an image-text-to-text model"):
            VisionLanguageCaption.from_pretrained(folder)


class Chat:
    """A processor with a chat template: notes what it was asked."""

    chat_template = "{{ messages }}"

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def apply_chat_template(self, messages, **settings):
        from transformers import BatchFeature

        self.asked.append((messages, settings))
        return BatchFeature({"input_ids": torch.tensor([[7, 8, 9]])})

    def batch_decode(self, tokens, skip_special_tokens):
        assert tokens.tolist() == [[1, 2]]  # the question is not part of the answer
        return [self.answer]


class Speaker(torch.nn.Module):
    device = torch.device("cpu")

    def generate(self, input_ids, max_new_tokens, do_sample):
        return torch.cat([input_ids, torch.tensor([[1, 2]])], dim=1)


def test_a_chat_model_is_asked_about_several_frames():
    chat = Chat("  A dog\n runs. ")
    assert VisionLanguageCaption(Speaker(), chat)(FRAMES, "dog") == "A dog runs."
    ((messages, settings),) = chat.asked
    *images, text = messages[0]["content"]
    assert [np.asarray(part["image"]).tobytes() for part in images] == [
        FRAMES[index].tobytes() for index in (0, 4, 8)
    ]
    assert "(a dog)" in text["text"]
    assert settings["add_generation_prompt"]


def test_silence_is_a_skip():
    with pytest.raises(BadMedia, match="said nothing") as error:
        VisionLanguageCaption(Speaker(), Chat(" \n"))(FRAMES, "")
    assert error.value.reason == "no_caption"
