"""Prompts enriched by a causal language model of transformers (SUGAR section 3.1).

The model rewrites the sentence of the grammar. Its answer is taken when it is one sentence of a fit length
that still names the subject; else the grammar's sentence stays. Which it was is kept beside the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sugar.synthesis.generators import Machine
from sugar.synthesis.prompts import Prompt

INSTRUCTION = """\
Rewrite this caption of a short video as one vivid sentence of at most {max_words} words. Keep "{noun}",
style, material, colours, place and action; add nothing that moves. Answer with the sentence alone.
Caption: {text}"""
MIN_WORDS = 4


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
        InputError: the model or its tokenizer cannot be loaded.
    """

    def __init__(self, writer: Writer) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from sugar.encoders.loading import load_network, load_tokenizer, resolve_device

        device = resolve_device(writer.machine.device)
        self.model = load_network(
            AutoModelForCausalLM, writer.model, device=device, dtype=getattr(torch, writer.machine.dtype)
        )
        self.tokenizer = load_tokenizer(writer.model)
        self.tokenizer.padding_side = "left"
        self.max_words = writer.max_words

    def __call__(self, prompts: Sequence[Prompt], noun: str) -> list[Prompt]:
        """The prompts of one noun, rewritten where the answer is fit; `writer` says by whom."""
        answers = self.answers([self._question(prompt, noun) for prompt in prompts])
        fit = [fit_sentence(answer, noun, self.max_words) for answer in answers]
        return [
            prompt._replace(text=text, writer="language model") if text else prompt
            for prompt, text in zip(prompts, fit, strict=True)
        ]

    def answers(self, questions: Sequence[str]) -> list[str]:
        """What the model says to each."""
        tokens = self.tokenizer(list(questions), return_tensors="pt", padding=True).to(self.model.device)
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


def fit_sentence(answer: str, noun: str, max_words: int) -> str | None:
    """The first line of an answer without quotes, if it is a sentence that names the subject; else None."""
    line = next(iter(answer.strip().splitlines()), "").strip().strip("\"'“”*").strip()
    words = line.split()
    named = re.search(rf"\b{re.escape(' '.join(noun.split()))}", line, re.IGNORECASE)
    odd = any(not character.isprintable() for character in line) or "\ufffd" in line
    return line if named and not odd and MIN_WORDS <= len(words) <= max_words else None
