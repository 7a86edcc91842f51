"""The networks that judge videos, as plain functions on uint8 frames.

A score means nothing without its encoder (the paper does not name its own), so a `Judges` knows where each
network came from and the name of every metric ends in the configuration key of its encoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Judges:
    """Axes: B batch, T frames, H W height and width, C channels, D width of a feature.

    identity: uint8 pictures [B, H, W, 3] -> unit features [B, D] of the judge DINO.
    picture: uint8 pictures [B, H, W, 3] -> unit features [B, D] of CLIP.
    text: B sentences -> unit features [B, D] of CLIP.
    video_text: uint8 videos [B, T, H, W, 3] and B sentences -> B cosines.
    flow: uint8 frames [T, H, W, 3] -> flow in pixels [T-1, 2, H, W].
    canvas_px: side of the identity pictures shown to the judge DINO.
    sources: configuration key -> {"source": folder or hub id, "class": ..., "digest": ...}.
    """

    identity: Callable[[np.ndarray], np.ndarray]
    picture: Callable[[np.ndarray], np.ndarray]
    text: Callable[[Sequence[str]], np.ndarray]
    video_text: Callable[[np.ndarray, Sequence[str]], np.ndarray]
    flow: Callable[[np.ndarray], np.ndarray]
    canvas_px: int
    sources: Mapping[str, Mapping[str, str]]

    @property
    def digest(self) -> str:
        """SHA-256 of what the networks are: scores made by other judges are not reused."""
        from sugar.data.atomic import sha256_bytes

        return sha256_bytes(json.dumps([self.sources, self.canvas_px], sort_keys=True).encode())


def load_judges(
    *, metrics_dino: str, metrics_clip: str, video_text: str, flow: str = "dis", device: str = "cpu"
) -> Judges:
    """Load the judges from folders or hub ids.

    Args:
        metrics_dino: a DINO that training has never seen; metrics_clip: a `CLIPModel` with its tokenizer;
            video_text: an `XCLIPModel` with its tokenizer.
        flow: "dis" or "raft".
        device: a torch device, or "auto".

    Raises:
        InputError: a folder is missing or holds another kind of network.
    """
    from sugar.encoders import features
    from sugar.encoders.flow import make_flow
    from sugar.encoders.image import load_clip, load_dino
    from sugar.encoders.loading import resolve_device
    from sugar.encoders.preprocess import image_size_px

    where = resolve_device(device)
    dino = load_dino(metrics_dino, where)
    clip = load_clip(metrics_clip, where)
    clip_tokenizer = features.load_clip_tokenizer(metrics_clip)
    video_tokenizer, video_network = features.load_video_text(video_text, where)

    def video_text_scores(videos_BTHWC: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        video, text = features.video_text_features(video_network, video_tokenizer, videos_BTHWC, texts)
        return _array((video * text).sum(dim=-1))

    return Judges(
        identity=lambda pictures: _array(features.dino_features(dino, pictures)),
        picture=lambda pictures: _array(features.clip_image_features(clip, pictures)),
        text=lambda texts: _array(features.clip_text_features(clip, clip_tokenizer, texts)),
        video_text=video_text_scores,
        flow=make_flow(flow, where),
        canvas_px=image_size_px(dino),
        sources={
            "metrics_dino": _source(metrics_dino, dino),
            "metrics_clip": _source(metrics_clip, clip),
            "video_text": _source(video_text, video_network),
            "flow": {"source": flow, "class": "optical flow", "digest": ""},
        },
    )


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _source(source: str, network: Any) -> dict[str, str]:
    digest = folder_digest(source) if Path(source).is_dir() else ""
    return {"source": str(source), "class": type(network).__name__, "digest": digest}


def folder_digest(folder: Path | str) -> str:
    """SHA-256 over the names and contents of the weights and configurations in a model folder."""
    from sugar.data.atomic import sha256_bytes, sha256_file

    files = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".safetensors", ".json", ".txt"))
    lines = [f"{file.relative_to(folder).as_posix()} {sha256_file(file)}" for file in files]
    return sha256_bytes("\n".join(lines).encode())
