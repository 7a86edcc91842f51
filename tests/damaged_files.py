"""Good files of every kind that is read, the ways in which files break, and a reader that must survive it."""

import io
import resource
import signal
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image
from shard_stubs import tiny_triplet

from sugar.config import InputError
from sugar.data.image_io import BadMedia, load_image
from sugar.data.manifest import read_manifest, write_manifest
from sugar.data.shards import read_shard, write_shard
from sugar.data.video_io import decode_video, encode_mp4, probe
from sugar.ingest.survey import survey_clip

MAX_SECONDS, MAX_GIB = 5, 1.0


class Outcome(NamedTuple):
    """What became of a file: "read", "input" (the file as a whole is refused) or why a part is skipped."""

    name: str
    reason: str
    seconds: float


def moving_clip(seed: int, num_frames: int) -> np.ndarray:
    """uint8 [T, 32, 48, 3] of a bright square that moves over slow colour waves."""
    rng = np.random.default_rng(seed)
    t, y, x = np.mgrid[:num_frames, :32, :48].astype(float)
    waves = [np.sin(x / 9 + y / 11 + t / 3 + phase) for phase in rng.uniform(0, 6, 3)]
    frames = np.stack([np.round(70 + 50 * wave) for wave in waves], axis=-1).astype(np.uint8)
    for k in range(num_frames):
        frames[k, 8:24, 10 + 2 * k : 26 + 2 * k] = 240
    return frames


def picture(mode: str, size: tuple[int, int] = (40, 28)) -> Image.Image:
    rng = np.random.default_rng(len(mode))
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).resize(size)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (size[1], size[0]), np.uint16))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def odd_clip(codec: str, container: str, size: tuple[int, int], pixel_format: str, times: list[int]) -> bytes:
    """Frames shown at irregular times, in any container."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        for time in times:
            pixels = np.full((size[1], size[0], 3), (time * 9) % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = time
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def audio_only() -> bytes:
    """A clip without a video stream."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def rotated(mp4: bytes) -> bytes:
    """The clip with the matrix of its track header set to a quarter turn clockwise, as phones do."""
    at = mp4.index(b"tkhd") + 4 + 40
    turn = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    return mp4[:at] + turn + mp4[at + 36 :]


def good_files(folder: Path) -> dict[str, bytes]:
    """Good files of every kind that is read, small, so that damage hits what matters."""
    write_shard(folder / "shard-000000.tar", [tiny_triplet(f"good-{i}") for i in range(3)])
    rows = write_shard(folder / "shard-000001.tar", [tiny_triplet("good-9")])
    write_manifest(folder, rows)
    clips = [moving_clip(seed, num_frames) for seed, num_frames in ((0, 5), (1, 1))]
    rgb, palette = picture("RGB"), picture("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "a.png": saved(rgb, "PNG"),
        "b.png": saved(palette, "PNG", transparency=3),
        "c.png": saved(picture("I;16"), "PNG"),
        "d.png": saved(picture("RGBA", (1, 1)), "PNG"),
        "a.jpg": saved(rgb, "JPEG", exif=exif),
        "b.jpg": saved(picture("CMYK"), "JPEG"),
        "c.jpg": saved(picture("L"), "JPEG", progressive=True),
        "a.webp": saved(picture("RGBA"), "WEBP"),
        "b.webp": saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)], lossless=True),
        "a.gif": saved(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "a.tiff": saved(picture("LA"), "TIFF"),
        "a.mp4": encode_mp4(clips[0], 8),
        "b.mp4": encode_mp4(clips[1], 8),
        "c.mp4": odd_clip("mpeg4", "mp4", (33, 21), "yuv420p", [0, 1, 5, 6, 20]),
        "d.mp4": rotated(encode_mp4(clips[0], 8)),
        "a.mkv": odd_clip("ffv1", "matroska", (34, 22), "yuva420p", [0, 2, 3, 9]),
        "a.avi": odd_clip("mjpeg", "avi", (32, 32), "yuvj420p", [0, 1, 2]),
        "a.tar": (folder / "shard-000000.tar").read_bytes(),
        "a.parquet": (folder / "manifest.parquet").read_bytes(),
    }


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One of the ways in which files break."""
    content = np.frombuffer(data, np.uint8).copy()
    at = int(rng.integers(len(content)))
    length = int(min(len(content) - at, rng.integers(1, 200)))
    kind = rng.integers(7)
    if kind == 0:
        return data[:at]
    if kind == 1:
        places = rng.integers(0, len(content), rng.integers(1, 65))
        content[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    elif kind == 2:
        content[at : at + length] = 0
    elif kind == 3:
        content[at : at + length] = rng.integers(0, 256, length, np.uint8)
    elif kind == 4:
        content[rng.integers(0, min(64, len(content)))] = rng.integers(0, 256)
    elif kind == 5:
        return data[:at] + data[at + length :]
    else:
        return data[: at + length] + data[at:]
    return content.tobytes()


def reader(name: str, folder) -> Callable[[bytes], object]:
    """What the project does with a file of that kind."""

    def shard(data: bytes) -> int:
        (folder / "shard-000007.tar").write_bytes(data)
        told: list[tuple[str, str]] = []
        good = list(read_shard(folder / "shard-000007.tar", on_bad=lambda key, why: told.append((key, why))))
        assert len(good) == 3 or told, "a sample went missing without a reason"
        return len(good)

    def manifest(data: bytes) -> object:
        (folder / "manifest.parquet").write_bytes(data)
        return read_manifest(folder).to_pylist()

    def clip(data: bytes) -> object:
        info = probe(data)
        survey_clip(data, info.fps)
        return decode_video(data, max_frames=50)

    kind = name.split(".")[1]
    return {"tar": shard, "parquet": manifest}.get(kind) or (
        clip if kind in ("mp4", "mkv", "avi") else load_image
    )


@contextmanager
def limited(what: str) -> Iterator[None]:
    """Fails when the body takes more than 5 s."""

    def stop(*_: object) -> None:
        raise AssertionError(f"{what}: hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(good: dict[str, bytes], num_inputs: int, seed: int, folder: Path) -> list[Outcome]:
    """Reads that many damaged files, the kinds in turn.

    Raises:
        AssertionError: one took 5 s, the memory grew by 1 GiB, or a sample went missing without a reason.
    """
    rng, outcomes = np.random.default_rng(seed), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    names = sorted(good)
    for number in range(num_inputs):
        name = names[number % len(names)]
        data = damaged(good[name], rng)
        start = time.perf_counter()
        with limited(f"{name} {seed}:{number}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reader(name, folder)(data)
                reason = "read"
            except BadMedia as bad:
                reason = bad.reason
            except InputError:
                reason = "input"
        outcomes.append(Outcome(name, reason, time.perf_counter() - start))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    assert grown < MAX_GIB, f"memory grew by {grown:.2f} GiB"
    return outcomes
