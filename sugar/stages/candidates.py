"""Models as the evaluation wants them: functions from subject-prompt pairs to videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sugar.evaluation.benchmark import Pair
from sugar.evaluation.evaluate import Candidate, Generate
from sugar.stages.fingerprints import network_digest
from sugar.stages.model_folder import parts_of


def candidate(
    name: str,
    folder: Path,
    *,
    image_scales: Sequence[float],
    sampling: Mapping[str, Any],
    size: Mapping[str, int],
    device: str,
) -> Candidate:
    """A `SugarPipeline` folder under some settings.

    Args:
        name: of its rows.
        image_scales: a row each.
        sampling: the `sampling` section of params.yaml; `image_scale` gives way to `image_scales`.
        size: num_frames, height, width.
        device: "auto" or a torch device.
    """
    from sugar.data.atomic import sha256_bytes

    about = {key: value for key, value in sampling.items() if key not in ("image_scale", "batch_size")}
    parts = [network_digest(str(folder), part) for part in parts_of(folder)]
    digest = sha256_bytes(f"{parts} {sorted(about.items())} {sorted(size.items())}".encode())
    return Candidate(name, lambda: _opened(folder, about, size, device), digest, tuple(image_scales))


def _opened(folder: Path, sampling: Mapping[str, Any], size: Mapping[str, int], device: str) -> Generate:
    from sugar.stages.model_folder import load_pipeline
    from sugar.training.frozen import verify_frozen

    if (folder / "frozen.json").is_file():
        verify_frozen(folder)
    pipeline = load_pipeline(folder, device, sampling["precision"])
    pipeline.set_progress_bar_config(disable=True)
    guidance = sampling["guidance"]

    def generate(pairs: Sequence[Pair], image_scale: float) -> np.ndarray:
        from PIL import Image

        return pipeline(
            identity=[Image.fromarray(pair.subject.identity) for pair in pairs],
            prompt=[pair.text for pair in pairs],
            noun=[pair.subject.noun for pair in pairs],
            seed=[pair.seed for pair in pairs],
            num_inference_steps=sampling["num_steps"],
            image_scale=image_scale,
            text_scale=sampling["text_scale"],
            order=sampling["order"],
            drop=sampling["drop"],
            drop_until=sampling["drop_until"],
            guidance_interval=tuple(guidance["interval"]),
            dynamic_guidance=guidance["dynamic"],
            guidance_rescale=guidance["rescale"],
            batch_branches=guidance["batch_branches"],
            scheduler=sampling["scheduler"],
            negative_prompt=sampling["negative_prompt"],
            output_type="uint8",
            **size,
        ).frames

    return generate
