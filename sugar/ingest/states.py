"""Whether the clips of a folder are as they were, told without reading one of them."""

from __future__ import annotations

import os
from pathlib import Path

from sugar.config import InputError
from sugar.data.file_states import local_state, states_digest
from sugar.data.folders import folders_below
from sugar.data.tables import read_rows
from sugar.ingest.listing import TABLE, columns_of


def clips_state(folder: Path | str, *, captioned: bool = True) -> str:
    """Digest of the names, sizes and times of change of all that `list_clips` looks at.

    Args:
        captioned: as of `list_clips`.

    Raises:
        InputError: no such folder, or a table that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: must be an existing folder of clips")
    table = folder / TABLE
    if table.is_file():
        rows = read_rows(table, columns_of(captioned), lambda *_: None)
        names = {TABLE, *(row["file"] for _, row in rows)}
        states = {name: local_state(os.path.join(folder, name)) for name in names}
    else:
        states = _states_below(str(folder))
    digest = states_digest(states)
    assert digest is not None  # every file of this machine has a state
    return digest


def _states_below(root: str) -> dict[str, str | None]:
    """Name -> state of the files below a folder; what is hidden is left out."""
    states: dict[str, str | None] = {}
    for folder, files in folders_below(root):
        for name in files:
            if not name.startswith("."):
                path = os.path.join(folder, name)
                states[path[len(root) :]] = local_state(path)
    return states
