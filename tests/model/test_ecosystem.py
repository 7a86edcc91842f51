"""What people do with a diffusers model: caches, backends, LoRA, compilation, copies."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parent))
from small_models import random_batch, sugar_transformer


def predict(model, batch):
    return model(*batch.arguments).sample


@torch.no_grad()
def test_first_block_cache():
    """A threshold of zero recomputes everything; a huge one repeats the residual of the first step."""
    from diffusers.hooks import FirstBlockCacheConfig

    model, batch = sugar_transformer("b"), random_batch()
    expected = predict(model, batch)
    later = random_batch()
    later.latents = later.latents + 0.1
    uncached = predict(model, later)
    for threshold, same in ((0.0, True), (1e9, False)):
        model.enable_cache(FirstBlockCacheConfig(threshold=threshold))
        with model.cache_context("all"):
            assert_close(predict(model, batch), expected)
            assert torch.allclose(predict(model, later), uncached, atol=1e-6) == same
        model.disable_cache()
    assert_close(predict(model, batch), expected)


@torch.no_grad()
def test_the_attention_backend_is_honoured(monkeypatch):
    from diffusers.models import attention_dispatch
    from diffusers.models.attention_dispatch import AttentionBackendName

    model, batch = sugar_transformer("b"), random_batch()
    expected = predict(model, batch)
    registry = attention_dispatch._AttentionBackendRegistry
    native = registry._backends[AttentionBackendName.NATIVE]
    calls = []

    def math_backend(**arguments):
        calls.append(arguments["query"].shape)
        return native(**arguments)

    name = AttentionBackendName._NATIVE_MATH
    # Diffusers makes a model's backend the active one of the process, too.
    monkeypatch.setattr(registry, "_active_backend", registry._active_backend)
    arguments = registry._supported_arg_names[AttentionBackendName.NATIVE]
    monkeypatch.setitem(registry._backends, name, math_backend)
    monkeypatch.setitem(registry._supported_arg_names, name, arguments)
    model.set_attention_backend("_native_math")
    assert_close(predict(model, batch), expected)
    assert len(calls) == 2 * len(model.transformer_blocks)


@torch.no_grad()
def test_fused_projections_keep_the_design():
    model, batch = sugar_transformer("b", "rotary"), random_batch()
    expected = predict(model, batch)
    model.fuse_qkv_projections()
    assert_close(predict(model, batch), expected, atol=2e-6, rtol=1e-5)
    model.unfuse_qkv_projections()
    assert torch.equal(predict(model, batch), expected)


def test_a_processor_that_ignores_the_design_is_refused():
    from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0

    with pytest.raises(ValueError, match="would ignore the attention design"):
        sugar_transformer("b").set_attn_processor(CogVideoXAttnProcessor2_0())


@torch.no_grad()
def test_lora_is_an_alternative_to_full_training():
    from peft import LoraConfig

    model, batch = sugar_transformer("b"), random_batch()
    expected = predict(model, batch)
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trainable) == 2 * 4 * len(model.transformer_blocks)
    assert_close(predict(model, batch), expected)  # B starts at zero
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.5)
    assert (predict(model, batch) - expected).abs().max() > 1e-3
    model.disable_adapters()
    assert_close(predict(model, batch), expected)


@torch.no_grad()
def test_blocks_compile_without_a_graph_break():
    model, batch = sugar_transformer("b", "rotary"), random_batch()
    expected = predict(model, batch)
    assert model._repeated_blocks
    model.compile_repeated_blocks(fullgraph=True, backend="eager")
    assert_close(predict(model, batch), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_half_precision_trains(dtype):
    model, batch = sugar_transformer("b"), random_batch()
    reference = predict(model, batch)
    cast = copy.deepcopy(model).to(dtype)
    streams = (batch.latents, batch.text, batch.dino, batch.clip)
    latents, text, dino, clip = (stream.to(dtype) for stream in streams)
    out = cast(latents, text, batch.timestep, dino, clip).sample
    assert out.dtype == dtype
    assert ((out.float() - reference).norm() / reference.norm()) < (1e-6 if dtype == torch.float32 else 3e-2)
    out.float().square().mean().backward()
    assert all(parameter.grad is not None for parameter in cast.parameters())
