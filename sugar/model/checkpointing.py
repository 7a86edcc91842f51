"""How a model's blocks are run in training: checkpointing, compilation, attention kernel.

Selective activation checkpointing keeps the expensive products (matrix products and attention) and computes
norms, modulation, rotation and activations again: a few per cent of the operations. Full checkpointing
(diffusers' own) keeps a block's input alone and runs the whole block again: a third more operations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Checkpointing = bool | str
_KEPT = ("mm", "addmm", "bmm")
BACKENDS = {"native": "native", "flash": "_native_flash", "cudnn": "_native_cudnn", "flex": "flex"}
"""Names of `training.attention_backend` -> those of diffusers."""
_KEPT_ATTENTION = ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")


def kept_operations() -> list[Any]:
    """What is kept: matrix products, and the attention kernels that this torch has."""
    aten = torch.ops.aten
    names = [*_KEPT, *(f"_scaled_dot_product_{name}" for name in _KEPT_ATTENTION)]
    return [getattr(aten, name).default for name in names if hasattr(aten, name)]


def selective_checkpoint(compiled: bool = False) -> Callable[..., Any]:
    """The function for `enable_gradient_checkpointing(...)` of a diffusers model.

    Args:
        compiled: blocks are compiled, so that what is computed again is fused with what reads it.
    """
    contexts = partial(create_selective_checkpoint_contexts, kept_operations())

    def run(block: Any, *arguments: Any) -> Any:
        return checkpoint(block, *arguments, use_reentrant=False, context_fn=contexts)

    return torch.compile(run) if compiled else run


def prepare_blocks(
    model: Any, checkpointing: Checkpointing, compiled: bool = False, attention_backend: str | None = None
) -> None:
    """Choose how the blocks of a diffusers model are run; what they compute stays the same up to rounding.

    Args:
        checkpointing: False, True (full) or "selective".
        compiled: through `torch.compile`, block by block (the first step takes a minute longer).
        attention_backend: a key of `BACKENDS`; None: what is active.
    """
    if attention_backend is not None:
        model.set_attention_backend(BACKENDS[attention_backend])
    if checkpointing == "selective":
        model.enable_gradient_checkpointing(selective_checkpoint(compiled))
        return
    if checkpointing:
        model.enable_gradient_checkpointing()
    if compiled:
        model.compile_repeated_blocks()
