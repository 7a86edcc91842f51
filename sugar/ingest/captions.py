"""Captions by a vision-language model of transformers, for clips that come without a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sugar.config import InputError
from sugar.data.image_io import BadMedia
from sugar.encoders.hub import cached_commit

Caption = Callable[[np.ndarray, str], str]
"""From frames uint8 [T, H, W, 3] and a noun (empty: unknown) to a sentence."""

QUESTION = (
    "Describe what happens in this video in one sentence: the subject{noun}, its looks, its motion and the "
    "place."
)
NUM_FRAMES = 3
MAX_NEW_TOKENS = 64
MAX_LENGTH = 400


class VisionLanguageCaption:
    """Captions from a few frames of a clip, decoded greedily: equal frames, equal words.

    Models with a chat template (Qwen2.5-VL, SmolVLM, LLaVA, ...) are asked a question about several frames;
    models without one (BLIP, GIT) describe the middle frame.

    Args:
        model: an image-text-to-text model; processor: its processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor

    @classmethod
    def from_pretrained(cls, name: str | Path, device: Any = "cpu") -> VisionLanguageCaption:
        """Load a folder or hub id.

        Raises:
            InputError: there is no such model, or it does not make text from pictures.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            revision = cached_commit(name) or "main"
            processor = AutoProcessor.from_pretrained(name, revision=revision)
            model = AutoModelForImageTextToText.from_pretrained(name, revision=revision)
        except (OSError, ValueError, KeyError) as error:
            why = str(error).strip().splitlines()[0]
            raise InputError(
                f"networks.captioner: {name} must be an image-text-to-text model ({why})"
            ) from error
        return cls(model.to(device), processor)

    def __call__(self, frames_THWC: np.ndarray, noun: str) -> str:
        """One sentence about a clip.

        Raises:
            BadMedia: "no_caption", the model said nothing.
        """
        import torch

        inputs = self._inputs(frames_THWC, noun).to(self.model.device)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        if self._chats():
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        text = " ".join(self.processor.batch_decode(tokens, skip_special_tokens=True)[0].split())[:MAX_LENGTH]
        if not text:
            raise BadMedia("no_caption", "the captioner said nothing")
        return text

    def _chats(self) -> bool:
        return bool(getattr(self.processor, "chat_template", None))

    def _inputs(self, frames_THWC: np.ndarray, noun: str) -> Any:
        from PIL import Image

        if not self._chats():
            middle = Image.fromarray(frames_THWC[len(frames_THWC) // 2])
            return self.processor(images=[middle], return_tensors="pt")
        chosen = np.linspace(0, len(frames_THWC) - 1, min(NUM_FRAMES, len(frames_THWC))).round().astype(int)
        content: list[dict[str, Any]] = [
            {"type": "image", "image": Image.fromarray(frames_THWC[index])} for index in chosen.tolist()
        ]
        content.append({"type": "text", "text": QUESTION.format(noun=f" (a {noun})" if noun else "")})
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
