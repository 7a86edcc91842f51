"""Subjects: drawn ones are pure, photos come from any folder, bad ones are counted."""

import io

import numpy as np
import pytest
from photo_folders import folder_subjects
from PIL import Image

from sugar.box import Box
from sugar.config import InputError
from sugar.data.image_io import encode_png
from sugar.data.shard_pool import Skips
from sugar.data.subjects import read_subjects
from sugar.sprites import HELD_OUT_SEEDS, NOUNS
from sugar.synthesis.dataset import source_dataset
from sugar.synthesis.sourcing import PhotoRules, is_sprite, sprite_subjects


def photo(seed: int, height: int = 40, width: int = 60, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(
        np.repeat(rng.integers(0, 256, (height // 4, width // 4, channels), np.uint8), 4, 0), 4, 1
    )


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def test_drawn_subjects_are_pure_and_begin_alike():
    short, long = list(sprite_subjects(5, 3)), list(sprite_subjects(30, 3))
    assert [a.key for a in short] == [b.key for b in long[:5]]
    for a, b in zip(short, long, strict=False):
        np.testing.assert_array_equal(a.image, b.image)
    assert {subject.noun for subject in long} == set(NOUNS)
    assert all(subject.seed not in HELD_OUT_SEEDS for subject in long)
    assert long[0].image.shape == (64, 64, 4)
    assert next(iter(sprite_subjects(1, 4))).seed != short[0].seed


def test_a_folder_of_everything(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "Mimi (1).PNG").write_bytes(encode_png(photo(0)))
    (tmp_path / "red_mug.png").write_bytes(encode_png(photo(1, channels=4)))
    (tmp_path / "again.png").write_bytes(encode_png(photo(0)))
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    (tmp_path / "cut.png").write_bytes(encode_png(photo(2))[:200])
    (tmp_path / "dot.png").write_bytes(encode_png(photo(3, 4, 4)))
    (tmp_path / "bomb.png").write_bytes(header_of(30_000, 30_000))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "ghost.png").write_bytes(encode_png(np.zeros((40, 40, 4), np.uint8)))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(encode_png(photo(4)))
    skips = Skips()
    subjects = list(folder_subjects(tmp_path, on_skip=skips.add))
    assert [(s.noun, s.category, s.image.shape[2]) for s in subjects] == [
        ("again", "static_object", 3),
        ("red mug", "static_object", 4),
    ]
    assert skips.counts == {
        "duplicate": 1,
        "not_an_image": 1,
        "truncated": 1,
        "too_small": 1,
        "too_large": 1,
        "empty": 1,
        "empty_alpha": 1,
    }
    assert skips.examples["duplicate"] == ["cat/Mimi (1).PNG: the same bytes as again.png"]
    figures = source_dataset(tmp_path / "out", lambda: folder_subjects(tmp_path, on_skip=Skips().add), skips)
    assert (figures["subjects"], figures["skipped"], figures["skipped_too_large"]) == (2, 7, 1)
    assert [s.key for s in read_subjects(tmp_path / "out")] == [s.key for s in subjects]


def test_a_table_decides_names_and_order(tmp_path):
    for name in ("b.png", "a.png", "other.png"):
        (tmp_path / name).write_bytes(encode_png(photo(ord(name[0]))))
    (tmp_path / "subjects.csv").write_text(
        "subject,file,noun,category\nx,b.png,sneaker,\ny,a.png,toy,active_object\n"
    )
    subjects = list(folder_subjects(tmp_path))
    assert [(s.key[:2], s.noun, s.category) for s in subjects] == [
        ("b-", "sneaker", "static_object"),
        ("a-", "toy", "active_object"),
    ]
    assert len(list(folder_subjects(tmp_path, PhotoRules(max_subjects=1)))) == 1


def test_a_table_may_say_where_the_subject_is(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(encode_png(photo(ord(name[0]))))
    (tmp_path / "cut.png").write_bytes(encode_png(photo(0, channels=4)))
    (tmp_path / "subjects.csv").write_text(
        'file,noun,box\na.png,dog,"6, 10, 36, 30"\nb.png,dog,\nc.png,dog,0 0 60 41\ncut.png,dog,0 0 20 20\n'
    )
    skips = Skips()
    subjects = list(folder_subjects(tmp_path, on_skip=skips.add))
    assert [s.box for s in subjects] == [Box(0.1, 0.25, 0.6, 0.75), None]
    assert skips.counts == {"bad_box": 2}
    said = " ".join(skips.examples["bad_box"])
    assert "c.png: box must be left, top, right, bottom within 60 x 40 px" in said
    assert "cut.png: box must be empty" in said
    source_dataset(tmp_path / "out", lambda: subjects, Skips())
    assert [s.box for s in read_subjects(tmp_path / "out")] == [s.box for s in subjects]


@pytest.mark.parametrize(
    "row, message",
    [
        ("gone.png,dog,animal", "line 2: file must name a file in .*, got 'gone.png'"),
        ("../a.png,dog,animal", "line 2: file must name a file"),
        (
            "a.png,dog,plant",
            "line 2: category must be one of animal, active_object, static_object, got 'plant'",
        ),
        ("a.png,,animal", "line 2: noun must not be empty"),
    ],
)
def test_a_wrong_row_stops_before_any_work(tmp_path, row, message):
    (tmp_path / "a.png").write_bytes(encode_png(photo(0)))
    (tmp_path / "subjects.csv").write_text(f"file,noun,category\n{row}\n")
    with pytest.raises(InputError, match=message):
        folder_subjects(tmp_path)


def test_folders_without_photos(tmp_path):
    with pytest.raises(InputError, match="must be an existing folder"):
        folder_subjects(tmp_path / "none")
    with pytest.raises(InputError, match="must hold photos"):
        folder_subjects(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="at least one usable photo, got 1 files, all skipped: not_an_image"):
        list(folder_subjects(tmp_path))


def test_large_photos_are_kept_small(tmp_path):
    (tmp_path / "dog.png").write_bytes(encode_png(photo(0, 400, 1600)))
    (subject,) = folder_subjects(tmp_path)
    assert subject.image.shape == (192, 768, 3)


def test_a_subject_of_sprite_world_is_told_from_a_photo():
    subject = next(sprite_subjects(1, seed=3))
    about = (subject.noun, subject.seed, subject.source_digest)
    assert is_sprite(*about)
    assert not is_sprite(subject.noun, subject.seed, "0" * 64)
    assert not is_sprite(subject.noun, subject.seed + 1, subject.source_digest)
    assert not is_sprite("espresso machine", subject.seed, subject.source_digest)


def test_a_key_that_is_taken_is_a_skip(tmp_path, monkeypatch):
    for folder in ("aa", "bb"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(encode_png(photo(ord(folder[0]))))
    monkeypatch.setattr("sugar.synthesis.sourcing.file_key", lambda name, digest: name[3:4])
    skips = Skips()
    (subject,) = folder_subjects(tmp_path, on_skip=skips.add)
    assert (subject.key, skips.counts) == ("1", {"duplicate_key": 1})
    assert skips.examples["duplicate_key"] == ["bb/1.png: its key 1 is that of aa/1.png"]
