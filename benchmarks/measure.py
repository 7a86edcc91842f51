"""Measure variants side by side: interleaved, medians, one table, one JSON with date and hardware."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import torch

RESULTS = Path(__file__).parent / "results"


def step_arguments(
    description: str, batch: int, shapes: Sequence[str] = ("sprites",)
) -> argparse.ArgumentParser:
    """The options that the benchmarks of a training step share."""
    from benchmarks.networks import SHAPES

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(shapes))
    parser.add_argument("--designs", nargs="+", default=["b", "e"])
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Clock = Literal["wall", "processor"]
CLOCKS: dict[Clock, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


def median_seconds(
    variants: Mapping[Any, Callable[[], Any]],
    repeats: int,
    device: torch.device,
    clock: Clock = "wall",
    *,
    warm: bool = False,
) -> dict[Any, float]:
    """Median seconds of each variant; their runs alternate, so that a slow moment of the machine hits all.

    The clock "processor" counts the seconds of all threads: on a busy machine the ratios still hold. Each
    runs once before it is measured, unless all are `warm`.
    """
    now = CLOCKS[clock]
    seconds: dict[Any, list[float]] = {name: [] for name in variants}
    for name in () if warm else variants:
        variants[name]()
    for _ in range(repeats):
        for name, run in variants.items():
            synchronise(device)
            start = now()
            run()
            synchronise(device)
            seconds[name].append(now() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_mib(run: Callable[[], Any], device: torch.device) -> float:
    """Peak of torch's allocator above what was held before, in MiB, kernels' own buffers included."""
    if device.type != "cuda":
        return _peak_of_events(run) / 2**20
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _peak_of_events(run: Callable[[], Any]) -> int:
    """Bytes, from the profiler's trace of a CPU's allocations."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    memory = [event for event in events if event.get("name") == "[memory]"]
    memory.sort(key=lambda event: event["ts"])
    first = memory[0]["args"]
    before = first["Total Allocated"] - first["Bytes"]
    return max(event["args"]["Total Allocated"] for event in memory) - before


def matmul(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Any], float]:
    """A large square product, to run beside what is measured, and its floating point operations: what the
    machine reaches at best."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right, 2.0 * size**3


def hardware(device: torch.device) -> dict[str, Any]:
    facts: dict[str, Any] = {"torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        return facts | {"name": torch.cuda.get_device_name(device)}
    names = [line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    return facts | {
        "name": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_lines() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.is_file() else []


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of one set of columns, aligned."""
    columns = list(rows[0])
    cells = [[f"{row[c]:.3g}" if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    for line in [columns, *cells]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def write_results(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    device: torch.device,
    folder: Path,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """`folder/NAME-DEVICE.json`: date, hardware, rows, and what `facts` says of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{device.type}.json"
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    results = {"date": date, "hardware": hardware(device), **(facts or {}), "rows": list(rows)}
    file.write_text(json.dumps(results, indent=2) + "\n")
    return file
