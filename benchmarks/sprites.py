"""Clips of Sprite World drawn a second by one thread: `python benchmarks/sprites.py`.

Prints the figure and writes it with date and hardware to benchmarks/results/sprites.json.
"""

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path

import cv2
import numpy as np

from sugar.sprites import sample_clip

RESULT = Path(__file__).parent / "results" / "sprites.json"


def processor_name() -> str:
    """Name of the processor, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(num_clips: int, side_px: int, num_frames: int) -> dict[str, float]:
    """Clips a second by the clock and by processor time, after a warm-up."""
    for seed in range(20):
        sample_clip(seed, num_frames=num_frames, height_px=side_px, width_px=side_px)
    wall, cpu = time.perf_counter(), time.process_time()
    for seed in range(num_clips):
        sample_clip(seed, num_frames=num_frames, height_px=side_px, width_px=side_px)
    return {
        "clips_per_second": round(num_clips / (time.perf_counter() - wall), 1),
        "clips_per_cpu_second": round(num_clips / (time.process_time() - cpu), 1),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--side-px", type=int, default=64)
    parser.add_argument("--frames", type=int, default=9)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    record = {
        "date": datetime.date.today().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "load_average": round(os.getloadavg()[0], 2),
        "clips": args.clips,
        "side_px": args.side_px,
        "frames": args.frames,
        **measure(args.clips, args.side_px, args.frames),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
