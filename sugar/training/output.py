"""What a finished phase leaves, and how to know that it is finished.

OUTPUT/transformer/        EMA weights, for `from_pretrained`: what the next phase starts from
OUTPUT/transformer_raw/    weights of the last step
OUTPUT/lora/               of a LoRA training: the EMA weights of LoRA and the image projections alone
OUTPUT/frozen.json         name -> SHA-256 of every frozen tensor
OUTPUT/history.csv         training loss, gradient norm, learning rate over steps
OUTPUT/held_out.csv        held-out loss over steps
OUTPUT/training.json       identity of the run and its last figures; written last
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sugar.data.atomic import write_json_atomic
from sugar.model.lora import adapter_of, projections_of
from sugar.training.checkpoint import read_weights
from sugar.training.frozen import changed_tensors, verify_frozen
from sugar.training.history import write_rows

COMPLETION = "training.json"
WEIGHTS = ("transformer", "transformer_raw")
LORA = "lora"


def finished_metrics(output: Path, identity: Mapping[str, Any]) -> dict[str, float] | None:
    """The metrics of a completed run of this identity whose weights are in `output`; else None."""
    file = output / COMPLETION
    if not file.is_file() or not (output / "transformer" / "config.json").is_file():
        return None
    about = json.loads(file.read_text())
    if about["identity"] != json.loads(json.dumps(identity)):
        return None
    verify_frozen(output)
    return about["metrics"]


def write_lora(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """What `SugarPipeline.load_lora_weights` reads.

    Args:
        tensors: the state dictionary of a model with LoRA; config: peft's, as a table.
    """
    from sugar.pipeline.lora import SugarLoraLoaderMixin

    SugarLoraLoaderMixin.save_lora_weights(
        folder,
        transformer_lora_layers=adapter_of(tensors),
        image_projections=projections_of(tensors),
        transformer_lora_adapter_metadata={
            key: sorted(value) if isinstance(value, set) else value for key, value in config.items()
        },
    )


def write_output(
    output: Path,
    checkpoint: Path,
    *,
    frozen: Mapping[str, str],
    history: Iterable[Mapping[str, float]],
    held_out_history: Iterable[Mapping[str, float]],
    about: Mapping[str, Any],
) -> None:
    """Copy the weights of the last checkpoint, check the frozen ones in the copies, write the tables.

    Raises:
        RuntimeError: a frozen tensor is not what it was at the start.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / COMPLETION).unlink(missing_ok=True)
    for name in WEIGHTS:
        fresh = output / f".{name}.unfinished"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(checkpoint / name, fresh)
        shutil.rmtree(output / name, ignore_errors=True)
        os.replace(fresh, output / name)
        if changed := changed_tensors(frozen, read_weights(output / name)):
            raise RuntimeError(f"{output / name}: frozen tensors changed, the first is {changed[0]}")
    shutil.rmtree(output / LORA, ignore_errors=True)
    if (output / "transformer" / LORA).is_dir():
        os.replace(output / "transformer" / LORA, output / LORA)
    write_json_atomic(output / "frozen.json", frozen)
    write_rows(output / "history.csv", history)
    write_rows(output / "held_out.csv", held_out_history)
    write_json_atomic(output / COMPLETION, about)
