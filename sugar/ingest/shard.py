"""One shard of real clips: a pure function from captioned clips to scored triplets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from sugar.config import InputError
from sugar.data.cut_outs import cut_subject
from sugar.data.image_io import BadMedia
from sugar.data.key_seed import key_seed
from sugar.data.scored import Score, with_scores
from sugar.data.shard_pool import OnSkip
from sugar.encoders.segmentation import NoSubject, Segmenter, motion_prior
from sugar.ingest.clips import Clip
from sugar.ingest.windows import Window, read_windows
from sugar.triplet import Triplet

NUM_STILLS = 3
"""Random frames of a window that are tried, one after the other, for a good cut-out."""
SURE_SCORE = 0.4
"""Score of the segmenter at which no further frame is tried."""


@dataclass(frozen=True)
class IngestRecipe:
    """How clips become triplets.

    Attributes:
        seed: which frames are cut; fps, num_frames, height_px, width_px: the wanted videos.
        max_windows: triplets of one clip, at most.
        min_side_px, max_seconds: bounds of a clip.
        min_mask_area, max_mask_area: share of the frame that the subject covers.
        segmentation: name of the segmenter, for the record.
    """

    seed: int
    fps: float
    num_frames: int
    height_px: int
    width_px: int
    max_windows: int = 4
    min_side_px: int = 32
    max_seconds: float = 3600.0
    min_mask_area: float = 0.01
    max_mask_area: float = 0.9
    segmentation: str = "grabcut"


def ingest_shard(
    clips: Iterable[Clip], recipe: IngestRecipe, cut: Segmenter, score: Score, on_skip: OnSkip
) -> Iterator[Triplet]:
    """Scored triplets of the clips, in order; what gives none is told to `on_skip` with its reason."""

    def triplets() -> Iterator[Triplet]:
        for clip in clips:
            try:
                yield from ingest_clip(clip, recipe, cut, on_skip)
            except BadMedia as bad:
                on_skip(clip.key, bad.reason, str(bad))
            except InputError:
                raise
            except (ValueError, cv2.error) as error:
                on_skip(clip.key, "failed", str(error))

    return with_scores(triplets(), score, on_skip)


def ingest_clip(clip: Clip, recipe: IngestRecipe, cut: Segmenter, on_skip: OnSkip) -> Iterator[Triplet]:
    """One triplet for each window of a clip; the identity image is cut from a random frame of that window.

    The paper segments a random frame of the same video (SUGAR section 3.2). A few frames are tried before
    the window is given up. What moves is told to the segmenter as evidence.

    Raises:
        BadMedia: the clip gives no window.
    """
    orders = [_random_frames(clip, recipe, w) for w in range(recipe.max_windows)]
    windows = read_windows(
        clip.content,
        fps=recipe.fps,
        num_frames=recipe.num_frames,
        height_px=recipe.height_px,
        width_px=recipe.width_px,
        still_indices=orders,
        min_side_px=recipe.min_side_px,
        max_seconds=recipe.max_seconds,
    )
    for window in windows:
        key = clip.key if recipe.max_windows == 1 else f"{clip.key}-w{window.number:02d}"
        try:
            frame, identity = _identity_of(window, orders[window.number], clip.noun, recipe, cut)
        except (BadMedia, NoSubject) as bad:
            on_skip(key, bad.reason, str(bad))
            continue
        yield Triplet(
            key=key,
            subject=window.stills[frame],
            identity=identity,
            video=window.frames,
            fps=recipe.fps,
            prompt=clip.caption,
            noun=clip.noun,
            category=clip.category,
            source="real",
            style=clip.style,
            background=clip.background,
            motion=clip.motion,
            seed=clip.seed,
            source_digest=clip.digest,
            provenance={
                "segmentation": recipe.segmentation,
                "identity_frame": str(frame),
                "start_seconds": f"{window.start_seconds:.3f}",
            },
        )


def _random_frames(clip: Clip, recipe: IngestRecipe, window: int) -> list[int]:
    rng = np.random.default_rng(key_seed(recipe.seed, f"{clip.key}-{window}", "identity frame"))
    return rng.permutation(recipe.num_frames)[:NUM_STILLS].tolist()


def _identity_of(
    window: Window, order: list[int], noun: str, recipe: IngestRecipe, cut: Segmenter
) -> tuple[int, np.ndarray]:
    """Frame and cut-out: the first that the segmenter is sure of, else the one with the best score.

    Raises:
        BadMedia, NoSubject: no frame gives a cut-out within the bounds; the reason is the last one's.
    """
    refused: BadMedia | NoSubject | None = None
    best: tuple[float, int, np.ndarray] | None = None
    for frame in order:
        still = window.stills[frame]
        try:
            found = cut(still, noun, prior_HW=motion_prior(window.frames, frame))
            identity = cut_subject(
                still, found.mask, min_area=recipe.min_mask_area, max_area=recipe.max_mask_area
            )
        except (BadMedia, NoSubject) as bad:
            refused = bad
            continue
        if best is None or found.score > best[0]:
            best = found.score, frame, identity
        if found.score >= SURE_SCORE:
            break
    if best is None:
        assert refused is not None
        raise refused
    return best[1:]
