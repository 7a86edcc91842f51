"""A saved pipeline is asked and judged through the real network classes, at tiny size."""

from __future__ import annotations

import pytest
from oracle import judges as oracle_judges

from sugar.config import InputError
from sugar.evaluation.benchmark import sprite_benchmark
from sugar.evaluation.candidates import pipeline_candidate
from sugar.evaluation.evaluate import evaluate
from sugar.evaluation.judges import folder_digest, load_judges
from sugar.evaluation.scores import METRICS

BENCHMARK = sprite_benchmark(2, 2, seed=7, size_px=32)
SETTINGS = {"num_inference_steps": 2, "num_frames": 9, "height": 64, "width": 64}


@pytest.fixture(scope="module")
def model(tiny_networks, tmp_path_factory):
    import torch

    from sugar.model.transformer import SugarTransformer3DModel
    from sugar.pipeline import SugarPipeline

    torch.manual_seed(0)
    transformer = SugarTransformer3DModel.from_cogvideox(tiny_networks / "base", dino_dim=16, clip_dim=16)
    pipeline = SugarPipeline.assemble(
        tiny_networks / "base", transformer, tiny_networks / "dino", tiny_networks / "clip"
    )
    folder = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return folder


def test_a_saved_pipeline_is_evaluated_whatever_the_batches(tmp_path, tiny_networks, model):
    judges = load_judges(
        metrics_dino=str(tiny_networks / "metrics_dino"),
        metrics_clip=str(tiny_networks / "clip"),
        video_text=str(tiny_networks / "video_text"),
    )
    assert judges.sources["metrics_dino"]["class"] == "Dinov2Model"
    assert len(judges.sources["video_text"]["digest"]) == 64
    candidate = pipeline_candidate("sugar", model, [4.0], **SETTINGS)
    results = [
        evaluate(tmp_path / str(size), BENCHMARK, judges, [candidate], fps=8, batch_size=size)
        for size in (1, 4)
    ]
    for metric in METRICS:
        name = metric.name
        one, four = (result.rows[0].scores.get(name) for result in results)
        assert (one is None) == (four is None)
        if one is not None and four is not None:
            assert one[0] == pytest.approx(four[0], abs=0.02), name


def test_what_else_lies_in_the_folder_does_not_make_it_another_model(model):
    before = pipeline_candidate("sugar", model, [4.0], **SETTINGS).digest
    (model / "training.json").write_text('{"seconds": 12.5}')
    assert pipeline_candidate("sugar", model, [4.0], **SETTINGS).digest == before
    assert (
        pipeline_candidate("sugar", model, [4.0], **{**SETTINGS, "num_inference_steps": 3}).digest != before
    )
    weights = model / "transformer" / "config.json"
    content = weights.read_text()
    weights.write_text(content + " ")
    assert pipeline_candidate("sugar", model, [4.0], **SETTINGS).digest != before
    weights.write_text(content)


def test_a_folder_without_a_pipeline_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"model_index\.json is missing"):
        pipeline_candidate("sugar", tmp_path, [4.0])


def test_other_judges_have_another_digest(tmp_path):
    assert oracle_judges("one").digest != oracle_judges("two").digest
    (tmp_path / "config.json").write_text("{}")
    first = folder_digest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert folder_digest(tmp_path) != first
