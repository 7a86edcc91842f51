"""Generators of diffusers: real classes at tiny size, named and loaded as a configuration does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_generators as tiny
import torch

from sugar.config import InputError
from sugar.synthesis.animate_diffusers import DiffusersAnimator, Shot, frame_indices, shot_text
from sugar.synthesis.backends import Generators
from sugar.synthesis.customize_diffusers import ClipDinoRank, DiffusersCustomizer, load_customizer
from sugar.synthesis.expand_diffusers import DiffusersExpander
from sugar.synthesis.generators import Adapter, Generator, Machine, as_uint8, load_generator

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 48, 3), np.uint8)
IDENTITY = np.dstack([IMAGE, np.full((40, 48), 255, np.uint8)])
ANIMATORS = {"cogvideox": (tiny.make_cogvideox, 8), "wan": (tiny.make_wan, 16), "ltx": (tiny.make_ltx, 25)}


def settings(folder: Path, **changes) -> Generator:
    return replace(Generator(str(folder), num_steps=2, guidance_scale=3.0, batch_size=2), **changes)


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("generators")


@pytest.mark.parametrize("name", ANIMATORS)
def test_clips_of_the_wanted_size_and_their_own_noise(name, folders):
    make, native_fps = ANIMATORS[name]
    animate = DiffusersAnimator(settings(make(folders / name)), native_fps)
    first = IMAGE[:16, :24]
    shots = [Shot(first, "a cat", 5), Shot(first[::-1], "a dog", 6), Shot(first, "a cat", 7)]
    clips = animate(shots, num_frames=5, fps=8)
    assert [clip.shape for clip in clips] == [(5, 16, 24, 3)] * 3
    assert [clip.dtype for clip in clips] == [np.uint8] * 3
    alone = animate(shots[1:2], num_frames=5, fps=8)
    assert difference(clips[1], alone[0]) <= 1, "a clip must not depend on its batch"
    assert difference(clips[0], clips[2]) > 1, "another seed must give another clip"


def test_frames_nearest_in_time():
    assert frame_indices(5, 8, 8).tolist() == [0, 1, 2, 3, 4]
    assert frame_indices(5, 8, 16).tolist() == [0, 2, 4, 6, 8]
    assert frame_indices(4, 8, 25).tolist() == [0, 3, 6, 9]
    with pytest.raises(ValueError, match="positive"):
        frame_indices(0, 8, 8)


def test_the_camera_is_said():
    assert shot_text("a cat is resting.", "pan") == "a cat is resting. The camera pans slowly."


def candidates_of(customizer: DiffusersCustomizer) -> np.ndarray:
    drawn = customizer.candidates(IDENTITY, "cat", "a cat in snow", 3)
    assert (drawn.shape, drawn.dtype) == ((3, 32, 32, 3), np.uint8)
    assert difference(drawn[0], drawn[1]) > 1, "candidates must differ"
    customizer.num_candidates = 1
    assert difference(customizer.candidates(IDENTITY, "cat", "a cat in snow", 3)[0], drawn[0]) <= 1
    customizer.num_candidates = 3
    return drawn


def last(candidates: np.ndarray, identity: np.ndarray, text: str) -> np.ndarray:
    return np.arange(len(candidates))


def test_kontext_draws_candidates_and_the_best_is_kept(folders):
    customizer = load_customizer(settings(tiny.make_kontext(folders / "kontext")), 32, 3, last)
    drawn = candidates_of(customizer)
    best = customizer(IDENTITY, "cat", "a cat in snow", 3)
    np.testing.assert_array_equal(best.image, drawn[2])
    assert (best.num_candidates, best.score) == (3, 2.0)
    assert difference(customizer(IDENTITY, "cat", "a cat in snow", 4).image, drawn[2]) > 1


@pytest.mark.parametrize("plus", [False, True])
def test_qwen_image_edit_draws_candidates(plus, monkeypatch):
    module = "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit" + ("_plus" if plus else "")
    # The pipeline enlarges what it sees to a megapixel: minutes on a CPU.
    size = (64, 64) if plus else (64, 64, None)
    monkeypatch.setattr(f"{module}.calculate_dimensions", lambda area, ratio: size)
    candidates_of(DiffusersCustomizer(tiny.qwen_edit(plus), settings(Path("qwen")), 32, 3, last))


def test_sdxl_needs_its_adapter_and_reads_the_subject_through_it(folders):
    sdxl, folder = tiny.make_adapted(folders / "adapted")
    with pytest.raises(InputError, match="adapter must be given"):
        load_customizer(settings(sdxl), 32)
    adapter = Adapter(str(folder), "sdxl_models", "ip.safetensors", "models/image_encoder", scale=1.0)
    customizer = load_customizer(settings(sdxl), 32, 3, last, adapter)
    drawn = candidates_of(customizer)
    other = customizer.candidates(IDENTITY[:, :, [2, 0, 1, 3]] // 2 + 100, "cat", "a cat in snow", 3)
    assert difference(drawn, other) > 1
    with pytest.raises(InputError, match="adapter"):
        load_customizer(settings(sdxl), 32, adapter=replace(adapter, weights="none.safetensors"))


def test_candidates_are_ranked_by_clip_and_dino(tiny_networks):
    rank = ClipDinoRank(str(tiny_networks / "clip"), str(tiny_networks / "dino"))
    from sugar.encoders.image import identity_canvas

    pictures = np.stack([RNG.integers(0, 256, (32, 32, 3), np.uint8), identity_canvas(IDENTITY, 32)])
    scores = rank(pictures, IDENTITY, "a cat")
    same_words = rank(pictures[[1, 1]], IDENTITY, "a cat")
    assert scores.shape == (2,)
    assert -2 <= scores.min() <= scores.max() <= 2
    np.testing.assert_allclose(same_words[0], same_words[1], atol=1e-5)
    np.testing.assert_allclose(scores[1], same_words[0], atol=1e-5)


def test_only_the_missing_border_is_drawn(folders):
    fill = DiffusersExpander(settings(tiny.make_inpainting(folders / "inpainting")), 32)
    picture = IMAGE[:32, :32]
    wide = fill(picture, "a beach", 32, 64, 1)
    assert (wide.shape, wide.dtype) == ((32, 64, 3), np.uint8)
    np.testing.assert_array_equal(wide[:, 16:48], picture)
    assert difference(wide, fill(picture, "a beach", 32, 64, 2)) > 1
    np.testing.assert_array_equal(fill(picture, "a beach", 32, 32, 1), picture)


def test_what_is_wrong_is_said_before_anything_is_loaded(folders, tmp_path):
    kontext = tiny.make_kontext(folders / "other")
    for generator, words in [
        (Generator(str(tmp_path), 2, 1.0), "must be a diffusers pipeline"),
        (Generator(str(kontext), 2, 1.0), "must be one of WanImageToVideoPipeline, got FluxKontextPipeline"),
        (Generator(str(kontext), 2, 1.0, machine=Machine(offload="model")), "needs a GPU"),
        (Generator("/no/such/folder", 2, 1.0), "no such folder"),
    ]:
        with pytest.raises(InputError, match=words):
            load_generator("generators.animate", generator, ["WanImageToVideoPipeline"])
    with pytest.raises(InputError, match="dtype"):
        Machine(dtype="int8")


@pytest.fixture
def borrowed_gpu(monkeypatch):
    """A CPU that says it is a GPU, to see on the CPU what an offload hooks."""
    monkeypatch.setattr("sugar.synthesis.generators.device_of", lambda machine: torch.device("cpu"))


def hooked(pipeline) -> dict[str, bool]:
    """Whether each network of a pipeline is moved by a hook, or each of its layers that has weights."""
    networks = {name: n for name, n in pipeline.components.items() if isinstance(n, torch.nn.Module)}
    return {name: hasattr(n, "_hf_hook") or all(map(has_hook, layers(n))) for name, n in networks.items()}


def layers(network: torch.nn.Module) -> list[torch.nn.Module]:
    return [layer for layer in network.modules() if list(layer.parameters(recurse=False))]


def has_hook(layer: torch.nn.Module) -> bool:
    return hasattr(layer, "_hf_hook")


PIPELINES = {
    "FluxKontextPipeline": tiny.make_kontext,
    "StableDiffusionXLInpaintPipeline": tiny.make_inpainting,
    "CogVideoXImageToVideoPipeline": tiny.make_cogvideox,
    "WanImageToVideoPipeline": tiny.make_wan,
    "LTXImageToVideoPipeline": tiny.make_ltx,
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_an_offload_takes_every_network(kind, folders, borrowed_gpu):
    folder = PIPELINES[kind](folders / f"offload-{kind}")
    assert not any(hooked(load_generator("g", settings(folder), [kind])).values())
    for offload in ("model", "sequential"):
        pipeline = load_generator("g", settings(folder, machine=Machine("cuda", offload=offload)), [kind])
        assert all(hooked(pipeline).values()), hooked(pipeline)
        assert pipeline.vae.use_tiling


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_an_offload_takes_the_adapter_too(offload, folders, borrowed_gpu):
    sdxl, folder = tiny.make_adapted(folders / f"adapted-{offload}")
    adapter = Adapter(str(folder), "sdxl_models", "ip.safetensors", "models/image_encoder")
    plain = load_customizer(settings(sdxl), 32, adapter=adapter)
    offloaded = load_customizer(settings(sdxl, machine=Machine("cuda", offload=offload)), 32, adapter=adapter)
    found = hooked(offloaded.pipeline)
    assert set(found) == {"vae", "unet", "text_encoder", "text_encoder_2", "image_encoder"}
    assert all(found.values()), found
    assert all(map(has_hook, layers(offloaded.pipeline.unet.encoder_hid_proj))) == (offload == "sequential")
    if offload == "sequential":
        return  # accelerate cannot move layers between a CPU and itself
    pictures = [customizer(IDENTITY, "cat", "a cat", 1).image for customizer in (plain, offloaded)]
    assert difference(*pictures) <= 1


def test_lost_weights_are_an_error(folders):
    folder = tiny.make_wan(folders / "broken")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot load WanImageToVideoPipeline"):
        load_generator("generators.animate", Generator(str(folder), 2, 1.0), ["WanImageToVideoPipeline"])


def test_pixels_that_are_no_numbers():
    with pytest.raises(ValueError, match="finite"):
        as_uint8(np.array([0.5, np.nan]))
    assert as_uint8(np.array([-1.0, 0.5, 2.0])).tolist() == [0, 128, 255]


def test_a_shard_made_by_generators_alone(folders, tiny_networks):
    from sugar.data.shard_pool import Skips
    from sugar.data.subjects import Subject
    from sugar.synthesis.shard import SynthesisRecipe, synthesize_shard

    generators = Generators(
        customize=settings(tiny.make_kontext(folders / "a")),
        expand=settings(tiny.make_inpainting(folders / "b")),
        animate=settings(tiny.make_wan(folders / "c")),
        customize_side_px=32,
        expand_side_px=32,
        num_candidates=2,
        native_fps=8,
        clip=str(tiny_networks / "clip"),
        dino=str(tiny_networks / "dino"),
    )
    recipe = SynthesisRecipe(0, 8, 5, 32, 48, 2, "diffusers", "diffusers", "diffusers", generators=generators)
    subjects = [Subject("a", IDENTITY, "cat", "animal"), Subject("b", IDENTITY, "dog", "animal")]
    skips = Skips()
    triplets = list(
        synthesize_shard(
            subjects,
            recipe,
            recipe.load(),
            cut=lambda *_, **__: pytest.fail("the pictures are cut out already"),
            score=lambda made: [{"identity": 1.0} for _ in made],
            on_skip=skips.add,
        )
    )
    assert [triplet.key for triplet in triplets] == ["a-p00", "a-p01", "b-p00", "b-p01"]
    assert not skips.counts
    assert all(triplet.video.shape == (5, 32, 48, 3) for triplet in triplets)
    about = triplets[0].provenance
    assert about["animate"] == f"diffusers: {folders / 'c'}"
    assert about["candidates"] == "2"
    assert -2 <= float(about["candidate_score"]) <= 2
