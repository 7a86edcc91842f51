"""The pipeline of tiny networks of the real classes: from a picture and a sentence to frames."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import sugar
from sugar.config import InputError
from sugar.model.transformer import SugarTransformer3DModel
from sugar.pipeline import SugarPipeline

PROMPTS = ["a cat jumping", "a red robot in the snow"]
FAST = {"num_inference_steps": 3, "seed": 7, "output_type": "latent"}


@pytest.fixture(scope="module")
def pipeline(tiny_networks) -> SugarPipeline:
    torch.manual_seed(0)
    base = tiny_networks / "base"
    transformer = SugarTransformer3DModel.from_cogvideox(base, dino_dim=16, clip_dim=16)
    pipeline = SugarPipeline.assemble(base, transformer, tiny_networks / "dino", tiny_networks / "clip")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def cut_out(colour) -> Image.Image:
    pixels = np.zeros((40, 48, 4), np.uint8)
    pixels[8:32, 12:36] = (*colour, 255)
    return Image.fromarray(pixels)


RED, BLUE = cut_out((200, 30, 30)), cut_out((20, 30, 220))


def segmenter_of(share):
    """A segmenter that finds the subject in the top rows of the picture."""

    def segment(image, noun, *, box=None):
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[: round(share * len(mask))] = 255
        if box is not None:
            mask[~box.inside(*mask.shape)] = 0
        return SimpleNamespace(mask=mask, score=1.0)

    return segment


@pytest.mark.parametrize(("output_type", "kind", "shape"), [
    ("np", np.float32, (2, 9, 64, 64, 3)),
    ("uint8", np.uint8, (2, 9, 64, 64, 3)),
    ("pt", torch.float32, (2, 9, 3, 64, 64)),
    ("latent", torch.float32, (2, 3, 4, 8, 8)),
])  # fmt: skip
def test_frames_come_in_every_form(pipeline, output_type, kind, shape):
    frames = pipeline(prompt=PROMPTS, identity=RED, num_inference_steps=1, output_type=output_type).frames
    assert frames.dtype == kind
    assert tuple(frames.shape) == shape


def test_pictures_of_another_size_and_length(pipeline):
    options = {"num_inference_steps": 1, "output_type": "pil", "return_dict": False}
    (clips,) = pipeline(prompt="a cat", identity=RED, num_frames=17, height=32, width=48, **options)
    assert len(clips) == 1
    assert [picture.size for picture in clips[0]] == [(48, 32)] * 17


@pytest.mark.parametrize("scheduler", ["ddim", "dpm"])
def test_clip_i_of_a_batch_is_clip_i_alone(pipeline, scheduler):
    options = FAST | {"scheduler": scheduler}
    four = {"prompt": 2 * PROMPTS, "identity": [RED, BLUE, BLUE, RED], **options}
    together = pipeline(**four).frames
    assert torch.equal(together, pipeline(**four).frames)
    alone = pipeline(prompt=PROMPTS[1], identity=RED, **options | {"seed": 10}).frames
    torch.testing.assert_close(alone[0], together[3], atol=1e-4, rtol=1e-4)
    other = pipeline(prompt=PROMPTS[1], identity=RED, **options | {"seed": 9}).frames
    assert (other - alone).abs().max() > 0.1


@pytest.mark.parametrize("change", [
    {"identity": BLUE}, {"prompt": "a boat"}, {"negative_prompt": "snow"}, {"image_scale": 1.0},
    {"text_scale": 1.0}, {"order": "text_first"}, {"drop": "both"}, {"drop_until": 1.0},
    {"guidance_interval": (0.0, 0.5)}, {"dynamic_guidance": True}, {"guidance_rescale": 0.7},
])  # fmt: skip
def test_every_knob_matters(pipeline, change):
    options = {"prompt": "a cat", "identity": RED, **FAST}
    plain = pipeline(**options).frames
    assert not torch.allclose(pipeline(**{**options, **change}).frames, plain, atol=1e-5)


def test_the_ways_of_batching_branches_agree(pipeline):
    options = {"prompt": "a cat", "identity": RED, **FAST}
    together, in_turn = (pipeline(**options, batch_branches=way).frames for way in ("all", "one"))
    torch.testing.assert_close(together, in_turn, atol=1e-4, rtol=1e-4)


def test_save_and_load_keeps_every_bit_of_the_weights(pipeline, tmp_path):
    from diffusers import DiffusionPipeline

    pipeline.save_pretrained(tmp_path)
    loaded = SugarPipeline.from_pretrained(tmp_path)
    assert isinstance(loaded, DiffusionPipeline)
    loaded.set_progress_bar_config(disable=True)
    options = {
        "prompt": "a cat",
        "identity": RED,
        "num_inference_steps": 2,
        "seed": 1,
        "output_type": "uint8",
    }
    for name in ("transformer", "vae", "text_encoder", "image_conditioner"):
        saved, read = (getattr(each, name).state_dict() for each in (pipeline, loaded))
        assert saved.keys() == read.keys()
        assert all(torch.equal(saved[key], read[key]) for key in saved), name
    # Weights in a file do not lie at the addresses of those in memory, and the CPU's sums follow the address.
    frames = loaded(**options).frames.astype(int)
    assert np.abs(frames - pipeline(**options).frames).max() <= 1
    assert np.array_equal(frames, loaded(**options).frames)


def test_an_older_folder_with_dino_and_clip_beside_the_others_loads(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    for part in ("dino", "clip"):
        (tmp_path / "image_conditioner" / part).rename(tmp_path / part)
    shutil.rmtree(tmp_path / "image_conditioner")
    index = json.loads((tmp_path / "model_index.json").read_text())
    del index["image_conditioner"]
    index |= {"dino": ["transformers", "Dinov2Model"], "clip": ["transformers", "CLIPModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    loaded = SugarPipeline.from_pretrained(tmp_path)
    saved, read = (each.image_conditioner.state_dict() for each in (pipeline, loaded))
    assert all(torch.equal(saved[key], read[key]) for key in saved)


def test_a_hub_id_is_loaded_from_the_hubs_cache(pipeline, tmp_path):
    """The layout that `huggingface_hub` leaves after a download."""
    repository = tmp_path / "models--me--my-dog"
    pipeline.save_pretrained(repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    loaded = SugarPipeline.from_pretrained("me/my-dog", cache_dir=tmp_path, local_files_only=True)
    weight = "transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(loaded.transformer.state_dict()[weight], pipeline.transformer.state_dict()[weight])


def test_vae_slicing_and_tiling(pipeline):
    options = {
        "prompt": PROMPTS,
        "identity": RED,
        "num_inference_steps": 1,
        "seed": 3,
        "output_type": "uint8",
    }
    plain = pipeline(**options).frames
    pipeline.vae.enable_slicing()
    sliced = pipeline(**options).frames
    pipeline.vae.disable_slicing()
    share = {"tile_overlap_factor_height": 0.25, "tile_overlap_factor_width": 0.25}
    pipeline.vae.enable_tiling(tile_sample_min_height=32, tile_sample_min_width=32, **share)
    tiled = pipeline(**options).frames
    pipeline.vae.disable_tiling()
    assert np.abs(sliced.astype(int) - plain).max() <= 1
    assert tiled.shape == plain.shape
    # A tile sees less around it, and its group norms other statistics.
    assert np.abs(tiled.astype(int) - plain).mean() < 24


def test_cpu_offload_of_diffusers_has_one_network_on_the_device_at_a_time(pipeline, monkeypatch):
    """`enable_model_cpu_offload` with its own hooks and order; where they would move weights to the CPU, the
    weights become NaN, so that a network used before its turn shows in the frames."""
    from accelerate.hooks import CpuOffload

    networks = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    assert list(networks) != pipeline.model_cpu_offload_seq.split(
        "->"
    )  # the order is not that of registration
    assert sorted(networks) == sorted(pipeline.model_cpu_offload_seq.split("->"))
    assert not pipeline._exclude_from_cpu_offload
    names = {network: name for name, network in networks.items()}
    options = {"prompt": "a cat", "identity": RED, "num_inference_steps": 2, "seed": 3, "output_type": "pt"}
    options |= {"image_scale": 1.0, "text_scale": 1.0, "drop": "none"}  # all projections at the first forward
    plain = pipeline(**options).frames
    away: dict[str, list[torch.Tensor]] = {}
    brought = []

    def init_hook(hook, network):
        if names[network] not in away:
            away[names[network]] = [weight.detach().clone() for weight in network.parameters()]
            for weight in network.parameters():
                weight.data.fill_(float("nan"))
        return network

    def bring(network):
        for weight, kept in zip(network.parameters(), away.pop(names[network]), strict=True):
            weight.data.copy_(kept)

    def pre_forward(hook, network, *args, **kwargs):
        if names[network] in away:
            if hook.prev_module_hook is not None:
                hook.prev_module_hook.offload()
            bring(network)
            brought.append(names[network])
        assert networks.keys() - away.keys() == {names[network]}
        return args, kwargs

    monkeypatch.setattr(CpuOffload, "init_hook", init_hook)
    monkeypatch.setattr(CpuOffload, "pre_forward", pre_forward)
    try:
        pipeline.enable_model_cpu_offload(device="cpu")
        for _ in range(2):  # the hooks are put on anew after each call
            assert away.keys() == networks.keys()
            torch.testing.assert_close(pipeline(**options).frames, plain)
        assert brought == 2 * pipeline.model_cpu_offload_seq.split("->")
    finally:
        pipeline.remove_all_hooks()
        pipeline._all_hooks = []
        for name in list(away):
            bring(networks[name])


def test_the_subject_is_cut_out_of_a_photo(pipeline):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8))
    options = {"prompt": "a cat", "noun": "cat", **FAST}
    got = pipeline(photo, segmenter=segmenter_of(0.4), **options).frames
    cropped = photo.crop((0, 0, 60, 20)).convert("RGBA")
    torch.testing.assert_close(got, pipeline(identity=cropped, **options).frames, atol=1e-3, rtol=1e-3)


def test_a_box_says_where_the_subject_is(pipeline):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8))
    options = {"noun": "cat", "segmenter": segmenter_of(1.0), **FAST}
    got = pipeline(photo, "a cat", box=(10, 5, 40, 45), **options).frames
    cropped = photo.crop((10, 5, 40, 45)).convert("RGBA")
    torch.testing.assert_close(
        got, pipeline(identity=cropped, prompt="a cat", **FAST).frames, atol=1e-3, rtol=1e-3
    )
    both = pipeline([photo, photo], PROMPTS, box=[(10, 5, 40, 45), None], **options).frames
    assert not torch.equal(both[0], pipeline([photo, photo], PROMPTS, **options).frames[0])


def test_the_callback_sees_every_step_and_may_change_the_latents(pipeline):
    seen = []

    def on_step_end(pipe, step, timestep, tensors):
        seen.append((pipe is pipeline, step, int(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    frames = pipeline(prompt="a cat", identity=RED, callback_on_step_end=on_step_end, **FAST).frames
    assert [(mine, step) for mine, step, _ in seen] == [(True, 0), (True, 1), (True, 2)]
    assert not frames.any()


PHOTO = Image.new("RGB", (32, 32))


@pytest.mark.parametrize(("change", "message"), [
    ({"prompt": "  "}, "empty prompt"),
    ({"prompt": []}, "empty prompt"),
    ({"prompt": "cat " * 40}, "at most 24 tokens"),
    ({"height": 60}, "multiples of 16 pixels, got 60 x 64"),
    ({"width": 8}, "multiples of 16"),
    ({"num_frames": 10}, "num_frames must be"),
    ({"identity": None}, "either image or identity"),
    ({"image": PHOTO}, "either image or identity"),
    ({"identity": PHOTO}, "alpha channel"),
    ({"identity": Image.new("RGBA", (8, 8))}, "transparent everywhere"),
    ({"identity": "cat.png"}, "PIL image"),
    ({"identity": [RED, RED, RED]}, "one for each of the 1"),
    ({"identity": None, "image": PHOTO}, "noun must name"),
    ({"identity": None, "image": PHOTO, "noun": "cat", "segmenter": segmenter_of(0.0)}, "no cat found"),
    ({"box": (0, 0, 9, 9)}, "an identity needs none"),
    ({"identity": None, "image": PHOTO, "noun": "cat", "box": (0, 0, 40, 9)}, "within 32 x 32 px"),
    ({"identity": None, "image": PHOTO, "noun": "cat", "box": [None, None]}, "each of the 1 pictures"),
    ({"seed": [1, 2]}, "as many seeds"),
    ({"generator": torch.Generator()}, "not both"),
    ({"output_type": "gif"}, "output_type must be"),
])  # fmt: skip
def test_a_persons_mistakes_get_a_helpful_error(pipeline, change, message):
    options = {"prompt": "a cat", "identity": RED, **FAST}
    with pytest.raises(InputError, match=message):
        pipeline(**{**options, **change})


@pytest.mark.parametrize(("change", "message"), [
    ({"order": "both"}, "order must be"),
    ({"drop": "text"}, "drop must be"),
    ({"scheduler": "euler"}, "scheduler must be"),
    ({"num_inference_steps": 0}, "num_steps must be >= 1"),
])  # fmt: skip
def test_bad_options_are_value_errors(pipeline, change, message):
    with pytest.raises(ValueError, match=message):
        pipeline(**{"prompt": "a cat", "identity": RED, **FAST, **change})


def test_import_sugar_touches_no_torch():
    code = "import sugar, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert sugar.SugarPipeline is SugarPipeline
