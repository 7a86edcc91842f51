"""The frozen half keeps no gradients, no moments; where nothing before it trains, no activations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sugar.training.ema import Ema
from sugar.training.engine import MOMENTS, Engine
from sugar.training.start import choose_trainable, load_start

LATER = ("transformer_blocks.", "norm_final.", "norm_out.", "proj_out.")


def _model(base, frozen_fraction: float, trainable: tuple[str, ...] = ()) -> Any:
    model = load_start(base, dino_dim=16, clip_dim=16)
    choose_trainable(model, frozen_fraction, trainable)
    return model.train()


def _inputs() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, 4, 4, 4, generator=generator)
    text, dino, clip = (torch.randn(2, length, 16, generator=generator) for length in (6, 3, 3))
    return latents, text, torch.tensor([5, 900]), dino, clip


def _kept_by_block(model: Any) -> list[int]:
    """Bytes of activations that each block keeps for the backward pass."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: list[dict[int, int]] = [{} for _ in model.transformer_blocks]
    inside: list[int] = []
    for number, block in enumerate(model.transformer_blocks):
        block.register_forward_pre_hook(lambda *_, number=number: inside.append(number))
        block.register_forward_hook(lambda *_: inside.clear())

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if inside and storage.data_ptr() not in weights:
            kept[inside[0]][storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(*_inputs(), return_dict=False)[0]
    assert output.requires_grad
    return [sum(storages.values()) for storages in kept]


def test_frozen_blocks_that_nothing_trains_before_keep_no_activations(base) -> None:
    kept = _kept_by_block(_model(base, 0.5, LATER))
    assert kept[:2] == [0, 0]
    assert min(kept[2:]) > 0


def test_frozen_blocks_that_gradients_cross_keep_less_than_others(base) -> None:
    everything, crossed = _kept_by_block(_model(base, 0.0)), _kept_by_block(_model(base, 0.5))
    assert all(0 < few < many for few, many in zip(crossed[:2], everything[:2], strict=True))
    assert crossed[2:] == pytest.approx(everything[2:], rel=0.01)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_the_frozen_half_has_no_gradient_moment_or_average(base, zero_stage) -> None:
    model = _model(base, 0.5)
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tensors = sum(p.requires_grad for p in model.parameters())
    engine = Engine(
        model,
        zero_stage=zero_stage,
        precision="fp32",
        micro_batch=2,
        accumulation=1,
        betas=(0.9, 0.95),
        weight_decay=0.1,
        max_grad_norm=1.0,
        device=torch.device("cpu"),
    )
    engine.backward(engine(*_inputs(), return_dict=False)[0].square().mean())
    assert engine.step(1e-3).applied
    assert len(frozen) > 20
    assert not set(frozen) & {fragment.name for fragment in engine.fragments}
    assert all(parameter.grad is None for parameter in frozen.values())
    padding = 8 * tensors  # ZeRO pads to its alignment
    for flats in (engine.masters, Ema(engine.masters, 0.9).flats, *map(engine.moments, MOMENTS)):
        assert trained <= sum(flat.numel() for flat in flats) <= trained + padding
    engine.close()
