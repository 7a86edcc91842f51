"""WebDataset tars: samples by their keys, labels, and what cannot be used counted."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import fsspec
import numpy as np
import pytest

from sugar.config import InputError
from sugar.data.image_io import BadMedia, encode_png
from sugar.data.shard_pool import Skips
from sugar.synthesis.places import Photo
from sugar.synthesis.sourcing import PhotoRules, photo_subjects
from sugar.synthesis.tars import tar_photos


def png(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8))


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def usable(photos: Sequence[Photo]) -> list[Photo]:
    """Those that can be read."""
    kept = []
    for photo in photos:
        try:
            photo.read()
        except BadMedia:
            continue
        kept.append(photo)
    return kept


def test_tars_are_streamed_and_damage_costs_the_rest_of_one(tmp_path):
    about = json.dumps({"noun": "fox", "category": "active_object"}).encode()
    first = [("0.jpg", png(0)), ("0.json", about), ("1.png", png(1)), ("1.cls", b"teapot"), ("3.png", png(3))]
    write_tar(tmp_path / "x-0.tar", first)
    write_tar(tmp_path / "x-1.tar", [("4.png", png(4)), ("4.json", b"{broken"), ("5.png", png(5))])
    whole = (tmp_path / "x-1.tar").read_bytes()
    (tmp_path / "x-1.tar").write_bytes(whole[: whole.index(b"5.png") + 600])
    photos = usable(list(tar_photos(tmp_path / "x-{0..1}.tar")))
    assert [photo[:3] for photo in photos] == [
        ("x-0.tar/0.jpg", "fox", "active_object"),
        ("x-0.tar/1.png", "teapot", "static_object"),
        ("x-0.tar/3.png", "", ""),
        ("x-1.tar/4.png", "", ""),
    ]
    assert photos[3].read() == png(4)
    skips = Skips()
    assert len(list(photo_subjects(tar_photos(tmp_path), "here", on_skip=skips.add))) == 2
    assert skips.counts == {"damaged_tar": 1, "no_noun": 2}
    system = fsspec.filesystem("memory")
    system.put(str(tmp_path / "x-0.tar"), "/tars/x-0.tar")
    assert [photo.noun for photo in tar_photos("memory://tars/*.tar")] == ["fox", "teapot", ""]
    system.rm("/", recursive=True)


def test_the_folder_belongs_to_the_key_and_is_a_label_where_there_is_no_other(tmp_path):
    names = (
        "dog/0001.jpg",
        "cat/0001.jpg",
        "cat/0002.v2.jpg",
        "2023/0001.jpg",
        "fox/1.jpg",
        "owl/1.jpg",
        "2.jpg",
    )
    members = [(name, png(i)) for i, name in enumerate(names)]
    for name, text in (("fox/1.cls", b"7"), ("owl/1.json", b'{"noun": 7}'), ("2.cls", b"n02084071")):
        members.insert([member for member, _ in members].index(f"{name.split('.')[0]}.jpg") + 1, (name, text))
    write_tar(tmp_path / "x.tar", members)
    photos = list(tar_photos(tmp_path / "x.tar"))
    assert [(photo.name, photo.noun, photo.category) for photo in photos] == [
        ("x.tar/dog/0001.jpg", "dog", "animal"),
        ("x.tar/cat/0001.jpg", "cat", "animal"),
        ("x.tar/cat/0002.v2.jpg", "cat", "animal"),
        ("x.tar/2023/0001.jpg", "", ""),
        ("x.tar/fox/1.jpg", "fox", "animal"),
        ("x.tar/owl/1.jpg", "owl", "animal"),
        ("x.tar/2.jpg", "", ""),
    ]
    assert [photo.read() for photo in photos] == [png(i) for i in range(7)]


def test_labels_keep_their_hyphens(tmp_path):
    members = [
        ("0.jpg", png(0)),
        ("0.noun", b"t-shirt"),
        ("1.jpg", png(1)),
        ("1.json", b'{"noun": "teddy_bear 2"}'),
    ]
    write_tar(tmp_path / "x.tar", members)
    assert [photo.noun for photo in tar_photos(tmp_path / "x.tar")] == ["t-shirt", "teddy bear"]


def test_members_that_belong_to_no_sample_are_counted(tmp_path):
    members = [
        ("a.jpg", png(0)),
        ("a.noun", b"dog"),
        ("a.jpg", png(1)),
        (".x.jpg", png(2)),
        ("nosuffix", b"?"),
    ]
    write_tar(tmp_path / "x.tar", [*members, ("b.json", b"{}")])
    with tarfile.open(tmp_path / "x.tar", "a") as tar:
        link = tarfile.TarInfo("c.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
    skips = Skips()
    (subject,) = photo_subjects(tar_photos(tmp_path / "x.tar"), "here", on_skip=skips.add)
    np.testing.assert_array_equal(
        subject.image[0, 0], np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)[0, 0]
    )
    reasons = ("repeated_member", "hidden_member", "no_suffix", "no_picture", "not_a_file")
    assert skips.counts == dict.fromkeys(reasons, 1)
    assert skips.examples["no_suffix"] == ["x.tar/nosuffix: its name must have a suffix"]


def test_what_is_no_tar_says_so(tmp_path):
    (tmp_path / "list.csv").write_text("file,noun\na.png,dog\n")
    with pytest.raises(InputError, match=r"all skipped: not_a_tar \(list.csv: must be a tar file"):
        list(photo_subjects(tar_photos(tmp_path / "list.csv"), "here"))
    with pytest.raises(InputError, match="must name tar files"):
        tar_photos(tmp_path / "x-{0..1}.tar")


def six(path: Path) -> bytearray:
    write_tar(path, [(f"dogs/{i}.png", png(i)) for i in range(6)])
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_header_is_counted_and_its_neighbour_kept(tmp_path, damage):
    data = six(tmp_path / "x.tar")
    start = data.index(b"dogs/3.png")
    if damage == "flipped":
        data[start] ^= 1
    else:
        del data[start + 200 :]
    (tmp_path / "x.tar").write_bytes(data)
    skips = Skips()
    subjects = list(photo_subjects(tar_photos(tmp_path / "x.tar"), "here", on_skip=skips.add))
    assert [subject.key.rsplit("-", 1)[0] for subject in subjects] == [f"x-tar-dogs-{i}" for i in range(3)]
    assert skips.counts == {"damaged_tar": 1}


def test_a_tar_without_blocks_at_its_end_is_whole(tmp_path):
    data = six(tmp_path / "x.tar")
    last = data.index(b"dogs/5.png")
    (tmp_path / "x.tar").write_bytes(data[: last + 512 + -(-len(png(5)) // 512) * 512])
    assert len(usable(list(tar_photos(tmp_path / "x.tar")))) == 6
    assert len(list(tar_photos(tmp_path / "x.tar"))) == 6


def test_a_sample_whose_label_is_cut_is_not_taken(tmp_path):
    write_tar(tmp_path / "x.tar", [("dogs/0.png", png(0)), ("dogs/0.noun", b"fox" * 300)])
    data = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(data[: data.index(b"foxfox") + 20])
    (photo,) = tar_photos(tmp_path / "x.tar")
    with pytest.raises(BadMedia, match="cannot be read on"):
        photo.read()


def test_a_sample_holds_what_it_uses_and_no_more(tmp_path, monkeypatch):
    data = png(0)
    monkeypatch.setattr("sugar.synthesis.tars.MAX_PHOTO_BYTES", len(data) + 10)
    members = [("0.npy", bytes(3 * len(data))), ("0.jpg", data), ("0.mask.png", data), ("0.noun", b"fox")]
    write_tar(tmp_path / "x.tar", [*members, ("0.json", bytes(20)), ("1.jpg", bytes(2 * len(data)))])
    photos = list(tar_photos(tmp_path / "x.tar"))
    (photo,) = usable(photos)
    assert (photo.name, photo.noun, photo.read()) == ("x.tar/0.jpg", "fox", data)
    skips = Skips()
    list(photo_subjects(photos, "here", on_skip=skips.add))
    assert skips.counts == {"too_large": 2}
    assert "0.json: its sample must have <=" in skips.examples["too_large"][0]


def test_what_can_be_no_subject_takes_no_turn(tmp_path):
    members = [("dog/0.png", png(0)), ("dog/1.png", png(1)), ("cat/2.png", png(2)), ("3.png", png(3))]
    write_tar(tmp_path / "x.tar", [*members, *((f"z{i}.txt", b"x") for i in range(9))])
    skips, left_out = Skips(), Counter()
    photos, rules = tar_photos(tmp_path / "x.tar"), PhotoRules(max_subjects=2, balance=True)
    kept = photo_subjects(photos, "here", rules, on_skip=skips.add, left_out=left_out)
    assert sorted(subject.noun for subject in kept) == ["cat", "dog"]
    assert (skips.counts, left_out) == ({"no_picture": 9, "no_noun": 1}, {"dog": 1})
