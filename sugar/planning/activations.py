"""Memory of the activations of one training pass, found by making the pass on the meta device.

Forward and backward run with tensors that have shapes and no storage; a ledger adds every storage that an
operation would allocate and takes it off when its last tensor dies. Selective attention, frozen blocks,
checkpointing and temporaries of the backward pass are all in it, because it is the very code that trains.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sugar.diffusion.objective import diffusion_loss
from sugar.model.checkpointing import Checkpointing, prepare_blocks
from sugar.model.lora import Lora
from sugar.model.processor import SelectiveAttnProcessor
from sugar.planning.architecture import Architecture
from sugar.planning.memory import Activations
from sugar.training.start import choose_trainable


class Ledger(TorchDispatchMode):
    """Counts the bytes of storages that operations make, while they live.

    Args:
        known: tensors that were there before and do not count.
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._held = known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, storage.nbytes())

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class _FusedAttention(SelectiveAttnProcessor):
    """A fused kernel's memory: left to itself, the meta device takes the kernel that keeps L x L."""

    def _attend(self, query_BLNK: Tensor, key_BLNK: Tensor, value_BLNK: Tensor) -> Tensor:
        fused: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out = fused(*(t.transpose(1, 2) for t in (query_BLNK, key_BLNK, value_BLNK)))[0]
        return out.transpose(1, 2)


def measure_activations(
    architecture: Architecture,
    *,
    frozen_fraction: float,
    trainable: Sequence[str],
    lora: Lora | None = None,
    checkpointing: Checkpointing,
    micro_batch: int,
    dtype: torch.dtype,
) -> Activations:
    """The activations of one micro-batch.

    All blocks are alike, so a deep model is measured with one block more of either kind, frozen and trained,
    and continued: memory is linear in their numbers. With `trainable` prefixes every block is passed through.
    """
    num_blocks = int(architecture.config["num_layers"])
    frozen = math.floor(num_blocks * frozen_fraction)

    def measured(num_frozen: int, num_trained: int) -> tuple[int, int]:
        depth = num_frozen + num_trained
        model: Any = replace(architecture, config={**architecture.config, "num_layers": depth}).meta_model()
        whole = depth == num_blocks
        choose_trainable(model, frozen_fraction if whole else num_frozen / depth, trainable, lora)
        prepare_blocks(model, checkpointing)
        return _trained_pass(model, architecture, micro_batch, dtype)

    counts = (frozen, num_blocks - frozen)
    start = (min(2, counts[0]), min(2, counts[1]))
    shallow: Any = replace(architecture, config={**architecture.config, "num_layers": 2}).meta_model()
    with torch.no_grad():
        _, inference = _pass(_prepared(shallow, dtype), architecture, micro_batch, dtype)
    if trainable or start == counts:
        kept, peak = measured(*counts)
        return Activations(kept, peak, inference)
    kept, peak = first = measured(*start)
    for kind in (0, 1):
        more = counts[kind] - start[kind]
        if more:
            deeper = measured(start[0] + (kind == 0), start[1] + (kind == 1))
            kept, peak = kept + more * (deeper[0] - first[0]), peak + more * (deeper[1] - first[1])
    return Activations(kept, peak, inference)


def _prepared(model: Any, dtype: torch.dtype) -> Any:
    for block in model.transformer_blocks:
        block.attn1.set_processor(_FusedAttention())
    return torch.nn.Module.to(model, dtype).train()  # diffusers' own `to` warns at every other dtype


def _trained_pass(
    model: Any, architecture: Architecture, micro_batch: int, dtype: torch.dtype
) -> tuple[int, int]:
    """`_pass` without the gradients of the weights: they are planned by ZeRO stage."""
    for parameter in _prepared(model, dtype).parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
    return _pass(model, architecture, micro_batch, dtype)


def _pass(model: Any, architecture: Architecture, micro_batch: int, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes when the forward pass ends and at the fullest moment of forward and, with gradients, backward."""
    batch = _batch(architecture, micro_batch, dtype)
    target = torch.empty_like(batch[0])
    ledger = Ledger([*model.parameters(), *model.buffers()])
    with ledger:
        latents, text, dino, clip = (tensor.clone() for tensor in batch)
        timesteps = torch.empty(micro_batch, dtype=torch.long, device="meta")
        prediction = model(latents, text, timesteps, dino, clip, return_dict=False)[0]
        kept = ledger.now
        loss = diffusion_loss(prediction, target).mean()
        if torch.is_grad_enabled():
            loss.backward()
    return kept, ledger.peak


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _batch(architecture: Architecture, size: int, dtype: torch.dtype) -> list[Tensor]:
    config = architecture.config
    text = (config["max_text_seq_length"], config["text_embed_dim"])
    frames, *picture = architecture.latents
    frames += -frames % (config.get("patch_size_t") or 1)  # as `sugar.model.patches.pad_frames`
    shapes = ((frames, *picture), text, architecture.dino, architecture.clip)
    return [torch.empty(size, *shape, dtype=dtype, device="meta") for shape in shapes]
