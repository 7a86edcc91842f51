"""Proof that the frozen half stayed frozen: a SHA-256 of every frozen tensor (SUGAR section 3.2, SUGAR-TSF).

Assumption: decision 0006 (which tensors "the first half of the model layers" are).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sugar.config import InputError
from sugar.training.checkpoint import read_weights


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 over dtype, shape and bytes."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digests(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """name -> `tensor_digest`."""
    return {name: tensor_digest(tensor) for name, tensor in tensors}


def changed_tensors(manifest: Mapping[str, str], tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names in the manifest whose tensor is missing or differs."""
    found = digests((name, tensor) for name, tensor in tensors if name in manifest)
    return sorted(name for name, digest in manifest.items() if found.get(name) != digest)


def verify_frozen(folder: Path | str) -> int:
    """Check `transformer` and `transformer_raw` of a training output against its `frozen.json`.

    Returns:
        How many tensors were frozen.

    Raises:
        InputError: `frozen.json` is missing, or a frozen tensor differs.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "frozen.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'frozen.json'}: cannot be read: {error}") from error
    for name in ("transformer", "transformer_raw"):
        if (folder / name).is_dir() and (changed := changed_tensors(manifest, read_weights(folder / name))):
            raise InputError(
                f"{folder / name}: {len(changed)} of {len(manifest)} frozen tensors differ from frozen.json, "
                f"the first is {changed[0]}"
            )
    return len(manifest)
