"""A model as a folder for `SugarPipeline.from_pretrained`: written after training, loaded to generate."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from sugar.config import InputError

PARTS = ("vae", "text_encoder", "tokenizer", "scheduler", "image_conditioner")
OLDER_PARTS = ("dino", "clip")
"""What lay there before they were parts of the image conditioner."""
INDEX = "model_index.json"


def export_pipeline(folder: Path, base: str, dino: str, clip: str) -> None:
    """Put the other networks beside `folder/transformer`, so that the folder is a `SugarPipeline`.

    Written beside first and renamed; `model_index.json`, which makes the folder loadable, comes last.

    Args:
        folder: a training output, with `transformer`.
        base: CogVideoX pipeline (vae, text encoder, tokenizer, scheduler) or a `SugarPipeline` folder.
        dino, clip: folders or hub ids.
    """
    from sugar.pipeline import SugarPipeline

    (folder / INDEX).unlink(missing_ok=True)
    fresh = folder / ".export"
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline = SugarPipeline.assemble(base, folder / "transformer", dino, clip)
    pipeline.save_pretrained(fresh)
    for part in (*PARTS, *OLDER_PARTS):
        shutil.rmtree(folder / part, ignore_errors=True)
    for part in PARTS:
        os.replace(fresh / part, folder / part)
    os.replace(fresh / INDEX, folder / INDEX)
    shutil.rmtree(fresh)


def parts_of(folder: Path) -> tuple[str, ...]:
    """The networks of a `SugarPipeline` folder by its index, in the order of their names.

    Raises:
        InputError: the folder is missing or not a SugarPipeline.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: must be a SugarPipeline folder ({INDEX} and its networks): {error}"
        ) from error
    return tuple(sorted(name for name in index if not name.startswith("_")))


def load_pipeline(folder: Path, device: str, precision: str) -> Any:
    """The `SugarPipeline` of a folder, on a device, quiet; precision: "fp32" or "bf16", of the networks.

    Raises:
        InputError: the folder is missing or not a SugarPipeline.
    """
    import torch
    from diffusers.utils.logging import disable_progress_bar

    from sugar.encoders.loading import resolve_device
    from sugar.pipeline import SugarPipeline

    parts_of(folder)
    disable_progress_bar()
    where = resolve_device(device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    try:
        pipeline = SugarPipeline.from_pretrained(folder, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder}: cannot be loaded as a SugarPipeline: {reason}") from error
    pipeline.set_progress_bar_config(disable=None)
    return pipeline.to(where)
