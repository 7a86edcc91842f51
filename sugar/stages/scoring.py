"""The segmenter, the scorer and the thresholds of a configuration, as workers and datasets take them.

Factories hold plain values, so that a worker process gets them and loads the networks itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sugar.config import Filters, InputError, Params
from sugar.stages.fingerprints import network_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from sugar.encoders.segmentation import Segmenter
    from sugar.filtering.scoring import Judges
    from sugar.ingest.captions import Caption
    from sugar.triplet import Triplet


@dataclass(frozen=True)
class MakeCut:
    """Loads the segmenter; the arguments are those of `make_segmenter`."""

    kind: str
    detector: str | None
    segmenter: str | None
    box_threshold: float
    mask_threshold: float
    min_mask_quality: float
    device: str

    def __call__(self) -> Segmenter:
        from sugar.encoders.loading import resolve_device
        from sugar.encoders.segmentation import make_segmenter

        settings = {**self.__dict__, "device": resolve_device(self.device)}
        return make_segmenter(settings.pop("kind"), **settings)


@dataclass(frozen=True)
class MakeScore:
    """Loads what scores triplets: DINO and CLIP (folders or hub ids), flow (kind), aesthetic head (file)."""

    dino: str
    clip: str
    flow: str
    device: str
    aesthetic: str | None = None

    def judges(self) -> Judges:
        """The networks, loaded."""
        from sugar.encoders.loading import resolve_device
        from sugar.filtering.scoring import load_judges

        return load_judges(
            dino=self.dino,
            clip=self.clip,
            flow=self.flow,
            aesthetic=self.aesthetic,
            quality=True,
            device=resolve_device(self.device),
        )

    def __call__(self) -> Callable[[Sequence[Triplet]], Sequence[Mapping[str, float]]]:
        from sugar.filtering.scoring import score_triplets

        judges = self.judges()

        def score(triplets: Sequence[Triplet]) -> Sequence[Mapping[str, float]]:
            columns = score_triplets(
                np.stack([triplet.video for triplet in triplets]),
                [triplet.identity for triplet in triplets],
                [triplet.prompt for triplet in triplets],
                judges,
                fps=triplets[0].fps,
            )
            return [
                {name: float(values[i]) for name, values in columns.items()} for i in range(len(triplets))
            ]

        return score


def cutter(params: Params) -> MakeCut:
    """The factory of `networks.segmentation`."""
    settings = params.networks.segmentation
    grounded = settings.kind == "grounded_sam"
    return MakeCut(
        kind=settings.kind,
        detector=params.network("segmentation.detector") if grounded else None,
        segmenter=params.network("segmentation.segmenter") if grounded else None,
        box_threshold=settings.box_threshold,
        mask_threshold=settings.mask_threshold,
        min_mask_quality=settings.min_mask_quality,
        device=params.networks.device,
    )


def scorer(params: Params) -> MakeScore:
    """The factory of what scores triplets with the configured networks."""
    return MakeScore(
        dino=params.network("dino"),
        clip=params.network("clip"),
        flow=params.networks.flow.kind,
        device=params.networks.device,
        aesthetic=_aesthetic(params),
    )


def scorers(params: Params, filters: Filters) -> tuple[MakeCut, MakeScore, Callable[[pa.Table], pa.Table]]:
    """(segmenter, scorer, verdict on a manifest) for the dataset stages."""
    return cutter(params), scorer(params), judge(filters)


def _aesthetic(params: Params) -> str | None:
    """File of the aesthetic head."""
    file = params.networks.aesthetic
    return None if file is None else str(params.given(file))


@dataclass(frozen=True)
class MakeCaption:
    """Loads the model that captions clips."""

    name: str
    device: str

    def __call__(self) -> Caption:
        from sugar.encoders.loading import resolve_device
        from sugar.ingest.captions import VisionLanguageCaption

        return VisionLanguageCaption.from_pretrained(self.name, resolve_device(self.device))


def captioner(params: Params) -> MakeCaption | None:
    """The factory of `networks.captioner`, where there is one."""
    if params.networks.captioner is None:
        return None
    return MakeCaption(params.network("captioner"), params.networks.device)


def judge(filters: Filters) -> Callable[[pa.Table], pa.Table]:
    """Thresholds as a function that fills `accepted` and `reasons` of a manifest."""
    from sugar.filtering.thresholds import Thresholds, decide_table

    thresholds = Thresholds.from_filters(filters.model_dump())
    return lambda table: decide_table(table, thresholds)


def limits(filters: Filters) -> dict[str, list[float]]:
    """Score -> its thresholds, for the report."""
    from sugar.filtering.thresholds import Thresholds

    found: dict[str, list[float]] = {}
    for bound in Thresholds.from_filters(filters.model_dump()).bounds:
        found.setdefault(bound.score, []).append(bound.value)
    return found


def networks_digest(params: Params) -> str:
    """Changes when a network does that cuts or scores triplets."""
    from sugar.data.atomic import sha256_bytes, sha256_file

    cut = cutter(params)
    names = [params.network("dino"), params.network("clip"), *filter(None, (cut.detector, cut.segmenter))]
    about = [network_digest(name) for name in names]
    bounds = (cut.box_threshold, cut.mask_threshold, cut.min_mask_quality)
    about += [cut.kind, *map(str, bounds), params.networks.flow.kind]
    if (head := _aesthetic(params)) is not None:
        if not Path(head).is_file():
            raise InputError(f"networks.aesthetic: {head}: no such file")
        about.append(sha256_file(head))
    return sha256_bytes("\n".join(about).encode())
