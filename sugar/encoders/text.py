"""CogVideoX's text encoder: prompts to token embeddings. Axes: B batch, L tokens, D width."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sugar.encoders.loading import load_network, load_tokenizer


def load_text_encoder(
    base: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """Tokenizer and `T5EncoderModel` of a CogVideoX folder or hub id (its "tokenizer" and "text_encoder")."""
    from transformers import T5EncoderModel

    tokenizer = load_tokenizer(base, subfolder="tokenizer")
    model = load_network(T5EncoderModel, base, subfolder="text_encoder", device=device, dtype=dtype)
    return tokenizer, model


@torch.no_grad()
def encode_text(tokenizer: Any, model: Any, prompts: Sequence[str], max_length: int) -> torch.Tensor:
    """Text tokens as CogVideoX conditions on them.

    Prompts are padded and cut to `max_length` (the transformer's `max_text_seq_length`), and as in
    CogVideoX's own pipeline no attention mask is used: the padding tokens are part of the condition.

    Returns:
        float32 [B, max_length, D] on the model's device.
    """
    if not prompts:
        raise ValueError("encode_text needs at least one prompt")
    tokens = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=max_length,
        truncation=True,
        add_special_tokens=True,
        return_tensors="pt",
    )
    return model(tokens["input_ids"].to(model.device))[0].float()
