"""The evaluation as the parameters ask for it: benchmark, judges, models, report."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sugar.config import COMPARED, InputError, Params
from sugar.stages.candidates import candidate
from sugar.stages.gating import read_verdict
from sugar.stages.stage import Paths, metrics_file, read_figures

if TYPE_CHECKING:
    from sugar.evaluation.benchmark import Benchmark
    from sugar.evaluation.evaluate import Candidate, Evaluation
    from sugar.evaluation.judges import Judges
    from sugar.tracking import Tracker

logger = logging.getLogger(__name__)

REPORT = "report.html"
BEFORE = ("source", "synthesize", "ingest", "validate", "encode", "pretrain", "finetune")


def benchmark_of(params: Params) -> Benchmark:
    """Held-out subjects of Sprite World, or the photos of a folder."""
    from sugar.evaluation.benchmark import folder_benchmark, sprite_benchmark

    settings = params.evaluate
    if settings.kind == "sprites":
        return sprite_benchmark(
            settings.num_subjects,
            settings.prompts_per_subject,
            settings.seed,
            settings.retrieval_gallery,
            min(params.video.height_px, params.video.width_px),
        )
    from sugar.encoders.segmentation import cut_out
    from sugar.stages.scoring import cutter

    cut = cutter(params)()
    return folder_benchmark(
        params.given(str(settings.folder)),
        settings.num_subjects,
        settings.prompts_per_subject,
        settings.seed,
        lambda image, noun, box: cut_out(image, cut(image, noun, box=box).mask),
        settings.retrieval_gallery,
        params.source.max_pixels,
    )


def judges_of(params: Params) -> Judges:
    """The networks that score."""
    from sugar.evaluation.judges import load_judges

    return load_judges(
        metrics_dino=params.network("metrics_dino"),
        metrics_clip=params.network("metrics_clip"),
        video_text=params.network("video_text"),
        flow=params.networks.flow.kind,
        device=params.networks.device,
    )


def candidates_of(params: Params, inputs: Paths) -> list[Candidate]:
    """Stage 2 at every image scale, then what it is compared with at the first."""
    settings, video = params.evaluate, params.video
    size = {"num_frames": video.num_frames, "height": video.height_px, "width": video.width_px}
    sampling, device = params.section("sampling"), params.networks.device
    models = {"stage2": (inputs["stage2"], sampling, settings.image_scales)}
    if "stage1" in settings.compare:
        models["stage1"] = (inputs["stage1"], sampling, settings.image_scales[:1])
    if "text_only" in settings.compare:
        text_only = {**sampling, "drop": "both", "drop_until": 1.0}
        models["text_only"] = (inputs["stage2"], text_only, settings.image_scales[:1])
    for name in compared_ablations(params):
        models[name] = (_ablation(inputs, name, "stage2"), sampling, settings.image_scales[:1])
    return [
        candidate(name, folder, image_scales=scales, sampling=how, size=size, device=device)
        for name, (folder, how, scales) in models.items()
    ]


def compared_ablations(params: Params) -> list[str]:
    """Names in `evaluate.compare` that are models of their own."""
    return [name for name in params.evaluate.compare if name not in COMPARED]


def _ablation(inputs: Paths, name: str, stage: str) -> Path:
    folder = inputs.get("ablations", Path("ablations")) / name / stage
    if not (folder / "model_index.json").is_file():
        raise InputError(
            f"evaluate.compare names the ablation {name}, but {folder} is not a trained model; "
            f"`make ablation NAME={name}` trains it"
        )
    return folder


def publish(
    params: Params, inputs: Paths, output: Path, benchmark: Benchmark, result: Evaluation, tracker: Tracker
) -> None:
    """Plots and the HTML report in `output`; both and some videos in the tracked run."""
    from sugar.evaluation.datasets import summarise_dataset
    from sugar.evaluation.plots import write_plots
    from sugar.evaluation.report import GateSummary, write_report
    from sugar.tracking import flatten, revision_tags

    write_plots(output, result)
    failures = [
        f"{name}: {failure}"
        for name, verdict in read_verdict(inputs["gate"]).items()
        for failure in verdict["failures"]
    ]
    figures = {stage: metrics_file(params, stage) for stage in BEFORE}
    models = {stage: inputs[stage] for stage in ("stage1", "stage2")}
    for name in compared_ablations(params):
        models |= {f"{name}, {stage}": _ablation(inputs, name, stage) for stage in ("stage1", "stage2")}
        figures |= {
            f"{stage} {name}": metrics_file(params, stage, name) for stage in ("pretrain", "finetune")
        }
    docs = inputs["gate"] / "index.html"
    write_report(
        output / REPORT,
        result,
        benchmark,
        revision=revision_tags(params.folder)["mlflow.source.git.commit"],
        params=flatten(params.as_dict()),
        datasets=[summarise_dataset(inputs[name], name) for name in ("real", "synthetic")],
        gate=GateSummary(
            not failures, tuple(failures), os.path.relpath(docs, output) if docs.is_file() else ""
        ),
        histories={name: folder for name, folder in models.items() if has_history(folder)},
        seconds={stage: read_figures(file)["seconds"] for stage, file in figures.items() if file.is_file()},
    )
    for name in (REPORT, "per_video.csv", "metrics.json", "scores.csv", "encoders.json"):
        tracker.log_artifacts(output / name)
    main = [record for record in result.videos if record["candidate"] == result.rows[0].candidate]
    for record in main[:: max(1, len(main) // 8)]:
        tracker.log_video(f"videos/{Path(record['file']).stem}", output / record["file"], params.video.fps)


def has_history(folder: Path) -> bool:
    """A stage of no steps has none."""
    file = folder / "history.csv"
    return file.is_file() and len(file.read_text(encoding="utf-8").splitlines()) > 1


def read_scores(evaluation: Path) -> dict[str, float]:
    """The flat scores that `evaluate` wrote, without the compared models."""
    scores = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in scores.items() if "/" not in name}
