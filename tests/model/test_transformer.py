"""The transformer: near its base at the start, blind where its design says so, and safe on disk."""

from __future__ import annotations

import copy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from small_models import CLIP_DIM, DINO_DIM, VARIANTS, base_transformer, random_batch, sugar_transformer

from sugar.model.attention import DESIGNS, GROUPS, dense_mask
from sugar.model.checkpointing import prepare_blocks
from sugar.model.patches import unpatchify
from sugar.model.transformer import SugarTransformer3DModel


def predict(model, batch, **changes):
    arguments = dict(zip(("hidden_states", "encoder_hidden_states", "timestep", "dino_tokens", "clip_tokens"),
                         batch.arguments, strict=True))  # fmt: skip
    return model(**{**arguments, **changes}).sample


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_design_a_is_the_base_model_to_the_bit(variant):
    base, model, batch = (
        base_transformer(variant),
        sugar_transformer("a", variant),
        random_batch(variant=variant),
    )
    rotary = model.rotary_embedding(*batch.latents.shape[1:2], *batch.latents.shape[3:])
    expected = base(batch.latents, batch.text, batch.timestep, image_rotary_emb=rotary).sample
    assert torch.equal(predict(model, batch), expected)


@pytest.mark.parametrize("design", DESIGNS)
@torch.no_grad()
def test_training_starts_near_the_base(design):
    base, model, batch = base_transformer(), sugar_transformer(design), random_batch()
    expected = base(batch.latents, batch.text, batch.timestep).sample
    change = (predict(model, batch) - expected).norm() / expected.norm()
    assert change < 0.05
    # Without the image streams every design is CogVideoX.
    assert_close(predict(model, batch, dino_tokens=None, clip_tokens=None), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("design", DESIGNS)
def test_the_blocks_equal_stock_blocks_under_the_dense_mask(design, variant, monkeypatch):
    """The whole network against CogVideoX's own blocks, in the order of the paper, with the mask."""
    from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0

    base, model, batch = (
        base_transformer(variant),
        sugar_transformer(design, variant),
        random_batch(variant=variant),
    )
    frames, height, width = batch.latents.shape[1], *batch.latents.shape[3:]
    image = torch.cat([model.dino_proj(batch.dino), model.clip_proj(batch.clip)], dim=1)
    first = height * width // 4
    lengths = {"dino": 5, "clip": 3, "text": 6, "first_frame": first}
    embedded = base.patch_embed(batch.text, batch.latents)
    lengths["other_frames"] = embedded.shape[1] - 6 - first
    mask = dense_mask(DESIGNS[design], lengths)
    text_side, video = torch.cat([image, embedded[:, :6]], dim=1), embedded[:, 6:]
    emb = base.time_embedding(base.time_proj(batch.timestep))
    rotary = model.rotary_embedding(frames, height, width)
    # The stock processor wants the mask of every head, [B * N, L, L], added to the scores.
    bias = {"attention_mask": mask.expand(2 * 2, -1, -1).float().log()}
    for block in base.transformer_blocks:
        block.attn1.set_processor(CogVideoXAttnProcessor2_0())
        video, text_side = block(video, text_side, emb, rotary, bias)
    video = base.proj_out(base.norm_out(base.norm_final(video), temb=emb))
    expected = unpatchify(video, batch.latents.shape, base.config.patch_size, base.config.patch_size_t)
    assert_close(predict(model, batch), expected, atol=5e-6, rtol=1e-4)


DROPPED = [("dino",), ("dino", "clip"), ("text",), ("dino", "clip", "text")]


@pytest.mark.parametrize("dropped", DROPPED)
@pytest.mark.parametrize("design", [*DESIGNS, {"text": ["dino"], "first_frame": ["text", "clip"]}])
@torch.no_grad()
def test_one_null_token_stands_for_all_of_a_dropped_stream(design, dropped):
    model, batch = sugar_transformer(design, "rotary"), random_batch()
    keep = {f"{stream}_keep": torch.zeros(2, dtype=torch.bool) for stream in dropped}
    expected = predict(model, batch, **keep)
    conditions = model.embed_conditions(batch.text, batch.dino, batch.clip, dropped=dropped)
    present = set(conditions.lengths) & set(dropped)
    assert all(conditions.lengths[stream] == 1 for stream in present)
    got = model(batch.latents, None, batch.timestep, conditions=conditions).sample
    assert_close(got, expected, atol=5e-6, rtol=1e-4)


@pytest.mark.parametrize("variant", ["sinusoidal", "rotary"])
def test_every_gradient_is_that_of_the_base(variant):
    """Design (a) without image tokens is CogVideoX; its last block does not continue the text side."""
    base, model, batch = base_transformer(variant), sugar_transformer("a", variant), random_batch()
    rotary = model.rotary_embedding(3, 8, 8)
    base(batch.latents, batch.text, batch.timestep, image_rotary_emb=rotary).sample.square().sum().backward()
    predict(model, batch).square().sum().backward()
    for name, parameter in base.named_parameters():
        assert_close(model.get_parameter(name).grad, parameter.grad, atol=1e-3, rtol=1e-3, msg=name)


def image_gradients(model, batch, output):
    dino, clip = batch.dino.clone().requires_grad_(), batch.clip.clone().requires_grad_()
    prediction = predict(model, batch, dino_tokens=dino, clip_tokens=clip)
    return torch.autograd.grad(output(prediction), (dino, clip))


@pytest.mark.parametrize("design", DESIGNS)
def test_only_under_design_a_no_gradient_reaches_the_image(design):
    model, batch = sugar_transformer(design), random_batch()
    grads = image_gradients(model, batch, lambda prediction: prediction.square().sum())
    for grad in grads:
        assert (grad == 0).all() if design == "a" else (grad != 0).any(dim=-1).all()


@pytest.mark.parametrize(("num_layers", "design", "reads"), [
    (1, "b", False), (2, "b", True), (1, "c", False), (1, "d", True), (1, "e", True),
])  # fmt: skip
def test_other_frames_see_the_image_only_through_the_first_frame(num_layers, design, reads):
    """Designs (b) and (c): none of it in the first layer; from the second on, through the first frame."""
    model, batch = sugar_transformer(design, num_layers=num_layers), random_batch()
    grads = image_gradients(model, batch, lambda prediction: prediction[:, 1:].square().sum())
    assert all(bool((grad != 0).any()) == reads for grad in grads)
    grads = image_gradients(model, batch, lambda prediction: prediction[:, :1].square().sum())
    assert all((grad != 0).any() for grad in grads)


@torch.no_grad()
def test_a_dropped_condition_equals_explicit_null_tokens():
    model, batch = sugar_transformer("b"), random_batch()
    kept = torch.tensor([True, False])
    got = predict(model, batch, dino_keep=kept, clip_keep=~kept, text_keep=kept)

    projections = {"dino": model.dino_proj, "clip": model.clip_proj, "text": model.patch_embed.text_proj}
    keep = {"dino": kept, "clip": ~kept, "text": kept}
    streams = {"dino": batch.dino, "clip": batch.clip, "text": batch.text}
    tokens, lengths = [], {}
    for group in model.token_order[:3]:
        projected = projections[group](streams[group])
        projected[~keep[group]] = 0.0
        tokens.append(projected)
        lengths[group] = projected.shape[1]
    conditions = type(model.embed_conditions(batch.text))(torch.cat(tokens, dim=1), lengths)
    expected = model(batch.latents, None, batch.timestep, conditions=conditions).sample
    assert torch.equal(got, expected)
    # What a dropped stream held does not matter, not even when it is not a number.
    batch.dino[1] = float("nan")
    assert torch.equal(predict(model, batch, dino_keep=kept, clip_keep=~kept, text_keep=kept), got)


@pytest.mark.parametrize("design", ["b", DESIGNS["d"].to_table()])
@torch.no_grad()
def test_save_and_load_is_bit_exact(design, tmp_path):
    model, batch = sugar_transformer(design, "rotary"), random_batch()
    model.save_pretrained(tmp_path)
    loaded = SugarTransformer3DModel.from_pretrained(tmp_path)
    assert loaded.design.reads == model.design.reads
    assert torch.equal(predict(loaded, batch), predict(model, batch))


@torch.no_grad()
def test_a_clip_does_not_depend_on_the_batch_around_it():
    model, batch = sugar_transformer("b"), random_batch(4)
    together = predict(model, batch)
    for index in range(4):
        assert_close(predict(model, batch.of(index))[0], together[index], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("source", ["pipeline folder", "transformer folder", "model"])
@torch.no_grad()
def test_from_cogvideox(source, tmp_path):
    base, batch = base_transformer("rotary"), random_batch()
    base.save_pretrained(tmp_path / "transformer")
    given = {"pipeline folder": tmp_path, "transformer folder": tmp_path / "transformer", "model": base}[
        source
    ]
    model = SugarTransformer3DModel.from_cogvideox(
        given, dino_dim=DINO_DIM, clip_dim=CLIP_DIM, attention_design="a"
    )
    expected = base(
        batch.latents, batch.text, batch.timestep, image_rotary_emb=model.rotary_embedding(3, 8, 8)
    ).sample
    assert torch.equal(predict(model.eval(), batch), expected)


def test_from_cogvideox_of_a_folder_without_a_transformer(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        SugarTransformer3DModel.from_cogvideox(tmp_path, dino_dim=DINO_DIM, clip_dim=CLIP_DIM)


@pytest.mark.parametrize(("fraction", "blocks"), [(0.0, 0), (0.5, 2), (0.6, 2), (1.0, 4)])
def test_freeze_first(fraction, blocks):
    model = sugar_transformer("b")
    frozen = model.freeze_first(fraction)
    assert frozen == [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    indices = {int(name.split(".")[1]) for name in frozen if name.startswith("transformer_blocks")}
    assert indices == set(range(blocks))
    assert any(name.startswith("patch_embed") for name in frozen) == (fraction > 0)
    assert not any(name.startswith(("dino_proj", "clip_proj")) for name in frozen)
    predict(model, random_batch()).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name


@pytest.mark.parametrize("checkpointing", [True, "selective"])
def test_gradient_checkpointing_changes_no_gradient(checkpointing):
    model, batch = sugar_transformer("b"), random_batch()
    model.freeze_first(0.5)
    checkpointed = copy.deepcopy(model)
    prepare_blocks(checkpointed, checkpointing)
    checkpointed.train()
    for one in (model, checkpointed):
        predict(one, batch).square().mean().backward()
    for (name, plain), other in zip(model.named_parameters(), checkpointed.parameters(), strict=True):
        if plain.requires_grad:
            assert_close(other.grad, plain.grad, msg=name)


@pytest.mark.parametrize("checkpointing", [False, True, "selective"])
def test_compiled_blocks_change_no_gradient(checkpointing, monkeypatch):
    """Traced without a graph break; torch's own compiler is left out, which takes minutes on a CPU."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    model, batch = sugar_transformer("b").train(), random_batch()
    compiled = copy.deepcopy(model)
    prepare_blocks(compiled, checkpointing, compiled=True)
    for one in (model, compiled):
        predict(one, batch).square().mean().backward()
    for (name, plain), other in zip(model.named_parameters(), compiled.parameters(), strict=True):
        assert_close(other.grad, plain.grad, msg=name)


def test_selective_checkpointing_computes_no_product_again():
    model, batch = sugar_transformer("b", "rotary").train(), random_batch()
    operations = {}
    for checkpointing in (False, "selective", True):
        model.disable_gradient_checkpointing()
        prepare_blocks(model, checkpointing)
        with FlopCounterMode(display=False) as counter:
            predict(model, batch).square().mean().backward()
        operations[checkpointing] = counter.get_total_flops()
    assert operations["selective"] == operations[False] < operations[True]


@pytest.mark.parametrize("changes", [
    {"encoder_hidden_states": None, "dino_tokens": None, "clip_tokens": None},
    {"dino_keep": torch.ones(3, dtype=torch.bool)},
    {"hidden_states": torch.zeros(2, 3, 4, 7, 8)},
])  # fmt: skip
def test_wrong_input_is_a_value_error(changes):
    with pytest.raises(ValueError):
        predict(sugar_transformer("b"), random_batch(), **changes)


def test_a_custom_table_is_used():
    blind = {group: list(GROUPS) for group in GROUPS}
    blind["other_frames"] = []
    model, batch = sugar_transformer(blind, num_layers=1), random_batch()
    text = batch.text.clone().requires_grad_()
    out = predict(model, batch, encoder_hidden_states=text)
    assert not torch.autograd.grad(out[:, 1:].sum(), text)[0].any()
