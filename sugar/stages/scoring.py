"""The segmenter, the scorer and the thresholds of a configuration, as workers and datasets take them.

Factories hold plain values, so that a worker process gets them and loads the networks itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sugar.config import Filters, Params
from sugar.stages.fingerprints import network_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from sugar.triplet import Triplet


class Cut:
    """A segmenter whose "there is no subject" is a counted reason like every other."""

    def __init__(self, segmenter: Any) -> None:
        self.segmenter = segmenter

    def __call__(self, image_rgb: np.ndarray, noun: str, **evidence: Any) -> Any:
        """See `sugar.encoders.segmentation.Segmenter`.

        Raises:
            BadMedia: there is no subject in the picture.
        """
        from sugar.data.image_io import BadMedia
        from sugar.encoders.segmentation import NoSubject

        try:
            return self.segmenter(image_rgb, noun, **evidence)
        except NoSubject as error:
            raise BadMedia(error.reason, str(error)) from error


@dataclass(frozen=True)
class MakeCut:
    """Loads the segmenter; the arguments are those of `make_segmenter`."""

    kind: str
    detector: str | None
    segmenter: str | None
    box_threshold: float
    mask_threshold: float
    device: str

    def __call__(self) -> Cut:
        from sugar.encoders.loading import resolve_device
        from sugar.encoders.segmentation import make_segmenter

        settings = {**self.__dict__, "device": resolve_device(self.device)}
        return Cut(make_segmenter(settings.pop("kind"), **settings))


@dataclass(frozen=True)
class MakeScore:
    """Loads the networks that score triplets: folders or hub ids of DINO and CLIP, the kind of flow."""

    dino: str
    clip: str
    flow: str
    device: str

    def __call__(self) -> Callable[[Sequence[Triplet]], Sequence[Mapping[str, float]]]:
        raise NotImplementedError


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
    raise NotImplementedError


def networks_digest(params: Params) -> str:
    """Changes when a network does that cuts or scores triplets."""
    from sugar.data.atomic import sha256_bytes

    cut = cutter(params)
    names = [params.network("dino"), params.network("clip"), *filter(None, (cut.detector, cut.segmenter))]
    about = [network_digest(name) for name in names]
    about += [cut.kind, str(cut.box_threshold), str(cut.mask_threshold), params.networks.flow.kind]
    return sha256_bytes("\n".join(about).encode())
