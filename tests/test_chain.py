"""All nine stages, one after the other, on the smoke profile with tiny networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sugar.config import InputError, Params, load_params
from sugar.data.atomic import sha256_file
from sugar.stages import ABLATION_STAGES, STAGES, StageFailure, run_ablation_stage, run_stage


def make_params(project_root: Path, root: Path, networks: Path, *overrides: str) -> Params:
    folders = {name: name for name in ("base", "dino", "clip", "metrics_dino", "video_text")}
    folders["metrics_clip"] = "clip"
    return load_params(
        project_root / "params.yaml",
        ["smoke"],
        [
            f"paths.root={root}",
            "evaluate.num_subjects=2",
            "evaluate.retrieval_gallery=2",
            "evaluate.compare=[text_only, stage1]",
            "sampling.num_steps=2",
            "training.sample_steps=2",
            "training.sample_clips=1",
            *(f"networks.{key}={networks / folder}" for key, folder in folders.items()),
            *overrides,
        ],
    )


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def chain(
    project_root: Path, tiny_networks: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Params, dict[str, dict[str, float]]]:
    params = make_params(project_root, tmp_path_factory.mktemp("chain"), tiny_networks)
    return params, {name: run_stage(name, params) for name in STAGES}


def test_every_stage_leaves_its_outputs_and_figures(chain):
    params, figures = chain
    assert figures["source"]["subjects"] == 12
    assert figures["synthesize"]["triplets"] == 12
    assert figures["ingest"]["triplets"] + figures["ingest"]["skipped"] == 16
    assert figures["encode"]["real_samples"] == figures["ingest"]["accepted"]
    assert figures["pretrain"]["steps"] == figures["finetune"]["steps"] == 4
    assert figures["evaluate"]["num_videos"] == 2
    assert figures["register"]["version"] == 1
    for name, stage in STAGES.items():
        assert all(any(params.path(output).iterdir()) for output in stage.outputs), name
        assert json.loads((params.path("metrics") / f"{name}.json").read_text()) == figures[name]


def test_both_models_load_as_pipelines(chain):
    from sugar import SugarPipeline

    for name in ("stage1", "stage2"):
        SugarPipeline.from_pretrained(chain[0].path(name))


def test_the_frozen_half_of_stage_2_is_stage_1s_to_the_bit(chain):
    from safetensors.torch import load_file

    params, _ = chain
    first, second = (
        load_file(params.path(name) / "transformer" / "diffusion_pytorch_model.safetensors")
        for name in ("stage1", "stage2")
    )
    frozen = json.loads((params.path("stage2") / "frozen.json").read_text())
    assert {name.split(".")[1] for name in frozen if name.startswith("transformer_blocks.")} == {"0", "1"}
    assert all(first[name].equal(second[name]) for name in frozen)
    moved = [name for name in first if not first[name].equal(second[name])]
    assert any(name.startswith("transformer_blocks.3.") for name in moved)


def test_an_altered_frozen_tensor_is_found_before_the_model_is_evaluated(chain, tmp_path):
    from safetensors.torch import load_file, save_file

    from sugar.stages.candidates import _opened

    folder = shutil.copytree(chain[0].path("stage2"), tmp_path / "stage2")
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["patch_embed.proj.weight"] += 1e-6
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"1 of \d+ frozen tensors differ"):
        _opened(folder, {}, {}, "cpu")


def test_the_report_is_one_file_with_videos_and_the_papers_table(chain):
    page = (chain[0].path("evaluation") / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") >= 2
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_tracker_has_a_run_a_stage_with_datasets_samples_and_the_model(chain):
    from mlflow import MlflowClient

    from sugar.tracking import revision_tags

    params, _ = chain
    client = MlflowClient(tracking_uri=params.tracking_uri, registry_uri=params.tracking_uri)
    experiment = client.get_experiment_by_name("sugar")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(STAGES)
    assert all(run.info.status == "FINISHED" for run in runs.values())
    datasets = {
        name: {d.dataset.name: d.dataset.digest for d in run.inputs.dataset_inputs}
        for name, run in runs.items()
    }
    assert set(datasets["finetune"]) == {"latents_real", "latents_synthetic"}
    for name, read in (
        ("synthesize", {"synthetic"}),
        ("ingest", {"real"}),
        ("validate", {"real", "synthetic"}),
    ):
        assert set(datasets[name]) == read
        assert datasets[name].items() <= datasets["encode"].items()
    commits = {run.data.tags["mlflow.source.git.commit"] for run in runs.values()}
    assert commits == {revision_tags(params.folder)["mlflow.source.git.commit"]}
    history = client.get_metric_history(runs["pretrain"].info.run_id, "pretrain/loss")
    assert [point.step for point in history] == [1, 2, 3, 4, 4]  # the last: the figure of the stage
    samples = client.list_artifacts(runs["pretrain"].info.run_id, "pretrain/samples")
    assert {Path(item.path).suffix for item in samples} == {".mp4", ".png"}
    told = {name.removeprefix("finetune/") for name in runs["finetune"].data.metrics}
    told_always = (
        "loss loss_real loss_synthetic grad_norm learning_rate skipped_steps held_out_loss "
        "held_out_loss_real held_out_loss_synthetic held_out_loss_image_dropped "
        "held_out_loss_text_dropped samples_per_second seconds_per_step video_tokens_per_second "
        "gigaflops peak_memory_gib data_wait_share checkpoint_wait_share"
    )
    assert told >= set(told_always.split())
    for some in ("loss_noise_quarter_", "held_out_loss_noise_quarter_"):
        assert any(name.startswith(some) for name in told)
    version = client.get_model_version_by_alias("sugar", "candidate")
    report = f"runs:/{runs['register'].info.run_id}/register/report.html"
    assert (version.version, version.tags["report"]) == (1, report)
    kept = client.list_artifacts(runs["register"].info.run_id, "register")
    assert [item.path for item in kept] == ["register/report.html"]


def test_a_stage_that_is_run_again_makes_the_same_and_nothing_anew(chain):
    from mlflow import MlflowClient

    params, first = chain
    client = MlflowClient(tracking_uri=params.tracking_uri)
    experiment = client.get_experiment_by_name("sugar")
    assert experiment is not None
    runs = len(client.search_runs([experiment.experiment_id]))
    for name, output in (
        ("source", "subjects"),
        ("synthesize", "synthetic"),
        ("ingest", "real"),
        ("validate", "gate"),
        ("encode", "latents_real"),
    ):
        before = contents(params.path(output))
        figures = run_stage(name, params)
        assert contents(params.path(output)) == before, name
        made = {"shards_made", "real_encoded", "synthetic_encoded"}
        assert not any(figures.get(figure) for figure in made), name
        assert figures.keys() >= first[name].keys() - {"triplets_per_second"}, name
    assert len(client.search_runs([experiment.experiment_id])) == runs


def test_another_threshold_on_synthetic_data_leaves_the_real_latents_and_stage_1(
    chain, project_root: Path, tiny_networks: Path
):
    params, _ = chain
    scores = _column(params.path("synthetic"), "score_identity")
    middle = sorted(scores)[len(scores) // 2]
    changed = make_params(
        project_root,
        params.root,
        tiny_networks,
        f"synthesize.filters.min_identity={middle}",
        "validate.min_rows.synthetic=1",
    )
    real, latents, stage1 = (contents(params.path(name)) for name in ("real", "latents_real", "stage1"))
    assert run_stage("synthesize", changed)["accepted"] < len(scores)
    with pytest.raises(InputError, match="has changed since it passed the gate; run validate again"):
        run_stage("encode", changed)
    run_stage("validate", changed)
    figures = run_stage("encode", changed)
    assert figures["synthetic_samples"] < len(scores) and figures["synthetic_encoded"] == 0
    run_stage("pretrain", changed)
    after = tuple(contents(params.path(name)) for name in ("real", "latents_real", "stage1"))
    assert after == (real, latents, stage1)


def test_the_page_about_filters_judges_the_thresholds_in_force_where_the_truth_is_known(
    chain, project_root: Path, tiny_networks: Path, tmp_path: Path
):
    from sugar.stages import truth

    root = tmp_path / "copy"
    shutil.copytree(chain[0].path("subjects"), root / "data" / "subjects")
    shutil.copytree(chain[0].path("synthetic"), root / "data" / "synthetic")
    report = root / "data" / "synthetic" / "report"

    def page(*overrides: str) -> str:
        run_stage("synthesize", make_params(project_root, root, tiny_networks, *overrides))
        return (report / "filters.html").read_text()

    first = page()
    assert "clips of Sprite World that are right or bad in one known way" in first
    assert "5 good, 5 bad. In force: image_text 0, identity 0.1" in first
    scored = (report / truth.SCORED).read_bytes()
    other = page("synthesize.filters.min_identity=1.0")
    assert "identity 1," in other
    assert "<td>identity_low alone</td><td>5</td><td>5</td><td>-</td><td>0</td>" in other
    assert (report / truth.SCORED).read_bytes() == scored
    nulls = [f"synthesize.filters.min_{n}=null" for n in ("image_text", "identity", "consecutive", "flow_px")]
    assert "on labelled samples" not in page(*nulls)


def test_an_ablation_is_trained_alike_and_stands_beside_the_default_model(chain):
    from mlflow import MlflowClient

    from sugar.model.transformer import SugarTransformer3DModel
    from sugar.results import results_text

    params, figures = chain
    defaults = {name: contents(params.path(name)) for name in ("stage1", "stage2", "evaluation", "metrics")}
    with pytest.raises(InputError, match="`make ablation NAME=design_a` trains it"):
        run_ablation_stage("evaluate", params, "design_a")
    ablation = {name: run_ablation_stage(name, params, "design_a") for name in ABLATION_STAGES}
    assert ablation["pretrain"]["steps"] == figures["pretrain"]["steps"]
    model = SugarTransformer3DModel.from_pretrained(params.path("ablations") / "design_a/stage2/transformer")
    assert model.config["attention_design"] == "a"
    key = "retrieval_top1.metrics_dino"
    assert {f"compare/{name}/{key}" for name in ("design_a", "text_only")} <= set(ablation["evaluate"])
    assert ablation["evaluate"][key] == figures["evaluate"][key]
    page = (params.path("comparisons") / "design_a" / "report.html").read_text()
    assert (
        page.count(f"design_a, image scale {params.evaluate.image_scales[0]:g}") >= 3
        and "loss of design_a, stage2" in page
    )
    assert "finetune design_a" in page and 'href="../../gate/index.html"' in page
    (head,) = [line for line in results_text(params, "design_a").splitlines() if line.startswith("score.")]
    assert head.split()[1:] == ["stage2", "design_a", "stage1", "text_only"]
    text = results_text(params)
    assert "failures 0\n" in text and "version 1\n" in text and "make ui" not in text
    assert f"mlflow ui --backend-store-uri {params.tracking_uri}" in text
    client = MlflowClient(tracking_uri=params.tracking_uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("sugar").experiment_id],  # pyright: ignore[reportOptionalMemberAccess]
        "attributes.run_name = 'evaluate design_a' and attributes.status = 'FINISHED'",
    )
    assert run.data.tags["sugar.ablation"] == "design_a"
    assert f"evaluate/compare/design_a/{key}" in run.data.metrics
    untouched = {name: contents(params.path(name)) for name in ("stage1", "stage2", "evaluation")}
    assert untouched == {name: defaults[name] for name in untouched}
    assert defaults["metrics"].items() <= contents(params.path("metrics")).items()


def test_a_failing_gate_stops_the_chain_and_says_why(chain, project_root: Path, tiny_networks: Path):
    strict = make_params(project_root, chain[0].root, tiny_networks, "validate.min_rows.real=1000")
    with pytest.raises(StageFailure, match=r"real: .*row.*1000"):
        run_stage("validate", strict)
    with pytest.raises(InputError, match="did not pass the gate"):
        run_stage("encode", strict)


def test_a_model_below_the_asked_identity_is_not_registered(chain, project_root: Path, tiny_networks: Path):
    proud = make_params(project_root, chain[0].root, tiny_networks, "register.min_identity=1.0")
    with pytest.raises(StageFailure, match=r"register\.min_identity asks for 1\.0"):
        run_stage("register", proud)


def test_one_phase_strategies_run_in_stage_2(chain, project_root: Path, tiny_networks: Path, tmp_path: Path):
    import shutil

    params, _ = chain
    mix = make_params(
        project_root, tmp_path, tiny_networks, "strategy.name=mix", "strategy.mix_probability=1.0",
        "training.sample_every=0", "tracking.enabled=false",
    )  # fmt: skip
    for name in ("latents_real", "latents_synthetic"):
        shutil.copytree(params.path(name), mix.path(name))
    assert run_stage("pretrain", mix)["steps"] == 0
    figures = run_stage("finetune", mix)
    assert figures["steps"] == 8 and figures["frozen_parameters"] == 0 and "loss_real" not in figures


def _column(folder: Path, name: str) -> list[float]:
    from sugar.data.manifest import read_manifest

    return read_manifest(folder)[name].to_pylist()
