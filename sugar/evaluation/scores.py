"""What one generated video is worth: the paper's six metrics, and what a judge recognises in it.

The six are those of SUGAR section 4.1. Recognition of the subject, style, place and motion is ours (decision
0009): a cosine of 0.7 says little by itself, to be picked out among thirty subjects says much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sugar.encoders.image import identity_canvas
from sugar.evaluation.benchmark import Benchmark, BenchmarkSubject, Pair
from sugar.evaluation.judges import Judges
from sugar.evaluation.prompts import AS_IS
from sugar.metrics.consistency import temporal_consistency
from sugar.metrics.dynamics import frame_stride, is_dynamic
from sugar.metrics.identity import identity_score
from sugar.metrics.retrieval import nearest, video_feature
from sugar.metrics.text_alignment import text_alignment


class Metric(NamedTuple):
    """A column of the results: its name, its title, whose judgement it is, and whether it is a share."""

    name: str
    title: str
    encoder: str
    is_share: bool

    @property
    def key(self) -> str:
        """Name in metrics.json and MLflow: the metric and the configuration key of its encoder."""
        return f"{self.name}.{self.encoder}"


PAPER_METRICS = (
    Metric("dino_score", "DINO score", "metrics_dino", False),
    Metric("clip_score", "CLIP score", "metrics_clip", False),
    Metric("video_text_score", "Video-text score", "video_text", False),
    Metric("dynamic_degree", "Dynamic degree", "flow", True),
    Metric("subject_consistency", "Subject consistency", "metrics_dino", False),
    Metric("background_consistency", "Background consistency", "metrics_clip", False),
)
RECOGNITION_METRICS = (
    Metric("retrieval_top1", "Right subject, all subjects", "metrics_dino", True),
    Metric("retrieval_top1_same_noun", "Right subject, same noun only", "metrics_dino", True),
    Metric("style_accuracy", "Style", "metrics_clip", True),
    Metric("background_accuracy", "Background", "metrics_clip", True),
    Metric("motion_accuracy", "Motion", "video_text", True),
)
METRICS = PAPER_METRICS + RECOGNITION_METRICS


class Scorer:
    """Scores videos of a benchmark; the galleries are encoded once.

    Args:
        fps: of the generated videos; VBench samples about eight frames a second for flow.
    """

    def __init__(self, benchmark: Benchmark, judges: Judges, fps: float) -> None:
        self.judges = judges
        self.stride = frame_stride(fps)
        self._gallery_keys = [subject.key for subject in benchmark.gallery]
        self._gallery = self._identities(benchmark.gallery)
        self._lookalikes = benchmark.lookalikes
        self._lookalike_features = {n: self._identities(others) for n, others in self._lookalikes.items()}

    def score(self, pairs: Sequence[Pair], videos_BTHWC: np.ndarray) -> list[dict[str, Any]]:
        """Scores of a batch: metric name -> number, None where it is undefined for that prompt.

        Also `retrieval_choice`, `style_choice`, `background_choice` and `motion_choice`: what the judge
        took the video for.
        """
        batch, frames = videos_BTHWC.shape[:2]
        pictures = videos_BTHWC.reshape(batch * frames, *videos_BTHWC.shape[2:])
        dino_BTD = self.judges.identity(pictures).reshape(batch, frames, -1)
        clip_BTD = self.judges.picture(pictures).reshape(batch, frames, -1)
        text_BD = self.judges.text([pair.text for pair in pairs])
        video_text_B = self.judges.video_text(videos_BTHWC, [pair.text for pair in pairs])
        rows = []
        for i, pair in enumerate(pairs):
            row = self._recognise(pair, dino_BTD[i])
            row |= {
                "dino_score": float(identity_score(self._feature_of(pair.subject), dino_BTD[i])),
                "clip_score": float(text_alignment(text_BD[i], clip_BTD[i])),
                "video_text_score": float(video_text_B[i]),
                "dynamic_degree": float(self._moves(videos_BTHWC[i])),
                "subject_consistency": float(temporal_consistency(dino_BTD[i])),
                "background_consistency": float(temporal_consistency(clip_BTD[i])),
            }
            row |= self._obeys(pair, clip_BTD[i], videos_BTHWC[i])
            rows.append(row)
        return rows

    def _identities(self, subjects: Sequence[BenchmarkSubject]) -> np.ndarray:
        canvases = [identity_canvas(subject.identity, self.judges.canvas_px) for subject in subjects]
        return self.judges.identity(np.stack(canvases))

    def _feature_of(self, subject: BenchmarkSubject) -> np.ndarray:
        return self._gallery[self._gallery_keys.index(subject.key)]

    def _moves(self, frames_THWC: np.ndarray) -> bool:
        sampled = frames_THWC[:: self.stride]
        return is_dynamic(self.judges.flow(sampled), sampled.shape[1], sampled.shape[2])

    def _recognise(self, pair: Pair, dino_TD: np.ndarray) -> dict[str, Any]:
        """Which subject of a gallery is nearest to the video?"""
        feature_D = video_feature(dino_TD)
        choice = self._gallery_keys[int(nearest(feature_D[None], self._gallery)[0])]
        row: dict[str, Any] = {
            "retrieval_choice": choice,
            "retrieval_top1": float(choice == pair.subject.key),
            "retrieval_top1_same_noun": None,
        }
        others = [
            i for i, other in enumerate(self._lookalikes[pair.subject.noun]) if other.key != pair.subject.key
        ]
        if others:
            gallery = np.stack(
                [self._feature_of(pair.subject), *self._lookalike_features[pair.subject.noun][others]]
            )
            row["retrieval_top1_same_noun"] = float(nearest(feature_D[None], gallery)[0] == 0)
        return row

    def _obeys(self, pair: Pair, clip_TD: np.ndarray, frames_THWC: np.ndarray) -> dict[str, Any]:
        """Zero-shot accuracy: of the sentences with every style (place, motion) exchanged, is the video
        nearest to the one that was asked for? Style counts only where a change was asked for."""
        feature_D = video_feature(clip_TD)
        row: dict[str, Any] = {}
        for attribute in ("style", "background", "motion"):
            texts = pair.prompt.alternatives(attribute, pair.subject.noun)
            if attribute == "motion":
                repeated = np.broadcast_to(frames_THWC, (len(texts), *frames_THWC.shape))
                cosines = self.judges.video_text(np.ascontiguousarray(repeated), list(texts.values()))
                chosen = int(np.argmax(cosines))
            else:
                chosen = int(nearest(feature_D[None], self.judges.text(list(texts.values())))[0])
            choice = list(texts)[chosen]
            asked = getattr(pair.prompt, attribute)
            counts = not (attribute == "style" and asked == AS_IS)
            row[f"{attribute}_choice"] = choice
            row[f"{attribute}_accuracy"] = float(choice == asked) if counts else None
        return row


def mean_and_interval(
    values: Sequence[float | None], groups: Sequence[str], resamples: int = 2000
) -> tuple[float, float, float] | None:
    """Mean of the defined values and its 95 % interval, by a bootstrap over groups (subjects).

    Videos of one subject are not independent of each other, so whole subjects are drawn. None when no
    value is defined.
    """
    pairs = [(value, group) for value, group in zip(values, groups, strict=True) if value is not None]
    if not pairs:
        return None
    names = sorted({group for _, group in pairs})
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    for value, group in pairs:
        sums[names.index(group)] += value
        counts[names.index(group)] += 1
    drawn = np.random.default_rng(0).integers(len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(sums.sum() / counts.sum()), float(low), float(high)
