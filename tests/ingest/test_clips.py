"""Clips: drawn ones are pure H.264 files, folders are read with their captions."""

import numpy as np
import pytest

from sugar.data.video_io import decode_video, encode_mp4
from sugar.ingest import clips as clips_module
from sugar.ingest.clips import FolderClips, SpriteClips
from sugar.sprites import MOTIONS, STYLES
from sugar.synthesis.nouns import category_of


@pytest.fixture(scope="module")
def clip_bytes() -> list[bytes]:
    return [encode_mp4(np.full((5, 16, 16, 3), 40 * n, np.uint8), 8) for n in range(3)]


def test_drawn_clips_are_pure_and_begin_alike():
    few = SpriteClips(2, 5, 0.5, 5, 32, 32, 8)
    many = SpriteClips(40, 5, 0.5, 5, 32, 32, 8)
    assert few.load(1) == many.load(1)
    clips = [many.load(i) for i in range(40)]
    assert {clip.motion for clip in clips} == set(MOTIONS)
    assert {clip.style for clip in clips} == set(STYLES)
    assert 10 <= sum(clip.style == "as is" for clip in clips) <= 30
    assert len({clip.key for clip in clips}) == len({clip.digest for clip in clips}) == 40
    frames, fps = decode_video(clips[0].content)
    assert (frames.shape, fps) == ((5, 32, 32, 3), 8.0)
    assert all(SpriteClips(1, s, 0.0, 5, 32, 32, 8).load(0).style == "as is" for s in range(8))
    assert many.digest(0) != many.digest(1)
    assert few.digest(0) != SpriteClips(2, 6, 0.5, 5, 32, 32, 8).digest(0)


def test_a_table_of_captions(tmp_path, clip_bytes):
    for name, data in zip(("b.mp4", "a.mp4", "c.mp4"), clip_bytes, strict=True):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "copy.mp4").write_bytes(clip_bytes[0])
    (tmp_path / "captions.csv").write_text(
        'file,noun,caption\nb.mp4,dog,"a dog, jumping"\na.mp4,cup,a cup\ncopy.mp4,dog,again\n'
    )
    clips = FolderClips(tmp_path, 0, category_of=category_of)
    assert [(clip.noun, clip.caption) for clip in map(clips.load, range(len(clips)))] == [
        ("dog", "a dog, jumping"),
        ("cup", "a cup"),
    ]
    assert clips.skips == [("copy.mp4", "duplicate", "copy.mp4: the same bytes as b.mp4")]
    before = clips.digest(0)
    (tmp_path / "captions.csv").write_text("file,noun,caption\nb.mp4,dog,other words\n")
    assert FolderClips(tmp_path, 0, category_of=category_of).digest(0) != before


def test_clips_beyond_the_limit_are_counted_and_said(tmp_path, clip_bytes, caplog):
    for number, data in enumerate(clip_bytes):
        (tmp_path / f"cup{number}.mp4").write_bytes(data)
        (tmp_path / f"cup{number}.txt").write_text("a cup")
    clips = FolderClips(tmp_path, 0, max_clips=1, category_of=category_of)
    assert (len(clips), clips.left_out) == (1, 2)
    assert "2 clips are left out, ingest.num_clips is 1" in caplog.text
    caplog.clear()
    assert FolderClips(tmp_path, 0, max_clips=3, category_of=category_of).left_out == 0
    assert not caplog.text


def test_a_clip_that_cannot_be_read_costs_itself(tmp_path, clip_bytes, monkeypatch):
    def read(file):
        if file.name == "cup2.mp4":
            raise PermissionError(13, "Permission denied")
        return "0" * 64

    for name in ("cup1", "cup2"):
        (tmp_path / f"{name}.mp4").write_bytes(clip_bytes[0])
        (tmp_path / f"{name}.txt").write_text("a cup")
    monkeypatch.setattr(clips_module, "sha256_file", read)
    clips = FolderClips(tmp_path, 0, category_of=category_of)
    assert len(clips) == 1
    assert clips.skips == [("cup2.mp4", "unreadable_file", "cup2.mp4: cannot be read (Permission denied)")]
