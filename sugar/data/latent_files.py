"""The files of a latent cache: whether each is whole, what it holds, and digests that tell changed bytes.

A file is named by its number and the addresses in its header, so a header that fits its name and a length that
fits the header cost no reading of tensors. `digests.json` has the SHA-256 of every file, for who wants to know
more (`sugar encode --check`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sugar.config import InputError
from sugar.data.atomic import sha256_bytes, sha256_file, write_json_atomic
from sugar.data.stacked_rows import open_safetensors

if TYPE_CHECKING:
    from torch import Tensor

DIGESTS = "digests.json"


def file_name(number: int, addresses: Sequence[str]) -> str:
    """Name of the file with these samples."""
    return f"latents-{number:06d}-{sha256_bytes(''.join(addresses).encode())[:12]}.safetensors"


def latent_files(folder: Path) -> list[Path]:
    """All that a cache's folder holds, whole or not."""
    return sorted(folder.glob("latents-*.safetensors"))


def addresses_in(path: Path) -> list[str]:
    """Addresses of the samples in a file, row by row, its header and length checked; reads no tensor.

    Raises:
        InputError: it is damaged.
    """
    try:
        # Not as torch's, whose import takes seconds: there may be nothing else to do.
        addresses = json.loads(open_safetensors(path, "np").metadata()["addresses"])
        if path.name == file_name(int(path.name.split("-")[1]), addresses):
            return addresses
    except InputError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as latents ({error})") from error
    raise InputError(f"{path}: holds other samples than its name says")


def is_whole(path: Path) -> bool:
    """Is the file there, with the samples that its name says and of the length that its header says?"""
    try:
        return bool(addresses_in(path))
    except InputError:
        return False


def is_as_noted(path: Path, noted: Mapping[str, str]) -> bool:
    """Has the file the SHA-256 that is noted of it? One of which none is noted is taken as it is."""
    return path.name not in noted or noted[path.name] == sha256_file(path)


def tensors_in(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, mapped, not read."""
    file = open_safetensors(path)
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no iterator of its own)


def read_digests(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, as noted; empty where nothing readable is noted."""
    try:
        noted = json.loads((folder / DIGESTS).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def note_digests(folder: Path, names: Sequence[str], known: Mapping[str, str]) -> None:
    """Write the digests of these files; of those that are not `known` they are computed."""
    digests = {name: known.get(name) or sha256_file(folder / name) for name in names}
    write_json_atomic(folder / DIGESTS, digests)


def remove_damaged_latents(folder: Path) -> list[str]:
    """Read every file and remove those that are not what was written; returns their names.

    Files of which no digest is noted are taken as they are if they are whole, and noted.
    """
    noted, damaged, kept = read_digests(folder), [], {}
    for path in latent_files(folder):
        found = sha256_file(path)
        if is_whole(path) and noted.get(path.name, found) == found:
            kept[path.name] = found
        else:
            path.unlink()
            damaged.append(path.name)
    if kept and kept != noted:
        write_json_atomic(folder / DIGESTS, kept)
    return damaged
