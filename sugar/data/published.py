"""A dataset that is as its stage left it: recognised by its files, without reading a row of it.

Reading the records of 50,000 samples again, judging them and drawing the report takes longer than a stage
that has nothing to do may take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sugar.data.atomic import sha256_bytes, sha256_file, write_json_atomic
from sugar.data.manifest import MANIFEST
from sugar.data.shard_driver import ShardGroup, current_driver

PUBLISHED = "published.json"
PUBLISHING = ("sugar.data", "sugar.filtering")
"""Code that verdicts and report depend on."""
_OF_THE_RUN = ("seconds", "shards_made", "triplets_per_second")
"""Figures that say how the dataset was made, not what it is."""


def remember(
    folder: Path | str,
    report: Path | str,
    made_from: str,
    figures: Mapping[str, float],
    look: str | None = None,
) -> None:
    """Note, in the report, what a dataset was published from and that it is complete now.

    look: another text for the same, that is found without reading what the dataset is made from.
    """
    kept = {name: value for name, value in figures.items() if name not in _OF_THE_RUN}
    if "shards_made" in figures:
        kept["shards_made"] = 0.0  # by whom finds the dataset whole
    state = _state(Path(folder), Path(report), kept)
    note = {"made_from": made_from, "look": look, "state": state, "figures": kept}
    write_json_atomic(Path(report) / PUBLISHED, note)


def published(folder: Path | str, report: Path | str, made_from: str) -> dict[str, float] | None:
    """Figures of the dataset in `folder`, if it was published from the same and nothing of it has changed.

    None: it is to be made or published; so it always is for one group among several that make shards.

    Args:
        made_from: digest of all that shards, verdicts and report depend on; or the `look` of `remember`.
    """
    note = Path(report) / PUBLISHED
    if isinstance(current_driver(), ShardGroup) or not note.is_file():
        return None
    try:
        about = json.loads(note.read_bytes())
        known = made_from in (about["made_from"], about["look"])
        if not known or about["state"] != _state(Path(folder), Path(report), about["figures"]):
            return None
        return about["figures"]
    except (ValueError, KeyError, TypeError):
        return None


def _state(folder: Path, report: Path, figures: Mapping[str, float]) -> str:
    """Digest of manifest, records, figures and the report's JSON, and of the sizes of its other files and the tars.

    A record names the SHA-256 of its tar, whose size is compared as in `shards.is_complete`.
    """
    lines = [f"{path.name} {path.stat().st_size}" for path in sorted(folder.glob("shard-*.tar"))]
    lines += [f"{path.name} {sha256_file(path)}" for path in sorted(folder.glob("shard-*.json"))]
    if (folder / MANIFEST).is_file():
        lines.append(f"{MANIFEST} {sha256_file(folder / MANIFEST)}")
    files = (path for path in report.iterdir() if path.is_file() and path.name != PUBLISHED)
    lines += sorted(
        f"report {path.name} {sha256_file(path) if path.suffix == '.json' else path.stat().st_size}" for path in files
    )
    lines.append(f"figures {json.dumps(figures, sort_keys=True)}")
    return sha256_bytes("\n".join(lines).encode())
