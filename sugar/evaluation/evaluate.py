"""Generate the benchmark's videos and score them (SUGAR section 4).

Every video is kept as an mp4 and judged from that file, so that a run that was killed and continued gives
the same scores as one that was not. `records.json` beside the videos says which are complete: what made
each of them, its digest, and its scores.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sugar.config import InputError
from sugar.data.atomic import (
    atomic_path,
    remove_temporaries,
    sha256_bytes,
    sha256_file,
    write_bytes_atomic,
    write_json_atomic,
)
from sugar.data.video_io import decode_video, encode_mp4
from sugar.evaluation.benchmark import Benchmark, Pair
from sugar.evaluation.judges import Judges
from sugar.evaluation.scores import METRICS, Scorer, mean_and_interval
from sugar.sprites import BACKGROUNDS, MOTIONS, STYLES

# Raised when a score is computed in another way: older records are then judged again.
SCORES_VERSION = 1

Generate = Callable[[Sequence[Pair], float], np.ndarray]
"""(pairs, image_scale) -> uint8 videos [B, T, H, W, 3]; video i depends on pair i alone."""


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate.

    open: loads it (only when something is left to generate).
    digest: of its weights and sampling settings; videos made under another digest are made again.
    image_scales: guidance scales of the image, a row of the results each.
    """

    name: str
    open: Callable[[], Generate]
    digest: str
    image_scales: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """Results of one model at one image scale. scores: metric name -> (mean, low, high), 95 % interval."""

    candidate: str
    image_scale: float
    num_videos: int
    num_subjects: int
    scores: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Evaluation:
    """All rows (the first is the main one), and the records of all videos, as `per_video.csv` has them."""

    rows: tuple[Row, ...]
    videos: tuple[Mapping[str, Any], ...]
    sources: Mapping[str, Mapping[str, str]]
    chance: Mapping[str, float]

    def metrics(self) -> dict[str, float]:
        """Flat numbers for DVC and MLflow: `dino_score.metrics_dino` is the main row; the others begin
        with `image_scale_2.5/` (the main model at another scale) or `compare/NAME/`."""
        main = self.rows[0]
        flat: dict[str, float] = {"num_videos": main.num_videos, "num_subjects": main.num_subjects}
        for row in self.rows:
            prefix = ""
            if row.candidate != main.candidate:
                prefix = f"compare/{row.candidate}/"
            elif row.image_scale != main.image_scale:
                prefix = f"image_scale_{row.image_scale:g}/"
            for metric in METRICS:
                if metric.name in row.scores:
                    flat[prefix + metric.key] = round(row.scores[metric.name][0], 6)
        return flat


def evaluate(
    output: Path | str,
    benchmark: Benchmark,
    judges: Judges,
    candidates: Sequence[Candidate],
    *,
    fps: float,
    batch_size: int,
    progress: Callable[[str], None] = lambda message: None,
) -> Evaluation:
    """Evaluate every candidate at each of its image scales on the same pairs and seeds.

    Writes under `output`: `videos/CANDIDATE-scale-S/KEY.mp4` and `records.json`, `per_video.csv`,
    `encoders.json`, `metrics.json`. What is complete is not done again.

    Args:
        candidates: the main model first; its first image scale gives the main row.
        progress: told a line about each batch.

    Raises:
        InputError: two candidates of one name, or none.
    """
    output = Path(output)
    if not candidates or len({candidate.name for candidate in candidates}) != len(candidates):
        raise InputError(f"evaluate needs candidates of different names, got {[c.name for c in candidates]}")
    scorer = Scorer(benchmark, judges, fps)
    rows, videos, folders = [], [], []
    for candidate in candidates:
        generate = _opened_once(candidate)
        for scale in candidate.image_scales:
            folder = output / "videos" / f"{candidate.name}-scale-{scale:g}"
            task = _Task(folder, candidate, scale, benchmark.pairs, judges.digest, fps)
            records = task.run(generate, scorer, batch_size, progress)
            rows.append(_summarise(candidate.name, scale, records))
            videos += records
            folders.append(folder)
    _prune(output / "videos", folders, videos)
    result = Evaluation(tuple(rows), tuple(videos), judges.sources, _chance(benchmark))
    write_json_atomic(output / "encoders.json", judges.sources)
    write_json_atomic(output / "metrics.json", result.metrics())
    _write_csv(output / "per_video.csv", videos)
    return result


def _opened_once(candidate: Candidate) -> Callable[[], Generate]:
    opened: list[Generate] = []

    def open_() -> Generate:
        if not opened:
            opened.append(candidate.open())
        return opened[0]

    return open_


@dataclass(frozen=True)
class _Task:
    """The videos of one candidate at one image scale."""

    folder: Path
    candidate: Candidate
    image_scale: float
    pairs: tuple[Pair, ...]
    judges_digest: str
    fps: float

    def run(
        self,
        open_: Callable[[], Generate],
        scorer: Scorer,
        batch_size: int,
        progress: Callable[[str], None],
    ) -> list[dict[str, Any]]:
        """Generate and score what is not complete; returns the records in the order of the pairs."""
        inputs = {pair.key: self._inputs(pair) for pair in self.pairs}
        records = self._read_whole(inputs)
        missing = [pair for pair in self.pairs if pair.key not in records]
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            for pair, frames in zip(batch, open_()(batch, self.image_scale), strict=True):
                file = self.folder / f"{pair.key}.mp4"
                write_bytes_atomic(file, encode_mp4(frames, self.fps))
                records[pair.key] = {"inputs": inputs[pair.key], "sha256": sha256_file(file)}
            self._write(records)
            progress(f"{self.folder.name}: {len(records)} of {len(self.pairs)} videos generated")
        judged = f"{SCORES_VERSION}:{self.judges_digest}"
        unjudged = [pair for pair in self.pairs if records[pair.key].get("judged") != judged]
        for start in range(0, len(unjudged), batch_size):
            batch = unjudged[start : start + batch_size]
            videos = np.stack([decode_video(self.folder / f"{pair.key}.mp4")[0] for pair in batch])
            for pair, scores in zip(batch, scorer.score(batch, videos), strict=True):
                records[pair.key] |= {"judged": judged, "scores": scores}
            self._write(records)
        return [self._record(pair, records[pair.key]["scores"]) for pair in self.pairs]

    def _inputs(self, pair: Pair) -> str:
        about = [self.candidate.digest, self.image_scale, pair.text, pair.subject.noun, pair.seed, self.fps]
        pixels = pair.subject.image.tobytes() + pair.subject.identity.tobytes()
        return sha256_bytes(json.dumps(about).encode() + pixels)

    def _read_whole(self, inputs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Records of the videos that are there, undamaged, and made from these very inputs."""
        file = self.folder / "records.json"
        if not file.is_file():
            return {}
        whole = {}
        for key, record in json.loads(file.read_text(encoding="utf-8")).items():
            video = self.folder / f"{key}.mp4"
            same = record["inputs"] == inputs.get(key) and video.is_file()
            if same and sha256_file(video) == record["sha256"]:
                whole[key] = record
        return whole

    def _write(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        write_json_atomic(self.folder / "records.json", records)

    def _record(self, pair: Pair, scores: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "candidate": self.candidate.name,
            "image_scale": self.image_scale,
            "subject": pair.subject.key,
            "noun": pair.subject.noun,
            "category": pair.subject.category,
            "prompt": pair.text,
            "style": pair.prompt.style,
            "background": pair.prompt.background,
            "motion": pair.prompt.motion,
            "seed": pair.seed,
            "file": f"videos/{self.folder.name}/{pair.key}.mp4",
            **dict(sorted(scores.items())),
        }


def _summarise(candidate: str, image_scale: float, records: Sequence[Mapping[str, Any]]) -> Row:
    subjects = [record["subject"] for record in records]
    scores = {}
    for metric in METRICS:
        summary = mean_and_interval([record[metric.name] for record in records], subjects)
        if summary is not None:
            scores[metric.name] = summary
    return Row(candidate, image_scale, len(records), len(set(subjects)), scores)


def _chance(benchmark: Benchmark) -> dict[str, float]:
    """What guessing would reach."""
    chance = {
        "retrieval_top1": 1 / len(benchmark.gallery),
        "style_accuracy": 1 / len(STYLES),
        "background_accuracy": 1 / len(BACKGROUNDS),
        "motion_accuracy": 1 / len(MOTIONS),
    }
    hard = []
    for pair in benchmark.pairs:
        others = [s for s in benchmark.lookalikes.get(pair.subject.noun, ()) if s.key != pair.subject.key]
        hard += [1 / (1 + len(others))] if others else []
    return chance | ({"retrieval_top1_same_noun": float(np.mean(hard))} if hard else {})


def _prune(videos: Path, folders: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> None:
    """Remove videos of earlier settings, which no row speaks of."""
    keep = {videos.parent / str(record["file"]) for record in records}
    for folder in videos.iterdir():
        if folder.is_dir() and folder not in folders:
            shutil.rmtree(folder)
    for folder in folders:
        remove_temporaries(folder)
        for file in folder.glob("*.mp4"):
            if file not in keep:
                file.unlink()


def _write_csv(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)
