"""A trained model as something the benchmark can ask for videos."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sugar.config import InputError
from sugar.data.atomic import sha256_bytes
from sugar.evaluation.benchmark import Pair
from sugar.evaluation.evaluate import Candidate, Generate
from sugar.evaluation.judges import folder_digest


def pipeline_candidate(
    name: str, folder: Path | str, image_scales: Sequence[float], *, device: str = "cpu", **settings: Any
) -> Candidate:
    """A `SugarPipeline` folder as a candidate; it is loaded when the first video is missing.

    Args:
        name: of its rows in the results.
        image_scales: a row each.
        device: a torch device, or "auto".
        settings: keyword arguments of `SugarPipeline.__call__` for every video: steps, text_scale, order,
            drop, size, ...

    Raises:
        InputError: the folder holds no pipeline.
    """
    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: holds no pipeline (model_index.json is missing)")

    def open_() -> Generate:
        from sugar.encoders.loading import resolve_device
        from sugar.pipeline import SugarPipeline

        pipeline = SugarPipeline.from_pretrained(folder).to(resolve_device(device))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline_generate(pipeline, settings)

    return Candidate(name, open_, _digest(folder, settings), tuple(float(scale) for scale in image_scales))


def pipeline_generate(pipeline: Any, settings: Mapping[str, Any]) -> Generate:
    """Ask a `SugarPipeline` (or whatever is called like one) for the videos of a batch of pairs."""
    from PIL import Image

    def generate(pairs: Sequence[Pair], image_scale: float) -> np.ndarray:
        return pipeline(
            identity=[Image.fromarray(pair.subject.identity) for pair in pairs],
            noun=[pair.subject.noun for pair in pairs],
            prompt=[pair.text for pair in pairs],
            seed=[pair.seed for pair in pairs],
            image_scale=image_scale,
            output_type="uint8",
            **settings,
        ).frames

    return generate


def _digest(folder: Path, settings: Mapping[str, Any]) -> str:
    """Of the pipeline's components alone: what else lies in the folder (histories, raw weights) makes no
    video."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    parts = {name: folder_digest(folder / name) for name in sorted(index) if (folder / name).is_dir()}
    return sha256_bytes(json.dumps([parts, dict(settings)], sort_keys=True).encode())
