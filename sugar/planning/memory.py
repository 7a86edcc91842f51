"""Memory of one process under each ZeRO stage, by kind.

The rules are those of `sugar.training.engine` with DeepSpeed 0.19: what it allocates was measured stage by
stage and is compared with real runs in `tests/planning/test_memory.py`.
Assumption: decision 0016 (what is left for the driver and for fragmentation).
"""

from __future__ import annotations

from dataclasses import dataclass

from sugar.training.engine import DTYPES, MAX_BUCKET, MIN_BUCKET

GIB = 2**30
PERSISTENT_NUMEL = 100_000
"""ZeRO-3 keeps parameters up to this size whole on every rank (`stage3_param_persistence_threshold`)."""
LIVE_NUMEL = 1_000_000_000
"""ZeRO-3 gathers at most this many parameters at a time (`stage3_max_live_parameters`)."""
KINDS = ("weights", "gradients", "optimizer", "ema", "activations", "buffers")


@dataclass(frozen=True)
class Activations:
    """Bytes of one micro-batch's activations.

    Args:
        kept: when the forward pass ends.
        peak: the most in forward and backward, gradients of the weights left out.
        peak_inference: of a forward pass without gradients.
    """

    kept: int
    peak: int
    peak_inference: int


@dataclass(frozen=True)
class Setting:
    """How a training runs, as far as memory depends on it.

    Args:
        num_parameters, num_trainable: of the model; num_small: in parameters of at most `PERSISTENT_NUMEL`.
        frozen_share: of the blocks.
        precision: "fp32" or "bf16"; world_size: processes, a GPU each.
        accumulation: micro-batches a step.
        offload_optimizer: masters, moments and EMA in the host's memory; ZeRO 0 knows no such thing.
        overlap_comm: two buckets instead of one, as the engine asks for on CUDA.
    """

    num_parameters: int
    num_trainable: int
    num_small: int
    frozen_share: float
    precision: str
    world_size: int
    accumulation: int = 1
    offload_optimizer: bool = False
    overlap_comm: bool = True

    @property
    def element(self) -> int:
        """Bytes of a weight in the forward pass."""
        return DTYPES[self.precision].itemsize


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one process at its fullest moment.

    Args:
        zero_stage: 0..3; moment: "backward", "update" or "held-out loss".
        kinds: kind (`KINDS`) -> bytes on the device; host: bytes in the machine's memory.
    """

    zero_stage: int
    moment: str
    kinds: dict[str, float]
    host: float

    @property
    def total(self) -> float:
        """Bytes on the device."""
        return sum(self.kinds.values())


def plan_memory(setting: Setting, activations: Activations, zero_stage: int) -> MemoryPlan:
    """The fullest moment of a process under a ZeRO stage."""
    s, e = setting, setting.element
    shard = s.num_trainable / (s.world_size if zero_stage else 1)
    whole_fp32 = zero_stage == 0 and s.precision == "fp32"
    weights = e * float(s.num_parameters)
    if zero_stage == 3:
        weights = e * (s.num_parameters / s.world_size + s.num_small)
    optimizer, ema = (8 if whole_fp32 else 12) * shard, 4 * shard
    # In the host's memory: the start's weights, the frozen ones in fp32, a checkpoint that is being written.
    host = 4 * (2 * s.num_parameters - s.num_trainable) + 16 * shard
    if s.offload_optimizer and zero_stage:
        host, optimizer, ema = host + optimizer + ema + 4 * shard, 0.0, 0.0
    moments = {
        "backward": _backward(setting, activations, zero_stage, shard),
        "update": _update(setting, zero_stage, shard),
        "held-out loss": _held_out(setting, activations, zero_stage, shard),
    }
    moment = max(moments, key=lambda name: sum(moments[name]))
    kinds: dict[str, float] = {"weights": weights, "optimizer": optimizer, "ema": ema}
    kinds["gradients"], kinds["activations"], kinds["buffers"] = moments[moment]
    return MemoryPlan(zero_stage, moment, kinds, host)


def _bucket(s: Setting, zero_stage: int) -> float:
    return s.element * max(MIN_BUCKET, min(MAX_BUCKET, s.num_trainable)) if zero_stage else 0.0


def _gathered(s: Setting, zero_stage: int) -> float:
    """Weights of others that ZeRO-3 has at hand in a pass."""
    return s.element * min(s.num_parameters, LIVE_NUMEL) if zero_stage == 3 and s.world_size > 1 else 0.0


def _held_gradients(s: Setting, zero_stage: int, shard: float) -> float:
    if s.offload_optimizer and zero_stage:
        return 0.0
    return s.element * (s.num_trainable if zero_stage < 2 else shard)


def _backward(s: Setting, a: Activations, zero_stage: int, shard: float) -> tuple[float, float, float]:
    """(gradients, activations, buffers) at the fullest moment of the last backward pass of a step."""
    buffers = _bucket(s, zero_stage) * (2 if s.overlap_comm and zero_stage in (1, 2) else 1)
    buffers += _gathered(s, zero_stage)
    held = _held_gradients(s, zero_stage, shard)
    if s.accumulation > 1 or zero_stage == 3:
        return held, a.peak, buffers
    # Gradients grow while activations go: full activations, or all gradients with what frozen blocks keep.
    at_the_end = a.peak - a.kept * (1 - s.frozen_share)
    return (held, at_the_end, buffers) if held + at_the_end > a.peak else (0.0, a.peak, buffers)


def _update(s: Setting, zero_stage: int, shard: float) -> tuple[float, float, float]:
    """The same while the optimizer works on flat fp32 copies of the gradients."""
    held = _held_gradients(s, zero_stage, shard)
    flat = 0.0 if s.precision == "fp32" else 4 * shard
    if zero_stage:
        flat += s.element * shard
    if s.offload_optimizer and zero_stage:
        flat = 0.0
    return held, 0.0, flat + (_bucket(s, zero_stage) if zero_stage == 3 else 0.0)


def _held_out(s: Setting, a: Activations, zero_stage: int, shard: float) -> tuple[float, float, float]:
    """The same while EMA's weights have changed places with the masters, which wait beside."""
    waiting = 0.0 if s.offload_optimizer and zero_stage else 4 * shard
    partition = s.element * shard if zero_stage == 3 and not s.offload_optimizer else 0.0
    bucket = _bucket(s, zero_stage) if zero_stage == 3 else 0.0
    return partition, a.peak_inference, waiting + bucket + _gathered(s, zero_stage)
