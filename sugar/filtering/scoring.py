"""The scores that filters decide on, for many clips in one pass of each network (SUGAR section 3.1).

Axes: B clips, T frames, H W height and width, C channels, D feature width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sugar.config import InputError
from sugar.encoders.flow import Flow, make_flow
from sugar.encoders.image import identity_canvases
from sugar.filtering.aesthetic import load_aesthetic_head
from sugar.metrics.consistency import consecutive_similarity, random_pair_similarity
from sugar.metrics.dynamics import flow_strength, frame_stride
from sugar.metrics.identity import identity_scores
from sugar.metrics.quality import exposure, sharpness
from sugar.metrics.text_alignment import paired_cosine

MAX_FLOW_PAIRS = 24
"""Of a clip, for its flow; assumption (decision 0008)."""


@dataclass(frozen=True)
class Judges:
    """What scores are made with: each a function, None where its scores are not wanted.

    dino, clip_image: uint8 pictures [N, H, W, 3] to features [N, D]. clip_text: texts to features [N, D].
    flow: see `sugar.encoders.flow.Flow`. canvas_px: side of the identity pictures shown to
    `dino`. aesthetic: features of `clip_image` to ratings [N]. quality: score sharpness and exposure.
    """

    dino: Callable[[np.ndarray], Any] | None = None
    clip_image: Callable[[np.ndarray], Any] | None = None
    clip_text: Callable[[Sequence[str]], Any] | None = None
    flow: Flow | None = None
    canvas_px: int = 224
    aesthetic: Callable[[Any], np.ndarray] | None = None
    quality: bool = False


def load_judges(
    *,
    dino: str | Path | None = None,
    clip: str | Path | None = None,
    flow: str | None = None,
    aesthetic: str | Path | None = None,
    quality: bool = False,
    device: Any = "cpu",
) -> Judges:
    """Judges from folders or hub ids of networks, the kind of flow and the file of an aesthetic head for
    `clip`; None leaves a judge out. `quality` adds sharpness and exposure.

    Raises:
        InputError: a network or file is missing, or there is an aesthetic head without `clip`.
    """
    from sugar.encoders.features import (
        clip_image_features,
        clip_text_features,
        dino_features,
        load_clip_tokenizer,
    )
    from sugar.encoders.image import load_clip, load_dino
    from sugar.encoders.preprocess import image_size_px

    parts: dict[str, Any] = {"quality": quality}
    if dino is not None:
        dino_model = load_dino(dino, device)
        parts["dino"] = lambda images: dino_features(dino_model, images)
        parts["canvas_px"] = image_size_px(dino_model)
    if clip is not None:
        clip_model, tokenizer = load_clip(clip, device), load_clip_tokenizer(clip)
        parts["clip_image"] = lambda images: clip_image_features(clip_model, images)
        parts["clip_text"] = lambda texts: clip_text_features(clip_model, tokenizer, texts)
    if flow is not None:
        parts["flow"] = make_flow(flow, device)
    if aesthetic is not None:
        if clip is None:
            raise InputError("networks.aesthetic needs networks.clip")
        parts["aesthetic"] = load_aesthetic_head(aesthetic)
    return Judges(**parts)


def score_triplets(
    frames_BTHWC: np.ndarray,
    identities_rgba: Sequence[np.ndarray] | None,
    prompts: Sequence[str] | None,
    judges: Judges,
    *,
    fps: float = 8.0,
) -> dict[str, np.ndarray]:
    """The scores (see `thresholds.SCORES`) that the given inputs and judges allow, each float64 [B].

    Args:
        frames_BTHWC: uint8 clips of one size, at least two frames.
        identities_rgba: B cut-outs of any size; None leaves "identity" out.
        prompts: B prompts; None leaves "image_text" out.
        fps: frame rate; flow is measured between frames at about 8 a second (VBench).

    Raises:
        ValueError: when the inputs are not one a clip.
    """
    clips, frames = frames_BTHWC.shape[:2]
    for name, given in (("identities", identities_rgba), ("prompts", prompts)):
        if given is not None and len(given) != clips:
            raise ValueError(f"{name} must be one a clip, got {len(given)} for {clips} clips")
    scores: dict[str, np.ndarray] = {}
    if judges.clip_image is not None and judges.clip_text is not None and prompts is not None:
        first = np.ascontiguousarray(frames_BTHWC[:, 0])
        scores["image_text"] = paired_cosine(judges.clip_image(first), judges.clip_text(list(prompts)))
    if judges.clip_image is not None and judges.aesthetic is not None:
        shown = np.unique([0, frames // 2, frames - 1])
        pictures = frames_BTHWC[:, shown].reshape(-1, *frames_BTHWC.shape[2:])
        scores["aesthetic"] = judges.aesthetic(judges.clip_image(pictures)).reshape(clips, -1).mean(axis=1)
    if judges.quality:
        scores["sharpness"], scores["exposure"] = sharpness(frames_BTHWC), exposure(frames_BTHWC)
    if judges.dino is not None:
        features = judges.dino(frames_BTHWC.reshape(clips * frames, *frames_BTHWC.shape[2:]))
        features = features.reshape(clips, frames, -1)
        if identities_rgba is not None:
            canvases = identity_canvases(identities_rgba, judges.canvas_px)
            scores["identity"] = identity_scores(judges.dino(canvases), features)
        scores["consecutive"] = consecutive_similarity(features)
        scores["random_pair"] = random_pair_similarity(features)
    if judges.flow is not None:
        stride = min(frame_stride(fps), frames - 1)
        scores["flow_px"] = np.array([_flow_px(clip[::stride], judges.flow) for clip in frames_BTHWC])
    return scores


def _flow_px(frames_THWC: np.ndarray, flow: Flow) -> float:
    """Mean `flow_strength` of the pairs of neighbouring frames, or of MAX_FLOW_PAIRS evenly spaced ones."""
    pairs = len(frames_THWC) - 1
    first = None if pairs <= MAX_FLOW_PAIRS else np.linspace(0, pairs - 1, MAX_FLOW_PAIRS).round().astype(int)
    return float(flow_strength(flow(frames_THWC, first)).mean())
