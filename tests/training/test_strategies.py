"""Strategies are data."""

from __future__ import annotations

import pytest

from sugar.config import InputError
from sugar.training.strategies import STRATEGIES, Phase, Strategy, resolve_strategy, stage_phases


def test_the_paper_s_strategies() -> None:
    assert set(STRATEGIES) == {"mix", "ts", "tsf", "tsf_image"}
    assert [p.synthetic_probability for p in STRATEGIES["mix"].phases] == [0.5]
    for name, frozen in (("ts", 0.0), ("tsf", 0.5), ("tsf_image", 0.5)):
        first, second = STRATEGIES[name].phases
        assert (first.synthetic_probability, first.frozen_fraction) == (0.0, 0.0)
        assert (second.synthetic_probability, second.frozen_fraction) == (0.5, frozen)
        assert (first.single_frames, second.single_frames) == (False, name == "tsf_image")


def test_steps_come_from_the_configuration() -> None:
    assert [p.steps for p in resolve_strategy("tsf", (7, 5)).phases] == [7, 5]
    assert [p.steps for p in resolve_strategy("mix", (7, 5)).phases] == [12]


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_mix_takes_its_probability(p: float) -> None:
    assert resolve_strategy("mix", (7, 5), mix_probability=p).phases[0].synthetic_probability == p


def test_a_single_phase_runs_in_stage_2() -> None:
    mix = resolve_strategy("mix", (7, 5))
    assert [phase.steps for phase in stage_phases(mix, 1)] == [0]
    assert stage_phases(mix, 2) == mix.phases


def test_stage_2_runs_all_phases_after_the_first() -> None:
    rows = [{"synthetic_probability": p, "frozen_fraction": 0.0} for p in (0.0, 0.3, 0.6, 0.9)]
    rows[2]["steps"] = 3
    strategy = resolve_strategy("custom", (7, 5), custom=rows)
    assert [phase.name for phase in stage_phases(strategy, 1)] == ["stage1"]
    later = stage_phases(strategy, 2)
    assert [(phase.name, phase.steps) for phase in later] == [("stage2", 5), ("stage3", 3), ("stage4", 5)]
    assert [phase.synthetic_probability for phase in later] == [0.3, 0.6, 0.9]


def test_a_custom_strategy() -> None:
    rows = [
        {"synthetic_probability": 1.0, "frozen_fraction": 0.0},
        {"synthetic_probability": 0.2, "frozen_fraction": 1.0},
    ]
    first, second = resolve_strategy("custom", (7, 5), custom=rows).phases
    assert (first.name, first.steps, first.synthetic_probability) == ("stage1", 7, 1.0)
    assert (second.name, second.steps, second.frozen_fraction) == ("stage2", 5, 1.0)


@pytest.mark.parametrize(
    "broken, says",
    [
        (
            lambda: resolve_strategy("tfs", (1, 1)),
            "strategy.name must be one of mix, ts, tsf, tsf_image, custom, got 'tfs'",
        ),
        (lambda: resolve_strategy("custom", (1, 1)), "strategy.custom"),
        (lambda: Phase("x", 1.5, 0.0, 1), "synthetic_probability must be within 0..1, got 1.5"),
        (lambda: Phase("x", 0.5, -0.1, 1), "frozen_fraction must be within 0..1"),
        (lambda: Strategy("x", ()), "needs phases"),
    ],
)
def test_bad_strategies(broken, says: str) -> None:
    with pytest.raises(InputError, match=says):
        broken()
