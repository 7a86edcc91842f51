"""Prompts enriched by a causal language model of transformers (SUGAR section 3.1).

The model rewrites the sentence of the grammar. Its answer is taken when it is one sentence of a fit length
that still names the subject and what the tags say, and that nobody has said before; else the grammar's
sentence stays. Which it was, and why, is kept beside the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sugar.synthesis.attributes import lost_attribute
from sugar.synthesis.generators import Machine, device_of, on_device, place_network
from sugar.synthesis.prompts import Phrases, Prompt

INSTRUCTION = """\
Rewrite this caption of a short video as one vivid sentence of at most {max_words} words. Keep "{noun}",
style, material, colours, place and action; add nothing that moves. Answer with the sentence alone.
Caption: {text}"""
MIN_WORDS = 4
MAX_KEPT = 200
"""Characters of a refused answer that are kept."""


@dataclass(frozen=True)
class Writer:
    """A language model: folder or hub id, its digest, the longest sentence it may write, where it runs."""

    model: str
    max_words: int = 40
    digest: str = ""
    machine: Machine = field(default_factory=Machine)


class PromptWriter:
    """Rewrites prompts; greedy, so that a prompt is a function of its grammar's sentence.

    Raises:
        InputError: the model or its tokenizer cannot be loaded, or an offload without a GPU.
    """

    def __init__(self, writer: Writer) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from sugar.encoders.loading import load_network, load_tokenizer

        self.machine, self.device = writer.machine, device_of(writer.machine)
        dtype = getattr(torch, writer.machine.dtype)
        self.tokenizer = load_tokenizer(writer.model, pad_with_eos=True)
        self.tokenizer.padding_side = "left"
        self.model = load_network(AutoModelForCausalLM, writer.model, dtype=dtype)
        place_network(self.model, self.machine, self.device)
        self.max_words = writer.max_words

    def __call__(
        self, prompts: Sequence[Prompt], noun: str, phrases: Phrases, taken: set[str]
    ) -> list[Prompt]:
        """The prompts of one noun, rewritten where the answer is fit; `writer` and `refused` say which.

        Args:
            phrases: of the grammar, see `lost_attribute`.
            taken: sentences, as `normal` gives them, that must not be said again; these are added to it.
        """
        answers = self.answers([self._question(prompt, noun) for prompt in prompts])
        taken |= {normal(prompt.text) for prompt in prompts}
        written = []
        for prompt, answer in zip(prompts, answers, strict=True):
            sentence = first_sentence(answer)
            reason = unfit(sentence, noun, self.max_words) or lost_attribute(sentence, prompt, phrases)
            if not reason and normal(sentence) in taken:
                reason = "repeated"
            if reason:
                written.append(prompt._replace(refused=reason, answer=sentence[:MAX_KEPT]))
            else:
                taken.add(normal(sentence))
                written.append(prompt._replace(text=sentence, writer="language model"))
        return written

    def answers(self, questions: Sequence[str]) -> list[str]:
        """What the model says to each."""
        # A chat template writes the marks at the start by itself.
        marks = not self.tokenizer.chat_template
        tokens = self.tokenizer(
            list(questions), return_tensors="pt", padding=True, add_special_tokens=marks
        ).to(self.device)
        with on_device(self.model, self.machine, self.device):
            new = self.model.generate(
                **tokens,
                max_new_tokens=3 * self.max_words,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        return self.tokenizer.batch_decode(new[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True)

    def _question(self, prompt: Prompt, noun: str) -> str:
        text = INSTRUCTION.format(max_words=self.max_words, noun=noun, text=prompt.text)
        if not self.tokenizer.chat_template:
            return f"{text}\nSentence:"
        messages: Any = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def first_sentence(answer: str) -> str:
    """The first line of an answer without quotes."""
    return next(iter(answer.strip().splitlines()), "").strip().strip("\"'“”*").strip()


def unfit(sentence: str, noun: str, max_words: int) -> str:
    """Why a sentence cannot stand for a subject: "length", "characters" or "subject"; empty if it can."""
    if not MIN_WORDS <= len(sentence.split()) <= max_words:
        return "length"
    if "\ufffd" in sentence or not sentence.isprintable():
        return "characters"
    named = r"\s+".join(re.escape(word) for word in noun.split())
    return "" if re.search(rf"(?<![\w-]){named}(?![\w-])", sentence, re.IGNORECASE) else "subject"


def normal(sentence: str) -> str:
    """A sentence by its words alone, to know it again."""
    return " ".join(re.findall(r"\w+", sentence.casefold()))
