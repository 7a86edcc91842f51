"""Training strategies as data (SUGAR section 3.2, "Training Strategy"): rows of a table, run by one loop.

Assumption: decision 0006 (probabilities, steps, what "the first half of the layers" means).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sugar.config import InputError


@dataclass(frozen=True)
class Phase:
    """A stretch of training under one setting.

    Args:
        name: what logs and checkpoints call it.
        synthetic_probability: the paper's p, share of the samples drawn from the synthetic triplets, 0..1.
        frozen_fraction: share of the transformer blocks, from the input side, that keep their weights, 0..1.
        steps: optimizer steps; `with_steps` puts the configuration's numbers in place of these.
        learning_rate: peak learning rate; None: the job's.
        lr_schedule: "constant", "linear" or "cosine"; None: the job's.
        trainable: prefixes of the parameter names that train, beyond what freezing leaves; empty: all.
        single_frames: the targets of the synthetic samples are single frames, images (the paper's TSF-Image).

    Raises:
        InputError: a value out of range.
    """

    name: str
    synthetic_probability: float
    frozen_fraction: float
    steps: int
    learning_rate: float | None = None
    lr_schedule: str | None = None
    trainable: tuple[str, ...] = ()
    single_frames: bool = False

    def __post_init__(self) -> None:
        for field in ("synthetic_probability", "frozen_fraction"):
            value = getattr(self, field)
            if not 0 <= value <= 1:
                raise InputError(f"strategy phase {self.name!r}: {field} must be within 0..1, got {value}")
        if self.steps < 0:
            raise InputError(f"strategy phase {self.name!r}: steps must be >= 0, got {self.steps}")


@dataclass(frozen=True)
class Strategy:
    """A named sequence of phases; each starts from the weights that the one before left.

    Raises:
        InputError: no phase, or two phases of one name.
    """

    name: str
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) < len(names):
            raise InputError(f"strategy {self.name!r}: needs phases with distinct names, got {names}")

    def with_steps(self, *steps: int) -> Strategy:
        """The same phases with other step counts, one a phase; a single phase takes their sum."""
        if len(self.phases) == 1:
            steps = (sum(steps),)
        phases = tuple(replace(phase, steps=n) for phase, n in zip(self.phases, steps, strict=True))
        return replace(self, phases=phases)


STRATEGIES: Mapping[str, Strategy] = {
    "mix": Strategy("mix", (Phase("mix", synthetic_probability=0.5, frozen_fraction=0.0, steps=1200),)),
    "ts": Strategy(
        "ts",
        (
            Phase("stage1", synthetic_probability=0.0, frozen_fraction=0.0, steps=700),
            Phase("stage2", synthetic_probability=0.5, frozen_fraction=0.0, steps=500),
        ),
    ),
    "tsf": Strategy(
        "tsf",
        (
            Phase("stage1", synthetic_probability=0.0, frozen_fraction=0.0, steps=700),
            Phase("stage2", synthetic_probability=0.5, frozen_fraction=0.5, steps=500),
        ),
    ),
    "tsf_image": Strategy(
        "tsf_image",
        (
            Phase("stage1", synthetic_probability=0.0, frozen_fraction=0.0, steps=700),
            Phase("stage2", synthetic_probability=0.5, frozen_fraction=0.5, steps=500, single_frames=True),
        ),
    ),
}


def resolve_strategy(
    name: str,
    steps: Sequence[int],
    mix_probability: float | None = None,
    custom: Sequence[Mapping[str, Any]] | None = None,
) -> Strategy:
    """The strategy that a configuration names, with its step counts.

    Args:
        name: a key of `STRATEGIES`, or "custom".
        steps: optimizer steps of stage 1 and stage 2; "mix" runs their sum as one phase.
        mix_probability: the paper's p for "mix"; None: 0.5.
        custom: for "custom": the fields of each `Phase`; `name` and `steps` may be left out (those of stage 2
            are then the steps of each phase after the first).

    Raises:
        InputError: unknown name, or values out of range.
    """
    if name == "custom":
        if not custom:
            raise InputError("strategy.custom must list the phases when strategy.name is custom, got nothing")
        phases = []
        for i, row in enumerate(custom):
            fields: dict[str, Any] = {"name": f"stage{i + 1}", "steps": steps[min(i, len(steps) - 1)], **row}
            phases.append(Phase(**fields))
        return Strategy("custom", tuple(phases))
    if name not in STRATEGIES:
        raise InputError(f"strategy.name must be one of {', '.join(STRATEGIES)}, custom, got {name!r}")
    strategy = STRATEGIES[name].with_steps(*steps)
    if name == "mix" and mix_probability is not None:
        strategy = replace(
            strategy, phases=(replace(strategy.phases[0], synthetic_probability=mix_probability),)
        )
    return strategy


def stage_phases(strategy: Strategy, stage: int) -> tuple[Phase, ...]:
    """The phases that stage 1 (`pretrain`) or stage 2 (`finetune`) runs, one after another.

    Stage 1 runs the first phase, stage 2 all others. A strategy of one phase runs it in stage 2, where both
    datasets are at hand; stage 1 then has 0 steps and exports the model that stage 2 starts from.
    """
    first, *others = strategy.phases
    if others:
        return (first,) if stage == 1 else tuple(others)
    if stage == 2:
        return (first,)
    return (replace(first, name="start", steps=0, frozen_fraction=0.0, synthetic_probability=0.0),)
