"""Pictures in and out: any common image file becomes uint8 RGB or RGBA, or a `BadMedia` that says why not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sugar.config import InputError
from sugar.triplet import check_picture

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What is read (phones' MPO counts as JPEG); formats that run programs (EPS, WMF, ...) are not."""

_WITH_ALPHA = {"RGBA", "LA", "PA", "La", "RGBa"}


class BadMedia(ValueError):
    """A picture, clip or sample that cannot be used: a skip with a reason that can be counted.

    Attributes:
        reason: short slug: "not_an_image", "too_small", "too_large", "truncated", "unreadable",
            "unsupported_mode", "not_a_video", "no_video_stream", "no_frames", "empty", ...
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[1])


def load_image(
    source: Path | str | bytes,
    *,
    max_pixels: int = 50_000_000,
    min_side_px: int = 1,
    keep_alpha: bool = False,
) -> np.ndarray:
    """Read a picture as uint8 [H, W, 3], or [H, W, 4] where some of it is transparent.

    The size in the header is checked before anything is decoded. EXIF orientation is applied; palettes, grey,
    CMYK and 16-bit pictures are converted; of an animation the first frame is taken.

    Args:
        source: a file, or the bytes of one.
        max_pixels: largest width * height; min_side_px: smallest width and height.
        keep_alpha: give four channels also where a file's alpha is 255 everywhere.

    Raises:
        BadMedia: the picture cannot be used, see `.reason`.
        InputError: the file does not exist or cannot be opened.
    """
    name = "picture" if isinstance(source, bytes) else str(source)
    with open_media(source) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if not file.read(1):
                raise BadMedia("empty", f"{name}: the file is empty")
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                _check_size(name, image.size, max_pixels, min_side_px)
                return _pixels(name, image, keep_alpha)
        except BadMedia:
            raise
        except UnidentifiedImageError as error:
            raise BadMedia("not_an_image", f"{name}: not a picture of a known format") from error
        except Image.DecompressionBombError as error:
            raise BadMedia("too_large", f"{name}: must have at most {max_pixels} pixels ({error})") from error
        except Exception as error:  # decoders raise almost anything on damaged input
            reason = "truncated" if "truncat" in str(error).lower() else "unreadable"
            raise BadMedia(reason, f"{name}: cannot be decoded ({type(error).__name__}: {error})") from error


def encode_png(picture: np.ndarray) -> bytes:
    """PNG of a uint8 [H, W, 3 or 4] picture; equal pictures give equal bytes."""
    check_picture("picture", picture, (3, 4))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "PNG", compress_level=3)
    return file.getvalue()


@contextmanager
def open_media(source: Path | str | bytes) -> Iterator[BinaryIO]:
    """Open a media file, or bytes, for reading.

    Raises:
        InputError: the file does not exist or cannot be opened.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = open(source, "rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{source}: cannot be opened ({error.strerror})") from error
    with file:
        yield file


def _check_size(name: str, size: tuple[int, int], max_pixels: int, min_side_px: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadMedia("too_large", f"{name}: must have at most {max_pixels} pixels, got {width}x{height}")
    if min(width, height) < min_side_px:
        raise BadMedia("too_small", f"{name}: sides must be >= {min_side_px} px, got {width}x{height}")


def _pixels(name: str, image: Image.Image, keep_alpha: bool) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadMedia("unsupported_mode", f"{name}: grey values must be 0..65535, got mode {image.mode}")
        return np.repeat(((values + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("F", "LAB"):
        raise BadMedia("unsupported_mode", f"{name}: mode {image.mode} is not supported")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        pixels = np.array(image.convert("RGBA"))
        return pixels if keep_alpha or pixels[..., 3].min() < 255 else np.ascontiguousarray(pixels[..., :3])
    return np.array(image.convert("RGB"))
