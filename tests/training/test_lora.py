"""Training with LoRA: what changes, what the folders hold, and that they say the same."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_networks import tiny_vae
from torch.testing import assert_close

from sugar.config import InputError
from sugar.model.lora import Lora
from sugar.model.transformer import SugarTransformer3DModel
from sugar.pipeline import SugarPipeline
from sugar.training.checkpoint import read_weights
from sugar.training.frozen import verify_frozen
from sugar.training.start import choose_trainable, load_start
from sugar.training.trainer import train

LORA = {"rank": 2, "alpha": 4.0, "targets": ["to_q", "to_v", "ff.net.2"]}
WIDTH = 16
START = {"dino_dim": WIDTH, "clip_dim": WIDTH}


def trained(make_job, **changes) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Path]:
    """Weights before and after, and the output's folder."""
    job = make_job(lora=LORA, **changes)
    train(job)
    before = load_start(job.init_from, **START, seed=job.seed).state_dict()
    return before, dict(read_weights(Path(job.output) / "transformer")), Path(job.output)


def test_only_the_targets_and_the_image_projections_change(make_job):
    before, after, output = trained(make_job, frozen_fraction=0.5)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    targets = ("attn1.to_q.weight", "attn1.to_v.weight", "ff.net.2.weight")
    expected = {f"transformer_blocks.{block}.{target}" for block in (2, 3) for target in targets}
    assert changed == expected | {name for name in before if name.startswith(("dino_proj.", "clip_proj."))}
    assert before.keys() == after.keys()
    for name in expected:
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-6) <= 2
    assert verify_frozen(output) == len(before) - len(changed)


def test_the_lora_on_the_start_is_the_merged_model(make_job):
    job = make_job(lora=LORA)
    metrics = train(job)
    start = load_start(job.init_from, **START, seed=job.seed)
    pipeline = SugarPipeline(None, None, tiny_vae(), start, None, None)  # type: ignore[arg-type]
    inputs = [torch.randn(1, 3, 4, 4, 4), torch.randn(1, 6, WIDTH), torch.tensor([300])]
    inputs += [torch.randn(1, 3, WIDTH), torch.randn(1, 3, WIDTH)]

    def predict(model) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(*inputs).sample

    plain = predict(start)
    folder = Path(job.output) / "lora"
    pipeline.load_lora_weights(folder)
    loaded = predict(pipeline.transformer)
    merged = SugarTransformer3DModel.from_pretrained(Path(job.output) / "transformer")
    assert_close(loaded, predict(merged), atol=1e-5, rtol=1e-4)
    assert (loaded - plain).abs().max() > 1e-4
    pipeline.unload_lora_weights()
    assert torch.equal(predict(pipeline.transformer), plain)
    weights = load_file(folder / "pytorch_lora_weights.safetensors")
    assert set(weights) == {
        f"transformer.transformer_blocks.{block}.{target}.lora_{matrix}.weight"
        for block in range(4)
        for target in ("attn1.to_q", "attn1.to_v", "ff.net.2")
        for matrix in "AB"
    }
    own = sum(math.prod(tensor.shape) for tensor in weights.values())
    projections = load_file(folder / "image_projections.safetensors")
    assert metrics["trainable_parameters"] == own + sum(t.numel() for t in projections.values())


@pytest.mark.parametrize("change", [
    {"zero_stage": 2, "precision": "bf16"},
    pytest.param({"zero_stage": 0}, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_run_with_lora_continues_to_the_same_weights(make_job, change):
    job = make_job("whole", lora=LORA, **change)

    def killed(metrics, step):
        raise KeyboardInterrupt

    train(job)
    again = make_job("stopped", lora=LORA, **change)
    with pytest.raises(KeyboardInterrupt):
        train(again, log=killed)
    train(again)
    whole, stopped = (dict(read_weights(Path(each.output) / "transformer_raw")) for each in (job, again))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_the_next_phase_starts_from_the_merged_model(make_job):
    first = make_job("first", lora=LORA)
    train(first)
    second = make_job("second", init_from=str(Path(first.output) / "transformer"), steps=0)
    train(second)
    one, two = (dict(read_weights(Path(each.output) / "transformer")) for each in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("frozen", "targets", "message"), [
    (0.0, ["to_z"], "training.lora: .*to_z"),
    (1.0, ["to_q"], "training.lora: .*not frozen"),
])  # fmt: skip
def test_lora_that_fits_nothing_is_an_error(base, frozen, targets, message):
    model = load_start(base, **START)
    with pytest.raises(InputError, match=message):
        choose_trainable(model, frozen, (), Lora(2, 2.0, targets))


def test_lora_and_named_weights_exclude_each_other(make_job):
    with pytest.raises(InputError, match="lora must be null"):
        make_job(lora=LORA, trainable=("proj_out",))


def test_a_run_without_lora_keeps_the_identity_it_had(make_job):
    assert "lora" not in make_job().fingerprint()
    assert make_job(lora=LORA).fingerprint()["lora"] == LORA
