"""Clips of Sprite World drawn a second by one thread: `python -m benchmarks.sprites`."""

from __future__ import annotations

import argparse

import cv2
import torch

from benchmarks.measure import RESULTS, median_seconds, print_table, write_results
from sugar.sprites import sample_clip

CPU = torch.device("cpu")


def draw(num_clips: int, side_px: int, num_frames: int) -> None:
    for seed in range(num_clips):
        sample_clip(seed, num_frames=num_frames, height_px=side_px, width_px=side_px)


def main() -> None:
    """Measure by the clock and by processor time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--side-px", type=int, default=64)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    runs = {"draw": lambda: draw(args.clips, args.side_px, args.frames)}
    row = {"clips": args.clips, "side_px": args.side_px, "frames": args.frames}
    row["clips_per_s"] = args.clips / median_seconds(runs, args.repeats, CPU)["draw"]
    row["clips_per_processor_s"] = args.clips / median_seconds(runs, args.repeats, CPU, "processor")["draw"]
    print_table([row])
    print(write_results("sprites", [row], CPU, RESULTS))


if __name__ == "__main__":
    main()
