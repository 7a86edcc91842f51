"""The segmenter, the scorer and the thresholds of a configuration, as workers and datasets take them.

Factories hold plain values, so that a worker process gets them and loads the networks itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sugar.config import Filters, Params
from sugar.stages.fingerprints import network_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from sugar.encoders.segmentation import Segmenter
    from sugar.triplet import Triplet


@dataclass(frozen=True)
class MakeCut:
    """Loads the segmenter; the arguments are those of `make_segmenter`."""

    kind: str
    detector: str | None
    segmenter: str | None
    box_threshold: float
    mask_threshold: float
    device: str

    def __call__(self) -> Segmenter:
        from sugar.encoders.loading import resolve_device
        from sugar.encoders.segmentation import make_segmenter

        settings = {**self.__dict__, "device": resolve_device(self.device)}
        return make_segmenter(settings.pop("kind"), **settings)


@dataclass(frozen=True)
class MakeScore:
    """Loads the networks that score triplets: folders or hub ids of DINO and CLIP, the kind of flow."""

    dino: str
    clip: str
    flow: str
    device: str

    def __call__(self) -> Callable[[Sequence[Triplet]], Sequence[Mapping[str, float]]]:
        from sugar.encoders.loading import resolve_device
        from sugar.filtering.scoring import load_judges, score_triplets

        judges = load_judges(
            dino=self.dino, clip=self.clip, flow=self.flow, device=resolve_device(self.device)
        )

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
        device=params.networks.device,
    )


def scorers(params: Params, filters: Filters) -> tuple[MakeCut, MakeScore, Callable[[pa.Table], pa.Table]]:
    """(segmenter, scorer, verdict on a manifest) for the dataset stages."""
    score = MakeScore(
        dino=params.network("dino"),
        clip=params.network("clip"),
        flow=params.networks.flow.kind,
        device=params.networks.device,
    )
    return cutter(params), score, judge(filters)


def judge(filters: Filters) -> Callable[[pa.Table], pa.Table]:
    """Thresholds as a function that fills `accepted` and `reasons` of a manifest."""
    from sugar.filtering.thresholds import Thresholds, decide_table

    thresholds = Thresholds.from_filters(filters.model_dump())
    return lambda table: decide_table(table, thresholds)


def networks_digest(params: Params) -> str:
    """Changes when a network does that cuts or scores triplets."""
    from sugar.data.atomic import sha256_bytes

    cut = cutter(params)
    names = [params.network("dino"), params.network("clip"), *filter(None, (cut.detector, cut.segmenter))]
    about = [network_digest(name) for name in names]
    about += [cut.kind, str(cut.box_threshold), str(cut.mask_threshold), params.networks.flow.kind]
    return sha256_bytes("\n".join(about).encode())
