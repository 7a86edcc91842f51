"""From trained weights to a folder that `SugarPipeline.from_pretrained` loads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PARTS = ("vae", "text_encoder", "tokenizer", "scheduler", "dino", "clip")
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
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
        os.replace(fresh / part, folder / part)
    os.replace(fresh / INDEX, folder / INDEX)
    shutil.rmtree(fresh)
