"""What came of it: evaluate and register."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sugar.config import InputError, Params
from sugar.stages.stage import Paths, StageFailure, declare

if TYPE_CHECKING:
    from sugar.tracking import Tracker

logger = logging.getLogger(__name__)


@declare(
    "synthetic real gate stage1 stage2",
    "evaluation",
    ("seed", "video", "networks", "source.max_pixels", "sampling", "evaluate"),
    optional="ablations",
)
def evaluate(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Generate the benchmark, score it, write the report (SUGAR section 4)."""
    from sugar.evaluation.evaluate import evaluate as run
    from sugar.stages.benchmarking import benchmark_of, candidates_of, judges_of, publish

    benchmark = benchmark_of(params)
    result = run(
        outputs["evaluation"],
        benchmark,
        judges_of(params),
        candidates_of(params, inputs),
        fps=params.video.fps,
        batch_size=params.sampling.batch_size,
        progress=logger.info,
    )
    publish(params, inputs, outputs["evaluation"], benchmark, result, tracker)
    return result.metrics()


@declare("stage2 evaluation", "register", ("register",))
def register(params: Params, inputs: Paths, outputs: Paths, tracker: Tracker) -> dict[str, float]:
    """Register the model with its scores, unless it is below the identity that is asked for."""
    from sugar.data.atomic import write_json_atomic
    from sugar.stages.benchmarking import REPORT, read_scores
    from sugar.stages.model_folder import INDEX, parts_of

    settings, scores = params.register_, read_scores(inputs["evaluation"])
    identity = scores["dino_score.metrics_dino"]
    if identity < settings.min_identity:
        raise StageFailure(
            f"dino_score.metrics_dino is {identity}, register.min_identity asks for {settings.min_identity}"
        )
    left_out = {path.name for path in inputs["stage2"].iterdir()} - {INDEX, *parts_of(inputs["stage2"])}
    model = tracker.log_model_folder(inputs["stage2"], settings.name, sorted(left_out), scores)
    if model is None:
        raise InputError("register needs a model registry: tracking.enabled must be true")
    tracker.log_artifacts(inputs["evaluation"] / REPORT)
    tags = {**scores, "report": f"runs:/{tracker.run_id}/register/{REPORT}"}
    version = tracker.register(model, settings.name, settings.alias, tags)
    about = {"name": settings.name, "alias": settings.alias, "version": version, "scores": scores}
    about |= {"report": tags["report"]}
    write_json_atomic(outputs["register"] / "register.json", about)
    return {"version": float(version or 0), "identity": identity}
