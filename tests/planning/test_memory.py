"""Planned memory against the allocator's peak of the same steps under DeepSpeed."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from sugar.model.checkpointing import prepare_blocks
from sugar.planning.activations import measure_activations
from sugar.planning.architecture import Architecture
from sugar.planning.memory import PERSISTENT_NUMEL, MemoryPlan, Setting, plan_memory
from sugar.training.engine import DTYPES, Engine
from sugar.training.start import choose_trainable

BLOCKS, TOLERANCE = 5, 0.15
ARCHITECTURE = Architecture(
    config={
        "num_attention_heads": 4,
        "attention_head_dim": 32,
        "in_channels": 8,
        "out_channels": 8,
        "time_embed_dim": 64,
        "text_embed_dim": 64,
        "num_layers": BLOCKS,
        "sample_width": 16,
        "sample_height": 16,
        "sample_frames": 9,
        "max_text_seq_length": 16,
        "dino_dim": 32,
        "clip_dim": 32,
    },
    latents=(3, 8, 16, 16),
    dino=(17, 32),
    clip=(17, 32),
    sources=(),
)


def _planned(
    zero_stage: int, precision: str, frozen: float, checkpointing: bool | str, batch: int, passes: int
) -> MemoryPlan:
    model: Any = ARCHITECTURE.meta_model()
    choose_trainable(model, frozen)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    activations = measure_activations(
        ARCHITECTURE,
        frozen_fraction=frozen,
        trainable=(),
        checkpointing=checkpointing,
        micro_batch=batch,
        dtype=DTYPES[precision],
    )
    setting = Setting(
        num_parameters=sum(n for n, _ in sizes),
        num_trainable=sum(n for n, trains in sizes if trains),
        num_small=sum(n for n, _ in sizes if n <= PERSISTENT_NUMEL),
        frozen_share=math.floor(frozen * BLOCKS) / BLOCKS,
        precision=precision,
        world_size=1,
        accumulation=passes,
        overlap_comm=False,
    )
    return plan_memory(setting, activations, zero_stage)


def _measured(
    folder: Path,
    zero_stage: int,
    precision: str,
    frozen: float,
    checkpointing: bool | str,
    batch: int,
    passes: int,
) -> int:
    """The allocator's peak in the second of two steps, EMA included, above what was there before."""
    from sugar.model.transformer import SugarTransformer3DModel
    from sugar.training.ema import Ema

    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        with record_function("begin"):
            torch.empty(1)
        model: Any = SugarTransformer3DModel(**ARCHITECTURE.config)  # type: ignore[arg-type]
        choose_trainable(model, frozen)
        prepare_blocks(model, checkpointing)
        engine = Engine(
            model.train(),
            zero_stage=zero_stage,
            precision=precision,
            micro_batch=batch,
            accumulation=passes,
            betas=(0.9, 0.95),
            weight_decay=0.0,
            max_grad_norm=1.0,
            device=torch.device("cpu"),
        )
        ema = Ema(engine.masters, 0.9)
        dtype = DTYPES[precision]
        streams = [
            torch.randn(batch, *s, dtype=dtype) for s in ((3, 8, 16, 16), (16, 64), (17, 32), (17, 32))
        ]
        latents, text, dino, clip = streams
        for step in range(2):
            with record_function(f"step {step}"):
                for _ in range(passes):
                    out = engine(
                        latents, text, torch.zeros(batch, dtype=torch.long), dino, clip, return_dict=False
                    )[0]
                    loss = out.float().square().mean()
                    del out
                    engine.backward(loss)
                    engine.step(1e-3)
        assert ema.flats
    engine.close()
    prof.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    start = next(event["ts"] for event in events if event.get("name") == "step 1")
    memory = [event for event in events if event.get("name") == "[memory]"]
    memory.sort(key=lambda event: event["ts"])
    before = memory[0]["args"]["Total Allocated"]
    return max(event["args"]["Total Allocated"] for event in memory if event["ts"] >= start) - before


FAST = [(1, "fp32", 0.4, False, 2, 2), (1, "fp32", 0.4, "selective", 2, 1)]
SLOW = [
    (0, "fp32", 0.0, False, 2, 1),
    (0, "bf16", 0.4, True, 1, 2),
    (1, "bf16", 0.4, True, 4, 1),
    (2, "fp32", 0.4, False, 2, 2),
    (2, "bf16", 0.0, True, 2, 1),
    (3, "fp32", 0.4, True, 4, 2),
    (3, "bf16", 0.0, True, 1, 1),
]


@pytest.mark.parametrize("case", [*FAST, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)])
def test_the_plan_is_within_15_percent_of_the_measured_peak(case, tmp_path) -> None:
    planned, measured = _planned(*case).total, _measured(tmp_path, *case)
    print(f"{case}: planned {planned / 2**20:.1f} MiB, measured {measured / 2**20:.1f} MiB")
    assert planned == pytest.approx(measured, rel=TOLERANCE)


def _activations(frozen: float, checkpointing: bool = False, trainable: tuple[str, ...] = ()):
    return measure_activations(
        ARCHITECTURE,
        frozen_fraction=frozen,
        trainable=trainable,
        checkpointing=checkpointing,
        micro_batch=2,
        dtype=torch.float32,
    )


def test_a_deep_model_is_continued_from_a_shallow_one() -> None:
    """The line through two depths gives what a pass through every block (`trainable` asks for it) gives."""
    everything = ("dino_proj", "clip_proj", "norm_", "proj_out", "transformer_blocks")
    short, long = _activations(0.4), _activations(0.4, trainable=everything)
    assert short.kept == pytest.approx(long.kept, rel=1e-3)
    assert short.peak == pytest.approx(long.peak, rel=1e-3)


def test_frozen_blocks_keep_less_and_nothing_where_nothing_before_them_trains() -> None:
    """SUGAR-TSF: where the projections train, gradients cross the frozen blocks; else nothing is kept."""
    whole, half = _activations(0.0), _activations(0.4)
    after = _activations(
        0.4, trainable=("transformer_blocks.2", "transformer_blocks.3", "transformer_blocks.4")
    )
    last = _activations(0.4, trainable=("transformer_blocks.4",))
    assert whole.kept > half.kept > after.kept > last.kept
    assert after.kept < whole.kept * 3.3 / BLOCKS
    assert last.kept < whole.kept * 1.3 / BLOCKS
    assert _activations(0.0, checkpointing=True).kept < whole.kept / 3
    assert whole.kept / 3 < _activations(0.0, checkpointing="selective").kept < whole.kept


def test_stages_shard_what_their_names_say() -> None:
    activations = _activations(0.0, checkpointing=True)
    common = {"num_parameters": 10**9, "num_trainable": 10**9, "num_small": 0, "frozen_share": 0.0}
    setting = Setting(**common, precision="bf16", world_size=8, accumulation=4)
    zero, one, two, three = (plan_memory(setting, activations, stage).kinds for stage in range(4))
    assert zero["optimizer"] == 8 * one["optimizer"] == 12e9
    assert one["gradients"] == 8 * two["gradients"] == 2e9
    assert two["weights"] == 8 * three["weights"] == 2e9
    offload = Setting(**common, precision="bf16", world_size=8, accumulation=4, offload_optimizer=True)
    assert plan_memory(offload, activations, 0) == plan_memory(setting, activations, 0)
    offloaded = plan_memory(offload, activations, 2)
    assert offloaded.kinds["optimizer"] == offloaded.kinds["ema"] == 0
    assert offloaded.host > plan_memory(setting, activations, 2).host
