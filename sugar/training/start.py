"""The model that a phase starts from, and what of it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sugar.config import InputError
from sugar.data.latents import LatentCache
from sugar.model.lora import Lora, add_lora, is_lora_weight
from sugar.model.transformer import SugarTransformer3DModel, transformer_subfolder

STANDARDISING = 256


def load_start(
    init_from: str | Path,
    *,
    dino_dim: int,
    clip_dim: int,
    attention_design: str | Mapping[str, Sequence[str]] | None = None,
    projection_hidden: int | None = None,
    seed: int = 0,
    samples: Mapping[str, Tensor] | None = None,
) -> SugarTransformer3DModel:
    """The fp32 transformer of a SUGAR export, or of a CogVideoX with new image projections drawn from `seed`.

    Args:
        init_from: folder or hub id of a pipeline or of a transformer; a folder with a `transformer` in it is
            a pipeline.
        dino_dim, clip_dim: widths of the image tokens in the latent cache.
        attention_design: letter or table; None: what the SUGAR export has, "b" for a CogVideoX.
        samples: "dino" and "clip" tokens `[N, L, E]` to standardise new projections by; None: they are not.

    Raises:
        InputError: nothing to load there, or a SUGAR model of another attention design or token width.
    """
    try:
        subfolder = transformer_subfolder(init_from)
        config: Any = SugarTransformer3DModel.load_config(str(init_from), subfolder=subfolder)
    except (OSError, ValueError) as error:
        raise InputError(f"{init_from}: no transformer to start from: {error}") from error
    table: Any = attention_design
    if isinstance(attention_design, Mapping):
        table = {group: list(read) for group, read in attention_design.items()}
    if config.get("_class_name") == "SugarTransformer3DModel":
        wanted = {"dino_dim": dino_dim, "clip_dim": clip_dim}
        wanted |= {} if table is None else {"attention_design": table}
        for key, value in wanted.items():
            if config.get(key) != value:
                raise InputError(f"{init_from}: {key} is {config.get(key)!r}, this training needs {value!r}")
        return SugarTransformer3DModel.from_pretrained(
            str(init_from), subfolder=subfolder, torch_dtype=torch.float32
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SugarTransformer3DModel.from_cogvideox(
            init_from,
            dino_dim=dino_dim,
            clip_dim=clip_dim,
            attention_design="b" if table is None else table,
            projection_hidden=projection_hidden,
            torch_dtype=torch.float32,
        )
    for name, projection in (("dino", model.dino_proj), ("clip", model.clip_proj)):
        if samples is not None and projection is not None:
            projection.standardise(samples[name])
    return model


def standardising_samples(caches: Sequence[LatentCache]) -> dict[str, Tensor]:
    """Tokens "dino" and "clip" of up to `STANDARDISING` training samples, spread over the caches."""
    share = STANDARDISING // len(caches)
    chosen = [(cache, cache.train_indices) for cache in caches if len(cache.train_indices)]
    batches = [cache.batch(indices[:: -(-len(indices) // share)].tolist()) for cache, indices in chosen]
    return {name: torch.cat([batch[name] for batch in batches]) for name in ("dino", "clip")}


def choose_trainable(
    model: Any,
    frozen_fraction: float,
    trainable: Sequence[str] = (),
    lora: Lora | None = None,
    seed: int = 0,
) -> list[str]:
    """Freeze the first blocks and all that `trainable` leaves out; return the names of the frozen parameters.

    Args:
        lora: put into the blocks that are not frozen; with the image projections all that trains.
        seed: of LoRA's random start.

    Raises:
        InputError: a prefix that no parameter has, LoRA that fits nothing, or nothing left to train.
    """
    if lora is not None:
        try:
            add_lora(model, lora, math.floor(len(model.transformer_blocks) * frozen_fraction), seed)
        except ValueError as error:
            raise InputError(f"training.lora: {error}") from error
    model.requires_grad_(True)
    model.freeze_first(frozen_fraction)
    for name, parameter in model.named_parameters():
        if lora is not None and not is_lora_weight(name):
            parameter.requires_grad_(False)
    for prefix in trainable:
        if not any(name.startswith(prefix) for name, _ in model.named_parameters()):
            raise InputError(f"trainable: no parameter's name begins with {prefix!r}")
    for name, parameter in model.named_parameters():
        if trainable and not name.startswith(tuple(trainable)):
            parameter.requires_grad_(False)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    if len(frozen) == sum(1 for _ in model.named_parameters()):
        raise InputError(
            f"nothing is left to train (frozen_fraction {frozen_fraction}, trainable {list(trainable)})"
        )
    return frozen


def fixed_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all in the state dictionary that training does not change: frozen weights, buffers."""
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: t.detach().clone() for name, t in model.state_dict().items() if name not in trainable}


def load_export(folder: Path) -> SugarTransformer3DModel:
    """The fp32 model in an exported `transformer` folder, whole or not at all.

    Raises:
        InputError: nothing to load there.
    """
    try:
        return SugarTransformer3DModel.from_pretrained(str(folder), torch_dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no exported transformer: {error}") from error
