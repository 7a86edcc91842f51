"""LoRA: low-rank changes of the blocks' matrices, trained in place of the matrices themselves.

Beside them the image projections train, which a base model does not have.

Legend: O I output and input width of a matrix, R rank. A changed matrix is `W_OI + alpha / R * B_OR A_RI`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PROJECTIONS = ("dino_proj.", "clip_proj.")
_A, _B, _BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer."


@dataclass(frozen=True)
class Lora:
    """Which matrices get a low-rank change, and of which size.

    Args:
        rank: R.
        alpha: the change's weight is alpha / rank.
        targets: ends of the names of the blocks' linear layers.

    Assumption: decision 0020 (the paper trains whole layers).
    """

    rank: int
    alpha: float
    targets: Sequence[str]

    @property
    def scale(self) -> float:
        """What the product of the two matrices is multiplied with."""
        return self.alpha / self.rank


def add_lora(model: Any, lora: Lora, first_block: int, seed: int) -> None:
    """Put LoRA layers into the blocks from `first_block` on; the model's prediction stays what it was.

    A starts with random numbers drawn from `seed`, B with zeros.

    Raises:
        ValueError: no block is left, or no layer has one of the targets' names.
    """
    num_blocks = len(model.transformer_blocks)
    if first_block >= num_blocks:
        raise ValueError(f"LoRA needs a block that is not frozen, got {first_block} frozen of {num_blocks}")
    from peft import LoraConfig

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]  (a float works, and is what one divides)
        target_modules=list(lora.targets),
        layers_to_transform=list(range(first_block, num_blocks)),
        layers_pattern="transformer_blocks",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(config)


def is_lora_weight(name: str) -> bool:
    """Whether a parameter of a model with LoRA is one of those that train: LoRA's own, image projections."""
    return name.endswith((_A, _B)) or name.startswith(PROJECTIONS)


def merged_name(name: str) -> str | None:
    """What `merged` calls a frozen tensor of a model with LoRA; None where it changes the tensor."""
    return None if name.endswith(f"{_BASE}weight") else name.replace(_BASE, ".")


def merged(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The state dictionary of a model with LoRA as that of one without: names and shapes of the base."""
    plain = {}
    for name, tensor in tensors.items():
        if name.endswith((_A, _B)):
            continue
        module, _, kind = name.partition(_BASE)
        if kind == "weight":
            tensor = tensor + scale * (tensors[module + _B] @ tensors[module + _A])
        plain[name.replace(_BASE, ".")] = tensor
    return plain


def adapter_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LoRA's tensors of a state dictionary, named as in the files that diffusers and peft exchange."""
    found = {name: tensor for name, tensor in tensors.items() if name.endswith((_A, _B))}
    return {name.replace(".default.weight", ".weight"): tensor for name, tensor in found.items()}


def projections_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image projections' tensors of a state dictionary."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(PROJECTIONS)}
