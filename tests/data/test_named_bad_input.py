"""Bad files by name, all in one folder with good ones: each is read or skipped for its reason, alone."""

import io
import tarfile
import zlib

import numpy as np
import pytest
from damaged_files import audio_only, good_files, moving_clip, odd_clip, picture, rotated, saved
from photo_folders import folder_subjects
from PIL import Image

from sugar.data.image_io import BadMedia
from sugar.data.shard_pool import Skips
from sugar.data.shards import read_shard
from sugar.data.video_io import decode_video, encode_mp4
from sugar.ingest.clips import FolderClips
from sugar.synthesis.nouns import category_of

READ = "read"
LARGE = (40, 36)


@pytest.fixture(scope="module")
def photos() -> dict[str, tuple[bytes, str]]:
    """Name -> contents and what becomes of them."""
    rgb, exif = picture("RGB", LARGE), Image.Exif()
    exif[0x0112] = 6
    bomb = bytearray(saved(rgb, "PNG"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    files = {
        "good.png": (saved(rgb, "PNG"), READ),
        "cmyk.jpg": (saved(picture("CMYK", LARGE), "JPEG"), READ),
        "deep.png": (saved(picture("I;16", LARGE), "PNG"), READ),
        "palette.png": (saved(picture("P", LARGE), "PNG", transparency=3), READ),
        "turned.jpg": (saved(picture("RGB", (44, 36)), "JPEG", exif=exif), READ),
        "animated.webp": (saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]), READ),
        "wrong-extension.jpg": (saved(picture("L", LARGE), "PNG"), READ),
        "one-pixel.png": (saved(picture("RGB", (1, 1)), "PNG"), "too_small"),
        "bomb.png": (bytes(bomb), "too_large"),
        "clip.png": (encode_mp4(moving_clip(0, 3), 8), "not_an_image"),
        "empty.png": (b"", "empty"),
    }
    for kind, options in (("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True})):
        data = saved(rgb.rotate(180), kind, **options)
        reason = "unreadable" if kind == "WEBP" else "truncated"
        files[f"half.{kind.lower()}"] = data[: len(data) // 2], reason
    return files


def test_photos(photos, tmp_path):
    for name, (data, _) in photos.items():
        (tmp_path / name).write_bytes(data)
    told: dict[str, str] = {}
    read = list(folder_subjects(tmp_path, on_skip=lambda name, reason, _: told.update({name: reason})))
    expected = {name: reason for name, (_, reason) in photos.items() if reason != READ}
    assert {name.rsplit("/", 1)[-1]: reason for name, reason in told.items()} == expected
    assert len(read) == len(photos) - len(expected)
    assert (36, 44) not in {subject.image.shape[:2] for subject in read}  # it was turned upright


CLIPS = {
    "good.mp4": (lambda: encode_mp4(moving_clip(0, 5), 8), (5, 32, 48)),
    "rotated.mp4": (lambda: rotated(encode_mp4(moving_clip(1, 5), 8)), (5, 48, 32)),
    "odd-size.mp4": (lambda: odd_clip("mpeg4", "mp4", (33, 21), "yuv420p", [0, 1, 2]), (3, 21, 33)),
    "alpha.mkv": (lambda: odd_clip("ffv1", "matroska", (34, 22), "yuva420p", [0, 1, 2]), (3, 22, 34)),
    "one-frame.mp4": (lambda: encode_mp4(moving_clip(2, 1), 8), (1, 32, 48)),
    "variable-rate.mkv": (lambda: odd_clip("ffv1", "matroska", (34, 22), "yuv420p", [0, 1, 9]), (3, 22, 34)),
    "wrong-extension.mp4": (lambda: odd_clip("mjpeg", "avi", (32, 32), "yuvj420p", [0, 1]), (2, 32, 32)),
    "no-video.mp4": (audio_only, "no_video_stream"),
    "picture.mp4": (lambda: saved(picture("RGB", LARGE), "PNG"), "not_a_video"),
    "half.mp4": (lambda: encode_mp4(moving_clip(3, 9), 8)[:1500], "truncated"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_clips(name, tmp_path):
    make, expected = CLIPS[name]
    (tmp_path / name).write_bytes(make())
    if isinstance(expected, str):
        with pytest.raises(BadMedia) as refused:
            decode_video(tmp_path / name)
        assert refused.value.reason == expected
    else:
        assert decode_video(tmp_path / name)[0].shape == (*expected, 3)


@pytest.mark.parametrize("caption", ["NUL \0 here", "🐕‍🦺 runs", "\u202eשלום", "long " * 2000])
def test_captions_of_clips(caption, tmp_path):
    (tmp_path / "dog.mp4").write_bytes(encode_mp4(moving_clip(0, 5), 8))
    (tmp_path / "dog.txt").write_text(caption, encoding="utf-8")
    assert FolderClips(tmp_path, 0, category_of=category_of).load(0).caption == " ".join(caption.split())


@pytest.mark.parametrize(
    "name, kind, reason",
    [
        ("../out.json", tarfile.REGTYPE, "unsafe_name"),
        ("/etc/out.json", tarfile.REGTYPE, "unsafe_name"),
        ("a/b.json", tarfile.REGTYPE, "unsafe_name"),
        ("a\\b.json", tarfile.REGTYPE, "unsafe_name"),
        ("new.json", tarfile.SYMTYPE, "not_a_file"),
        ("new.json", tarfile.LNKTYPE, "not_a_file"),
        ("good-0.json", tarfile.REGTYPE, "duplicate"),
    ],
)
def test_members_of_a_tar(name, kind, reason, tmp_path):
    good_files(tmp_path)
    with tarfile.open(tmp_path / "shard-000000.tar", "a") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "good-1.json"
        tar.addfile(member, io.BytesIO())
    skips = Skips()
    kept = [t.key for t in read_shard(tmp_path / "shard-000000.tar", on_bad=lambda k, r: skips.add(k, r, ""))]
    assert skips.counts == {reason: 1}
    assert kept == [f"good-{i}" for i in range(3) if not (reason == "duplicate" and i == 0)]
    assert np.all([not path.name.startswith("out") for path in tmp_path.parent.iterdir()])
