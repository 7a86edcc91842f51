"""Whether the photos of a place are as they were, told without reading one of them."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sugar.data.file_states import local_state, remote_state, states_digest
from sugar.synthesis.places import folder_table, is_here, open_place, pictures_below, table_files
from sugar.synthesis.tars import tar_files

ASKED_AT_ONCE = 32
"""Questions to a place elsewhere, which answers each in tens of milliseconds."""


def photos_state(kind: str, place: Path | str) -> str | None:
    """Digest of the names, sizes and times of change of all that a place of photos holds.

    Args:
        kind: "folder", "table" or "webdataset", as `list_photos`, `table_photos` and `tar_photos` read it.

    Returns:
        None where the place cannot tell: what it holds may have changed.

    Raises:
        InputError: there is no such table or tar.
    """
    system, path = open_place(place)
    if kind == "webdataset":
        tars, paths = tar_files(place)
        return states_digest(_states([(name, tars, name) for name in paths]))
    table = str(place) if kind == "table" else folder_table(system, path, place)
    if table is not None:
        return states_digest(_states([(file, *open_place(file)) for file in [table, *table_files(table)]]))
    below = pictures_below(system, path)
    if is_here(system):
        return states_digest({name: local_state(posixpath.join(path, name)) for name in below})
    return states_digest({name: remote_state(info) for name, info in below.items()})


def _states(files: Sequence[tuple[str, Any, str]]) -> dict[str, str | None]:
    """Name -> state of files: (name, file system, path in it) each."""
    states: dict[str, str | None] = {
        name: local_state(path) for name, system, path in files if is_here(system)
    }
    elsewhere = [(name, system, path) for name, system, path in files if not is_here(system)]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        told = pool.map(lambda file: _ask(file[1], file[2]), elsewhere)
        return states | {name: state for (name, _, _), state in zip(elsewhere, told, strict=True)}


def _ask(system: Any, path: str) -> str | None:
    try:
        return remote_state(system.info(path))
    except FileNotFoundError:
        return "missing"
    except OSError:
        return None
