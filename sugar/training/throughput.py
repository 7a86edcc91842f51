"""How fast a run goes, and what of it is waiting."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sugar.model.attention import GROUPS, VIDEO_SIDE, AttentionDesign

if TYPE_CHECKING:
    from torch import Tensor

    from sugar.model.transformer import SugarTransformer3DModel


@dataclass(frozen=True)
class StepFlops:
    """Floating-point operations for one sample of one training step: forward, backward, both."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward


def step_flops(
    *,
    width: int,
    num_blocks: int,
    lengths: Mapping[str, int],
    design: AttentionDesign,
    frozen_blocks: int = 0,
    untouched_blocks: int = 0,
    checkpointing: bool = False,
) -> StepFlops:
    """The blocks' matrix products for one sample; embeddings, norms and modulations are left out (below 2 %).

    A block has `12 width^2` weights that meet every token, so `2 * 12 * width^2 * L` operations, and
    attention has `4 * width` operations for each pair (query, key that it reads). Backward costs twice the
    forward; for a frozen block once plus attention's twice, because no gradient of the weights is made, yet
    one has to cross it to the image projections; nothing where nothing before it trains. Recomputation under
    checkpointing adds one forward of the blocks that gradients reach. Of the last block's text side keys and
    values alone are computed.

    Args:
        width: of the transformer; lengths: token group -> tokens.
        frozen_blocks: blocks without gradients of their own.
        untouched_blocks: those of them that no gradient reaches: nothing that feeds them trains.
    """
    tokens = sum(lengths.get(group, 0) for group in GROUPS)
    asking = sum(lengths.get(group, 0) for group in VIDEO_SIDE)
    forward = backward = 0.0
    for block in range(num_blocks):
        last = block == num_blocks - 1
        linear = 2.0 * width**2 * (12 * asking + (2 if last else 12) * (tokens - asking))
        attention = 4.0 * width * _pairs(lengths, design, VIDEO_SIDE if last else GROUPS)
        forward += linear + attention
        if block < untouched_blocks:
            continue
        backward += (linear if block < frozen_blocks else 2 * linear) + 2 * attention
        backward += linear + attention if checkpointing else 0.0
    return StepFlops(forward, backward)


def _pairs(lengths: Mapping[str, int], design: AttentionDesign, queries: Sequence[str]) -> int:
    """(query, key that it reads)."""
    return sum(lengths.get(q, 0) * sum(lengths.get(k, 0) for k in design.keys_of(q)) for q in queries)


def token_lengths(
    sample: Mapping[str, Tensor], patch_size: int, patch_size_t: int | None = None
) -> dict[str, int]:
    """Token group -> tokens of a sample of a latent cache."""
    frames, _, height, width = sample["mean"].shape
    frame = (height // patch_size) * (width // patch_size)
    lengths = {name: sample[name].shape[0] for name in ("dino", "clip", "text")}
    return {
        **lengths,
        "first_frame": frame,
        "other_frames": (math.ceil(frames / (patch_size_t or 1)) - 1) * frame,
    }


def model_flops(
    model: SugarTransformer3DModel, lengths: Mapping[str, int], *, checkpointing: bool = False
) -> StepFlops:
    """`step_flops` of a model whose `requires_grad` is set; LoRA's own small products are left out."""
    blocks, config = model.transformer_blocks, cast(Any, model.config)
    trains = [any(p.requires_grad and ".lora_" not in n for n, p in b.named_parameters()) for b in blocks]
    inputs = ("patch_embed.", "time_embedding.", "ofs_embedding.", "dino_proj.", "clip_proj.")
    fed = any(p.requires_grad for name, p in model.named_parameters() if name.startswith(inputs))
    return step_flops(
        width=config.num_attention_heads * config.attention_head_dim,
        num_blocks=len(blocks),
        lengths=lengths,
        design=model.design,
        frozen_blocks=trains.count(False),
        untouched_blocks=0 if fed else [*trains, True].index(True),
        checkpointing=checkpointing,
    )


class Meter:
    """Times of the steps since the last reading; of what happens between steps, only checkpoints count.

    "checkpoint_wait_share" is the time that training stood still for checkpoints (copying the state to the
    CPU, and waiting for a write before it that was not done), as a share of that time and the steps'.

    Args:
        global_batch: samples a step over all processes.
        lengths: token group -> tokens of a sample.
        flops: operations a sample and step.
        peak_flops: operations a second of all processes' devices; None: not known, no utilisation is told.
    """

    def __init__(
        self, global_batch: int, lengths: Mapping[str, int], flops: float, peak_flops: float | None = None
    ) -> None:
        self._samples, self._flops, self._peak = global_batch, global_batch * flops, peak_flops
        self._tokens = global_batch * sum(lengths[group] for group in VIDEO_SIDE)
        self.total_seconds = self.total_waiting = self.total_saving = 0.0
        self.total_steps = 0
        self._seconds = self._waiting = self._saving = 0.0
        self._steps = 0
        self._mark = math.nan

    def start(self) -> None:
        """A step begins, with waiting for its batch."""
        self._mark = time.perf_counter()

    def batch_ready(self) -> None:
        """The batch is there."""
        self._waiting += time.perf_counter() - self._mark

    def stop(self) -> None:
        """The step ends."""
        self._seconds += time.perf_counter() - self._mark
        self._steps += 1

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Around what a checkpoint has the training wait for."""
        mark = time.perf_counter()
        yield
        self._saving += time.perf_counter() - mark

    def read(self) -> dict[str, float]:
        """Rates since the last reading, which starts anew."""
        self.total_seconds += self._seconds
        self.total_waiting += self._waiting
        self.total_saving += self._saving
        self.total_steps += self._steps
        seconds = max(self._seconds, 1e-9)
        rate = self._steps / seconds
        rates = {
            "seconds_per_step": seconds / max(1, self._steps),
            "samples_per_second": rate * self._samples,
            "video_tokens_per_second": rate * self._tokens,
            "gigaflops": rate * self._flops / 1e9,
            "data_wait_share": self._waiting / seconds,
            "checkpoint_wait_share": self._saving / (seconds + self._saving),
        }
        if self._peak is not None:
            rates["flop_utilisation"] = rate * self._flops / self._peak
        self._seconds = self._waiting = self._saving = 0.0
        self._steps = 0
        return rates

    def totals(self) -> dict[str, float]:
        """Rates of all that was read; none before a step was."""
        if not self.total_steps:
            return {}
        seconds, saving = self.total_seconds, self.total_saving
        return {
            "seconds_per_step": seconds / self.total_steps,
            "samples_per_second": self._samples * self.total_steps / seconds,
            "data_wait_share": self.total_waiting / seconds,
            "checkpoint_wait_share": saving / (seconds + saving),
        }
