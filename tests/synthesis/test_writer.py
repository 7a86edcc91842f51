"""Prompts by a language model: which answers are taken, and what is said of the others."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_generators import byte_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import sugar.synthesis.writer
from sugar.config import InputError
from sugar.data.shard_pool import Skips
from sugar.data.subjects import Subject
from sugar.synthesis.attributes import lost_attribute
from sugar.synthesis.backends import Generators
from sugar.synthesis.dataset import source_dataset, synthesize_dataset
from sugar.synthesis.generators import Machine
from sugar.synthesis.prompts import MOTIONS_OF_CATEGORY, Prompt, make_prompt, phrases
from sugar.synthesis.shard import SynthesisRecipe, synthesize_shard
from sugar.synthesis.sourcing import sprite_subjects
from sugar.synthesis.wide_prompts import make_wide_prompt, wide_phrases
from sugar.synthesis.writer import PromptWriter, Writer, first_sentence, unfit

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
GRAMMARS = {"sprites": (make_prompt, phrases), "wide": (make_wide_prompt, wide_phrases)}
SAID = phrases("animal")


def save_model(folder: Path, tokenizer, kind: str = "llama") -> Path:
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=1024)
        model: torch.nn.Module = GPT2LMHeadModel(config)
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("writer"), byte_tokenizer())


@pytest.mark.parametrize(
    "answer, reason",
    [
        ('"A golden cat rests on the moon."\nThat is it.', ""),
        ("The cat's whiskers shine in gold.", ""),
        ("A golden dog rests on the moon.", "subject"),
        ("A category of things here is shown.", "subject"),
        ("A bobcat rests on the moon.", "subject"),
        ("cat", "length"),
        ("", "length"),
        ("A cat " + "very " * 50 + "large", "length"),
        ("A cat \ufffd\ufffd sits here", "characters"),
    ],
)
def test_what_a_language_model_may_write(answer, reason):
    assert unfit(first_sentence(answer), "cat", 20) == reason


def test_a_noun_of_several_words_may_be_anywhere_and_in_capitals():
    assert unfit("Here the Red  Panda rests today", "red panda", 20) == ""
    assert unfit("Here a red cat and a panda rest", "red panda", 20) == "subject"


@pytest.mark.parametrize("grammar", GRAMMARS)
@pytest.mark.parametrize("category", MOTIONS_OF_CATEGORY)
def test_the_grammar_says_all_of_its_tags_and_no_others(grammar, category):
    make, said = GRAMMARS[grammar]
    for seed in range(200):
        prompt = make("pangolin", category, seed, real_motion_share=0.5)
        assert lost_attribute(prompt.text, prompt, said(category)) == ""
        for attribute, table in said(category).items():
            if (tag := getattr(prompt, attribute)) in table:
                wrong = prompt._replace(**{attribute: next(name for name in table if name != tag)})
                assert lost_attribute("a pangolin is here", prompt, said(category))
                if grammar == "sprites":
                    assert lost_attribute(prompt.text, wrong, said(category)) == attribute


def test_an_attribute_may_be_said_in_other_words():
    prompt = make_prompt("cat", "animal", 0)._replace(style="watercolour", background="snow", motion="spin")
    assert lost_attribute("In snowy silence a cat spins, in watercolors", prompt, SAID) == ""
    assert lost_attribute("In snowy silence a cat spins, painted softly", prompt, SAID) == ""
    assert lost_attribute("In snowy silence a cat spins, drawn softly", prompt, SAID) == "style"
    assert lost_attribute("On green grass a watercolour cat spins", prompt, SAID) == "background"
    assert lost_attribute("In snow a watercolour cat waits", prompt, SAID) == "motion"
    assert lost_attribute("In snow a watercolour cat waits", prompt._replace(motion="still"), SAID) == ""


def test_a_sentence_is_taken_once_and_with_its_tags_or_the_grammar_stays(folder):
    write = PromptWriter(Writer(str(folder), max_words=12))
    texts = ("a cat made of gold is resting in space", "in outer space a golden statue of a cat is resting")
    prompts = [Prompt(text, "gold", "space", "still", "pan") for text in texts]
    refused = write(prompts, "cat", SAID, set())
    assert [prompt.text for prompt in refused] == [prompt.text for prompt in prompts]
    assert all(prompt.writer == "grammar" and prompt.refused for prompt in refused), "random weights"
    questions = [write._question(prompt, "cat") for prompt in prompts]
    assert all(prompt.text in question for prompt, question in zip(prompts, questions, strict=True))
    assert write.answers(questions)[1] == write.answers(questions[1:])[0]

    def say(*answers: str):
        write.answers = lambda questions: list(answers)  # type: ignore[method-assign]
        return write(prompts, "cat", SAID, taken)

    taken: set[str] = set()
    first, second = say("A golden cat sleeps in space.", "a golden cat sleeps, in space")
    assert (first.text, first.writer) == ("A golden cat sleeps in space.", "language model")
    assert (first.style, first.refused) == ("gold", "")
    assert (second.text, second.writer, second.refused) == (prompts[1].text, "grammar", "repeated")
    assert second.answer == "a golden cat sleeps, in space"
    reasons = [prompt.refused for prompt in say("A GOLDEN cat sleeps in space", "A cat sleeps in space now")]
    assert reasons == ["repeated", "style"], "an earlier subject of the shard has it already"
    assert [prompt.refused for prompt in say(prompts[1].text, prompts[1].text)] == ["repeated"] * 2


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_without_a_padding_token_the_end_of_a_sequence_pads(kind, tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    tokenizer.eos_token = "<|endoftext|>"
    write = PromptWriter(Writer(str(save_model(tmp_path / "a", tokenizer, kind)), max_words=8))
    assert write.answers(["a cat", "a cat in the snow"])[0] == write.answers(["a cat"])[0]
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="padding token or one that ends a sequence"):
        PromptWriter(Writer(str(save_model(tmp_path / "b", tokenizer, kind))))


def test_a_chat_template_starts_a_sequence_once(folder):
    from tokenizers.processors import TemplateProcessing

    write = PromptWriter(Writer(str(folder), max_words=8))
    mark = "<|im_start|>"
    write.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{mark} $A", special_tokens=[(mark, write.tokenizer.convert_tokens_to_ids(mark))]
    )
    seen = []
    generate = write.model.generate
    write.model.generate = lambda **tokens: seen.append(tokens["input_ids"]) or generate(**tokens)
    write.answers(["a cat"])
    write.tokenizer.chat_template = mark + "{{ messages[0]['content'] }}"
    write.answers([write._question(make_prompt("cat", "animal", 0), "cat")])
    number = write.tokenizer.convert_tokens_to_ids(mark)
    assert [int((tokens == number).sum()) for tokens in seen] == [1, 1]


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_an_offloaded_writer_leaves_the_device_to_the_pipelines(folder, offload, monkeypatch):
    plain = PromptWriter(Writer(str(folder), max_words=8))
    with pytest.raises(InputError, match="needs a GPU"):
        PromptWriter(Writer(str(folder), machine=Machine(offload=offload)))
    # No GPU here: a CPU that says it is none is enough to see what goes where.
    monkeypatch.setattr(sugar.synthesis.writer, "device_of", lambda machine: torch.device("cpu"))
    write = PromptWriter(Writer(str(folder), max_words=8, machine=Machine("cuda", offload=offload)))
    to, generate, seen = write.model.to, write.model.generate, []
    monkeypatch.setattr(write.model, "to", lambda device: seen.append(device) or to(device))
    monkeypatch.setattr(
        write.model, "generate", lambda **tokens: seen.append("generate") or generate(**tokens)
    )
    assert write.answers(["a cat"]) == plain.answers(["a cat"])
    assert seen == ([torch.device("cpu"), "generate", "cpu"] if offload == "model" else ["generate"])
    hooked = [hasattr(layer, "_hf_hook") for layer in write.model.modules() if list(layer.parameters(False))]
    assert hooked == [offload == "sequential"] * len(hooked)


def recipe(folder: Path) -> SynthesisRecipe:
    return SynthesisRecipe(0, 8, 5, 32, 32, 2, generators=Generators(writer=Writer(str(folder), max_words=8)))


def test_a_model_that_always_says_the_same_gives_no_prompt_twice(folder):
    made = recipe(folder)
    backends = made.load()
    same = [
        "A golden neon pencil pixel watercolour cat in a cosy space city rests on snow, beach and meadow."
    ]
    backends.write.answers = lambda questions: same * len(questions)  # type: ignore[attr-defined]
    backends.write.max_words = 40  # type: ignore[attr-defined]
    image = np.full((32, 32, 4), 255, np.uint8)
    subjects = [Subject(key, image, "cat", "static_object") for key in "abc"]
    triplets = list(
        synthesize_shard(
            subjects,
            made,
            backends,
            cut=lambda *_, **__: pytest.fail("the pictures are cut out already"),
            score=lambda made: [{"identity": 1.0} for _ in made],
            on_skip=Skips().add,
        )
    )
    assert len({triplet.prompt for triplet in triplets}) == len(triplets) == 6
    assert [triplet.prompt for triplet in triplets].count(same[0]) == 1
    assert sum(triplet.provenance.get("prompt_refused") == "repeated" for triplet in triplets) >= 3


def test_a_model_whose_sentences_are_refused_is_told_of(folder, tmp_path, caplog):
    source_dataset(tmp_path / "subjects", lambda: sprite_subjects(2, 0, 32), Skips())
    score = SimpleNamespace(of=lambda triplets: [{"identity": 1.0} for _ in triplets])
    arguments = {"make_cut": lambda: None, "make_score": lambda: score.of, "networks_digest": ""}
    with caplog.at_level(logging.WARNING):
        figures = synthesize_dataset(tmp_path / "subjects", tmp_path / "a", recipe(folder), **arguments)
    assert (figures["prompts_by_language_model"], figures["prompts_refused"]) == (0, 4)
    assert sum(value for name, value in figures.items() if name.startswith("prompts_refused_")) == 4
    assert f"4 of 4 sentences of {folder} were refused, e.g. for its" in caplog.text
    plain = SynthesisRecipe(0, 8, 5, 32, 32, 2)
    figures = synthesize_dataset(tmp_path / "subjects", tmp_path / "b", plain, **arguments)
    assert not any(name.startswith("prompts_") for name in figures)
