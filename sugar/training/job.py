"""What a training process is told: plain values that travel as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sugar.config import InputError

LR_SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("fp32", "bf16")

# What may change between the start of a run and its continuation: none of it moves the result by more than
# the rounding of another summation order.
ATTENTION_BACKENDS = ("native", "flash", "cudnn", "flex")
FREE_FIELDS = frozenset(
    "init_from scheduler output checkpoints real_latents synthetic_latents zero_stage num_processes "
    "micro_batch offload_optimizer gradient_checkpointing compile_blocks attention_backend checkpoint_every "
    "keep_checkpoints log_every sample_every held_out_every held_out_samples max_bad_steps device".split()
)


@dataclass(frozen=True)
class TrainingJob:
    """One phase of training: where it starts, what it reads, how it runs, where it leaves the weights.

    Args:
        phase: name of the phase, also of its folder below `checkpoints`.
        init_from: folder or hub id of a pipeline (its subfolder `transformer`: SUGAR's or CogVideoX's),
            or of a transformer alone.
        scheduler: folder or hub id with the noise schedule in subfolder `scheduler`.
        output: folder that receives `transformer`, `transformer_raw`, `frozen.json`, `history.csv`,
            `training.json`.
        checkpoints: folder of the engine states while training; resume looks there.
        real_latents, synthetic_latents: latent caches; None where the probability leaves the source unused.
        synthetic_probability: share of samples drawn from the synthetic cache, 0..1 (the paper's p).
        frozen_fraction: share of the blocks that keep their weights, 0..1.
        single_frames: the targets of synthetic samples are images, random frames of their clips.
        steps: optimizer steps; 0 exports the start.
        trainable: prefixes of the parameter names that train; empty: all that are not frozen.
        lora: rank, alpha, targets of `sugar.model.lora.Lora`, which train in place of the blocks' matrices,
            with the image projections; None: all weights.
        attention_design: letter or table group -> groups; None: what `init_from` has, "b" for a CogVideoX.
        drop_dino, drop_clip, drop_text: probabilities of dropping a condition, independent.
        global_batch: samples a step over all processes; micro_batch: samples a process and forward pass.
        learning_rate: peak of the schedule; warmup_steps: linear rise to it.
        sample_every: steps between calls of `sample`; 0: never.
        held_out_samples: upper bound of the held-out samples a source behind one held-out loss.
        max_bad_steps: steps in a row with a non-finite gradient before the run stops.
        device: "auto" (cuda where there is one), "cpu" or "cuda".

    Raises:
        InputError: a value out of range, named by its key.
    """

    phase: str
    init_from: str
    scheduler: str
    output: str
    checkpoints: str
    real_latents: str | None = None
    synthetic_latents: str | None = None
    synthetic_probability: float = 0.0
    frozen_fraction: float = 0.0
    single_frames: bool = False
    steps: int = 700
    trainable: tuple[str, ...] = ()
    lora: Mapping[str, Any] | None = None
    seed: int = 0
    attention_design: str | Mapping[str, Sequence[str]] | None = None
    projection_hidden: int | None = None
    drop_dino: float = 0.5
    drop_clip: float = 0.2
    drop_text: float = 0.2
    timestep_exponent: float = 1.0
    zero_stage: int = 1
    precision: str = "fp32"
    num_processes: int = 1
    global_batch: int = 16
    micro_batch: int = 16
    learning_rate: float = 1e-3
    lr_schedule: str = "cosine"
    warmup_steps: int = 50
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.99
    gradient_checkpointing: bool | str = False
    compile_blocks: bool = False
    attention_backend: str | None = None
    offload_optimizer: bool = False
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    log_every: int = 10
    sample_every: int = 200
    held_out_every: int = 100
    held_out_samples: int = 32
    max_bad_steps: int = 10
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "trainable", tuple(self.trainable))
        share = "synthetic_probability frozen_fraction drop_dino drop_clip drop_text".split()
        at_least_1 = (
            "num_processes global_batch micro_batch checkpoint_every keep_checkpoints log_every "
            "held_out_every held_out_samples max_bad_steps"
        ).split()
        checks = [(key, 0 <= getattr(self, key) <= 1, "within 0..1") for key in share]
        checks += [(key, getattr(self, key) >= 1, ">= 1") for key in at_least_1]
        checks += [
            (key, getattr(self, key) >= 0, ">= 0") for key in ("steps", "sample_every", "warmup_steps")
        ]
        checks += [
            (key, getattr(self, key) > 0, "> 0")
            for key in ("learning_rate", "max_grad_norm", "timestep_exponent")
        ]
        checks += [
            ("zero_stage", self.zero_stage in (0, 1, 2, 3), "0, 1, 2 or 3"),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            ("lr_schedule", self.lr_schedule in LR_SCHEDULES, f"one of {', '.join(LR_SCHEDULES)}"),
            ("ema_decay", 0 <= self.ema_decay < 1, "within 0..1, below 1"),
            ("device", self.device in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
            (
                "global_batch",
                self.global_batch % (self.micro_batch * self.num_processes) == 0,
                f"a multiple of micro_batch * num_processes ({self.micro_batch * self.num_processes})",
            ),
            (
                "offload_optimizer",
                not self.offload_optimizer or self.zero_stage > 0,
                "false in ZeRO stage 0",
            ),
            (
                "gradient_checkpointing",
                self.gradient_checkpointing in (False, True, "selective"),
                "false, true or selective",
            ),
            (
                "attention_backend",
                self.attention_backend in (None, *ATTENTION_BACKENDS),
                f"null or one of {', '.join(ATTENTION_BACKENDS)}",
            ),
            ("compile_blocks", not self.compile_blocks or self.zero_stage < 3, "false in ZeRO stage 3"),
            ("lora", self.lora is None or not self.trainable, "null where a phase names what is trainable"),
            (
                "micro_batch",
                self.micro_batch == 1 or self.zero_stage < 3 or not self.single_frames,
                "1 with single_frames under ZeRO-3, where all ranks must make as many forward passes",
            ),
            ("real_latents", self.real_latents is not None or self.synthetic_probability == 1, "given"),
            (
                "synthetic_latents",
                self.synthetic_latents is not None or self.synthetic_probability == 0,
                "given when synthetic_probability is above 0",
            ),
        ]
        for key, holds, rule in checks:
            if not holds:
                raise InputError(
                    f"training job {self.phase!r}: {key} must be {rule}, got {getattr(self, key)}"
                )

    @property
    def accumulation(self) -> int:
        """Forward passes a process and step."""
        return self.global_batch // (self.micro_batch * self.num_processes)

    def to_json(self) -> str:
        """The job as a JSON text that `from_json` reads."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainingJob:
        """The job of a JSON text.

        Raises:
            InputError: not JSON, or a key that a job does not have or lacks.
        """
        try:
            return cls(**json.loads(text))
        except (json.JSONDecodeError, TypeError) as error:
            raise InputError(f"training job: not a job file: {error}") from error

    def fingerprint(self) -> dict[str, Any]:
        """The values that decide the result: they must be the same when a run continues."""
        values = json.loads(self.to_json())
        names = [field.name for field in fields(self) if field.name not in FREE_FIELDS]
        for name in ("lora", "single_frames"):  # so that runs from before there were these are still known
            if not values[name]:
                names.remove(name)
        return {name: values[name] for name in names}
