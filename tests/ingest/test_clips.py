"""Clips: drawn ones are pure H.264 files, folders are read with their captions."""

import numpy as np
import pytest

from sugar.config import InputError
from sugar.data.video_io import decode_video, encode_mp4
from sugar.ingest.clips import FolderClips, SpriteClips, list_clips
from sugar.sprites import MOTIONS, STYLES


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
    clips = FolderClips(tmp_path, seed=0)
    assert [(clip.noun, clip.caption) for clip in map(clips.load, range(len(clips)))] == [
        ("dog", "a dog, jumping"),
        ("cup", "a cup"),
    ]
    assert clips.repeated == [("copy.mp4", "b.mp4")]
    assert len(FolderClips(tmp_path, 0, max_clips=1)) == 1
    before = clips.digest(0)
    (tmp_path / "captions.csv").write_text("file,noun,caption\nb.mp4,dog,other words\n")
    assert FolderClips(tmp_path, seed=0).digest(0) != before


def test_captions_beside_the_clips(tmp_path, clip_bytes):
    (tmp_path / "red car").mkdir()
    for name, data in zip(("red car/1.mp4", "Dog_2.MP4", "silent.mp4"), clip_bytes, strict=True):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "red car" / "1.txt").write_text("a red car\n  drives by\n")
    (tmp_path / "Dog_2.txt").write_text("a dog")
    assert [(c.name, c.noun, c.caption) for c in list_clips(tmp_path)] == [
        ("Dog_2.MP4", "dog", "a dog"),
        ("red car/1.mp4", "red car", "a red car drives by"),
    ]
    (tmp_path / "Dog_2.txt").write_text("  ")
    with pytest.raises(InputError, match=r"Dog_2.txt: a caption must not be empty"):
        list_clips(tmp_path)


def test_a_caption_for_a_missing_clip_names_it(tmp_path, clip_bytes):
    (tmp_path / "a.mp4").write_bytes(clip_bytes[0])
    (tmp_path / "captions.csv").write_text("file,noun,caption\na.mp4,dog,a dog\ngone.mp4,cat,a cat\n")
    with pytest.raises(InputError, match=r"captions.csv line 3: file must name a file in .*, got 'gone.mp4'"):
        FolderClips(tmp_path, seed=0)


def test_folders_without_clips(tmp_path):
    with pytest.raises(InputError, match="must be an existing folder"):
        list_clips(tmp_path / "none")
    with pytest.raises(InputError, match=r"must hold captions\.csv, or clips with a \.txt"):
        list_clips(tmp_path)
