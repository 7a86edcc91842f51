"""The figures of the last run as a text: `make run` ends with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sugar.config import InputError, Params, ablated
from sugar.stages.stage import metrics_file, read_figures
from sugar.tracking import absolute_uri

COUNTS = frozenset(
    "subjects triplets failures real_samples synthetic_samples steps num_videos num_subjects version".split()
)
ORDER = ("source synthesize ingest validate encode pretrain finetune evaluate register").split()
SHOWN = {
    "source": ("subjects",),
    "synthesize": ("triplets", "acceptance"),
    "ingest": ("triplets", "acceptance"),
    "validate": ("failures",),
    "encode": ("real_samples", "synthetic_samples"),
    "pretrain": ("steps", "loss", "held_out_loss"),
    "finetune": ("steps", "loss", "held_out_loss"),
    "evaluate": ("num_videos", "num_subjects"),
    "register": ("version",),
}


def results_text(params: Params, ablation: str | None = None) -> str:
    """Time and figures of each stage, the scores, and where everything is.

    Args:
        ablation: of params.yaml: the stages that ran for it, its scores beside the default model's.

    Raises:
        InputError: no stage has run, or there is no such ablation.
    """
    if ablation is not None:
        ablated(params, ablation)
    files = {stage: metrics_file(params, stage, ablation) for stage in ORDER}
    figures = {stage: read_figures(file) for stage, file in files.items() if file.is_file()}
    if not figures:
        how = "`make run` runs them all" if ablation is None else f"`make ablation NAME={ablation}` runs them"
        raise InputError(f"{files['evaluate'].parent}: no stage has run yet; {how}")
    parts = [_stage_table(figures)]
    if "evaluate" in figures:
        parts.append(_score_table(figures["evaluate"]))
    parts.append(_places(params, ablation))
    return "\n\n".join(parts)


def _stage_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    lines = [f"{'stage':<12}{'seconds':>9}  figures"]
    for stage, values in figures.items():
        shown = ", ".join(f"{name} {_figure(name, values[name])}" for name in SHOWN[stage] if name in values)
        lines.append(f"{stage:<12}{values['seconds']:>9.1f}  {shown}")
    total = sum(values["seconds"] for values in figures.values())
    return "\n".join([*lines, f"{'together':<12}{total:>9.1f}"])


def _score_table(values: Mapping[str, float]) -> str:
    scores = {
        name: value
        for name, value in values.items()
        if name not in ("seconds", "num_videos", "num_subjects") and "/" not in name
    }
    width = max(len(name) for name in scores) + 2
    others = sorted({name.split("/")[1] for name in values if name.startswith("compare/")})
    head = f"{'score.encoder':<{width}}{'stage2':>9}" + "".join(f"{name:>12}" for name in others)
    lines = [head]
    for name, value in scores.items():
        more = [values.get(f"compare/{other}/{name}") for other in others]
        cells = "".join(f"{'' if cell is None else f'{cell:.3f}':>12}" for cell in more)
        lines.append(f"{name:<{width}}{value:>9.3f}{cells}")
    return "\n".join(lines)


def _places(params: Params, ablation: str | None) -> str:
    evaluation, model = params.path("evaluation"), params.path("stage2")
    if ablation is not None:
        evaluation, model = (
            params.path("comparisons") / ablation,
            params.path("ablations") / ablation / "stage2",
        )
    places = {
        "report": evaluation / "report.html",
        "videos": evaluation / "videos",
        "model": model,
        "data gate": params.path("gate") / "index.html",
    }
    lines = [f"{name:<12}{_short(path)}" for name, path in places.items() if path.exists()]
    if params.tracking.enabled:
        lines.append(f"{'MLflow':<12}{_how_to_open(params)}")
    return "\n".join(lines)


def _how_to_open(params: Params) -> str:
    uri = absolute_uri(params.tracking.uri, params.root)
    if not uri.startswith("sqlite:"):
        return uri
    if uri == absolute_uri("sqlite:///mlflow.db", params.folder):
        return "make ui, then http://127.0.0.1:5000"
    return f"mlflow ui --backend-store-uri {uri}, then http://127.0.0.1:5000"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _figure(name: str, value: float) -> str:
    return f"{value:.0f}" if name in COUNTS else f"{value:.3f}"
