"""Labelled clips of Sprite World, scored by the configured networks: what the verdicts are judged by."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sugar.config import Filters, Params
from sugar.stages.scoring import limits, networks_digest, scorer

if TYPE_CHECKING:
    from sugar.data.verdicts import Labelled

logger = logging.getLogger(__name__)

SCORED = "sprites.parquet"
"""Of a report: the scored clips, so that other thresholds are judged without scoring again."""
MAX_CLIPS = 10
"""Of each bad kind, for the page of a dataset; a tenth of its rows at most. Assumption: decision 0008."""
CODE = ("sugar.sprites", "sugar.encoders", "sugar.filtering", "sugar.metrics")


def scored_sprites(params: Params, num_clips: int) -> Labelled:
    """`labelled_sprites` of the size and rate of the configured video.

    Args:
        num_clips: of each bad kind; there are as many good ones in all.
    """
    from sugar.filtering.labelled import labelled_sprites
    from sugar.filtering.scoring import score_triplets

    video = params.video
    return labelled_sprites(
        functools.partial(score_triplets, judges=scorer(params).judges(), fps=video.fps),
        num_clips=num_clips,
        seed=params.seed,
        num_frames=video.num_frames,
        side_px=min(video.height_px, video.width_px),
    )


@dataclass(frozen=True)
class SpriteTruth:
    """The truth about a dataset of Sprite World, for its report; called as a `Truth`, pickles.

    Attributes:
        is_drawn: whether the dataset is of Sprite World; asked when the report is written.
    """

    params: Params
    is_drawn: Callable[[], bool]

    def __call__(self, report: Path, num_rows: int) -> Labelled | None:
        """The scored clips; None: the dataset is of something else, or its shards are made elsewhere: this
        machine need not have what the networks run on.
        """
        from sugar.data.shard_driver import current_driver

        if current_driver() is not None or not self.is_drawn():
            return None
        return _remembered(self.params, report, min(MAX_CLIPS, max(1, num_rows // 10)))


def sprite_truth(params: Params, filters: Filters, is_drawn: Callable[[], bool]) -> SpriteTruth | None:
    """None: there are no thresholds to judge."""
    return SpriteTruth(params, is_drawn) if limits(filters) else None


def _remembered(params: Params, report: Path, num_clips: int) -> Labelled:
    """`scored_sprites`, read from the report where it was made from the same."""
    import pyarrow.parquet as pq

    from sugar.data.atomic import atomic_path
    from sugar.data.code_digest import code_digest
    from sugar.data.shard_pool import inputs_digest

    made_from = inputs_digest(
        code_digest(CODE), networks_digest(params), params.section("video"), params.seed, num_clips
    )
    file = report / SCORED
    if file.is_file() and (known := _read(file, made_from)) is not None:
        return known
    made = scored_sprites(params, num_clips)
    about = {"made_from": made_from, "about": made.about, "digest": _digest(made, made_from)}
    table = made.table.replace_schema_metadata(about)
    with atomic_path(file) as temporary, open(temporary, "wb") as stream:
        pq.write_table(table, stream, compression="zstd")
    return made


def _read(file: Path, made_from: str) -> Labelled | None:
    """The scored clips in a file; None: they were made from something else, or are not what was written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sugar.data.verdicts import Labelled

    try:
        table = pq.ParquetFile(file).read()
        table.validate(full=True)
        noted = {name.decode(): text.decode() for name, text in (table.schema.metadata or {}).items()}
        if noted.get("made_from") != made_from:
            return None
        found = Labelled(table, noted["about"])
        if noted["digest"] == _digest(found, made_from):
            return found
        why = "another digest"
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
    logger.warning("%s: is not what was written (%s); its clips are scored anew", file, why)
    return None


def _digest(labelled: Labelled, made_from: str) -> str:
    from sugar.data.shard_pool import inputs_digest

    return inputs_digest(made_from, labelled.about, labelled.table.to_pydict())
