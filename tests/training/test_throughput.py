"""The FLOP model against counted operations; the meter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sugar.model.attention import DESIGNS, GROUPS
from sugar.training.start import choose_trainable, load_start
from sugar.training.throughput import Meter, _pairs, model_flops, step_flops

LENGTHS = {"dino": 3, "clip": 3, "text": 6, "first_frame": 4, "other_frames": 8}


def _operations(model, backward: bool) -> float:
    """What torch counts in a pass."""
    generator = torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(1, 3, 4, 4, 4, generator=generator),
        torch.randn(1, 6, 16, generator=generator),
        torch.zeros(1, dtype=torch.long),
        torch.randn(1, 3, 16, generator=generator),
        torch.randn(1, 3, 16, generator=generator),
    )
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        output = model(*inputs, return_dict=False)[0]
        if backward:
            output.sum().backward()
    return counter.get_total_flops()


def _but_last(model, backward: bool) -> tuple[float, float]:
    """Operations of all blocks but the last: by the formula, and counted with them less without them.

    Of the counted ones their modulations are taken off, which meet no token.
    """
    blocks = model.transformer_blocks
    whole, counted = model_flops(model, LENGTHS), _operations(model, backward)
    model.transformer_blocks = torch.nn.ModuleList([blocks[-1]])
    last, rest = model_flops(model, LENGTHS), _operations(model, backward)
    model.transformer_blocks = blocks
    trained = sum(any(p.requires_grad for p in block.parameters()) for block in blocks[:-1])
    modulations = len(blocks) - 1 + (2 * trained if backward else 0)
    formula = whole.total - last.total if backward else whole.forward - last.forward
    return formula, counted - rest - modulations * 2 * 2 * 8 * 6 * 16


@pytest.mark.parametrize("design", ["b", "e"])
def test_forward_operations_are_those_that_are_counted(base, design) -> None:
    model = load_start(base, dino_dim=16, clip_dim=16, attention_design=design)
    with torch.no_grad():
        formula, counted = _but_last(model, backward=False)
        assert formula == pytest.approx(counted, rel=0.02)
        text_side = 2 * 10 * 16**2 * (LENGTHS["dino"] + LENGTHS["clip"] + LENGTHS["text"])
        read = 4 * 16 * _pairs(LENGTHS, model.design, GROUPS[:3])
        flops = model_flops(model, LENGTHS).forward
        assert flops - formula == pytest.approx(formula / 3 - text_side - read)


@pytest.mark.parametrize("frozen", [0.0, 0.5])
def test_backward_operations_know_the_frozen_half(base, frozen) -> None:
    model = load_start(base, dino_dim=16, clip_dim=16, attention_design="e")
    choose_trainable(model, frozen)
    formula, counted = _but_last(model, backward=True)
    assert formula == pytest.approx(counted, rel=0.05)


def test_no_gradient_reaches_frozen_blocks_that_nothing_trainable_feeds(base) -> None:
    model = load_start(base, dino_dim=16, clip_dim=16, attention_design="e")
    choose_trainable(model, 0.5, ("transformer_blocks.3", "norm_", "proj_out"))
    formula, counted = _but_last(model, backward=True)
    assert formula == pytest.approx(counted, rel=0.02)


def test_selective_attention_and_checkpointing_show() -> None:
    plain = {"width": 64, "num_blocks": 4, "lengths": LENGTHS}
    assert step_flops(**plain, design=DESIGNS["b"]).forward < step_flops(**plain, design=DESIGNS["e"]).forward
    whole = step_flops(**plain, design=DESIGNS["e"])
    again = step_flops(**plain, design=DESIGNS["e"], checkpointing=True)
    assert again.total == pytest.approx(whole.total + whole.forward)


def test_the_meter_counts_steps_and_not_what_lies_between(monkeypatch) -> None:
    now = iter([0.0, 0.25, 1.0, 50.0, 50.25, 51.0])
    monkeypatch.setattr("sugar.training.throughput.time.perf_counter", lambda: next(now))
    meter = Meter(global_batch=4, lengths=LENGTHS, flops=1e9, peak_flops=1e10)
    for _ in range(2):
        meter.start()
        meter.batch_ready()
        meter.stop()
    rates = meter.read()
    assert rates["seconds_per_step"] == pytest.approx(1.0)
    assert rates["samples_per_second"] == pytest.approx(4.0)
    assert rates["video_tokens_per_second"] == pytest.approx(48.0)
    assert rates["gigaflops"] == pytest.approx(4.0)
    assert rates["flop_utilisation"] == pytest.approx(0.4)
    assert rates["data_wait_share"] == pytest.approx(0.25)
    assert rates["checkpoint_wait_share"] == 0.0
    assert "flop_utilisation" not in Meter(4, LENGTHS, 1e9).read()


def test_the_meter_tells_how_long_checkpoints_hold_training_up(monkeypatch) -> None:
    now = iter([0.0, 0.25, 3.0, 10.0, 11.0])
    monkeypatch.setattr("sugar.training.throughput.time.perf_counter", lambda: next(now))
    meter = Meter(global_batch=4, lengths=LENGTHS, flops=1e9)
    meter.start()
    meter.batch_ready()
    meter.stop()
    with meter.saving():
        pass
    rates = meter.read()
    assert rates["seconds_per_step"] == pytest.approx(3.0)
    assert rates["checkpoint_wait_share"] == pytest.approx(0.25)
    assert (meter.total_seconds, meter.total_saving) == (3.0, 1.0)
