"""`sugar plan`: what it reads, what it says, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sugar.cli import main
from sugar.config import InputError
from sugar.planning.architecture import PUBLISHED, Architecture, read_architecture
from sugar.planning.cost import (
    CPU_SECONDS_PER_MEGAPIXEL,
    CPU_SECONDS_PER_TRIPLET,
    Synthesis,
    encoder_flops,
    needed_gib,
    step_seconds,
    storage,
    synthesis_cpu_hours,
    synthesis_gpu_hours,
)
from sugar.training.gpus import GPUS, known_gpu

ROOT = Path(__file__).parents[2]
SPRITES = {name: str(ROOT / "foundation/sprites" / name) for name in ("base", "dino", "clip")}


def _plan(capsys, *arguments: str) -> str:
    assert main(["plan", "--params", str(ROOT / "params.yaml"), *arguments]) == 0
    return capsys.readouterr().out


def test_the_default_run(capsys) -> None:
    planned = json.loads(_plan(capsys, "--json", "--gpu", "l4", "--triplets", "1000"))
    first, second = planned["phases"]
    assert (first["phase"], second["phase"]) == ("stage1", "stage2")
    assert first["parameters"]["frozen"] == 0 < second["parameters"]["frozen"]
    assert first["parameters"]["total"] == sum(second["parameters"][k] for k in ("trainable", "frozen"))
    assert [row["zero_stage"] for row in second["memory"]] == [0, 1, 2, 3]
    for row in second["memory"]:
        kinds = "weights gradients optimizer ema activations buffers".split()
        assert row["total_gib"] == pytest.approx(sum(row[f"{kind}_gib"] for kind in kinds))
        assert row["fits"]
    assert second["tflop_per_step"] < first["tflop_per_step"]
    assert second["days"] == pytest.approx(second["steps"] * second["step_seconds"] / 86400)
    assert planned["fits"] is True


def test_lora_trains_little_and_holds_little(capsys) -> None:
    lora = "training.lora={rank: 4, alpha: 4, targets: [to_q, to_v]}"
    arguments = ("--json", "--set", "strategy.name=ts")
    full, small = (
        json.loads(_plan(capsys, *arguments, *more))["phases"][0] for more in ((), ("--set", lora))
    )
    config = json.loads((ROOT / "foundation/sprites/base/transformer/config.json").read_text())
    width = config["num_attention_heads"] * config["attention_head_dim"]
    own = config["num_layers"] * 2 * 2 * 4 * width
    assert small["parameters"]["total"] == full["parameters"]["total"] + own
    assert own < small["parameters"]["trainable"] < full["parameters"]["trainable"] / 4
    assert small["memory"][0]["optimizer_gib"] < full["memory"][0]["optimizer_gib"] / 4
    assert small["tflop_per_step"] < full["tflop_per_step"]


def test_patches_of_two_frames_hold_an_odd_number_of_them() -> None:
    import torch

    from sugar.planning.activations import measure_activations

    config = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 8,
        "text_embed_dim": 8,
        "num_layers": 2,
        "patch_size_t": 2,
        "use_rotary_positional_embeddings": True,
        "max_text_seq_length": 6,
        "dino_dim": 8,
        "clip_dim": 8,
    }
    architecture = Architecture(config, (3, 4, 8, 8), (5, 8), (4, 8), ())
    assert (architecture.lengths["first_frame"], architecture.lengths["other_frames"]) == (16, 16)
    measured = measure_activations(
        architecture,
        frozen_fraction=0.0,
        trainable=(),
        checkpointing=False,
        micro_batch=1,
        dtype=torch.float32,
    )
    assert 0 < measured.kept <= measured.peak


def test_the_text_says_what_does_not_fit(capsys) -> None:
    text = _plan(capsys, "--gpu", "l4", "--gpu-memory-gib", "1.6", "--set", "strategy.name=ts")
    assert "does not fit in 1.6" in text
    assert "parameters:" in text
    assert "stage1" in text
    assert "stage2" in text


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--gpu", "abacus"], "--gpu must be one of l4, "),
        (["--gpus", "3"], r"global_batch must be a multiple of micro_batch \* GPUs \(8 \* 3\), got 16"),
        (["--set", "video.height_px=60"], "must be multiples of 8"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, says) -> None:
    import re

    assert main(["plan", "--params", str(ROOT / "params.yaml"), *arguments]) == 2
    assert re.search(says, capsys.readouterr().err)


def test_the_published_shapes_are_the_paper_s_base_models() -> None:
    """17,550 video tokens at 49 frames of 480 x 720; 1.69 and 5.57 billion weights in the base."""
    for name, billions in (("2b", 1.69), ("5b", 5.57)):
        architecture = read_architecture(
            f"zai-org/CogVideoX-{name}",
            "facebook/dinov2-large",
            "openai/clip-vit-large-patch14",
            num_frames=49,
            height_px=480,
            width_px=720,
        )
        lengths = architecture.lengths
        assert lengths["first_frame"] + lengths["other_frames"] == 17_550
        assert (lengths["text"], lengths["dino"], lengths["clip"]) == (226, 1370, 257)
        model = architecture.meta_model()
        base = sum(p.numel() for n, p in model.named_parameters() if not n.startswith(("dino_p", "clip_p")))
        assert base / 1e9 == pytest.approx(billions, rel=0.01)
    assert set(PUBLISHED) >= {"zai-org/CogVideoX-2b/transformer", "zai-org/CogVideoX-5b/vae"}


def test_a_folder_is_read_from_its_files() -> None:
    architecture = read_architecture(
        SPRITES["base"], SPRITES["dino"], SPRITES["clip"], num_frames=9, height_px=64, width_px=64
    )
    assert architecture.latents == (3, 32, 16, 16)
    assert architecture.dino == (17, 192)
    with pytest.raises(InputError, match=r"clip: its config.json cannot be read|no such"):
        read_architecture(
            SPRITES["base"],
            SPRITES["dino"],
            str(ROOT / "tests/clip"),
            num_frames=9,
            height_px=64,
            width_px=64,
        )


def test_time_and_storage() -> None:
    assert step_seconds(989e12, 2, 989, 0.5) == pytest.approx(1.0)
    assert storage(1024, 2**20, 2, 1, 1, 1).latents == pytest.approx(2.0)
    assert needed_gib(2**30) > 1


GPU_HOURS: dict[str, Any] = {
    "frames": 9,
    "forward_flops": 1e15,
    "dino_flops": 1e12,
    "clip_flops": 2e12,
    "tflops": 1000,
    "utilisation": 0.5,
    "acceptance": 0.5,
}


def test_gpu_hours_are_of_all_that_networks_do() -> None:
    assert not any(synthesis_gpu_hours(1000, Synthesis(), **GPU_HOURS).values())
    made = Synthesis(
        edit_steps=10,
        num_ranked=4,
        fill_steps=30,
        fill_side_px=512,
        animate_steps=50,
        written_words=40,
        written_together=2,
        filtered=True,
    )
    hours = synthesis_gpu_hours(1000, made, **GPU_HOURS)
    a_flop = 1000 / 0.5 / 0.5e15 / 3600
    assert hours == pytest.approx(
        {
            "edit": 2.08896e15 * a_flop,
            "rank": 4 * 3e12 * a_flop,
            "fill": 30 * 3e12 * a_flop,
            "animate": 100e15 * a_flop,
            "filter": (10 * 1e12 + 4 * 2e12) * a_flop,
            "write": 2000 * 60 * 0.02 / 3600,
        }
    )
    assert encoder_flops(257, 1024) / 257 == pytest.approx(2 * 0.302e9, rel=0.01)


def test_gpu_hours_are_of_what_is_configured(capsys) -> None:
    def hours(*overrides: str) -> dict[str, float]:
        text = _plan(capsys, "--json", *(f"--set={override}" for override in overrides))
        return json.loads(text)["data"]["synthesis_gpu_hours_by_part"]

    assert not any(hours().values())
    edited = ("synthesize.customize=diffusers", "synthesize.generators.customize.model=a/b")
    filled = ("synthesize.expand=diffusers", "synthesize.generators.expand.model=a/b")
    made = hours(*edited, *filled, "synthesize.prompts.writer=a/b", "video.width_px=96")
    assert {name for name, value in made.items() if value} == {"edit", "rank", "fill", "filter", "write"}
    square = hours(*edited, *filled, "synthesize.generators.customize.num_candidates=1")
    assert {name for name, value in square.items() if value} == {"edit", "filter"}
    animated = ("synthesize.animate=diffusers", "synthesize.generators.animate.model=a/b")
    text = _plan(capsys, *(f"--set={override}" for override in animated))
    assert "GPU-hours: animate" in text
    assert "not counted: VAEs, segmentation, optical flow, loading" in text


def test_rates_of_the_cpu_are_those_that_were_measured() -> None:
    rows = json.loads((ROOT / "benchmarks/results/data-cpu.json").read_text())["rows"]
    rate = {row["what"]: row["a_second"] for row in rows}
    (made,) = (row for row in rows if row["what"].startswith("synthesize: make, score, write"))
    num = made["a_second"] * made["seconds"]
    assert pytest.approx(made["core_s"] / num, rel=0.1) == CPU_SECONDS_PER_TRIPLET
    core_seconds = sum(
        1 / rate[f"clip 49x480x720: {what}"] for what in ("flow, sharpness, exposure", "write")
    )
    assert pytest.approx(core_seconds / (49 * 480 * 720 / 1e6), rel=0.1) == CPU_SECONDS_PER_MEGAPIXEL


def test_core_hours_grow_with_the_pixels_of_all_triplets_that_are_made() -> None:
    small = synthesis_cpu_hours(3600, frames=9, height_px=64, width_px=64, acceptance=1.0)
    large = synthesis_cpu_hours(3600, frames=49, height_px=480, width_px=720, acceptance=1.0)
    assert CPU_SECONDS_PER_TRIPLET < small < CPU_SECONDS_PER_TRIPLET + 0.003
    assert large > 5 * small
    assert synthesis_cpu_hours(3600, frames=9, height_px=64, width_px=64, acceptance=0.5) == 2 * small


def test_gpus_are_known_by_their_drivers_names() -> None:
    assert known_gpu("NVIDIA H100 80GB HBM3") is GPUS["h100"]
    assert known_gpu("NVIDIA A100-SXM4-40GB") is GPUS["a100-40gb"]
    assert known_gpu("NVIDIA A100-SXM4-80GB") is GPUS["a100-80gb"]
    assert known_gpu("NVIDIA GeForce RTX 4090") is GPUS["rtx-4090"]
    assert known_gpu("Tesla T4") is None
