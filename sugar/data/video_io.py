"""Clips in and out through PyAV: H.264 files whose bytes repeat, and decoding that says what is wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from sugar.data.image_io import BadMedia, open_media
from sugar.triplet import check_frames

CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,m4v,h264,hevc,flv,ogg,gif,asf"
"""What is opened. Playlists, concatenation scripts and image lists can name other files: they are not."""

_ACCURATE = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
# Large frames are made smaller afterwards: smooth colour (8 ms a frame at 1280x720) would be lost on them.
_FAST, _ACCURATE_UP_TO_PIXELS = Interpolation.BICUBIC, 512 * 512
# x264's lookahead (B-frames, scene cuts, macroblock tree) gives other bytes from run to run. Colour samples
# lie in the middle of their four pixels, as swscale computes them: H.264's default is half a pixel off.
_X264 = "threads=1:sync-lookahead=0:rc-lookahead=0:mbtree=0:bframes=0:scenecut=0:chromaloc=1"
_BT601 = 6


class TimedFrame(NamedTuple):
    """One decoded frame: seconds since the start of the clip, uint8 [H, W, 3]."""

    seconds: float
    pixels: np.ndarray


class VideoInfo(NamedTuple):
    """What a clip says of itself; size as displayed (rotated); num_frames 0 where it does not say."""

    width_px: int
    height_px: int
    fps: float
    num_frames: int
    seconds: float
    codec: str


def encode_mp4(frames: np.ndarray, fps: float, crf: int = 12) -> bytes:
    """H.264 (yuv420p, BT.601) in MP4; equal frames give equal bytes.

    Args:
        frames: uint8 [T, H, W, 3]; H and W even, as 4:2:0 colour wants.
        fps: frames a second, > 0.
        crf: 0 (lossless) to 51; at 12 what is lost is the halved colour resolution.

    Raises:
        ValueError: wrong shape, type, size or rate.
    """
    check_frames("frames", frames)
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"frames must have even height and width, got {height}x{width}")
    if not 0 < fps <= 1000:
        raise ValueError(f"fps must be > 0 and <= 1000, got {fps}")
    file, scaler = io.BytesIO(), VideoReformatter()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "x264-params": _X264}
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = scaler.reformat(frame, format="yuv420p", interpolation=_ACCURATE, threads=1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def decode_video(
    source: Path | str | bytes, *, max_frames: int | None = None, max_pixels: int = 50_000_000
) -> tuple[np.ndarray, float]:
    """Decode a clip: (uint8 [T, H, W, 3], frames a second).

    Args:
        source: a file, or the bytes of one.
        max_frames: stop after so many; a long clip in full needs T*H*W*3 bytes, see `iter_frames`.
        max_pixels: largest width * height.

    Raises:
        BadMedia, InputError: as `iter_frames`.
    """
    name = _name(source)
    with _open(source, max_pixels) as (container, stream):
        rate = _rate(name, stream)
        frames = [frame.pixels for frame in _frames(name, container, stream, max_frames, max_pixels)]
    if len({frame.shape for frame in frames}) > 1:
        raise BadMedia("size_changes", f"{name}: the size of the frames changes within the clip")
    return np.stack(frames), rate


def iter_frames(
    source: Path | str | bytes,
    *,
    max_frames: int | None = None,
    max_pixels: int = 50_000_000,
    max_side_px: int | None = None,
) -> Iterator[TimedFrame]:
    """Decode a clip frame by frame, turned as its rotation says, in flat memory.

    Args:
        max_side_px: larger frames are averaged down to this longer side while their colours are converted.

    Raises:
        BadMedia: "empty", "not_a_video", "no_video_stream", "unknown_codec", "no_frames", "no_frame_rate",
            "too_large", "truncated" (the index is missing or names data past the end of the file), "corrupt"
            (a frame does not decode).
        InputError: the file does not exist or cannot be opened.
    """
    with _open(source, max_pixels) as (container, stream):
        yield from _frames(_name(source), container, stream, max_frames, max_pixels, max_side_px)


def probe(source: Path | str | bytes, *, max_pixels: int = 50_000_000) -> VideoInfo:
    """Size, rate and length of a clip, from its header and its first frame.

    Raises:
        BadMedia, InputError: as `iter_frames`.
    """
    name = _name(source)
    with _open(source, max_pixels) as (container, stream):
        rate = _rate(name, stream)
        first = next(_frames(name, container, stream, 1, max_pixels))
        seconds = _seconds(container, stream)
        codec = stream.codec_context.name
    height, width = first.pixels.shape[:2]
    return VideoInfo(width, height, rate, stream.frames, seconds, codec)


@contextmanager
def _open(source: Path | str | bytes, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    name = _name(source)
    with open_media(source) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if not size:
            raise BadMedia("empty", f"{name}: the file is empty")
        starts_as_mp4 = file.read(8)[4:] == b"ftyp"
        file.seek(0)
        try:
            container = av.open(file, "r", options={"format_whitelist": CONTAINERS})
        except (FFmpegError, ValueError) as error:
            if starts_as_mp4:
                raise BadMedia("truncated", f"{name}: starts as MP4, but its index is missing") from error
            raise BadMedia("not_a_video", f"{name}: not a clip of a known format") from error
        with container:
            if not container.streams.video:
                raise BadMedia("no_video_stream", f"{name}: has no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise BadMedia("unknown_codec", f"{name}: there is no decoder for its video stream")
            stream.codec_context.thread_count = 1
            if stream.width * stream.height > max_pixels:
                size_px = f"{stream.width}x{stream.height}"
                raise BadMedia("too_large", f"{name}: must have at most {max_pixels} pixels, got {size_px}")
            if container.format.name.startswith("mov"):
                end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
                if end > size:
                    raise BadMedia("truncated", f"{name}: truncated at {size} bytes, its index needs {end}")
            yield container, stream


def _frames(
    name: str,
    container: InputContainer,
    stream: VideoStream,
    max_frames: int | None,
    max_pixels: int,
    max_side_px: int | None = None,
) -> Iterator[TimedFrame]:
    count, start, scaler = 0, None, VideoReformatter()
    decoder = container.decode(stream)
    while max_frames is None or count < max_frames:
        try:
            frame = next(decoder, None)
            if frame is None:
                break
            if frame.width * frame.height > max_pixels:
                raise BadMedia(
                    "too_large", f"{name}: frame {count} is {frame.width}x{frame.height}, over {max_pixels}"
                )
            pixels = _rgb(scaler, frame, max_side_px)
        except (FFmpegError, MemoryError) as error:
            raise BadMedia("corrupt", f"{name}: frame {count} does not decode ({error})") from error
        if turns := round(frame.rotation / 90) % 4:
            pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        seconds = count / _rate(name, stream) if frame.time is None else frame.time
        start = seconds if start is None else start
        yield TimedFrame(seconds - start, pixels)
        count += 1
    if not count:
        raise BadMedia("no_frames", f"{name}: has no frames")


def _rgb(scaler: VideoReformatter, frame: av.VideoFrame, max_side_px: int | None) -> np.ndarray:
    width, height, side = frame.width, frame.height, max(frame.width, frame.height)
    if max_side_px is not None and side > max_side_px:
        width, height = (max(1, round(length * max_side_px / side)) for length in (width, height))
        flags = Interpolation.AREA
    else:
        flags = _ACCURATE if width * height <= _ACCURATE_UP_TO_PIXELS else _FAST
    small = scaler.reformat(frame, width, height, format="rgb24", interpolation=flags, threads=1)
    return small.to_ndarray()


def _rate(name: str, stream: VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise BadMedia("no_frame_rate", f"{name}: states no frame rate")
    return float(rate)


def _seconds(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else 0.0


def _name(source: Path | str | bytes) -> str:
    return "clip" if isinstance(source, bytes) else str(source)
