"""The code that makes samples, as a part of what they are made from."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sugar.data.atomic import sha256_bytes


def code_digest(modules: Sequence[str]) -> str:
    """SHA-256 of the sources of modules and of whole packages, with their tables; only parents are imported.

    Outputs outlive a change of the code, so a shard that older code made must not count as made.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    parts = []
    for name in modules:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)
        origin = Path(spec.origin)
        files = sorted(_sources(origin.parent)) if origin.name == "__init__.py" else [origin]
        parts += [
            f"{name} {file.relative_to(origin.parent)} {sha256_bytes(file.read_bytes())}" for file in files
        ]
    return sha256_bytes("\n".join(parts).encode())


def _sources(package: Path) -> list[Path]:
    return [file for suffix in ("py", "csv") for file in package.rglob(f"*.{suffix}")]
