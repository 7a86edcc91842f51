"""The loop resumes to the same bits, batches come in order, Muon's views are the parameters themselves."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sugar.foundation.loop import (
    LoopSettings,
    drawn_by_a_thread,
    drawn_by_processes,
    learning_rate_at,
    train_network,
)
from sugar.foundation.optimizer import BatchedMuon, MuonAdamW


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2))


def draw(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 16, 3, 3, generator=generator)
    return x, x.mean(dim=(1, 2, 3))


def run(folder: Path, stops: list[int]) -> torch.nn.Module:
    module = network()
    for steps in stops:
        module = network()
        # the schedule is that of the whole run; a stop is a run that ends early at a checkpoint
        settings = LoopSettings("test", 8, 1e-2, warmup_steps=2, checkpoint_every=2, precision="fp32")

        def loss(
            batch: tuple[torch.Tensor, torch.Tensor],
            step: int,
            module: torch.nn.Module = module,
            last: int = steps,
        ) -> dict[str, torch.Tensor]:
            if step >= last:
                raise KeyboardInterrupt
            return {"loss": (module(batch[0])[:, 0] - batch[1]).square().mean()}

        try:
            train_network(module, draw, loss, settings, folder / "state.pt")
        except KeyboardInterrupt:
            continue
    return module


def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", [99])
    parts = run(tmp_path / "parts", [3, 5, 99])
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_learning_rate_warms_up_and_ends_at_its_final_share() -> None:
    settings = LoopSettings("test", 100, 1.0, warmup_steps=10, final_rate=0.05)
    assert learning_rate_at(0, settings) == 0.1
    assert learning_rate_at(10, settings) == 1.0
    assert abs(learning_rate_at(100, settings) - 0.05) < 1e-9


def test_muon_changes_the_convolution_in_place_and_leaves_small_tensors_to_adamw() -> None:
    module = network()
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = MuonAdamW(module, 1e-2, 0.0)
    assert [p.shape for p in optimizer.matrices] == [(16, 16, 3, 3)]
    module(draw(0)[0]).square().mean().backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    change = (module[0].weight - before[0]).detach().reshape(16, -1)
    gradient = optimizer.views[0].grad
    assert gradient is not None

    def spread(matrix: torch.Tensor) -> float:
        singular = torch.linalg.svdvals(matrix)
        return float(singular[0] / singular[4])

    assert spread(change) < spread(gradient) / 1.5, "an orthogonalised update has more even singular values"


def draws(how: str, draw: Callable[[int], Any], start: int, stop: int) -> Iterator[Any]:
    if how == "thread":
        return drawn_by_a_thread(draw, start, stop)
    return drawn_by_processes(draw, start, stop, num_workers=2, pinned=False)


@pytest.mark.parametrize("how", ["thread", "processes"])
def test_batches_come_in_order(how: str) -> None:
    def slow_draw(step: int) -> dict[str, tuple[torch.Tensor, ...]]:
        time.sleep(0.002 * (step % 3))
        return {"step": (torch.tensor(step),)}

    assert [int(batch["step"][0]) for batch in draws(how, slow_draw, 5, 25)] == list(range(5, 25))


@pytest.mark.parametrize("how", ["thread", "processes"])
def test_a_draw_that_fails_ends_the_training(how: str) -> None:
    def draw(step: int) -> torch.Tensor:
        if step == 3:
            raise ValueError("at step 3")
        return torch.zeros(1)

    with pytest.raises(ValueError, match="at step 3"):
        list(draws(how, draw, 0, 9))


def test_muon_by_shapes_does_what_muon_does() -> None:
    """Up to bf16, in which the directions are computed; and either reads the other's state."""
    shapes = [(24, 16), (16, 40), (24, 16), (32, 32), (16, 40)]
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    options = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    batched, plain = BatchedMuon(ours, **options), torch.optim.Muon(theirs, **options)
    for step in range(6):
        if step == 3:
            batched.load_state_dict(copy.deepcopy(plain.state_dict()))
        for one, other, shape in zip(ours, theirs, shapes, strict=True):
            one.grad = torch.randn(shape, generator=generator)
            other.grad = one.grad.clone()
        batched.step()
        plain.step()
    for one, other, value in zip(ours, theirs, start, strict=True):
        moved = (other - value).detach().norm()
        assert (one - other).detach().norm() < 0.02 * moved
