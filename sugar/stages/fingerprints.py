"""What a network is, as a short text: outputs that depend on it change when it does."""

from __future__ import annotations

from pathlib import Path

from sugar.data.atomic import sha256_bytes, sha256_file
from sugar.encoders.hub import hub_commit
from sugar.encoders.weights import Weights

SUFFIXES = (".safetensors", ".json", ".txt", ".model")


def network_digest(source: str, subfolder: str = "") -> str:
    """SHA-256 of weights, configuration and vocabulary of a folder; name and commit of a hub id.

    Args:
        source: folder or hub id; subfolder: of it.

    Raises:
        InputError: a hub id whose commit cannot be found out.
    """
    folder = Path(source) / subfolder
    if not Path(source).is_dir():
        return f"{source}@{hub_commit(source)}/{subfolder}".rstrip("/")
    if not folder.is_dir():
        return str(folder)
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files]
    return sha256_bytes("\n".join(lines).encode())


def weights_of(*sources: str | None) -> tuple[Weights, ...]:
    """The networks that are named, for the provenance of what they make."""
    return tuple(Weights(source, network_digest(source)) for source in sources if source is not None)
