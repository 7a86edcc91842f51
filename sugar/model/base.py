"""The CogVideoX that a model starts from: where it lies, and its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import CogVideoXTransformer3DModel


def read_base(
    base: str | Path | CogVideoXTransformer3DModel, dtype: torch.dtype | None
) -> CogVideoXTransformer3DModel:
    """A transformer as it is given, or that of a folder or hub id (of a transformer or of a pipeline).

    Raises:
        ValueError: a folder without a transformer.
    """
    if isinstance(base, CogVideoXTransformer3DModel):
        return base
    return CogVideoXTransformer3DModel.from_pretrained(
        base, subfolder=transformer_subfolder(base), torch_dtype=dtype or torch.float32
    )


def take_weights(model: torch.nn.Module, base: CogVideoXTransformer3DModel) -> None:
    """Put the base's weights into a model that has image projections besides; these stay.

    Raises:
        ValueError: weights that do not fit.
    """
    missing, unexpected = model.load_state_dict(base.state_dict(), strict=False)
    wrong = [*unexpected, *(name for name in missing if not name.startswith(("dino_proj.", "clip_proj.")))]
    if wrong:
        raise ValueError(f"the base transformer does not fit: {', '.join(wrong[:5])}")


def transformer_subfolder(base: str | Path) -> str | None:
    """Where a pipeline's folder or hub id keeps its transformer; None for the folder of a transformer.

    Raises:
        ValueError: a folder with neither.
    """
    folder = Path(base)
    if not folder.is_dir() or (folder / "transformer" / "config.json").is_file():
        return "transformer"
    if (folder / "config.json").is_file():
        return None
    raise ValueError(f"{folder}: no config.json and no transformer/config.json in this folder")
