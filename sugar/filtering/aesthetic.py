"""An aesthetic head: how much people liked pictures with such CLIP features."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from sugar.config import InputError
from sugar.metrics.arrays import as_array, unit

_LAYER = re.compile(r"(?:layers\.(\d+)\.)?weight")


def load_aesthetic_head(file: str | Path) -> Any:
    """A function from CLIP image features [N, D] to ratings float64 [N], read from a file of weights.

    LAION's heads are chains of linear layers without activations between them, on features of length 1:
    `weight`, `bias` (LAION-Aesthetics V1) or `layers.N.weight`, `layers.N.bias` (V2, the improved
    aesthetic predictor). A chain of linear maps is one linear map: that is what is kept.

    Args:
        file: .safetensors, or a .pth or .pt of tensors alone.

    Raises:
        InputError: the file is missing or holds no such chain that ends in one number.
    """
    file = Path(file)
    tensors = _read(file)
    layers = sorted((int(m[1] or 0), name) for name in tensors if (m := _LAYER.fullmatch(name)))
    if not layers or any(name.replace("weight", "bias") not in tensors for _, name in layers):
        found = sorted(tensors)[:4]
        raise InputError(
            f"networks.aesthetic: {file} must hold weight and bias of linear layers, got {found}"
        )
    matrix, offset = None, 0.0
    for _, name in layers:
        weight, bias = tensors[name], tensors[name.replace("weight", "bias")]
        if weight.ndim != 2 or (matrix is not None and weight.shape[1] != matrix.shape[0]):
            raise InputError(f"networks.aesthetic: {file}: {name} does not follow the layer before it")
        matrix = weight if matrix is None else weight @ matrix
        offset = bias if isinstance(offset, float) else weight @ offset + bias
    assert matrix is not None
    if matrix.shape[0] != 1:
        raise InputError(f"networks.aesthetic: {file} must end in one number, got {matrix.shape[0]}")
    row, constant = matrix[0], float(np.asarray(offset)[0])

    def rate(features_ND: Any) -> np.ndarray:
        features = as_array(features_ND, "ND", "features")
        if features.shape[-1] != row.size:
            raise InputError(
                f"networks.aesthetic: {file} wants {row.size} CLIP features, got {features.shape[-1]}"
            )
        return unit(features) @ row + constant

    return rate


def _read(file: Path) -> dict[str, np.ndarray]:
    """Tensors of a file as float64 arrays."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise InputError(f"networks.aesthetic: {file}: no such file")
    try:
        if file.suffix == ".safetensors":
            tensors = load_file(file)
        else:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
        return {name: value.double().numpy() for name, value in tensors.items()}
    except (SafetensorError, OSError, RuntimeError, ValueError, AttributeError, EOFError) as error:
        raise InputError(
            f"networks.aesthetic: {file} cannot be read ({str(error).splitlines()[0]})"
        ) from error
    except Exception as error:  # unpickling raises almost anything on files that hold no tensors
        raise InputError(
            f"networks.aesthetic: {file} must hold tensors alone ({type(error).__name__})"
        ) from error
