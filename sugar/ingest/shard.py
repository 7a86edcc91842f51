"""One shard of real clips: a pure function from captioned clips to scored triplets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from sugar.box import Box
from sugar.config import InputError
from sugar.data.cut_outs import cut_subject
from sugar.data.image_io import BadMedia
from sugar.data.key_seed import key_seed
from sugar.data.scored import Score, with_scores
from sugar.data.shard_pool import OnSkip
from sugar.encoders.segmentation import NoSubject, Segmenter, motion_prior, usual_picture
from sugar.encoders.weights import Weights, made_with
from sugar.ingest.captions import Caption
from sugar.ingest.clips import Clip
from sugar.ingest.windows import Rules, Window, read_windows
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
        max_windows: windows of one clip, at most.
        num_identities: triplets of one window, each with an identity image from another time of its scene.
        rules: what a clip and its windows must be.
        min_mask_area, max_mask_area: share of the frame that the subject covers.
        segmentation, segmentation_networks, captioner: name and networks of the segmenter and network of the
            captioner, for the record.
    """

    seed: int
    fps: float
    num_frames: int
    height_px: int
    width_px: int
    max_windows: int = 4
    num_identities: int = 1
    rules: Rules = field(default_factory=Rules)
    min_mask_area: float = 0.01
    max_mask_area: float = 0.9
    segmentation: str = "grabcut"
    segmentation_networks: tuple[Weights, ...] = ()
    captioner: tuple[Weights, ...] = ()


def ingest_shard(
    clips: Iterable[Clip],
    recipe: IngestRecipe,
    cut: Segmenter,
    score: Score,
    on_skip: OnSkip,
    caption: Caption | None = None,
) -> Iterator[Triplet]:
    """Scored triplets of the clips, in order; what gives none is told to `on_skip` with its reason.

    Args:
        caption: describes the clips that come without a text.
    """

    def triplets() -> Iterator[Triplet]:
        for clip in clips:
            try:
                yield from ingest_clip(clip, recipe, cut, on_skip, caption)
            except BadMedia as bad:
                on_skip(clip.key, bad.reason, str(bad))
            except InputError:
                raise
            except (ValueError, cv2.error) as error:
                on_skip(clip.key, "failed", str(error))

    return with_scores(triplets(), score, on_skip)


def ingest_clip(
    clip: Clip, recipe: IngestRecipe, cut: Segmenter, on_skip: OnSkip, caption: Caption | None = None
) -> Iterator[Triplet]:
    """The triplets of a clip: for each window, one for each of its identity images.

    The paper segments a random frame of the same video (SUGAR section 3.2): the first identity image of a
    window is cut from a random frame of that window. Further ones come from other times of the same scene,
    so that the video cannot be had by copying the picture. A few frames are tried before an identity image
    is given up. What moves, and what the scene usually looks like, is told to the segmenter as evidence. It
    sees nothing outside of the clip's box.

    Raises:
        BadMedia: the clip gives no window, or has no caption and there is nothing that makes one.
    """

    def key_of(window: int) -> str:
        return clip.key if recipe.max_windows == 1 else f"{clip.key}-w{window:02d}"

    if not clip.caption and caption is None:
        raise BadMedia("no_caption", "has no caption and networks.captioner is null")
    orders = [_random_frames(clip, recipe, w) for w in range(recipe.max_windows)]
    windows = read_windows(
        clip.content,
        fps=recipe.fps,
        num_frames=recipe.num_frames,
        height_px=recipe.height_px,
        width_px=recipe.width_px,
        still_indices=[[frame for order in by_time for frame in order] for by_time in orders],
        box=clip.box,
        rules=recipe.rules,
        on_skip=lambda number, bad: on_skip(key_of(number), bad.reason, str(bad)),
    )
    usual = {
        scene: usual_picture(
            [_within(w.box, small) for w in windows if w.scene == scene for small in w.thumbnails]
        )
        for scene in {window.scene for window in windows}
    }
    for window in windows:
        prompt = clip.caption
        scene = [other for other in windows if other.scene == window.scene]
        for number in range(recipe.num_identities):
            key = key_of(window.number) + (f"-i{number}" if recipe.num_identities > 1 else "")
            shown_in = scene[(scene.index(window) + number) % len(scene)]
            try:
                order = orders[shown_in.number][number]
                frame, identity = _identity_of(shown_in, order, clip.noun, recipe, cut, usual[window.scene])
            except (BadMedia, NoSubject) as bad:
                on_skip(key, bad.reason, str(bad))
                continue
            if not prompt:
                assert caption is not None
                prompt = caption(window.frames, clip.noun)
            yield _triplet(key, clip, window, shown_in, frame, identity, prompt, recipe)


def _triplet(
    key: str,
    clip: Clip,
    window: Window,
    shown_in: Window,
    frame: int,
    identity: np.ndarray,
    prompt: str,
    recipe: IngestRecipe,
) -> Triplet:
    return Triplet(
        key=key,
        subject=shown_in.stills[frame],
        identity=identity,
        video=window.frames,
        fps=recipe.fps,
        prompt=prompt,
        noun=clip.noun,
        category=clip.category,
        source="real",
        style=clip.style,
        background=clip.background,
        motion=clip.motion,
        seed=clip.seed,
        source_digest=clip.digest,
        provenance={
            "segmentation": made_with(recipe.segmentation, recipe.segmentation_networks),
            "identity_frame": str(frame),
            "identity_seconds": f"{shown_in.start_seconds + frame / recipe.fps:.3f}",
            "start_seconds": f"{window.start_seconds:.3f}",
        }
        | ({} if clip.caption else {"caption": made_with("model", recipe.captioner)}),
    )


def _random_frames(clip: Clip, recipe: IngestRecipe, window: int) -> list[list[int]]:
    """For each identity image the frames to try: random ones of its own part of the window's time."""
    rng = np.random.default_rng(key_seed(recipe.seed, f"{clip.key}-{window}", "identity frame"))
    parts = np.array_split(np.arange(recipe.num_frames), recipe.num_identities)
    return [rng.permutation(part)[:NUM_STILLS].tolist() for part in parts]


def _identity_of(
    window: Window,
    order: list[int],
    noun: str,
    recipe: IngestRecipe,
    cut: Segmenter,
    usual: np.ndarray | None,
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
            moves = _within(window.box, motion_prior(window.frames, frame))
            found = cut(_within(window.box, still), noun, prior_HW=moves, usual_HWC=usual)
            mask = np.zeros(still.shape[:2], np.uint8)
            mask[window.box.slices(*still.shape[:2])] = found.mask
            identity = cut_subject(still, mask, min_area=recipe.min_mask_area, max_area=recipe.max_mask_area)
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


def _within(box: Box, pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels[box.slices(*pixels.shape[:2])])
