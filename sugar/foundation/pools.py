"""Pools of rendered pictures and clips that the small networks are trained on, drawn once and kept in files.

A pool row is a pure function of its index, so a pool that was cut off is drawn again to the same bytes.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sugar.sprites import (
    BACKGROUNDS,
    HELD_OUT_SEEDS,
    MOTIONS,
    NOUNS,
    STYLES,
    Identity,
    apply_style,
    colour_name,
    draw_background,
    draw_identity,
    draw_subject,
    render_clip,
    style_background,
)

NOUN_NAMES, STYLE_NAMES = tuple(NOUNS), tuple(STYLES)
BACKGROUND_NAMES, MOTION_NAMES = tuple(BACKGROUNDS), tuple(MOTIONS)
TAGS = ("noun", "style", "background", "motion", "colour")


@dataclass(frozen=True)
class Pool:
    """`frames` uint8 [N, V, H, W, 3] (V views or frames), integer tags [N, V] or [N], colour words [N]."""

    frames: np.ndarray
    tags: dict[str, np.ndarray]
    colours: tuple[str, ...]


def identity_at(index: int, held_out: bool) -> Identity:
    seed = (HELD_OUT_SEEDS.start if held_out else 0) + 50_000 + index
    return draw_identity(seed, NOUN_NAMES[index % len(NOUN_NAMES)])


def identity_views(index: int, num_views: int, size_px: int, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Views of one identity: the cut-out as is, cut-outs in other styles, then scenes.

    Returns uint8 [V, S, S, 3] and tags [V, 3] (noun, style, background; background -1 for a cut-out).
    """
    rng = np.random.default_rng([index, int(held_out), 17])
    identity = identity_at(index, held_out)
    subject = draw_subject(identity, size_px)
    noun = NOUN_NAMES.index(identity.noun)
    pictures, tags = [], []
    for view in range(num_views):
        style = 0 if view == 0 else int(rng.integers(len(STYLE_NAMES)))
        styled = apply_style(subject, STYLE_NAMES[style], int(rng.integers(2**31)))
        if view % 2 == 0:
            pictures.append(_on_grey(styled, float(rng.uniform(0.8, 1.0)) if view else 1.0, rng))
            tags.append((noun, style, -1))
            continue
        background = int(rng.integers(len(BACKGROUND_NAMES)))
        plain = draw_background(BACKGROUND_NAMES[background], size_px, size_px, int(rng.integers(2**31)))
        scene = style_background(plain, STYLE_NAMES[style], int(rng.integers(2**31)))
        motion = MOTION_NAMES[int(rng.integers(len(MOTION_NAMES)))]
        clip = render_clip(
            styled, scene, motion, 9, int(rng.integers(2**31)), subject_scale=float(rng.uniform(0.5, 0.8))
        )
        pictures.append(clip[int(rng.integers(9))])
        tags.append((noun, style, background))
    return np.stack(pictures), np.array(tags)


def _on_grey(rgba: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """The cut-out on mid grey, as `encoders.image.identity_canvas` shows it, with a slight jitter."""
    import cv2

    size = rgba.shape[0]
    shift = rng.uniform(-0.5, 0.5, 2) * (1 - scale) * size
    affine = np.array(
        [[scale, 0, shift[0] + (1 - scale) * size / 2], [0, scale, shift[1] + (1 - scale) * size / 2]]
    )
    premultiplied = rgba.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    warped = cv2.warpAffine(premultiplied, affine.astype(np.float32), (size, size), flags=cv2.INTER_LINEAR)
    return np.clip(warped[..., :3] + 127.5 * (1 - warped[..., 3:] / 255), 0, 255).astype(np.uint8)


def clip_at(index: int, num_frames: int, size_px: int, held_out: bool) -> tuple[np.ndarray, np.ndarray, str]:
    """One clip of a random identity: uint8 [T, S, S, 3], tags [4] in the order of TAGS, colour."""
    rng = np.random.default_rng([index, int(held_out), 29])
    identity = draw_identity(int(rng.integers(2**31)) + (HELD_OUT_SEEDS.start if held_out else 0))
    style = 0 if rng.random() < 0.35 else int(rng.integers(len(STYLE_NAMES)))
    background, motion = int(rng.integers(len(BACKGROUND_NAMES))), int(rng.integers(len(MOTION_NAMES)))
    seeds = rng.integers(2**31, size=4)
    styled = apply_style(draw_subject(identity, size_px), STYLE_NAMES[style], int(seeds[0]))
    plain = draw_background(BACKGROUND_NAMES[background], size_px, size_px, int(seeds[1]))
    scene = style_background(plain, STYLE_NAMES[style], int(seeds[2]))
    scale = float(rng.uniform(0.55, 0.7))
    frames = render_clip(styled, scene, MOTION_NAMES[motion], num_frames, int(seeds[3]), subject_scale=scale)
    tags = np.array([NOUN_NAMES.index(identity.noun), style, background, motion])
    return frames, tags, colour_name(identity)


def _one_thread() -> None:
    """There is a process for every core already."""
    import cv2

    cv2.setNumThreads(1)


def _views_chunk(arguments: tuple[range, int, int, bool]) -> list[tuple[np.ndarray, np.ndarray]]:
    indices, num_views, size_px, held_out = arguments
    return [identity_views(i, num_views, size_px, held_out) for i in indices]


def _clips_chunk(arguments: tuple[range, int, int, bool]) -> list[tuple[np.ndarray, np.ndarray, str]]:
    indices, num_frames, size_px, held_out = arguments
    return [clip_at(i, num_frames, size_px, held_out) for i in indices]


def draw_identity_pool(folder: Path, num: int, num_views: int, size_px: int, held_out: bool = False) -> Pool:
    """Views of `num` identities, from file when they were drawn before."""
    return _draw(folder, "views", _views_chunk, num, num_views, size_px, held_out)


def draw_clip_pool(folder: Path, num: int, num_frames: int, size_px: int, held_out: bool = False) -> Pool:
    """`num` clips with their tags, from file when they were drawn before."""
    return _draw(folder, "clips", _clips_chunk, num, num_frames, size_px, held_out)


def _draw(folder: Path, kind: str, chunk, num: int, second: int, size_px: int, held_out: bool) -> Pool:
    name = f"{kind}-{num}x{second}x{size_px}{'-held-out' if held_out else ''}"
    frames_file, tags_file = folder / f"{name}.npy", folder / f"{name}.json"
    if not tags_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        store = np.lib.format.open_memmap(
            frames_file, mode="w+", dtype=np.uint8, shape=(num, second, size_px, size_px, 3)
        )
        tags, colours = [], []
        jobs = [(range(i, min(i + 50, num)), second, size_px, held_out) for i in range(0, num, 50)]
        num_workers = max(2, os.cpu_count() or 1)
        processes = ProcessPoolExecutor(num_workers, get_context("spawn"), initializer=_one_thread)
        with processes as workers:
            for job, rows in zip(
                jobs, tqdm(workers.map(chunk, jobs), total=len(jobs), desc=name), strict=True
            ):
                for index, row in zip(job[0], rows, strict=True):
                    store[index] = row[0]
                    tags.append(row[1].tolist())
                    colours.append(row[2] if len(row) > 2 else "")
        store.flush()
        temporary = tags_file.with_suffix(".tmp")
        temporary.write_text(json.dumps({"tags": tags, "colours": colours}))
        temporary.replace(tags_file)
    loaded = json.loads(tags_file.read_text())
    array = np.array(loaded["tags"])
    columns = {tag: array[..., i] for i, tag in enumerate(TAGS[: array.shape[-1]])}
    return Pool(np.load(frames_file, mmap_mode="r"), columns, tuple(loaded["colours"]))


def pick(step: int, seed: int, num: int, count: int) -> np.ndarray:
    """`count` different rows of `num` for one step: a pure function of (seed, step)."""
    return np.random.default_rng([seed, step, 5]).choice(num, size=count, replace=False)
