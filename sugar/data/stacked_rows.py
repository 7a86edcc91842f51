"""Rows of stacked tensors in a safetensors file, read straight from the file into their place.

A mapped tensor comes from a cold disk one page fault at a time; a read of the row's whole range comes at the
disk's own speed, with one copy.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sugar.config import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def open_safetensors(path: Path, framework: str = "pt") -> Any:
    """`safe_open` of a file, its header and length checked; `framework`: of the tensors it gives.

    Raises:
        InputError: it is no whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error})") from error


@dataclass(frozen=True)
class _Stack:
    dtype: Any
    row_shape: tuple[int, ...]
    start: int
    row_bytes: int


class StackedRows:
    """The rows of all tensors of one file; every tensor's first axis counts the rows.

    Raises:
        InputError: the file is no whole safetensors file.
    """

    def __init__(self, path: Path) -> None:
        file = open_safetensors(path)
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(length))
        self.path = path
        self._stacks: dict[str, _Stack] = {}
        for name in file.keys():  # noqa: SIM118  (no iterator of its own)
            num, *row_shape = file.get_slice(name).get_shape()
            first, end = header[name]["data_offsets"]
            dtype = file.get_slice(name)[:0].dtype
            self._stacks[name] = _Stack(dtype, tuple(row_shape), 8 + length + first, (end - first) // num)

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Name -> shape of one row."""
        return {name: list(stack.row_shape) for name, stack in self._stacks.items()}

    def empty(self, num: int) -> dict[str, Tensor]:
        """Tensors for `num` rows, not filled."""
        import torch

        return {
            name: torch.empty(num, *stack.row_shape, dtype=stack.dtype)
            for name, stack in self._stacks.items()
        }

    def read_into(self, target: Mapping[str, Tensor], places: np.ndarray, rows: np.ndarray) -> None:
        """Fill `target[name][places[i]]` with row `rows[i]` of each tensor. Contiguous CPU tensors.

        Raises:
            InputError: the file ends too early.
        """
        import torch

        with self.path.open("rb", buffering=0) as handle:
            for name, stack in self._stacks.items():
                wanted = target[name]
                if not stack.row_bytes:
                    continue
                flat = wanted.view(len(wanted), -1).view(torch.uint8).numpy()
                for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                    self._read(
                        handle.fileno(), memoryview(flat[place].data), stack.start + row * stack.row_bytes
                    )

    def _read(self, descriptor: int, into: memoryview, offset: int) -> None:
        filled = 0
        while filled < len(into):
            got = os.preadv(descriptor, [into[filled:]], offset + filled)
            if not got:
                raise InputError(f"{self.path}: ends too early, at byte {offset + filled}")
            filled += got
