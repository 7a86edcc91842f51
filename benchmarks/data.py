"""The data factory measured: `python benchmarks/data.py`.

Scoring in batches against the same metrics clip by clip and frame by frame; manifest operations on millions
of rows; decode, resize and flow of large clips; a run of an unchanged stage. Seconds are the processor's,
over all threads, so that they hold on a busy machine. Prints the figures and writes them with date and
hardware to benchmarks/results/data-cpu.json.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch

from benchmarks.measure import RESULTS, median_seconds, print_table, write_results
from sugar.data.dataset_report import publish_dataset
from sugar.data.filter_page import write_filter_page
from sugar.data.latents import LatentWriter
from sugar.data.manifest import (
    COLUMNS,
    accepted_rows,
    balanced_rows,
    dataset_digest,
    read_manifest,
    write_manifest,
)
from sugar.data.shard_pool import ShardRun, Skips
from sugar.data.video_io import encode_mp4
from sugar.filtering.labelled import labelled_batch
from sugar.filtering.scoring import Judges, load_judges, score_triplets
from sugar.filtering.thresholds import Thresholds, decide_table
from sugar.ingest.windows import Rules, read_windows
from sugar.metrics.consistency import consecutive_similarity, random_pair_similarity
from sugar.metrics.dynamics import flow_strength
from sugar.metrics.identity import identity_score
from sugar.stages.encoding import Networks, encode_dataset

CPU = torch.device("cpu")
Row = dict[str, Any]
EMPTY_PAGE = {"triplets": 0, "accepted": 0, "rejected": {}, "skipped": {}}


def row(name: str, seconds: float, count: float, unit: str, **more: Any) -> Row:
    return {
        "what": name,
        "seconds": round(seconds, 3),
        "a_second": round(count / seconds, 2),
        "unit": unit,
        **more,
    }


def frame_by_frame(
    frames: np.ndarray, identities: list[np.ndarray], prompts: list[str], judges: Judges, *, shared: bool
) -> None:
    """The scores clip by clip and frame by frame, one network call a frame and one flow a pair.

    So VBench's subject_consistency, i2v_subject and dynamic_degree go through a clip. Each is a program of
    its own there and embeds every frame itself; `shared`: one pass for all, as a careful script would.
    """
    dino, flow = judges.dino, judges.flow
    assert dino is not None and judges.clip_image is not None and judges.clip_text is not None
    assert flow is not None
    from sugar.encoders.image import identity_canvases

    def embedded(clip: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(dino(frame[None])[0]) for frame in clip])

    for clip, identity, prompt in zip(frames, identities, prompts, strict=True):
        image = judges.clip_image(clip[:1])[0]
        float(image @ judges.clip_text([prompt])[0])
        features = embedded(clip)
        reference = dino(identity_canvases([identity], judges.canvas_px))[0]
        identity_score(reference, features)
        consecutive_similarity((features if shared else embedded(clip))[None])
        random_pair_similarity((features if shared else embedded(clip))[None])
        np.mean([flow_strength(flow(clip[t : t + 2]))[0] for t in range(len(clip) - 1)])


def scoring(num_clips: int, repeats: int) -> list[Row]:
    judges = load_judges(dino="foundation/sprites/dino", clip="foundation/sprites/clip", flow="dis")
    frames, identities, prompts = labelled_batch("right", num_clips, 0)
    variants = {
        "score, in batches": lambda: score_triplets(frames, identities, prompts, judges),
        "score, metric by metric and frame by frame": lambda: frame_by_frame(
            frames, identities, prompts, judges, shared=False
        ),
        "score, frame by frame, one pass for all metrics": lambda: frame_by_frame(
            frames, identities, prompts, judges, shared=True
        ),
    }
    seconds = median_seconds(variants, repeats, CPU, "processor")
    fastest = seconds["score, in batches"]
    return [
        row(name, value, num_clips, "clips of 9x64x64", ratio=round(value / fastest, 2))
        for name, value in seconds.items()
    ]


def synthesis_end_to_end(num_subjects: int = 600) -> list[Row]:
    """`sugar synthesize` as `make run` calls it, start and report included, by the wall clock."""
    with tempfile.TemporaryDirectory() as folder:

        def run(verb: str) -> None:
            sets = (f"paths.root={folder}", f"source.num_subjects={num_subjects}", "tracking.enabled=false")
            changes = [word for one in sets for word in ("--set", one)]
            subprocess.run(
                [sys.executable, "-m", "sugar.cli", verb, *changes], check=True, capture_output=True
            )

        def processor() -> float:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            return used.ru_utime + used.ru_stime

        run("source")
        start, before = time.perf_counter(), processor()
        run("synthesize")
        seconds, core_seconds = time.perf_counter() - start, processor() - before
        num = read_manifest(Path(folder) / "data" / "synthetic").num_rows
    name = "synthesize: make, score, write, report (wall)"
    return [row(name, seconds, num, "triplets of 9x64x64", core_s=round(core_seconds, 1))]


def manifest_table(num_rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    numbers = np.arange(num_rows)
    texts = {
        "key": np.char.mod("t%08d", numbers),
        "noun": np.char.mod("noun%d", rng.zipf(1.4, num_rows) % 1000),
    }
    columns: dict[str, pa.Array] = {}
    for name, kind in COLUMNS.items():
        if name in texts:
            columns[name] = pa.array(texts[name].tolist(), kind)
        elif name == "reasons":
            columns[name] = pa.ListArray.from_arrays(
                pa.array(np.zeros(num_rows + 1, np.int32)), pa.array([], pa.string()), type=kind
            )
        elif pa.types.is_string(kind):
            columns[name] = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(num_rows, np.int8)), pa.array([name * 4])
            ).cast(kind)
        else:
            columns[name] = pa.array(np.ones(num_rows)).cast(kind)
    scores = {
        f"score_{name}": pa.array(rng.random(num_rows)) for name in ("identity", "image_text", "flow_px")
    }
    return pa.table({**columns, **scores})


def manifests(num_rows: int) -> list[Row]:
    table, rows = manifest_table(num_rows), []
    thresholds = Thresholds.from_filters({"min_identity": 0.3, "min_image_text": 0.2, "min_flow_px": 0.1})

    def timed(name: str, run: Any) -> Any:
        start = time.process_time()
        result = run()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(row(name, time.process_time() - start, num_rows, "rows", peak_gib=round(peak, 2)))
        return result

    def judge(rows: pa.Table) -> pa.Table:
        return decide_table(rows, thresholds)

    start = time.process_time()
    decided = timed("manifest: thresholds", lambda: judge(table))
    kept = timed("manifest: filter", lambda: accepted_rows(decided))
    timed("manifest: balance", lambda: balanced_rows(kept, "noun", 0.02))
    rows.append(row("manifest: thresholds, filter, balance", time.process_time() - start, num_rows, "rows"))
    with tempfile.TemporaryDirectory() as folder:
        timed("manifest: write", lambda: write_manifest(folder, decided))
        timed("manifest: read", lambda: read_manifest(folder))
        timed("manifest: digest", lambda: dataset_digest(folder))
        run = ShardRun(table, Skips(), 0, 0, 1.0)
        timed("publish, without sheets", lambda: publish_dataset(folder, run, judge, report=None))
        timed("filter page", lambda: write_filter_page(Path(folder), decided, EMPTY_PAGE))
    return rows


def unchanged_encode(num_samples: int) -> list[Row]:
    """`encode` of a dataset whose latents are all there; they are of one number here, the rest is real."""
    networks = Networks("foundation/sprites/base", "foundation/sprites/dino", "foundation/sprites/clip")
    keys = [f"t{i:08d}" for i in range(num_samples)]
    digests = [f"{i:064x}" for i in range(num_samples)]
    table = manifest_table(num_samples)
    for name, values in (("key", keys), ("digest", digests)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    options = {"batch_size": 16, "shard_size": 512, "held_out_fraction": 0.03}
    with tempfile.TemporaryDirectory() as place:
        dataset, cache = Path(place) / "triplets", Path(place) / "latents"
        write_manifest(dataset, table)
        writer = LatentWriter(cache, networks.meta(), 512, 0.03)
        for positions in np.array_split(writer.plan(keys, digests), max(1, num_samples // 512)):
            writer.add(positions.tolist(), {"mean": torch.zeros(len(positions), 1)})
        writer.finish()
        wall, processor = time.perf_counter(), time.process_time()
        encode_dataset(dataset, cache, networks, made_by="ingest", **options)
        seconds = time.process_time() - processor
        return [row("encode, unchanged", seconds, num_samples, "samples", wall_s=time.perf_counter() - wall)]


def _large_clip() -> tuple[np.ndarray, bytes]:
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 256, (30, 45, 3), np.uint8), (820, 540))
    frames = np.stack([ground[k : k + 480, 2 * k : 2 * k + 720] for k in range(49)])
    return frames, encode_mp4(frames, 8)


def _read_large(content: bytes, rules: Rules) -> Any:
    return read_windows(
        content, fps=8, num_frames=49, height_px=480, width_px=720, still_indices=[[3]], rules=rules
    )


def _vet_large(content: bytes, count: int, ready: Any) -> None:
    """What a worker does with large clips but for the encoders; `ready`: all start at once."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    judges = load_judges(flow="dis", quality=True)
    frames, _ = _large_clip()
    score_triplets(frames[None], None, None, judges)
    ready.wait()
    for _ in range(count):
        _read_large(content, Rules())
        score_triplets(frames[None], None, None, judges)


def large_clips_in_workers(workers: int = 2, count: int = 20) -> list[Row]:
    """Decode, resize and score in processes side by side, by the wall clock: for a quiet machine."""
    content = _large_clip()[1]
    context = get_context("spawn")
    ready = context.Barrier(workers + 1)
    group = [context.Process(target=_vet_large, args=(content, count, ready)) for _ in range(workers)]
    for process in group:
        process.start()
    ready.wait()
    start = time.perf_counter()
    for process in group:
        process.join()
    seconds = time.perf_counter() - start
    name = f"clip 49x480x720: decode, resize, scores, {workers} processes (wall)"
    return [row(name, seconds, workers * count, "clips")]


def large_clips(repeats: int) -> list[Row]:
    frames, content = _large_clip()

    def read(rules: Rules) -> Any:
        return _read_large(content, rules)

    everything = Rules(scene_threshold=27.0, min_change=0.0005, max_flashes=3.0, crop_bars=True)
    variants = {
        "clip 49x480x720: decode, resize": lambda: read(Rules()),
        "... and survey": lambda: read(everything),
    }
    seconds = median_seconds(variants, repeats, CPU, "processor")
    judges = load_judges(flow="dis", quality=True)
    start = time.process_time()
    score_triplets(frames[None], None, None, judges)
    seconds["clip 49x480x720: flow, sharpness, exposure"] = time.process_time() - start
    start = time.process_time()
    encode_mp4(frames, 8)
    seconds["clip 49x480x720: write"] = time.process_time() - start
    return [row(name, value, 1, "clips") for name, value in seconds.items()]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--samples", type=int, default=50_000, help="of the unchanged stage")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = (
        manifests(given.rows)
        + unchanged_encode(given.samples)
        + scoring(given.clips, given.repeats)
        + synthesis_end_to_end()
        + large_clips(given.repeats)
        + large_clips_in_workers()
    )
    columns = list(dict.fromkeys(name for one in rows for name in one))
    print_table([{name: one.get(name, "") for name in columns} for one in rows])
    print(write_results("data", rows, CPU, RESULTS))


if __name__ == "__main__":
    main()
