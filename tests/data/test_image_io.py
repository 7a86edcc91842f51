import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sugar.config import InputError
from sugar.data.image_io import FORMATS, BadMedia, encode_png, load_image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def reason(data: bytes | Path, **limits: int) -> str:
    with pytest.raises(BadMedia) as caught:
        load_image(data, **limits)
    return caught.value.reason


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_png_round_trip_is_exact_and_repeats(picture):
    rgba = np.dstack([picture, picture[..., 0]])
    for array in (picture, rgba, picture[:, ::-1]):
        np.testing.assert_array_equal(load_image(encode_png(array)), array)
    assert encode_png(picture) == encode_png(picture.copy())


def test_opaque_alpha_is_dropped_unless_asked_for(picture):
    opaque = np.dstack([picture, np.full((20, 30), 255, np.uint8)])
    assert load_image(encode_png(opaque)).shape == (20, 30, 3)
    np.testing.assert_array_equal(load_image(encode_png(opaque), keep_alpha=True), opaque)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_common_mode_becomes_rgb(picture, mode):
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    loaded = load_image(saved(Image.fromarray(picture).convert(mode), kind))
    assert loaded.dtype == np.uint8
    assert loaded.shape == (20, 30, 3)
    assert loaded.flags.writeable


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
def test_every_listed_format_is_read(picture, kind):
    smooth = Image.fromarray(picture).resize((60, 40), Image.Resampling.BICUBIC)
    loaded = load_image(saved(smooth.convert("P") if kind == "GIF" else smooth, kind))
    assert loaded.shape == (40, 60, 3)
    assert np.abs(loaded.astype(float) - np.asarray(smooth)).mean() < 25


def test_16_bit_grey_keeps_its_full_range():
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    loaded = load_image(saved(Image.fromarray(levels), "PNG"))
    assert loaded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_palette_transparency_becomes_alpha():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    loaded = load_image(saved(image, "PNG", transparency=1))
    assert loaded.tolist() == [[[255, 0, 0, 255], [0, 255, 0, 0]]]


def test_exif_orientation_is_applied(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_image(saved(Image.fromarray(picture), "PNG", exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(picture, -1))


def test_a_file_works_as_bytes_do(picture, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(Image.fromarray(picture), "JPEG"))
    np.testing.assert_array_equal(load_image(path), load_image(path.read_bytes()))


def test_bad_pictures_say_why(picture, tmp_path):
    png = encode_png(picture)
    assert reason(b"") == "empty"
    assert reason(b"this is no picture") == "not_an_image"
    assert reason(png[: len(png) // 2]) == "truncated"
    assert reason(saved(Image.fromarray(picture), "JPEG")[:-100]) == "truncated"
    assert reason(encode_png(picture[:1, :1]), min_side_px=32) == "too_small"
    assert reason(png, max_pixels=599) == "too_large"
    assert reason(saved(Image.new("F", (2, 2)), "TIFF")) == "unsupported_mode"
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert reason(tmp_path / "a.jpg") == "not_an_image"


@pytest.mark.parametrize("side", [8_000, 30_000])
def test_a_huge_picture_is_refused_from_its_header(side, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert reason(png_header(side, side)) == "too_large"


def test_a_missing_file_is_the_users_mistake(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png: cannot be opened"):
        load_image(tmp_path / "nowhere.png")


def test_bad_media_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(BadMedia("truncated", "a.png: truncated")))
    assert (error.reason, str(error)) == ("truncated", "a.png: truncated")


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_damaged_pictures_load_or_are_bad_media(kind, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    content = bytearray(saved(Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        loaded = load_image(bytes(content), max_pixels=10_000)
    except BadMedia:
        return
    assert loaded.dtype == np.uint8
    assert loaded.shape[2] in (3, 4)


def test_real_photos_load(real_data):
    for path in sorted((real_data / "dreambench").glob("*.jpg"))[:3]:
        assert load_image(path).shape[2] == 3
