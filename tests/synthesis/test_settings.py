"""From params.yaml to photos and backends: what is asked for is used, what is not makes no difference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sugar.config import InputError, Params, load_params
from sugar.data.image_io import encode_png
from sugar.data.shard_pool import Skips
from sugar.stages.synthesis import subjects_of, synthesis_recipe
from sugar.synthesis.backends import Generators, load_backends
from sugar.synthesis.customize import Customized
from sugar.synthesis.generators import Generator
from sugar.synthesis.prompts import make_prompt

GENERATOR = Generator("/no/such/folder", 2, 1.0)


@pytest.fixture
def params(project_root: Path):
    def load(*overrides: str, profiles: tuple[str, ...] = ()) -> Params:
        return load_params(project_root / "params.yaml", profiles, overrides)

    return load


def test_pipelines_that_are_not_asked_for_make_no_difference(params):
    named = params(
        "synthesize.generators.animate.model=owner/name", "synthesize.generators.expand.side_px=512"
    )
    assert synthesis_recipe(named) == synthesis_recipe(params())


def test_the_profile_names_all_three(params, monkeypatch):
    monkeypatch.setattr("sugar.encoders.hub.cached_commit", lambda source: "c0ffee")  # as if downloaded
    generators = synthesis_recipe(params(profiles=("cogvideox-5b",))).generators
    assert generators.customize is not None
    assert generators.expand is not None
    assert generators.animate is not None
    assert generators.animate.model == "zai-org/CogVideoX-5b-I2V"
    assert generators.animate.digest == "zai-org/CogVideoX-5b-I2V@c0ffee"
    assert (generators.customize.machine.offload, generators.customize.machine.dtype) == ("model", "bfloat16")
    assert generators.num_candidates == 3
    assert generators.clip
    assert generators.dino


def test_the_recipe_names_the_networks_that_cut(params, monkeypatch):
    monkeypatch.setattr("sugar.stages.fingerprints.hub_commit", lambda source: "0" * 40)
    networks = synthesis_recipe(params(profiles=("cogvideox-5b",))).segmentation_networks
    assert [network.source for network in networks] == [
        "IDEA-Research/grounding-dino-base",
        "facebook/sam2.1-hiera-large",
    ]
    assert synthesis_recipe(params()).segmentation_networks == ()


def test_other_weights_other_adapter_or_other_writer_are_another_recipe(params, tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    overrides = [
        "synthesize.customize=diffusers",
        "synthesize.prompts.grammar=wide",
        f"synthesize.generators.customize.model={tmp_path}",
    ]
    first = synthesis_recipe(params(*overrides))
    assert synthesis_recipe(params(*overrides)) == first
    (tmp_path / "model_index.json").write_text("{ }")
    second = synthesis_recipe(params(*overrides))
    assert second != first
    written = synthesis_recipe(params(*overrides, f"synthesize.prompts.writer={tmp_path}"))
    assert written.generators.writer is not None
    assert written != second
    adapter = f"{{model: {tmp_path}, subfolder: s, weights: w.safetensors, image_encoder: null, scale: 0.5}}"
    adapted = synthesis_recipe(params(*overrides, f"synthesize.generators.customize.adapter={adapter}"))
    assert adapted.generators.adapter is not None
    assert adapted.generators.adapter.model == str(tmp_path)
    with pytest.raises(InputError, match=r"generators\.customize\.model must be an existing folder"):
        synthesis_recipe(params(*overrides[:2], "synthesize.generators.customize.model=/no/such"))


def test_a_fill_of_pictures_without_a_border_is_refused(params, tmp_path):
    fill = ["synthesize.expand=diffusers", f"synthesize.generators.expand.model={tmp_path}"]
    with pytest.raises(InputError, match="expand must be opencv when customize is procedural"):
        params(*fill)
    with pytest.raises(InputError, match="expand must be opencv when customize is procedural"):
        replace(synthesis_recipe(params()), expand="diffusers", generators=Generators(expand=GENERATOR))


def test_the_fill_of_square_pictures_in_a_square_video_is_not_loaded(monkeypatch):
    monkeypatch.setattr(
        "sugar.synthesis.customize_diffusers.load_customizer",
        lambda *_: lambda identity, noun, text, seed: Customized(np.zeros((24, 24, 3), np.uint8)),
    )
    pipelines = Generators(customize=GENERATOR, expand=GENERATOR)
    shape = {"num_frames": 5, "fps": 8.0, "height_px": 32}
    backends = load_backends("diffusers", "diffusers", "procedural", pipelines, width_px=32, **shape)
    prompt = make_prompt("cat", "animal", 0)
    scene = backends.customize(np.zeros((8, 8, 4), np.uint8), "cat", prompt, 0)
    assert backends.expand(scene, prompt, 0).image.shape == (32, 32, 3)
    with pytest.raises(InputError, match="no such folder"):
        load_backends("diffusers", "diffusers", "procedural", pipelines, width_px=48, **shape)


def test_a_table_of_photos_is_balanced_and_cut_to_size(params, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["file,noun"]
    for number, noun in enumerate(["dog"] * 6 + ["cat"] * 2):
        (tmp_path / f"{number}.png").write_bytes(encode_png(rng.integers(0, 256, (40, 40, 3), np.uint8)))
        rows.append(f"{number}.png,{noun}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    asked = ["source.kind=table", f"source.folder={tmp_path / 'list.csv'}", "source.num_subjects=4"]
    skips = Skips()
    nouns = [subject.noun for subject in subjects_of(params(*asked, "source.balance=true"), skips.add)]
    assert sorted(nouns) == ["cat", "cat", "dog", "dog"]
    assert [subject.noun for subject in subjects_of(params(*asked), skips.add)] == ["dog"] * 4
    capped = [subject.noun for subject in subjects_of(params(*asked, "source.max_per_noun=1"), skips.add)]
    assert capped == ["dog", "cat"]
    assert skips.counts == {"noun_full": 6}


def test_the_clip_of_sprite_world_names_nothing_but_its_own_nouns(params, tmp_path):
    (tmp_path / "IMG_1.png").write_bytes(encode_png(np.full((40, 40, 3), 99, np.uint8)))
    asked = ["source.kind=folder", f"source.folder={tmp_path}", "source.nouns=clip"]
    with pytest.raises(InputError, match=r"networks\.clip must be a published CLIP, such as .*'aardvark'"):
        subjects_of(params(*asked), Skips().add)
    (tmp_path / "own.csv").write_text("noun,category\ncat,animal\ndog,animal\n")
    own = [f"source.vocabulary={tmp_path / 'own.csv'}", "source.min_noun_probability=0"]
    (subject,) = subjects_of(params(*asked, *own), Skips().add)
    assert subject.noun in ("cat", "dog")
