"""`python -m sugar.stages.inputs`: what lies where photos and clips are taken from, a file a kind, for DVC.

DVC runs `source` or `ingest` again when the file of its kind has changed (inputs/dvc.yaml).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sugar.config import InputError, Params, load_params

KINDS = {"photos": ("folder", "table", "webdataset"), "clips": ("folder",)}
NOT_USED = "not used"


def look(params: Params, folder: Path) -> None:
    """Write `photos/KIND` and `clips/KIND` below a folder: a digest for the kind in use.

    Where a place cannot tell whether it has changed, the time is written: what depends on it runs again.

    Raises:
        InputError: a place that is not there.
    """
    from sugar.stages.synthesis import photos_state_of

    used = {"photos": params.source.kind, "clips": params.ingest.kind}
    states = {"photos": photos_state_of, "clips": _clips_state}
    for what, kinds in KINDS.items():
        (folder / what).mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            text = NOT_USED
            if kind == used[what]:
                text = states[what](params) or f"cannot tell, asked at {time.time_ns()}"
            (folder / what / kind).write_text(f"{text}\n", encoding="utf-8")


def _clips_state(params: Params) -> str:
    from sugar.ingest.states import clips_state

    folder, captioner = params.given(str(params.ingest.folder)), params.networks.captioner
    return clips_state(folder, captioned=captioner is None)


def main() -> None:
    """Look, by the params.yaml of this folder."""
    parser = argparse.ArgumentParser(prog="python -m sugar.stages.inputs", description=__doc__)
    parser.add_argument("--params", metavar="FILE", default="params.yaml", help="default: params.yaml")
    given = parser.parse_args()
    try:
        params = load_params(given.params)
        look(params, params.folder / "inputs")
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
