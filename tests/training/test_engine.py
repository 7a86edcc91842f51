"""All ZeRO stages are one optimizer: same losses, same masters, exact exchange of weights."""

from __future__ import annotations

import pytest
import torch

from sugar.training.ema import Ema
from sugar.training.engine import MOMENTS, Engine, choose_device

STAGES = [0, 1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = torch.nn.Linear(6, 8)
        self.first = torch.nn.Linear(8, 8)
        self.second = torch.nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(torch.tanh(self.frozen(x)))))


def _net() -> _Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _Net()
    net.frozen.requires_grad_(False)
    return net


def _engine(
    net: _Net, stage: int, precision: str = "fp32", max_grad_norm: float = 0.5, offload: bool = False
) -> Engine:
    return Engine(
        net,
        zero_stage=stage,
        precision=precision,
        micro_batch=4,
        accumulation=1,
        betas=(0.9, 0.95),
        weight_decay=0.1,
        max_grad_norm=max_grad_norm,
        offload_optimizer=offload,
        device=torch.device("cpu"),
    )


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 6, generator=generator), 5 * torch.randn(4, 6, generator=generator)


def _masters(engine: Engine) -> dict[str, torch.Tensor]:
    whole = {f.name: torch.full((torch.Size(f.shape).numel(),), torch.nan) for f in engine.fragments}
    for f in engine.fragments:
        whole[f.name][f.start : f.start + f.numel] = f.of(engine.masters)
    return {name: flat.view(engine.shapes[name]) for name, flat in whole.items()}


def _one_step(engine: Engine, scale: float = 1.0):
    x, y = _data()
    engine.backward(((engine(x.to(engine.dtype)).float() * scale - y) ** 2).mean())
    return engine.step(1e-2)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_steps_as_plain_adamw_does(stage) -> None:
    reference = _net()
    trainable = [p for p in reference.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    x, y = _data()
    engine = _engine(_net(), stage)
    ema = Ema(engine.masters, 0.9)
    averages = {name: p.detach().clone() for name, p in reference.named_parameters() if p.requires_grad}
    for k in range(1, 5):
        optimizer.zero_grad()
        ((reference(x) - y) ** 2).mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(trainable, 0.5)
        optimizer.step()
        result = _one_step(engine)
        ema.update(engine.updates)
        assert result.applied
        assert engine.updates == k
        assert result.grad_norm == pytest.approx(float(norm), rel=1e-4)
        decay = min(0.9, (1 + k) / (10 + k))
        for name, parameter in reference.named_parameters():
            if parameter.requires_grad:
                averages[name] = decay * averages[name] + (1 - decay) * parameter.detach()
    for name, master in _masters(engine).items():
        torch.testing.assert_close(
            master, dict(reference.named_parameters())[name].detach(), atol=1e-5, rtol=1e-5
        )
    with engine.weights(ema.flats):
        for name, tensor in engine.whole(list(averages)).items():
            torch.testing.assert_close(tensor, averages[name], atol=1e-5, rtol=1e-5)
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_gradient_that_is_not_finite_changes_nothing(stage, precision) -> None:
    engine = _engine(_net(), stage, precision)
    assert _one_step(engine).applied
    before = [m.clone() for m in (*engine.masters, *engine.moments("exp_avg"), *engine.moments("exp_avg_sq"))]
    result = _one_step(engine, scale=float("inf"))
    assert not result.applied
    assert engine.updates == 1
    after = [*engine.masters, *engine.moments("exp_avg"), *engine.moments("exp_avg_sq")]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert _one_step(engine).applied
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_an_offloaded_optimizer_makes_the_same_steps_and_skips_the_same(stage, precision) -> None:
    left = []
    for offload in (False, True):
        engine = _engine(_net(), stage, precision, offload=offload)
        ema = Ema(engine.masters, 0.9)
        for scale in (1.0, 1.0, float("inf"), 1.0):
            if _one_step(engine, scale).applied:
                ema.update(engine.updates)
        assert engine.updates == 3
        state = [*engine.masters, *ema.flats, *engine.moments("exp_avg"), *engine.moments("exp_avg_sq")]
        assert {tensor.device.type for tensor in state} == {"cpu"}
        with engine.weights(ema.flats):
            average = dict(engine.whole(list(engine.shapes)))
        left.append((_masters(engine), average, dict(engine.whole(list(engine.shapes)))))
        engine.close()
    for plain, offloaded in zip(*left, strict=True):
        for name, tensor in plain.items():
            torch.testing.assert_close(offloaded[name], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", STAGES)
def test_other_weights_for_a_while_and_back_bit_for_bit(stage, precision) -> None:
    net = _net()
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    engine = _engine(net, stage, precision)
    names = list(start)
    for name, master in _masters(engine).items():
        assert torch.equal(master, start[name]), "masters keep fp32 precision"
    _one_step(engine)
    before = engine.whole(names)
    with engine.weights([torch.full_like(m, 0.25) for m in engine.masters]) as module:
        assert not module.training
        inside = engine.whole(names)
    after = engine.whole(names)
    assert module.training
    for name in names:
        assert torch.equal(before[name], after[name])
        assert torch.equal(inside[name], start[name].to(engine.dtype)) == name.startswith("frozen")
        assert name.startswith("frozen") or bool((inside[name] == 0.25).all())
    engine.close()


@pytest.mark.parametrize("stage", STAGES)
def test_the_frozen_part_has_no_gradient_and_no_optimizer_state(stage) -> None:
    net = _net()
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    engine = _engine(net, stage)
    _one_step(engine)
    assert sum(f.numel for f in engine.fragments) == trainable
    assert not any(f.name.startswith("frozen") for f in engine.fragments)
    for key in MOMENTS:
        assert sum(t.numel() for t in engine.moments(key)) <= trainable + 64  # ZeRO pads to its alignment
    assert net.frozen.weight.grad is None
    engine.close()


def test_cuda_is_never_replaced_silently(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(RuntimeError, match="no CUDA device"):
        choose_device("cuda")
